"""Files by path and by URL."""

from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError
from earmark.storage.remote import RemotePath, is_url, join_path

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")


def test_arrow_opens_a_url_whose_fsspec_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", ".hidden.wav", "sub/d.wav"):
        (tmp_path / name).write_bytes(name.encode())
    folder = RemotePath(f"file://{tmp_path}")
    assert list(folder.files()) == ["a.wav", "sub/d.wav"]
    assert folder.child("a.wav").read() == b"a.wav"
    for read_ahead in (True, False):
        with folder.child("a.wav").open(read_ahead=read_ahead) as stream:
            assert (stream.seek(2), stream.read(2)) == (2, b"wa")
    with pytest.raises(DataError, match="nonsense://x: cannot be reached: Install s3fs"):
        RemotePath("nonsense://x").names()


@pytest.mark.parametrize(
    ("url", "names"), [("", ["a.csv", "b.wav"]), ("*.csv", ["a.csv"]), ("x*", []), ("[ab].*", ["a.csv", "b.wav"])]
)
def test_wildcards_match_files(tmp_path: Path, url: str, names: list[str]) -> None:
    for name in ("a.csv", "b.wav"):
        (tmp_path / name).write_bytes(b"12")
    assert RemotePath(str(tmp_path / url)).files() == dict.fromkeys(names, 2)


def test_local_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "deep").mkdir(parents=True)
    (tmp_path / "blobs" / "1").write_bytes(b"123")
    (tmp_path / "blobs" / "deep" / "b.wav").write_bytes(b"12")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "plain.wav").write_bytes(b"1")
    (tmp_path / "data" / "a.wav").symlink_to(tmp_path / "blobs" / "1")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "blobs" / "deep")
    (tmp_path / "data" / "linked" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "gone.wav").symlink_to(tmp_path / "none")  # it fails when it is read
    expected = {"a.wav": 3, "gone.wav": 0, "linked/b.wav": 2, "plain.wav": 1}
    assert RemotePath(str(tmp_path / "data")).files() == RemotePath(f"file://{tmp_path}/data").files() == expected
    assert RemotePath(str(tmp_path / "data" / "*.wav")).files() == {
        name: expected[name] for name in expected if name[0] != "l"
    }
    assert RemotePath(str(tmp_path / "data" / "*" / "*.wav")).files() == {"linked/b.wav": 2}
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert RemotePath(str(tmp_path / "data" / "**" / "*.wav")).files() == expected
    assert RemotePath(str(tmp_path / "data" / "**.wav")).files() == {
        name: expected[name] for name in expected if name[0] != "l"
    }


def test_files_at_the_root_of_a_file_system() -> None:
    RemotePath("memory://root.bin").write(b"12")
    try:
        file = RemotePath("memory://root.bin")
        assert (file.is_file(), file.folder, RemotePath(file.folder).child("root.bin").read()) == (
            True,
            "memory://",
            b"12",
        )
        for url in ("memory://*.bin", "memory://r*.bin"):
            assert (RemotePath(url).files(), RemotePath(url).root.url) == ({"root.bin": 2}, "memory://")
        assert "root.bin" in RemotePath("memory://").files()
    finally:
        fsspec.filesystem("memory").rm("/root.bin")
    assert (join_path("file:///", "a"), RemotePath("file:///a").folder, RemotePath("s3://b/a").folder) == (
        "file:///a",
        "file:///",
        "s3://b",
    )


def test_errors_of_remote_file_systems_become_os_errors() -> None:
    class Refused(Exception):
        status = 403

    class Remote(fsspec.spec.AbstractFileSystem):
        protocol = "refusing"

        def info(self, path: str, **options: Any) -> Any:
            if "none" in path:
                raise FileNotFoundError(path)
            if "gone" in path:
                error = Refused("404 Not Found")
                error.status = 404
                raise FileNotFoundError(path) from error
            if "down" in path:
                raise FileNotFoundError(path) from Refused("cannot connect")
            raise Refused("403\nForbidden")

        def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
            raise Refused("403\nForbidden")

        cat_file = _open = info

    fsspec.register_implementation("refusing", Remote, clobber=True)
    remote = RemotePath("refusing://a")
    for action in (remote.is_file, remote.size, remote.names, remote.read, remote.open):
        with pytest.raises(OSError, match="403 Forbidden"):
            action()
    with pytest.raises(OSError, match="cannot connect"):
        RemotePath("refusing://down").is_file()
    assert not RemotePath("refusing://none").is_file() and not RemotePath("refusing://gone").is_file()


def test_streams_without_read_ahead_fetch_only_the_requested_bytes() -> None:
    class Slow(fsspec.spec.AbstractBufferedFile):  # like the files of object stores
        def _fetch_range(self, start: int, end: int) -> bytes:
            fetched.append(end - start)
            return bytes(end - start)

    class Store(fsspec.spec.AbstractFileSystem):
        protocol = "slow"

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Slow:
            return Slow(self, path, mode, size=1 << 20, **{"block_size": 1 << 16, **options})

    fsspec.register_implementation("slow", Store, clobber=True)
    for read_ahead in (True, False):
        fetched: list[int] = []
        with RemotePath("slow://a").open(read_ahead=read_ahead) as stream:
            stream.seek(1000)
            stream.read(10)
        assert (sum(fetched) == 10) != read_ahead


def test_a_windows_drive_is_no_url() -> None:
    assert is_url("s3://bucket/a") and not is_url("C:/sounds") and not is_url("a:b")
    assert join_path("s3://bucket/a", "/b.wav") == "s3://bucket/a/b.wav"
