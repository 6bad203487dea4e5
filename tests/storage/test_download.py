"""Downloads from a local server that runs in a thread."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import pytest

from earmark.errors import CheckpointError
from earmark.storage import download
from earmark.storage.cache_folder import PublishedFile
from earmark.storage.download import fetch

CONTENT = bytes(range(256)) * 4000


class Site(ThreadingHTTPServer):
    """Serves CONTENT at `/file`, half of it at `/short`, twice as much at `/endless`; `/moved/X` redirects to X.

    At `/parts` the first answer stops after half of it, and ranges are served.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.ranges: list[str | None] = []
        self.content, self.etag = CONTENT, '"1"'

    def handle_error(self, *_: object) -> None:
        pass  # the client has closed the connection

    def published(self, path: str, **changes: object) -> PublishedFile:
        values = {
            "n_bytes": len(CONTENT),
            "checksum": f"md5:{hashlib.md5(CONTENT).hexdigest()}",
            "name": "a=1.pth",
            **changes,
        }
        return PublishedFile(url=f"http://127.0.0.1:{self.server_port}{path}", **values)


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["User-Agent"]))
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved/"))
            self.end_headers()
        elif self.path == "/gone":
            self.send_error(404, "Not Here")
        elif self.path == "/parts":
            self._send_part()
        else:
            self.send_response(200)
            length = {"/endless": 10**12}.get(self.path, len(CONTENT))
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/short" else CONTENT)
            if self.path == "/endless":
                self.wfile.write(CONTENT)

    def _send_part(self) -> None:
        site, wanted = self.server, self.headers["Range"]
        site.ranges.append(wanted)
        is_same = self.headers["If-Range"] in (None, site.etag)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and is_same else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", site.etag)
        self.send_header("Content-Length", str(len(site.content) - start))
        self.end_headers()
        end = len(site.content) // 2 if len(site.ranges) == 1 else None
        self.wfile.write(site.content[start:end])

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


def test_a_file_is_downloaded_once(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        path = fetch(site.published("/file?download=1"))
        assert path == tmp_path / "cache" / "a=1.pth"
        assert path.read_bytes() == CONTENT
    assert len(site.requests) == 1
    assert site.requests[0][1] == "earmark"
    assert [file.name for file in path.parent.iterdir()] == ["a=1.pth"]
    assert capfd.readouterr() == ("", "")


def test_redirections_are_followed(site: Site) -> None:
    assert fetch(site.published("/moved//file")).read_bytes() == CONTENT


def test_a_file_saved_by_hand_is_verified(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "a=1.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(site.published("/gone")) == path
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"a=1\.pth: not the published file .* remove it to download it again"):
        fetch(site.published("/file"))
    assert path.exists()


@pytest.mark.parametrize(
    ("path", "changes", "text"),
    [
        ("/gone", {}, r"cannot be downloaded \(404 Not Here\)"),
        ("/endless", {}, r"cannot be downloaded \(it is longer than the expected 1024000 bytes\)"),
        ("/file", {"checksum": f"md5:{'0' * 32}"}, "expected MD5 0{32}, got [0-9a-f]{32}; try again"),
        ("/moved/https://host.invalid/x", {}, r"\(it redirects to https://host\.invalid/x, which is not http\)"),
        ("/moved/file:///etc/passwd", {}, r"\(302 .*file:///etc/passwd' is not allowed\)"),
    ],
)
def test_failed_downloads_are_reported_in_one_line(
    site: Site, tmp_path: Path, path: str, changes: dict[str, str], text: str
) -> None:
    published = site.published(path, **changes)
    with pytest.raises(CheckpointError, match=text) as caught:
        fetch(published)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and message.startswith(published.url)
    assert f"save it as {tmp_path / 'cache' / 'a=1.pth'}, or give the path of your copy" in message
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("changes", [{}, {"checksum": None}, {"checksum": None, "n_bytes": None}])
def test_an_interrupted_download_continues(site: Site, tmp_path: Path, changes: dict[str, None]) -> None:
    published = site.published("/parts", **changes)
    with pytest.raises(CheckpointError, match=r"\(it ended 512000 bytes early; the next try continues\)"):
        fetch(published)
    assert fetch(published).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=512000-"]
    kept = {"a=1.pth"} if not changes else {"a=1.pth", "a=1.pth.sha256"}
    assert {path.name for path in (tmp_path / "cache").iterdir()} == kept


def test_a_file_that_changed_meanwhile_is_downloaded_from_its_beginning(site: Site) -> None:
    published = site.published("/parts", checksum=None, n_bytes=None)
    with pytest.raises(CheckpointError):
        fetch(published)
    site.content, site.etag = CONTENT[::-1], '"2"'
    assert fetch(published).read_bytes() == CONTENT[::-1]


def test_a_part_that_nothing_can_verify_is_not_continued(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a=1.pth.part").write_bytes(b"of another file")
    assert fetch(site.published("/file", checksum=None, n_bytes=None)).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"damaged", CONTENT, CONTENT + b"x"])
def test_a_damaged_part_ends_in_an_error_and_the_next_try_succeeds(site: Site, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a=1.pth.part").write_bytes(part)
    site.ranges.append(None)  # no answer stops early
    published = site.published("/parts")
    if part == b"damaged":
        with pytest.raises(CheckpointError, match=r"is damaged: expected MD5 [0-9a-f]{32}, got .*; try again"):
            fetch(published)
    assert fetch(published).read_bytes() == CONTENT


def test_without_a_checksum_the_first_download_counts(site: Site, tmp_path: Path) -> None:
    published = site.published("/file", checksum=None, n_bytes=None)
    path = fetch(published)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "cache" / "a=1.pth.sha256").read_text() == f"{digest}\n"
    path.write_bytes(CONTENT[1:])
    match = (
        rf"a=1\.pth: not the file of the first download \(expected SHA-256 {digest}\); remove it and a=1\.pth\.sha256"
    )
    with pytest.raises(CheckpointError, match=match):
        fetch(published)


def test_processes_that_need_one_file_download_it_once(site: Site) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(site.published("/file")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 4 and len(site.requests) == 1
    assert paths[0].read_bytes() == CONTENT


def test_a_server_that_refuses_connections(site: Site) -> None:
    published = site.published("/file")
    site.shutdown()
    site.server_close()
    with pytest.raises(CheckpointError, match=r"cannot be downloaded \(Connection refused\)"):
        fetch(published)


def test_a_server_that_stops_responding(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, answered = threading.Event(), _Handler.do_GET
    monkeypatch.setattr(_Handler, "do_GET", lambda handler: silent.wait() and answered(handler))
    monkeypatch.setattr(download, "_TIMEOUT", 0.1)
    try:
        with pytest.raises(CheckpointError, match=r"cannot be downloaded \(timed out\)"):
            fetch(site.published("/file"))
    finally:
        silent.set()


def test_only_https_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SCHEME", "https")
    with pytest.raises(CheckpointError, match=r"cannot be downloaded \(not https\)"):
        fetch(site.published("/file"))
    assert site.requests == []
    handler = download._HttpsOnly()
    arguments = (Request("https://host.invalid/a"), None, 302, "Found", {})
    with pytest.raises(Exception, match=r"redirects to http://host\.invalid/b, which is not https"):
        handler.redirect_request(*arguments, "http://host.invalid/b")
    assert handler.redirect_request(*arguments, "https://other.invalid/b").full_url == "https://other.invalid/b"


def test_a_cache_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match=r"cannot be written \(.*\); set EARMARK_CACHE to use another folder"):
        fetch(site.published("/file"))
