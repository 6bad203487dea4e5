"""Clips in Parquet: the published AudioSet, earmark's packs, tables of users."""

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from earmark.audio.recording import Audio, save_audio
from earmark.data import packs
from earmark.data.clips import check_disjoint
from earmark.data.packs import JOURNAL
from earmark.data.parquet import read_parquet
from earmark.errors import AudioError, DataError, EarmarkWarning
from earmark.labels import LabelSet
from earmark.storage.remote import RemotePath

RATE = 16000


def refusal(action) -> str:
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a FLAC file of half a second."""
    path = tmp_path_factory.mktemp("sound") / "a.flac"
    save_audio(path, Audio(np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2), RATE))
    return path.read_bytes()


def write(path: Path, columns: dict, about: dict | None = None, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = None if about is None else {b"earmark": json.dumps(about).encode()}
    parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path, **options)
    return str(path)


# AudioSet


def test_audioset_as_published(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_parquet(tmp_path)
    data = read_parquet(str(folder))
    assert (data.name, data.labels) == ("AudioSet", LabelSet.audioset())
    assert [(c.id, c.split, c.group) for c in data] == [(r.video_id, r.split, r.video_id) for r in tiny_audioset.rows]
    assert [tuple(map(data.labels.index, c.labels)) for c in data] == [
        tuple(map(data.labels.index, row.label_ids)) for row in tiny_audioset.rows
    ]
    for clip, row in zip(data, tiny_audioset.rows, strict=True):
        np.testing.assert_allclose(clip.load(RATE).waveform, tiny_audioset.sound(row).waveform, atol=1e-4)


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("data/bal_train/00.parquet", "balanced_train"),
        ("data/unbal_train/017.parquet", "unbalanced_train"),
        ("data/eval/00.parquet", "eval"),
        ("balanced/train-00000-of-00037.parquet", "balanced_train"),
        ("balanced/test-00000-of-00034.parquet", "eval"),
        ("unbalanced/train/0000.parquet", "unbalanced_train"),
        ("train-00000-of-00037.parquet", "train"),
        ("some.parquet", None),
        ("test/other/some.parquet", None),
        ("test/other/other.parquet", None),
    ],
)
def test_file_names_give_the_splits(tmp_path, sound, place, split):
    path = tmp_path / "test" / "my" / "audioset" / place  # the split comes from near folders only
    url = write(path, {"video_id": ["a"], "audio": [{"bytes": sound}], "labels": [["/m/09x0r"]]})
    assert read_parquet(url)[0].split == split


def test_unknown_labels_are_refused(tmp_path, sound):
    rows = {"video_id": ["a", "b", "c"], "audio": [sound] * 3, "labels": [["/m/09x0r"], [], ["/m/09x0r", "Dog"]]}
    url = write(tmp_path / "a.parquet", rows)
    assert refusal(lambda: read_parquet(url)) == (
        f"{url}, row 2 (c): 'Dog' is not among the 527 labels; this file has 0 other unknown labels, in 1 places"
    )


def test_lenient_allows_unknown_labels(tmp_path, sound):
    labels = pa.array([["/m/09x0r", "Dog", "Dog", None], None, [], [None], ["/m/09x0r"]], pa.list_(pa.string()))
    # values below a null do not count
    labels = pa.ListArray.from_arrays(labels.offsets, labels.values, mask=pa.array([False, True, False, False, True]))
    url = write(tmp_path / "a.parquet", {"video_id": list("abcde"), "audio": [sound] * 5, "labels": labels})
    assert "row 1 (b): labels is null" in refusal(lambda: read_parquet(url))
    data = read_parquet(url, lenient=True)
    assert [(clip.id, clip.labels) for clip in data] == [("a", ("Speech",)), *((id_, ()) for id_ in "bcde")]
    assert data.outside == (("a", ("Dog", "None")), ("d", ("None",)))
    own = write(tmp_path / "own" / "a.parquet", {"id": ["a", "b"], "audio": [sound] * 2, "labels": ["dog;rain", None]})
    assert [clip.labels for clip in read_parquet(own, lenient=True)] == [("dog", "rain"), ()]


# earmark's packs

ABOUT = {
    "format": 1,
    "kind": "pack",
    "name": "bells",
    "labels": {"names": ["bell", "hiss", "siren"], "ids": ["/b", "/h", "/s"]},
    "sample_rate": RATE,
    "codec": "flac",
}


def pack(path, sound, ids=("a", "b", "c"), about=ABOUT, **columns):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = {
        "id": list(ids),
        "audio": pa.array([{"bytes": sound, "path": "x.flac"} for _ in ids], struct),
        "labels": pa.array([["bell", "siren"], [], ["hiss"]][: len(ids)], pa.list_(pa.string())),
        "split": ["train", None, "test"][: len(ids)],
        "group": ["g", "g", None][: len(ids)],
        "duration": [0.5] * len(ids),
        "sha256": ["0" * 64] * len(ids),
        **columns,
    }
    return write(path, rows, about, row_group_size=1)


def test_packed_clips_are_read(tmp_path, sound):
    for name, ids in (("00.parquet", "abc"), ("more/01.parquet", "def")):
        pack(tmp_path / name, sound, ids)
    data = read_parquet(str(tmp_path))
    assert data.name == "bells"
    assert data.labels == LabelSet(("bell", "hiss", "siren"), ("/b", "/h", "/s"))
    assert [(c.id, c.labels, c.split, c.group) for c in data] == [
        ("a", ("bell", "siren"), "train", "g"),
        ("b", (), None, "g"),
        ("c", ("hiss",), "test", None),
        ("d", ("bell", "siren"), "train", "g"),
        ("e", (), None, "g"),
        ("f", ("hiss",), "test", None),
    ]
    assert {clip.load(RATE).duration for clip in data} == {0.5}
    assert data[0].labels is data[3].labels and data[0].group is data[3].group
    assert [c.id for c in read_parquet(f"{tmp_path}/*.parquet")] == ["a", "b", "c"]


def test_hidden_files_are_skipped(tmp_path, sound):
    pack(tmp_path / "0.parquet", sound, "a")
    pack(tmp_path / ".1-0123456789ab.parquet", sound, "b")
    pack(tmp_path / ".old" / "2.parquet", sound, "c")
    for url in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/**/*.parquet"):
        assert [clip.id for clip in read_parquet(url)] == ["a"], url


def test_an_unfinished_pack_is_refused(tmp_path, sound):
    folder = tmp_path / "packed"
    shard = pack(folder / "train-00000-of-00002.parquet", sound)
    (folder / JOURNAL).touch()
    for url in (str(folder), f"{folder}/train-*.parquet", f"{folder}/eval-*", str(tmp_path), f"{tmp_path}/*/*.parquet"):
        assert refusal(lambda url=url: read_parquet(url)) == (
            f"{folder}: the pack is unfinished; run the same `earmark pack` command again to finish it"
        )
    with pytest.warns(
        EarmarkWarning, match="1 of 2 files of the pack are not among those named: train-00001-of-00002.parquet"
    ):
        assert len(read_parquet(shard)) == 3  # this file alone is complete
    (folder / JOURNAL).unlink()
    pack(folder / "train-00001-of-00002.parquet", sound, "ghi")
    assert len(read_parquet(str(tmp_path))) == 6


def test_a_pack_with_missing_files_is_refused(tmp_path, sound):
    for number, ids in enumerate(("abc", "def")):
        pack(tmp_path / f"train-{number:05d}-of-00002.parquet", sound, ids)
    pack(tmp_path / "eval-00000-of-00001.parquet", sound, "ghi")
    files = [{"file": path.name} for path in tmp_path.iterdir()]
    (tmp_path / packs.MANIFEST).write_text(json.dumps({"shards": files}))
    assert len(read_parquet(str(tmp_path))) == 9
    for gone in (
        "train-00001-of-00002.parquet",
        "eval-00000-of-00001.parquet",
    ):  # only the manifest lists the last file
        content = (tmp_path / gone).read_bytes()
        (tmp_path / gone).unlink()
        assert refusal(lambda: read_parquet(str(tmp_path))).startswith(
            f"{tmp_path}: 1 of 3 files of the pack are missing: {gone}; restore them"
        )
        (tmp_path / gone).write_bytes(content)
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.warns(
        EarmarkWarning, match=r"1 of 2 files of the pack are not among those named: train-00001-of-00002\.parquet"
    ):
        assert len(read_parquet(f"{tmp_path}/train-*.parquet")) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_parquet(f"{tmp_path}/eval-*.parquet")) == 3


def test_files_of_different_data_sets_are_refused(tmp_path, sound):
    first = pack(tmp_path / "0.parquet", sound)
    other = {**ABOUT, "labels": {"names": ["bell", "hiss"], "ids": ["/b", "/h"]}}
    second = pack(tmp_path / "1.parquet", sound, "d", other, labels=[["bell"]])
    assert refusal(lambda: read_parquet(str(tmp_path))) == (
        f"{first} and {second}: expected one label set, these differ; give files of one pack"
    )
    write(tmp_path / "1.parquet", {"id": ["d"], "audio": [sound], "labels": ["bell"]})
    assert refusal(lambda: read_parquet(str(tmp_path))) == (
        f"{second}: a table of your own beside a file of `earmark pack`; give files of one kind"
    )


def repeating(path, sound, rows):
    """A pack whose footer repeats the rows."""
    table = parquet.read_table(pack(path, sound))
    with parquet.ParquetWriter(path, table.schema) as file:
        file.write_table(table, row_group_size=1)
        file.add_key_value_metadata({"earmark_rows": json.dumps(rows)})
    return str(path)


def test_recordings_are_read_by_the_byte_ranges_of_the_footer(tmp_path, sound):
    rows = {"id": ["d", "e", "f"], "labels": [["bell"], [], ["hiss"]], "split": [None] * 3, "group": ["e"] * 3}
    content = (tmp_path / "0.parquet", repeating(tmp_path / "0.parquet", sound, rows))[0].read_bytes()
    recordings = [row["bytes"] for row in parquet.read_table(tmp_path / "0.parquet").column("audio").to_pylist()]
    starts, end = [], 0
    for data in recordings:
        starts.append(content.index(data, end))
        end = starts[-1] + len(data)
    ranges = {"start": starts, "n_bytes": [len(data) for data in recordings]}
    url = repeating(tmp_path / "0.parquet", sound, {**rows, **ranges})
    near = read_parquet(url)
    assert [clip.audio.recording() for clip in near] == recordings
    assert near[2].load(RATE).duration == 0.5
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://packed/0.parquet", "wb") as far:
        far.write((tmp_path / "0.parquet").read_bytes())
    clips = read_parquet("memory://packed/0.parquet")
    assert [clip.audio.recording() for clip in clips] == recordings
    assert clips[0].audio.source == "memory://packed/0.parquet row 0" != near[0].audio.source
    (tmp_path / "0.parquet").write_bytes(content[: starts[2] + 9])
    near[1].load(RATE)
    with pytest.raises(
        AudioError, match=r"0\.parquet, row 2 \(f\): the file ends before this recording; run `earmark pack` again"
    ):
        near[2].load(RATE)
    (tmp_path / "0.parquet").unlink()
    with pytest.raises(AudioError, match=r"row 1 \(e\): cannot be read, missing, .*: No such file"):
        near[1].load(RATE)
    for wrong in ({"start": starts}, {**ranges, "n_bytes": [1, 2, 0]}, {**ranges, "start": starts[:2]}):
        url = repeating(tmp_path / "0.parquet", sound, {**rows, **wrong})
        assert "expected 3 byte ranges" in refusal(lambda url=url: read_parquet(url))


def test_rows_are_read_from_the_footer(tmp_path, sound):
    rows = {"id": ["d", "e", "f"], "labels": [["bell"], [], ["hiss"]], "split": [None, "x", "y"], "group": ["e"] * 3}
    url = repeating(tmp_path / "0.parquet", sound, rows)
    data = read_parquet(url)
    assert [(c.id, c.labels, c.split, c.group) for c in data] == list(
        zip("def", [("bell",), (), ("hiss",)], rows["split"], "eee", strict=True)
    )
    assert data[2].load(RATE).duration == 0.5
    for name, column, text in (
        ("id", ["d"], ": the rows that its footer repeats are damaged: "),
        ("labels", [1, 2, 3], ": the rows that its footer repeats are damaged: "),
    ):
        url = repeating(tmp_path / "0.parquet", sound, {**rows, name: column})
        assert refusal(lambda url=url: read_parquet(url)).startswith(f"{url}{text}")
    url = repeating(tmp_path / "0.parquet", sound, {name: column[:2] for name, column in rows.items()})
    assert refusal(lambda: read_parquet(url)) == f"{url}: expected 3 rows, its footer repeats 2"


def test_a_file_without_rows_is_refused(tmp_path, sound):
    pack(tmp_path / "0.parquet", sound)
    pack(tmp_path / "1.parquet", sound, (), labels=pa.array([], pa.list_(pa.string())))
    assert len(read_parquet(str(tmp_path))) == 3
    assert refusal(lambda: read_parquet(str(tmp_path / "1.parquet"))).startswith(
        "bells: a data set needs at least one clip"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 2}, ": expected format 1 of `earmark pack`, got 2"),
        ({"labels": ["bell"]}, ": the description of its data set is damaged: TypeError"),
        ({"labels": {"names": ["bell", "bell"], "ids": []}}, ": the label name 'bell' is repeated"),
        (
            {"labels": {"names": ["bell"], "ids": []}},
            ", row 0 (a): 'siren' is not among the 1 labels; this file has 1 other unknown labels, in 2",
        ),
    ],
)
def test_damaged_packs_are_refused(tmp_path, sound, change, text):
    url = pack(tmp_path / "0.parquet", sound, about={**ABOUT, **change})
    assert refusal(lambda: read_parquet(url)).startswith(f"{url}{text}")


# tables of users


def test_tables_of_users_are_read(tmp_path, sound):
    rows = {
        "path": ["x.wav", "x.wav", "y.wav"],
        "audio": pa.array([sound] * 3, pa.large_binary()),
        "labels": ["dog; rain;dog", " ", "rain"],
        "onset": [0.0, 0.25, None],
        "offset": [0.125, None, 0.25],
        "split": [1, 2, None],
        "remark": [None, None, None],
    }
    data = read_parquet(write(tmp_path / "clips.parquet", rows))
    assert (data.name, data.labels.names) == ("clips.parquet", ("dog", "rain"))
    assert [(c.id, c.labels, c.split, c.group, c.load(RATE).duration) for c in data] == [
        ("x.wav@0.0", ("dog", "rain"), "1", "x.wav", 0.125),
        ("x.wav@0.25", (), "2", "x.wav", 0.25),
        ("y.wav", ("rain",), None, "y.wav", 0.25),
    ]
    np.testing.assert_array_equal(data[1].load(RATE).waveform, data[1].load(RATE).waveform)
    lists = {"id": [7, 8], "audio": [{"bytes": sound}] * 2, "labels": [["b"], ["a", "b"]], "duration": [0.125, None]}
    data = read_parquet(write(tmp_path / "lists.parquet", {**lists, "group": ["g", None]}))
    assert [(c.id, c.labels, c.group, c.load(RATE).duration) for c in data] == [
        ("7", ("b",), "g", 0.125),
        ("8", ("a", "b"), None, 0.5),
    ]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"labels": ["a", None]}, ", row 1 (y): labels is null"),
        ({"id": ["x", None]}, ", row 1 (None): id is null"),
        ({"labels": [["a"], [None]]}, ", row 1 (y): None is not among the 1 labels; this file has 0 other"),
        (
            {"labels": ["dog", "a\x07b"]},
            ", row 1 (y): a label name is text without surrounding blanks and control char",
        ),
        ({"labels": ["", " "]}, ": none of the 2 rows has a label"),
        ({"labels": [[[1.5]], [[2.5]]]}, ": expected column labels as list<item: string>, got list<element: list"),
        ({"onset": ["x", "y"]}, ": expected column onset as double, got string"),
        (
            {"onset": [0.0, -1.0]},
            ", row 1 (y): expected seconds: an onset of 0 or more, and either an offset after it or a dur",
        ),
        ({"onset": [0.0, 2.0], "offset": [1.0, 1.5]}, ", row 1 (y): expected seconds: an onset"),
        ({"offset": [0.1, 0.2], "duration": [None, 0.2]}, ", row 1 (y): expected seconds: an onset"),
        (
            {"audio": None},
            ": expected the columns audio, labels or label, and either path or id (and optionally",
        ),
        ({"id": None}, ": expected the columns audio, labels or label, and either path or id (and optionally"),
        ({"audio": ["text", "text"]}, ": expected the bytes of recordings in column audio, got string"),
        ({"audio": [{"array": 1}] * 2}, ": expected the bytes of recordings in column audio, got struct<array"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, sound, columns, text):
    table = {"id": ["x", "y"], "audio": [sound] * 2, "labels": ["a", "b"], **columns}
    url = write(tmp_path / "a.parquet", {name: column for name, column in table.items() if column is not None})
    assert refusal(lambda: read_parquet(url)).startswith(f"{url}{text}")


def test_lenient_skips_unreadable_rows_and_files(tmp_path, sound):
    times = {"onset": [0.0, 2.0, None, 0.0, 0.0], "offset": [0.25, 1.5, None, 0.5, 0.5]}
    rows = {"id": ["a", "b", "c", None, "a"], "audio": [sound] * 5, "labels": ["dog"] * 5, **times}
    write(tmp_path / "a.parquet", rows, row_group_size=2)
    write(tmp_path / "b.parquet", {"id": ["d", "c"], "audio": [sound] * 2, "labels": ["rain"] * 2})
    whole = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[:-9])
    (tmp_path / "d.parquet").write_bytes(whole[:20])
    url = str(tmp_path)
    text = refusal(lambda: read_parquet(url))
    assert text.startswith(f"{url}/c.parquet: cannot be read as Parquet, damaged or cut off: ")
    assert text.endswith("; 1 others cannot be read either")
    data = read_parquet(url, lenient=True)
    assert [(c.id, c.labels, c.load(RATE).duration) for c in data] == [
        ("a", ("dog",), 0.25),
        ("c", ("dog",), 0.5),
        ("d", ("rain",), 0.5),
    ]
    assert not any(str(tmp_path) in reason for _, reason in data.damaged)
    damaged = dict(data.damaged)
    assert list(damaged) == ["c.parquet", "d.parquet", *(f"a.parquet, row {n}" for n in (1, 3, 4)), "b.parquet, row 1"]
    assert damaged["a.parquet, row 1"].endswith("a duration, got onset 2.0, offset 1.5")
    assert damaged["a.parquet, row 3"] == "id is null"
    assert damaged["a.parquet, row 4"] == "a occurs twice"
    for name in ("a.parquet", "b.parquet"):
        (tmp_path / name).unlink()
    assert refusal(lambda: read_parquet(url, lenient=True)).startswith(f"{url}/c.parquet: cannot be read")


def test_lenient_skips_broken_links_and_labels_of_skipped_rows(tmp_path, sound):
    audio = {"bytes": sound, "path": "x.flac"}
    rows = {"video_id": ["a", "b", "a"], "audio": [audio] * 3, "labels": [["/m/09x0r"], ["/m/09x0r"], ["/m/zzz"]]}
    write(tmp_path / "a.parquet", rows)
    (tmp_path / "b.parquet").symlink_to(tmp_path / "blob")
    data = read_parquet(str(tmp_path), lenient=True)
    assert ([clip.id for clip in data], data.outside) == (["a", "b"], ())
    assert data.damaged == (
        ("b.parquet", "no such file, or a broken link"),
        ("a.parquet, row 2", "a occurs twice"),
    )


def test_other_files_are_refused(tmp_path, monkeypatch):
    assert refusal(lambda: read_parquet(f"{tmp_path}/none")).startswith(f"{tmp_path}/none: no Parquet file found")
    assert refusal(lambda: read_parquet(f"{tmp_path}/*.parquet")).startswith(f"{tmp_path}/*.parquet: no Parquet file")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    text = refusal(lambda: read_parquet(str(tmp_path / "a.parquet")))
    assert text.startswith(f"{tmp_path / 'a.parquet'}: cannot be read as Parquet, damaged or cut off: ")
    monkeypatch.setattr("earmark.data.parquet.find_spec", lambda name: None)
    assert refusal(lambda: read_parquet("a.parquet")) == (
        "a.parquet: reading Parquet needs pyarrow and fsspec: pip install 'earmark[parquet]'"
    )


def test_rows_without_audio_fail_on_reading(tmp_path, sound):
    audio = [{"bytes": sound}, {"bytes": None}, None, {"bytes": b""}, {"bytes": b"no sound"}]
    rows = {"id": list("abcde"), "audio": audio, "labels": ["x"] * 5}
    url = write(tmp_path / "a.parquet", rows)
    data = read_parquet(url)
    data[0].load(RATE)
    for number, name in ((1, "b"), (2, "c"), (3, "d")):
        with pytest.raises(AudioError) as caught:
            data[number].load(RATE)
        assert str(caught.value) == f"{url}, row {number} ({name}): this row has no audio"
    with pytest.raises(AudioError) as caught:
        data[4].load(RATE)
    assert str(caught.value).startswith(f"{url}, row 4 (e): ")


# large row groups


def test_opening_does_not_read_audio(tmp_path, monkeypatch):
    """Opening a remote file reads fewer bytes than one row group of audio."""
    noise = np.random.default_rng(0).bytes
    rows = {"id": [str(i) for i in range(32)], "audio": [noise(100_000) for _ in range(32)], "labels": ["a"] * 32}
    RemotePath("memory://sources/a.parquet").write(
        Path(write(tmp_path / "a.parquet", rows, row_group_size=8)).read_bytes()
    )
    n_read = []
    opened = RemotePath.open

    def counted(place, **options):
        stream = opened(place, **options)
        read = stream.read
        stream.read = lambda *size: n_read.append(len(data := read(*size))) or data
        return stream

    monkeypatch.setattr(RemotePath, "open", counted)
    data = read_parquet("memory://sources/*.parquet")
    assert len(data) == 32
    assert 0 < sum(n_read) < 150_000
    with pytest.raises(AudioError, match=r"memory://sources/a\.parquet, row 31 \(31\): "):
        data[31].load(RATE)


def test_large_row_groups_are_warned_about_once(tmp_path, sound, monkeypatch):
    monkeypatch.setattr("earmark.data.parquet._LARGE_GROUP", 2 * len(sound))
    rows = {"id": [str(i) for i in range(6)], "audio": [sound + bytes([i]) for i in range(6)], "labels": ["a"] * 6}
    url = write(tmp_path / "a.parquet", rows, row_group_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_parquet(url)
    write(tmp_path / "a.parquet", rows, row_group_size=3, use_dictionary=False)
    with pytest.warns(EarmarkWarning) as damaged:
        read_parquet(url)
    (text,) = (str(warning.message) for warning in damaged)
    assert text.startswith(f"{url}: its row groups hold up to 0 MB of audio") and "`earmark pack`" in text


def test_sources_are_rows_without_groups(tmp_path, sound):
    one, two = (
        write(tmp_path / f"{name}.parquet", {"id": ["1.wav"], "audio": [sound], "labels": ["a"]}) for name in "ab"
    )
    check_disjoint(read_parquet(one), read_parquet(two))
    text = refusal(lambda: check_disjoint(read_parquet(one), read_parquet(f"{tmp_path}/a*.parquet")))
    assert text.endswith(f"1 sources are in both data sets: {one} row 0")
