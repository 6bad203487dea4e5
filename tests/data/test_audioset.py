"""AudioSet: every dialect of lists and every file naming scheme gives the same clips."""

import warnings

import pytest

from earmark.data.audioset import (
    Segment,
    StrongEvent,
    read_audioset,
    read_label_set,
    read_segments,
    read_strong_labels,
    split_segment_id,
)
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet


def refusal(action) -> str:
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# lists of segments


def test_every_dialect_gives_the_same_segments(tiny_audioset, tmp_path):
    expected = [Segment(row.video_id, row.onset, row.offset, row.label_ids) for row in tiny_audioset.rows]
    for dialect in tiny_audioset.dialects:
        path = tmp_path / f"{dialect}.csv"
        path.write_bytes(tiny_audioset.listed(tiny_audioset.rows, dialect))
        assert read_segments(path) == expected
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r"))
        assert read_segments(path) == expected


def test_the_rows_of_the_specification(tmp_path):
    labels = ("/m/068hy", "/m/07q6cd_", "/m/0bt9lr", "/m/0jbk")
    (tmp_path / "a.csv").write_bytes(
        b"# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=20371\n# YTID, start_seconds, ...\n"
        b'--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"\n'
        b'--4gqARaEJE,0.000,10.000,"""/m/068hy",/m/07q6cd_,/m/0bt9lr,"/m/0jbk""",,,,\r\n'
        b",,,,,,,\r\n\r\n"
        b'-0SdAVK79lg,30,37.5,"""/m/0155w""",,\r\n'
        b"_x, 0, 1, /t/dd00003,/g/122z_qxw\n"
    )
    assert read_segments(tmp_path / "a.csv") == [
        Segment("--4gqARaEJE", 0.0, 10.0, labels),
        Segment("--4gqARaEJE", 0.0, 10.0, labels),
        Segment("-0SdAVK79lg", 30.0, 37.5, ("/m/0155w",)),
        Segment("_x", 0.0, 1.0, ("/t/dd00003", "/g/122z_qxw")),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("abc, 0.000, 10.0", "3 columns"),
        ('abc, 0.000, 10.000, "/m/068hy,/m/07', "unexpected end of data"),
        ('abc, 0.000, ten, "/m/068hy"', "expected a time in seconds, 0 or more, got 'ten'"),
        ('abc, -1, 10, "/m/068hy"', "expected a time in seconds, 0 or more, got '-1'"),
        ('abc, nan, 10, "/m/068hy"', "expected a time in seconds, 0 or more, got 'nan'"),
        ('abc, 10, 10, "/m/068hy"', "it ends at 10 s, not after its start at 10 s"),
        ('abc, 0, 10, ""', "no label"),
        ("abc, 0, 10,,,", "no label"),
        ('abc, 0, 10, "Dog"', "'Dog' is not a label id"),
        (', 0, 10, "/m/068hy"', "'' is not an id"),
        ('a/../b, 0, 10, "/m/068hy"', "'a/../b' is not an id"),
        ('#NAME?,0,10,"/m/068hy"', "a spreadsheet took the id for a formula; take the original file"),
        ("\0\0\0\0", "1 columns"),
    ],
)
def test_damaged_rows_are_named(tmp_path, row, reason):
    path = tmp_path / "eval_segments.csv"
    path.write_text(f'# comment\nfirst, 0.000, 10.000, "/m/0jbk"\n{row}\nlast, 0.000, 10.000, "/m/0jbk"\n')
    text = refusal(lambda: read_segments(path))
    assert text.startswith(f"{path}, row 3: expected an id, start and end in seconds, and labels, as in 'id, 30.000")
    assert text.endswith(reason)
    assert repr(row[:20])[1:-1] in text


def test_binary_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"abc, 0, 10, \xff\xfe\n")
    assert refusal(lambda: read_segments(tmp_path / "a.csv")).endswith(
        "cannot be read: it is not UTF-8 text; save it as CSV UTF-8"
    )
    assert refusal(lambda: read_segments(tmp_path / "b.csv")).endswith("cannot be read: No such file or directory")


# folders


def as_tuples(data, folder):
    return [(c.id, c.labels, c.split, c.group, c.load(16000).waveform.tobytes()) for c in data]


@pytest.fixture(scope="module")
def expected(tiny_audioset):
    labels = LabelSet.audioset()
    return [
        (
            row.video_id,
            tuple(labels.names[labels.index(id_)] for id_ in row.label_ids),
            row.split,
            row.video_id,
            tiny_audioset.sound(row).mono(16000).waveform.shape,
        )
        for row in tiny_audioset.rows
    ]


def seen(data):
    return [(c.id, c.labels, c.split, c.group, c.load(16000).waveform.shape) for c in data]


def test_every_dialect_and_name_gives_the_same_clips(tiny_audioset, tmp_path, expected):
    for dialect in tiny_audioset.dialects:
        for number, naming in enumerate(tiny_audioset.namings):
            folder = tmp_path / f"{dialect} {number}"
            suffix, tables = ((".wav", "."), (".flac", "metadata"))[number % 2]
            data = read_audioset(tiny_audioset.save_folder(folder, dialect, naming, suffix, tables))
            assert seen(data) == expected, (dialect, naming)
            assert (data.name, data.labels, data.missing) == ("AudioSet", LabelSet.audioset(), ())


def test_a_segment_is_not_cut_out_of_itself(tiny_audioset, tmp_path):
    data = read_audioset(tiny_audioset.save_folder(tmp_path))
    assert [(clip.audio.onset, clip.audio.duration) for clip in data] == [(0.0, None)] * 5


def test_parquet_and_folder_hold_the_same_clips(tiny_audioset, tmp_path):
    from earmark.data.parquet import read_parquet

    folder = read_audioset(tiny_audioset.save_folder(tmp_path / "folder", suffix=".flac"))
    table = read_parquet(str(tiny_audioset.save_parquet(tmp_path / "parquet")))
    assert as_tuples(folder, tmp_path) == as_tuples(table, tmp_path)
    assert folder.fingerprint() == table.fingerprint()
    assert folder.clip_ids_sha256() == table.clip_ids_sha256()


def test_a_single_list_is_read(tiny_audioset, tmp_path, expected):
    folder = tiny_audioset.save_folder(tmp_path)
    data = read_audioset(folder / "eval_segments.csv")
    assert seen(data) == expected[3:]
    assert data.name == "AudioSet eval_segments.csv"
    (folder / "mine.csv").write_bytes((folder / "eval_segments.csv").read_bytes())
    assert read_audioset(folder / "mine.csv").splits == ("mine",)


def test_the_current_folder_is_read(tiny_audioset, tmp_path, monkeypatch):
    folder = tiny_audioset.save_folder(tmp_path / "data")
    whole = read_audioset(folder)
    monkeypatch.chdir(folder)
    assert [clip.id for clip in read_audioset(".")] == [clip.id for clip in whole]
    assert len(read_audioset("eval_segments.csv")) == len(whole.select(splits="eval"))
    monkeypatch.chdir(folder.parent)
    assert len(read_audioset(f"./{folder.name}/")) == len(whole)


def test_broken_links_are_missing_recordings(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    lost = folder / "audio/eval/-_xyzabc_12.wav"
    lost.rename(tmp_path / "elsewhere.sound")
    lost.symlink_to(tmp_path / "elsewhere.sound")
    assert len(read_audioset(folder)) == 5
    (tmp_path / "elsewhere.sound").unlink()
    with pytest.warns(EarmarkWarning, match="1 of 5 recordings are missing"):
        assert read_audioset(folder).missing == ("-_xyzabc_12",)


def test_missing_recordings_are_counted_and_named(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    (folder / "audio/eval/-_xyzabc_12.wav").unlink()
    (folder / "audio/balanced_train/YaBcDeFgHiJ.wav").unlink()
    with pytest.warns(EarmarkWarning) as caught:
        data = read_audioset(folder)
    assert [str(warning.message) for warning in caught] == [
        f"{folder}: 2 of 5 recordings are missing and left out: YaBcDeFgHiJ, -_xyzabc_12"
    ]
    assert data.missing == ("YaBcDeFgHiJ", "-_xyzabc_12")
    assert data.select(splits="eval").missing == ("-_xyzabc_12",)
    assert data.select(splits=["eval", "balanced_train"]).missing == data.missing
    assert data.select(splits="balanced_train", labels=["Speech"]).missing == ("YaBcDeFgHiJ",)
    assert len(data) == 3


def test_lenient_skips_faulty_clips(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    (folder / "audio/eval/-_xyzabc_12.wav").unlink()
    path = folder / "balanced_train_segments.csv"
    # labels are ids here; names are unknown
    path.write_text(path.read_text().replace("/m/04rlf", "/m/none,Music").replace('"/m/09x0r"\n', '""\n', 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_audioset(folder, lenient=True)
    assert [clip.labels for clip in data][1:3] == [(), ("Speech",)]
    assert data.outside == (("aBcDe_30_40", ("/m/none", "Music")),)
    assert data.missing == ("-_xyzabc_12",)


def test_a_folder_without_recordings_is_refused(tiny_audioset, tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.audio.media.is_installed", lambda: False)
    (tmp_path / "eval_segments.csv").write_bytes(tiny_audioset.listed(tiny_audioset.rows))
    (tmp_path / "other.wav").touch()
    (tmp_path / "--4gqARaEJE.m4a").touch()
    assert refusal(lambda: read_audioset(tmp_path)) == (
        f"{tmp_path}: 5 of 5 recordings are missing (--4gqARaEJE, YaBcDeFgHiJ, aBcDe_30_40, ...); "
        "expected files named Y<id>, <id>, <id>_<start>, <id>_<start>_<end>, such as Y--4gqARaEJE.wav, "
        "among 1 recordings; 1 files need another decoder: pip install 'earmark[media]'"
    )


def test_the_first_of_several_files_is_used_with_a_warning(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    tiny_audioset.save_folder(folder, naming="Y<id>", suffix=".flac")
    with pytest.warns(EarmarkWarning, match="5 segments have several files; the first by name is used"):
        data = read_audioset(folder)
    assert data[0].audio.path == folder / "audio/balanced_train/--4gqARaEJE.wav"


def test_other_folders_are_refused(tmp_path, tiny_audioset):
    assert refusal(lambda: read_audioset(tmp_path)).startswith(
        f"{tmp_path}: not AudioSet's folder: expected a list such as eval_segments.csv "
    )
    assert "no such file or folder" in refusal(lambda: read_audioset(tmp_path / "none"))
    (tmp_path / "eval_segments.csv").write_text("# nothing\n")
    assert refusal(lambda: read_audioset(tmp_path)) == f"{tmp_path / 'eval_segments.csv'}: no segment in it"


def test_a_video_in_two_lists_is_refused(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    (folder / "my_segments.csv").write_bytes((folder / "eval_segments.csv").read_bytes())
    assert refusal(lambda: read_audioset(folder)) == (
        f"{folder / 'my_segments.csv'}, row 4: video 0123456789_ is already listed in eval_segments.csv; "
        "to read one list only, give audioset:FILE.csv"
    )
    data = read_audioset(folder, lenient=True)
    assert len(data) == 5
    n_eval = len(data.select(splits="eval"))
    assert [part for part, _ in data.damaged] == [f"my_segments.csv, row {4 + number}" for number in range(n_eval)]


def test_unknown_labels_are_refused(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    names = '﻿index,mid,display_name\r\n0,/m/0jbk,Animal\r\n1,/m/05zppz,"Male speech, man speaking"\r\n'
    (folder / "class_labels_indices.csv").write_text(names)
    assert refusal(lambda: read_audioset(folder)) == (
        f"{folder}: 5 labels are not among the 2 of the set: /m/068hy (balanced_train_segments.csv row 4), /m/07q6cd_ "
        "(balanced_train_segments.csv row 4), /m/0bt9lr (balanced_train_segments.csv row 4), ..."
    )
    (folder / "balanced_train_segments.csv").unlink()
    (folder / "eval_segments.csv").write_bytes(tiny_audioset.listed(tiny_audioset.rows[3:4]))
    data = read_audioset(folder)
    assert data.labels == LabelSet(("Animal", "Male speech, man speaking"), ("/m/0jbk", "/m/05zppz"))
    assert data[0].labels == ("Animal", "Male speech, man speaking")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "mid,display_name\n/m/1,Dog\n",
            ": needs the columns index, mid, display_name in its first row, got mid, display_name",
        ),
        ("index,mid,display_name\n1,/m/1,Dog\n", ", row 2: expected index 0, a label and its id, got 1, Dog, /m/1"),
        ("index,mid,display_name\n0,/m/1\n", ", row 2: expected 3 columns, got 2"),
        ("index,mid,display_name\n0,/m/1,Dog\n1,/m/2,Dog\n", ": the label name 'Dog' is repeated; names and ids"),
        ("index,mid,display_name\n", ": a label set needs at least one label"),
        ("", ": needs the columns index, mid, display_name in its first row, got none"),
    ],
)
def test_invalid_label_tables_are_refused(tmp_path, content, text):
    path = tmp_path / "class_labels_indices.csv"
    path.write_text(content)
    assert refusal(lambda: read_label_set(path)).startswith(f"{path}{text}")


# strong labels

STRONG = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"


def test_strong_labels(tmp_path):
    path = tmp_path / "audioset_eval_strong.tsv"
    rows = "b0RFKhbpFJA_-_30000\t0.500\t10.000\t/m/09x0r\nb0RFKhbpFJA_-_30000\t0.1\t0.1\t/m/0jbk\n-a_0\t0\t1\t/t/x\n"
    path.write_text(STRONG + rows)
    events = read_strong_labels(path)
    assert events == {
        "b0RFKhbpFJA_-_30000": [StrongEvent("/m/09x0r", 0.5, 10.0), StrongEvent("/m/0jbk", 0.1, 0.1)],
        "-a_0": [StrongEvent("/t/x", 0.0, 1.0)],
    }
    assert split_segment_id("b0RFKhbpFJA_-_30000") == ("b0RFKhbpFJA_-", 30.0)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("a_0\t2\t1\t/m/0jbk", "row 2: it ends at 1 s, before its start at 2 s"),
        ("a_0\tx\t1\t/m/0jbk", "row 2: expected a time in seconds, 0 or more, got 'x'"),
        ("a_0\t0\t1\tDog", "row 2: 'Dog' is not a label id"),
        ("a\t0\t1\t/m/0jbk", "row 2: expected a segment id that ends in milliseconds, such as id_30000, got 'a'"),
        ("a_0\t0\t1\t/m/0jbk,/m/0bt9lr", "row 2: '/m/0jbk,/m/0bt9lr' is not a label id"),
        ("a_0\t0\t1", "row 2: expected 4 columns, got 3"),
    ],
)
def test_damaged_strong_labels_are_named(tmp_path, row, text):
    (tmp_path / "a.tsv").write_text(f"{STRONG}{row}\n")
    assert refusal(lambda: read_strong_labels(tmp_path / "a.tsv")) == f"{tmp_path / 'a.tsv'}, {text}"


def test_a_complete_folder_gives_no_warning(tiny_audioset, tmp_path):
    folder = tiny_audioset.save_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_audioset(folder)) == 5
