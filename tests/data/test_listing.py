"""Lists of clips."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data
from earmark.data.listing import _relative, read_clips, write_clips
from earmark.errors import DataError


def save_noise(path: Path) -> None:
    save_audio(path, Audio(np.random.default_rng(0).uniform(-0.5, 0.5, 1000), 16000))


def made(folder: Path) -> str:
    """A table of four clips in two splits and groups."""
    for name in "abcd":
        save_noise(folder / f"{name}.wav")
    rows = ["c.wav,dog,train,x", "a.wav,dog;rain,train,x", "d.wav,,test,y", "b.wav,rain,test,y"]
    (folder / "clips.csv").write_text("path,labels,split,group\n" + "\n".join(rows) + "\n")
    return f"csv:{folder / 'clips.csv'}"


def test_a_list_selects_clips_unchanged(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    write_clips(tmp_path / "lists" / "some.txt", data, ["d.wav", "c.wav"])
    whole, some = open_data(data), open_data(f"clips:{tmp_path / 'lists' / 'some.txt'}")
    assert [clip.id for clip in some] == ["c.wav", "d.wav"], "in the order of the data"
    for clip, same in zip(some, (whole[0], whole[2]), strict=True):
        assert (clip.labels, clip.split, clip.group) == (same.labels, same.split, same.group)
        np.testing.assert_array_equal(clip.load(16000).waveform, same.load(16000).waveform)
    assert some.labels == whole.labels
    assert (some.name, some.missing) == ("clips.csv (some.txt)", ())


def test_the_format_of_a_list(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    write_clips(tmp_path / "some.txt", data, ["d.wav", "c.wav"], labels=["dog"])
    head = '{"earmark": "clips", "format": 1, "data": "csv:data/clips.csv", "labels": ["dog"]}'
    assert (tmp_path / "some.txt").read_text() == f"{head}\nd.wav\nc.wav\n"


def test_a_list_and_its_data_move_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "here" / "data")
    (tmp_path / "here" / "report").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_clips(Path("report/clean.txt"), "csv:data/clips.csv", ["a.wav"])
    assert "../data/clips.csv" in Path("report/clean.txt").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_clips("there/report/clean.txt")[0].load(16000).duration > 0


def test_a_list_in_a_linked_folder(tmp_path: Path) -> None:
    made(tmp_path / "data")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "report").symlink_to(tmp_path / "far" / "away")
    write_clips(tmp_path / "report" / "clean.txt", f"csv:{tmp_path / 'data' / 'clips.csv'}", ["a.wav"])
    assert len(read_clips(tmp_path / "report" / "clean.txt")) == 1
    assert len(read_clips(tmp_path / "far" / "away" / "clean.txt")) == 1


def test_a_list_of_packed_clips_in_a_linked_folder(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "data").mkdir()
    rows = pa.table({"id": ["a", "b"], "audio": [b"1", b"2"], "labels": ["dog", "cat"]})
    parquet.write_table(rows, tmp_path / "data" / "x.parquet")
    (tmp_path / "far" / "reports").mkdir(parents=True)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "report").symlink_to(tmp_path / "far" / "reports")
    path = tmp_path / "deep" / "er" / "report" / "clean.txt"
    write_clips(path, f"parquet:{tmp_path / 'data'}", ["a"])
    assert [clip.id for clip in read_clips(path)] == ["a"]


def test_paths_are_relative_to_the_list(tmp_path: Path) -> None:
    assert _relative(str(tmp_path), tmp_path) == "."
    assert _relative(str(tmp_path / "a" / "*.parquet"), tmp_path / "b") == "../a/*.parquet"
    write_clips(tmp_path / "far.txt", "parquet:s3://bucket/a*.parquet", ["x"])
    assert json.loads((tmp_path / "far.txt").read_text().splitlines()[0])["data"] == "parquet:s3://bucket/a*.parquet"


NAMES = [
    " blank.wav",
    "blank .wav",
    "line\nbreak.wav",
    "line\u2028break.wav",
    '"quoted".wav',
    "Käuzchen.wav",
    "a\tb.wav",
]


def test_any_clip_id_survives_a_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    save_noise(folder / '"cat"' / "a.wav")
    names = [*NAMES, b"no\xfftext.wav".decode(errors="surrogateescape")]
    for name in names:
        save_noise(folder / "dog" / "new.wav")
        (folder / "dog" / "new.wav").rename(folder / "dog" / name)
    whole = open_data(f"folder:{folder}")
    wanted = [clip.id for clip in whole][::2]
    for some in (wanted, [clip.id for clip in whole]):
        write_clips(tmp_path / "some.txt", f"folder:{folder}", some)
        assert [clip.id for clip in read_clips(tmp_path / "some.txt")] == some
        assert len((tmp_path / "some.txt").read_text(errors="surrogateescape").splitlines()) == len(some) + 1
        assert read_clips(tmp_path / "some.txt").clip_ids_sha256()


def test_a_list_narrows_the_labels(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    write_clips(tmp_path / "some.txt", data, ["a.wav", "c.wav"], labels=["dog"])
    some = read_clips(tmp_path / "some.txt")
    assert (some.labels.names, [clip.labels for clip in some]) == (("dog",), [("dog",), ("dog",)])


def test_a_list_of_a_list_names_the_data_set(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write_clips(tmp_path / "deep" / "first.txt", data, ["a.wav", "c.wav"], labels=["dog"])
    write_clips(tmp_path / "deep" / "er" / "second.txt", f"clips:{tmp_path / 'deep' / 'first.txt'}", ["a.wav"])
    head = json.loads((tmp_path / "deep" / "er" / "second.txt").read_text().splitlines()[0])
    assert (head["data"], head["labels"]) == ("csv:../../data/clips.csv", ["dog"])
    assert [clip.id for clip in read_clips(tmp_path / "deep" / "er" / "second.txt")] == ["a.wav"]


def test_only_missing_files_of_listed_clips_are_errors(tmp_path: Path) -> None:
    data = made(tmp_path / "data")
    (tmp_path / "data" / "b.wav").unlink()
    write_clips(tmp_path / "some.txt", data, ["a.wav", "c.wav", "d.wav"])
    assert len(read_clips(tmp_path / "some.txt")) == 3
    (tmp_path / "data" / "a.wav").unlink()
    with pytest.raises(
        DataError, match=r"some.txt: 1 of its 3 clips are no longer in csv:data/clips.csv: a.wav; restore"
    ):
        read_clips(tmp_path / "some.txt")
    some = read_clips(tmp_path / "some.txt", lenient=True)
    assert ([clip.id for clip in some], some.missing) == (["c.wav", "d.wav"], ("a.wav",))
    (tmp_path / "data" / "clips.csv").unlink()
    with pytest.raises(
        DataError, match=r"some.txt: the data set of this clip list .* cannot be opened: .*clips.csv: cannot be read"
    ):
        read_clips(tmp_path / "some.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a clip list written by `earmark doctor`"),
        ("a.wav\nb.wav\n", "expected a clip list written by `earmark doctor`"),
        ("[1]\na.wav\n", "does not declare a clip list of format 1"),
        ('{"earmark": "clips", "format": 2, "data": "csv:x"}\n', "a clip list of format 1"),
        ('{"earmark": "clips", "format": 1}\n', "names no data set"),
        ('{"earmark": "clips", "format": 1, "data": "csv:x", "labels": 3}\n', "names no data set"),
        ('{"earmark": "clips", "format": 1, "data": "clips:some.txt"}\n', "refers to another clip list"),
        (
            '{"earmark": "clips", "format": 1, "data": "csv:x"}\n"half\n',
            "expected a clip list written by `earmark doctor`",
        ),
        ('{"earmark": "clips", "format": 1, "data": "zip:x"}\na\n', "unknown source 'zip'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "some.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_clips(tmp_path / "some.txt")


def test_missing_lists_and_data_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: cannot be read: No such file"):
        read_clips(tmp_path / "none.txt")
    with pytest.raises(DataError, match="expected a source and a path"):
        write_clips(tmp_path / "some.txt", "folder", ["a"])


def test_clips_are_found_in_either_unicode_form(tmp_path: Path) -> None:
    for name in ("Gänse", "rain"):
        save_noise(tmp_path / "mac ü" / unicodedata.normalize("NFD", name) / "1.wav")
    write_clips(tmp_path / "some.txt", f"folder:{tmp_path / 'mac ü'}", ["Gänse/1.wav"])
    folder = tmp_path / "mac ü"
    folder.rename(tmp_path / unicodedata.normalize("NFD", folder.name))
    assert [clip.labels for clip in read_clips(tmp_path / "some.txt")] == [("Gänse",)]


def test_a_list_splits_labels(tmp_path: Path) -> None:
    for label in ("dog", "rain", "dog,rain"):
        save_noise(tmp_path / "clips" / label / "1.wav")
    write_clips(tmp_path / "a.txt", f"folder:{tmp_path / 'clips'}", ["dog,rain/1.wav"], label_separator=",")
    write_clips(tmp_path / "b.txt", f"clips:{tmp_path / 'a.txt'}", ["dog,rain/1.wav"])
    assert read_clips(tmp_path / "b.txt")[0].labels == ("dog", "rain")
