"""Files by path and by URL."""

from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError
from earmark.storage import Place, is_url, joined

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")


def test_arrow_reads_what_fsspec_has_no_library_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", ".hidden.wav", "sub/d.wav"):
        (tmp_path / name).write_bytes(name.encode())
    place = Place(f"file://{tmp_path}")
    assert list(place.files()) == [".hidden.wav", "a.wav", "sub/d.wav"]
    assert place.child("a.wav").read() == b"a.wav"
    for ahead in (True, False):
        with place.child("a.wav").open(ahead=ahead) as stream:
            assert (stream.seek(2), stream.read(2)) == (2, b"wa")
    with pytest.raises(DataError, match="nonsense://x: cannot be reached: Install s3fs"):
        Place("nonsense://x").names()


@pytest.mark.parametrize(
    ("url", "names"), [("", ["a.csv", "b.wav"]), ("*.csv", ["a.csv"]), ("x*", []), ("[ab].*", ["a.csv", "b.wav"])]
)
def test_wildcards_name_files(tmp_path: Path, url: str, names: list[str]) -> None:
    for name in ("a.csv", "b.wav"):
        (tmp_path / name).write_bytes(b"12")
    assert Place(str(tmp_path / url)).files() == dict.fromkeys(names, 2)


def test_streams_that_fetch_no_more_than_asked_for() -> None:
    class Slow(fsspec.spec.AbstractBufferedFile):  # as files of object stores are
        def _fetch_range(self, start: int, end: int) -> bytes:
            fetched.append(end - start)
            return bytes(end - start)

    class Store(fsspec.spec.AbstractFileSystem):
        protocol = "slow"

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Slow:
            return Slow(self, path, mode, size=1 << 20, **{"block_size": 1 << 16, **options})

    fsspec.register_implementation("slow", Store, clobber=True)
    for ahead in (True, False):
        fetched: list[int] = []
        with Place("slow://a").open(ahead=ahead) as stream:
            stream.seek(1000)
            stream.read(10)
        assert (sum(fetched) == 10) != ahead


def test_a_drive_is_no_url() -> None:
    assert is_url("s3://bucket/a") and not is_url("C:/sounds") and not is_url("a:b")
    assert joined("s3://bucket/a", "/b.wav") == "s3://bucket/a/b.wav"
