"""One part: tags, errors as rows, recordings on other file systems."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk.job import PLAN, Done, Settings, finished  # noqa: E402
from earmark.bulk.parts import Part, read_input  # noqa: E402
from earmark.bulk.work import do_part  # noqa: E402
from earmark.storage.remote import RemotePath  # noqa: E402


def test_a_recording_that_cannot_be_read_is_a_row_with_an_error(
    folder: Path, tmp_path: Path, loudness: Callable[..., Any], wav: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    (folder / "c.wav").write_bytes(wav(2.0))
    (part,) = read_input(str(folder)).parts
    part = replace(part, files=(*part.files, "gone.wav"))
    done = do_part(part, loudness(), Settings(threshold=0.2, n_features=3), RemotePath(str(tmp_path / "out")), "f")
    written = rows(tmp_path / "out" / part.name)
    assert [row["file"] for row in written] == ["a.wav", "b.wav", "c.wav", "sub/d.wav", "gone.wav"]
    assert written[0] == {
        "file": "a.wav",
        "duration": 0.5,
        "tags": [{"label": "dog", "score": 0.25}],
        "error": None,
        "embedding": [0.5, 0.5, 0.5],
    }
    assert "cut off" in written[1]["error"]
    assert written[2]["error"] == "RuntimeError: the network fell over"
    assert written[4]["error"].endswith("gone.wav: no such file")
    assert all(written[i][key] is None for i in (1, 2, 4) for key in ("duration", "tags", "embedding"))
    assert done == Done(part.name, 5, 3, 1.0, written[1]["error"])
    # several at a time, as on a GPU
    at_once = do_part(part, loudness(), Settings(threshold=0.2, n_features=3), RemotePath(str(tmp_path / "3")), "f", 3)
    assert at_once == done and rows(tmp_path / "3" / part.name) == written


def test_columns_have_the_same_types_for_all_contents(
    folder: Path, tmp_path: Path, loudness: Callable[..., Any]
) -> None:
    for name, files in (("whole", ("a.wav",)), ("bad", ("b.wav",))):
        part = Part(f"{name}.parquet", 1, str(folder), files=files)
        do_part(part, loudness(), Settings(n_features=3), RemotePath(str(tmp_path)), "f")
    whole, bad = (parquet.read_schema(tmp_path / f"{name}.parquet").remove_metadata() for name in ("whole", "bad"))
    assert whole == bad
    assert whole.field("embedding").type == pa.list_(pa.float32(), 3)
    assert whole.names == ["file", "duration", "tags", "error", "embedding"]
    do_part(replace(part, name="n.parquet"), loudness(), Settings(), RemotePath(str(tmp_path)), "f")
    assert parquet.read_schema(tmp_path / "n.parquet").names == ["file", "duration", "tags", "error"]


@pytest.mark.parametrize("ids", [{"video_id": ["v1", None, "v3"]}, {"id": [7, None, 9]}, {}])
@pytest.mark.parametrize("is_struct", [True, False])
def test_bytes_in_a_table_are_scored(
    tmp_path: Path,
    ids: dict[str, list],
    is_struct: bool,
    loudness: Callable[..., Any],
    wav: Callable[..., Any],
    rows: Callable[..., Any],
) -> None:
    sounds = [wav(0.25), b"no sound", None]
    audio = [{"bytes": data, "path": f"{i}.wav"} for i, data in enumerate(sounds)] if is_struct else sounds
    table = pa.table({"labels": [["x"]] * 3, "audio": audio, **ids})
    (tmp_path / "in").mkdir()
    parquet.write_table(table, tmp_path / "in" / "t.parquet", row_group_size=2)
    work = read_input(str(tmp_path / "in"), rows_per_part=2)
    for part in work.parts:
        do_part(part, loudness(), Settings(top=1), RemotePath(str(tmp_path / "out")), "f")
    written = [row for part in work.parts for row in rows(tmp_path / "out" / part.name)]
    if ids:
        names = [str(next(iter(ids.values()))[0]), "t.parquet:1", str(next(iter(ids.values()))[2])]
    else:
        names = ["0.wav", "1.wav", "2.wav"] if is_struct else ["t.parquet:0", "t.parquet:1", "t.parquet:2"]
    assert [row["file"] for row in written] == names
    assert written[0]["tags"] == [{"label": "dog", "score": 0.25}]
    assert "cannot be read as audio" in written[1]["error"]
    assert written[2]["error"] == f"{names[2]}: no bytes of audio in this row"


def test_recordings_on_another_file_system_are_copied_while_they_are_scored(
    tmp_path: Path, loudness: Callable[..., Any], wav: Callable[..., Any], a_job: Callable[..., Any]
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/far/a.wav", wav(0.25))
    memory.pipe_file("/far/b.wav", b"no sound")
    memory.pipe_file("/else/c.wav", wav(0.25))
    memory.pipe_file("/far/list.txt", b"a.wav\nb.wav\nmemory://else/c.wav\ngone.wav\n")
    tagger = loudness()
    job = a_job("memory://far/list.txt", rows_per_part=9)
    out = RemotePath("memory://results/of/it")
    job.claim(out)
    do_part(job.input.parts[0], tagger, job.settings, out, job.fingerprint)
    assert out.names() == {PLAN, "part-000000.parquet"}
    assert finished(out, job)["part-000000.parquet"].n_failed == 2
    written = parquet.read_table(io.BytesIO(out.child("part-000000.parquet").read())).to_pylist()
    assert written[0]["tags"][0] == written[2]["tags"][0] == {"label": "dog", "score": 0.25}
    assert written[1]["error"].startswith("memory://far/b.wav: cannot be read as audio")
    assert written[3]["error"] == "FileNotFoundError: /far/gone.wav"
    assert [Path(source).suffix for source in tagger.sources] == [".wav", ".wav"]
    assert not any(Path(source).exists() for source in tagger.sources)


def test_an_incomplete_part_is_not_written(folder: Path, tmp_path: Path, loudness: Callable[..., Any]) -> None:
    class Interrupted(loudness):
        def score(self, audio, track=None):
            if len(self.sources) == 1:
                raise KeyboardInterrupt
            return super().score(audio)

    (part,) = read_input(str(folder)).parts
    with pytest.raises(KeyboardInterrupt):
        do_part(part, Interrupted(), Settings(), RemotePath(str(tmp_path / "out")), "f")
    assert not (tmp_path / "out").exists()


def test_a_track_that_is_not_there_is_a_row_with_an_error(
    tmp_path: Path, loudness: Callable[..., Any], wav: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.table({"audio": [wav(0.25)]}), tmp_path / "in" / "t.parquet")
    (part,) = read_input(str(tmp_path / "in")).parts
    for track, expected in ((1, None), ("mix", None), (2, "t.parquet:0: it has one sound track, and track 2 was")):
        do_part(part, loudness(), Settings(track=track), RemotePath(str(tmp_path / "out")), "f")
        (row,) = rows(tmp_path / "out" / part.name)
        assert row["error"] is None if expected is None else row["error"].startswith(expected)
