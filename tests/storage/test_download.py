"""Files that are fetched once, from a server in a thread of the test."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest

from earmark.errors import CheckpointError
from earmark.storage import download
from earmark.storage.download import Published, cache_folder, fetch

CONTENT = bytes(range(256)) * 4000


class Site(ThreadingHTTPServer):
    """Answers every path: `/file` with CONTENT, `/short` with half of it, `/moved/X` with a redirection to X."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, *_: object) -> None:
        pass  # whoever asked has gone

    def published(self, path: str, **changes: object) -> Published:
        values = {"n_bytes": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest(), "file": "a=1.pth", **changes}
        return Published(url=f"http://127.0.0.1:{self.server_port}{path}", **values)


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["User-Agent"]))
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved/"))
            self.end_headers()
        elif self.path == "/gone":
            self.send_error(404, "Not Here")
        else:
            self.send_response(200)
            length = {"/endless": 10**12}.get(self.path, len(CONTENT))
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/short" else CONTENT)
            if self.path == "/endless":
                self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_SCHEME", "http")
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        path = fetch(site.published("/file?download=1"))
        assert path == tmp_path / "cache" / "a=1.pth"
        assert path.read_bytes() == CONTENT
    assert len(site.asked) == 1
    assert site.asked[0][1] == "earmark"
    assert [file.name for file in path.parent.iterdir()] == ["a=1.pth"]
    assert capfd.readouterr() == ("", "")


def test_redirections_are_followed(site: Site) -> None:
    assert fetch(site.published("/moved//file")).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_checked(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "a=1.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(site.published("/gone")) == path
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"a=1\.pth: not the published file .* remove it"):
        fetch(site.published("/file"))
    assert path.exists()


@pytest.mark.parametrize(
    ("path", "changes", "text"),
    [
        ("/gone", {}, r"cannot be fetched \(404 Not Here\)"),
        ("/short", {}, r"cannot be fetched \(it ended 512000 bytes early\)"),
        ("/endless", {}, r"cannot be fetched \(more than its 1024000 bytes came\)"),
        ("/file", {"md5": "0" * 32}, "MD5 0{32} was expected, [0-9a-f]{32} came; try again"),
        ("/moved/https://host.invalid/x", {}, r"\(it leads on to https://host\.invalid/x, which is not http\)"),
        ("/moved/file:///etc/passwd", {}, r"\(302 .*file:///etc/passwd' is not allowed\)"),
    ],
)
def test_what_cannot_be_fetched(site: Site, tmp_path: Path, path: str, changes: dict[str, str], text: str) -> None:
    published = site.published(path, **changes)
    with pytest.raises(CheckpointError, match=text) as caught:
        fetch(published)
    told = str(caught.value)
    assert len(told.splitlines()) == 1 and told.startswith(published.url)
    assert (
        f"get it by other means and save it as {tmp_path / 'cache' / 'a=1.pth'}, or give the path of your copy" in told
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_nobody_answers(site: Site) -> None:
    published = site.published("/file")
    site.shutdown()
    site.server_close()
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(Connection refused\); get it by other means"):
        fetch(published)


def test_a_server_that_falls_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, answered = threading.Event(), _Handler.do_GET
    monkeypatch.setattr(_Handler, "do_GET", lambda handler: silent.wait() and answered(handler))
    monkeypatch.setattr(download, "_TIMEOUT", 0.1)
    try:
        with pytest.raises(CheckpointError, match=r"cannot be fetched \(timed out\)"):
            fetch(site.published("/file"))
    finally:
        silent.set()


def test_https_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SCHEME", "https")
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(not https\)"):
        fetch(site.published("/file"))
    assert site.asked == []
    handler = download._HttpsOnly()
    arguments = (Request("https://host.invalid/a"), None, 302, "Found", {})
    with pytest.raises(Exception, match=r"leads on to http://host\.invalid/b, which is not https"):
        handler.redirect_request(*arguments, "http://host.invalid/b")
    assert handler.redirect_request(*arguments, "https://other.invalid/b").full_url == "https://other.invalid/b"


def test_a_cache_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*\); EARMARK_CACHE names another folder"):
        fetch(site.published("/file"))


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.cache/earmark"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/earmark"),
        ("linux", {"XDG_CACHE_HOME": "xdg", "EARMARK_CACHE": "mine"}, "mine"),
        ("darwin", {}, "home/Library/Caches/earmark"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/earmark/Cache"),
    ],
)
def test_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    for name in ("XDG_CACHE_HOME", "EARMARK_CACHE", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "home", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download.sys, "platform", platform)
    assert cache_folder() == Path(folder)
