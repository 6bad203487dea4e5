"""A Hugging Face Hub on this machine, with the routes that earmark reaches through huggingface_hub."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789" * 4


class Hub:
    """Repositories: the files of each branch by name."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str | None] = set()
        self.metadata: dict[str, Any] = {}
        self.url = ""

    def add(self, repository: str, branch: str = "main", **files: bytes) -> None:
        """Adds a repository with one branch; `model_onnx` is the file model.onnx."""
        named = {name.replace("_", "."): content for name, content in files.items()}
        self.files.setdefault(repository, {})[branch] = named
        self.private.setdefault(repository, False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None: ...

    def _answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self._answer(404, X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository, branch, file = map(unquote, found.groups())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            repository, branch, file = found[1], unquote(found[2] or "main"), None
        else:
            self._answer(404)
            return
        branches = self.hub.files.get(repository)
        if branches is None:
            self._missing("RepoNotFound")
        elif branch not in branches:
            self._missing("RevisionNotFound")
        elif file is None:
            about = {"id": repository, "sha": COMMIT, "private": self.hub.private[repository], "tags": []}
            self._answer(200, {**about, "siblings": [{"rfilename": name} for name in branches[branch]]})
        elif file not in branches[branch]:
            self._missing("EntryNotFound")
        else:
            content = branches[branch][file]
            self._answer(200, content, ETag=f'"{sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(self.path)
        if self.headers.get("Authorization") is None:
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            about = json.loads(body)
            repository = f"{about['organization']}/{about['name']}"
            if repository in self.hub.files:
                self._answer(409, {"url": f"{self.hub.url}/{repository}"})
                return
            self.hub.add(repository)
            self.hub.private[repository] = bool(about.get("private") or about.get("visibility") == "private")
            self._answer(200, {"url": f"{self.hub.url}/{repository}"})
        elif path == "/api/validate-yaml":
            self.hub.metadata = json.loads(body)
            self._answer(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", path):
            self.hub.files[found[1]][found[2]] = {}
            self._answer(200, {})
        elif re.fullmatch(r"/api/models/.*/preupload/[^/]+", path):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer(200, {"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.files[found[1]][found[2]][line["value"]["path"]] = content
            self._answer(200, {"commitUrl": f"{self.hub.url}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._answer(404)


@contextmanager
def running_hub(cache: str) -> Iterator[Hub]:
    """Starts a Hub and makes huggingface_hub use it, with an empty cache in this folder and a made-up login."""
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "ENDPOINT", hub.url)
            patch.setattr(
                constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
            )
            patch.setattr(constants, "HF_HUB_CACHE", cache)
            patch.setenv("HF_TOKEN", "hf_made_up")
            yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
