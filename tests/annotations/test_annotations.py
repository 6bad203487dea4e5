"""Events written in each format and read back, and files as other programs write them."""

import csv
import json
import os
import tracemalloc
from datetime import datetime

import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.formats import FORMATS, format_of
from earmark.annotations.label_studio import local_name
from earmark.annotations.raven import is_raven, raven_rows
from earmark.annotations.rows import grouped, refuse
from earmark.errors import ConfigError, DataError

NAMES = [
    *("plain.wav", "sub folder/a b.WAV", " lead.wav", "two  blanks.wav", "comma,name.wav", 'quo"te.wav', '"q".wav'),
    *(
        "it's.flac",
        "semi;colon.wav",
        "Gänse.wav",
        "Ga\u0308nse.wav",
        "鳥.wav",
        "🦜.wav",
        "back\\slash.wav",
        "#hash.wav",
    ),
    *(
        "-dash.wav",
        "/abs/path.wav",
        "a/../b.wav",
        "%20.wav",
        "x=1&y.wav",
        "dots...wav",
        "NaN",
        "1",
        "1.5.wav",
        "[x].wav",
    ),
    *("{x}.wav", "true", "UPPER.WAV", "20240501_053000.WAV", "a@0-1.wav", "a+b.wav", "a*b.wav", "q?.wav", "a|b.wav"),
    *("<a>.wav", "$HOME.wav", "~.wav", "a:b.wav", "long" * 50 + ".wav", "шум.wav", "ضوضاء.wav", "\u200bzero.wav"),
]
LINES = ["tab\tname.wav", "line\nname.wav", "return\rname.wav", "both\r\nends.wav", "sep\u2028name.wav"]
BYTES = ["byte\udcff.wav", "\udce4\udcf6/latin.wav", "cut\udcc3"]
READ = [name for name, form in FORMATS.items() if form.rows is not None]
HOLDS = {
    "csv": [*NAMES, *LINES, *BYTES],
    "jsonl": [*NAMES, *LINES, *BYTES],
    "dcase": [*NAMES, *LINES, *BYTES],
    "parquet": [*NAMES, *LINES],
    "label-studio": [*NAMES, *LINES],
    "raven": [*NAMES, LINES[4]],
}


def recordings(names):
    """Recordings with 0 to 4 events."""
    labels = ("dog", "Gänse, laut", 'a "quoted" word', "鳥", "x;y")
    return [
        FileEvents(name, tuple(event(n, i, labels[(n + i) % 5]) for i in range(n % 5)), 60.0)
        for n, name in enumerate(names)
    ]


def event(n, i, label):
    onset = round(1.234567 * n + 3.1 * i, 6)
    return Annotation(onset, round(onset + 0.7 * i, 6), label, round(0.1 + n / 100, 6))


def kept(form, files):
    """The parts of recordings that a format holds."""
    has_score = form not in ("audacity", "dcase")
    events = lambda file: tuple(e if has_score else Annotation(e.onset, e.offset, e.label) for e in file.events)  # noqa: E731
    return [FileEvents(file.file, events(file)) for file in files if file.events or form != "raven"]


def test_fifty_recordings_with_odd_names_are_made():
    assert len({*NAMES, *LINES, *BYTES}) == 50


@pytest.mark.parametrize("name", HOLDS)
def test_a_format_reads_back_equal(name, tmp_path):
    out = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    FORMATS[name].write(out, iter(recordings(HOLDS[name])))
    assert FORMATS[name].read(out) == kept(name, recordings(HOLDS[name]))


@pytest.mark.parametrize("recording", recordings([*NAMES[:6], *BYTES]), ids=lambda recording: ascii(recording.file))
def test_a_label_track_reads_back_equal(recording, tmp_path):
    FORMATS["audacity"].write(tmp_path / "a.txt", [recording])
    assert FORMATS["audacity"].read(tmp_path / "a.txt")[0].events == kept("audacity", [recording])[0].events


@pytest.mark.parametrize("name", ["birdnet", "kaleidoscope"])
def test_formats_that_are_only_written_hold_every_event(name, tmp_path):
    files = recordings([*NAMES, LINES[0], LINES[4]])
    FORMATS[name].write(tmp_path / "a.csv", files)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = [row["Common name" if name == "birdnet" else "TOP1MATCH"] for row in rows]
    assert labels == [event.label for file in files for event in file.events]
    with pytest.raises(ConfigError, match="csv, jsonl, parquet, audacity, raven, dcase, label-studio"):
        FORMATS[name].read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("parquet", BYTES[0], "not UTF-8"),
        ("label-studio", BYTES[0], "not UTF-8"),
        ("raven", BYTES[0], "not UTF-8"),
        ("raven", "a\tb.wav", r"'\\t'"),
        ("birdnet", "a\nb.wav", r"'\\n'"),
        ("kaleidoscope", "a\nb.wav", r"'\\n'"),
    ],
)
def test_a_name_that_a_format_cannot_hold_is_refused_and_nothing_is_written(name, file, reason, tmp_path):
    with pytest.raises(DataError, match=f"cannot hold this file name: .*{reason}") as caught:
        FORMATS[name].write(tmp_path / "a", [FileEvents(file, (Annotation(0.0, 1.0, "dog"),))])
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "cell", "score"),
    [
        ("Score", "0,9", 0.9),
        ("Confidence", "0.5", 0.5),
        ("Score", "", None),
        ("Score", "loud", None),
        ("Score", "87", None),
    ],
)
def test_scores_of_raven_are_numbers_from_0_to_1(column, cell, score, tmp_path):
    (tmp_path / "a.txt").write_text(f"Begin Time (s)\tEnd Time (s)\tSpecies\t{column}\n1\t2\twren\t{cell}\n")
    assert FORMATS["raven"].read(tmp_path / "a.txt")[0].events == (Annotation(1.0, 2.0, "wren", score),)


def test_a_label_track_of_two_recordings_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"b\.wav: an Audacity label track holds one recording"):
        FORMATS["audacity"].write(tmp_path / "a.txt", [FileEvents("a.wav"), FileEvents("b.wav")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_times_of_day_read_back_equal(name, tmp_path):
    start = datetime.fromisoformat("2024-05-01T05:30:00.25+00:00")
    files = [FileEvents("a.wav", (Annotation(1.5, 2.0, "dog", 0.5, start), Annotation(3.0, 4.0, "dog", 0.5)))]
    FORMATS[name].write(tmp_path / "a", files, with_time=True)
    assert FORMATS[name].read(tmp_path / "a") == files


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.is_single and not form.is_binary])
def test_memory_does_not_grow_with_the_number_of_recordings(name):
    def many(n):
        return (FileEvents(f"{number}.wav", (event(1, 1, "dog"),) * 10, 60.0) for number in range(n))

    def peak(n):
        tracemalloc.start()
        with open(os.devnull, "w") as stream:  # noqa: PTH123
            FORMATS[name].write(stream, many(n))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)  # imports
    assert peak(400) < peak(40) + 30_000


def test_the_end_of_a_name_chooses_the_format(tmp_path):
    for name, form in FORMATS.items():
        assert format_of(tmp_path / f"a{form.suffixes[0].upper()}") is FORMATS[name]
    assert format_of(tmp_path / "id.csv") is FORMATS["kaleidoscope"]
    assert format_of(tmp_path / "covid.csv") is FORMATS["csv"]
    with pytest.raises(ConfigError, match=r"ends in one of \.csv, \.jsonl"):
        format_of(tmp_path / "a.doc")


@pytest.mark.parametrize(
    "values", [(-1.0, 2.0, "dog"), (2.0, 1.0, "dog"), (0.0, float("nan"), "dog"), (0.0, 1.0, "a\tb"), (0.0, 1.0, "")]
)
def test_an_impossible_event_is_refused(values):
    with pytest.raises(DataError):
        Annotation(*values)


# files as other programs write them

VIEWS = """\
Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tDelta Time (s)\tAnnotation
1\tWaveform 1\t1\t6.709509878\t15.096397225\t1739.012\t3798.813\t8.3869\tbirb
1\tSpectrogram 1\t1\t6.709509878\t15.096397225\t1739.012\t3798.813\t8.3869\tbirb
2\tWaveform 1\t1\t29.383026016\t40.257059266\t1587.060\t4136.485\t10.8740\tGänse
2\tSpectrogram 1\t1\t29.383026016\t40.257059266\t1587.060\t4136.485\t10.8740\tGänse
"""
FILES = """\
Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tSpecies
1\tSpectrogram 1\t1\t5.0\t6.0\ta.wav\t5.0\trobin
2\tSpectrogram 1\t1\t65.25\t66.75\tb.wav\t5.25\twren
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
@pytest.mark.parametrize("changed", [lambda text: text, lambda text: text.replace(".", ",").replace("\n", "\r\n")])
def test_both_views_of_a_raven_selection_are_one_event(encoding, changed, tmp_path):
    path = tmp_path / "night.Table.1.selections.txt"
    path.write_bytes(changed(VIEWS).encode(encoding))
    assert is_raven(path)
    [recording] = FORMATS["raven"].read(path)
    assert recording.file == str(tmp_path / "night")
    assert [(e.onset, e.offset, e.label) for e in recording.events] == [
        (6.709509878, 15.096397225, "birb"),
        (29.383026016, 40.257059266, "Gänse"),
    ]


def test_raven_counts_from_the_start_of_each_file(tmp_path):
    path = tmp_path / "all.txt"
    path.write_text(FILES)
    assert FORMATS["raven"].read(path) == [
        FileEvents("a.wav", (Annotation(5.0, 6.0, "robin"),)),
        FileEvents("b.wav", (Annotation(5.25, 6.75, "wren"),)),
    ]
    path.write_text("".join(line.replace("File Offset (s)", "Other") for line in FILES.splitlines(keepends=True)))
    with pytest.raises(DataError, match=r"all\.txt, line 3, column Begin Time \(s\): .*File Offset \(s\)"):
        FORMATS["raven"].read(path)


def test_a_written_raven_table_counts_from_the_start_of_the_first_file(tmp_path):
    files = [
        FileEvents("x/a.wav", (Annotation(5.0, 6.0, "robin", 0.5),), 60.0),
        FileEvents("b.wav", (Annotation(5.25, 6.75, "wren"),)),
    ]
    FORMATS["raven"].write(tmp_path / "a.txt", files)
    with (tmp_path / "a.txt").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(row["Begin Time (s)"], row["File Offset (s)"]) for row in rows] == [
        ("5.000000", "5.000000"),
        ("65.250000", "5.250000"),
    ]
    assert (rows[0]["Begin File"], rows[0]["Begin Path"], rows[0]["Score"]) == ("a.wav", "x/a.wav", "0.5")
    with pytest.raises(DataError, match=r"b\.wav: Raven counts.*duration is unknown"):
        FORMATS["raven"].write(tmp_path / "b.txt", [*files, files[0]])


def test_the_label_column_of_raven_is_chosen(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(FILES.replace("Species", "Ruf"))
    assert [f.events[0].label for f in grouped(raven_rows(path, refuse, "ruf"))] == ["robin", "wren"]
    with pytest.raises(DataError, match=r"a column of labels was expected.*there are .*ruf"):
        FORMATS["raven"].read(path)
    with pytest.raises(DataError, match=r"no column 'Rufe'; there are .*ruf"):
        grouped(raven_rows(path, refuse, "Rufe"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_an_audacity_track_with_frequencies_and_points_is_read(encoding, tmp_path):
    text = "1,000000\t1.500000\tGänse\n\\\t6928.456055\t6928.456055\n3.4\t3.4\tpoint\n\\\t-1.000000\t6334.6\n\n"
    (tmp_path / "a.wav.txt").write_bytes(text.encode(encoding))
    assert FORMATS["audacity"].read(tmp_path / "a.wav.txt") == [
        FileEvents(str(tmp_path / "a.wav"), (Annotation(1.0, 1.5, "Gänse"), Annotation(3.4, 3.4, "point")))
    ]
    (tmp_path / "b.txt").write_text("")
    assert FORMATS["audacity"].read(tmp_path / "b.txt") == [FileEvents(str(tmp_path / "b"))]


def test_a_dcase_table_states_which_files_have_no_event(tmp_path):
    (tmp_path / "a.tsv").write_text("filename\tonset\toffset\tevent_label\nb.wav\t\t\t\na.wav\t0.3\t1.1\tdog\n")
    assert FORMATS["dcase"].read(tmp_path / "a.tsv") == [
        FileEvents("b.wav"),
        FileEvents("a.wav", (Annotation(0.3, 1.1, "dog"),)),
    ]


def test_a_table_that_a_spreadsheet_saved_again_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbffile;onset;offset;label;score;extra\r\na.wav;1,5;2,25;dog;0,5;\r\n")
    assert FORMATS["csv"].read(tmp_path / "a.csv") == [FileEvents("a.wav", (Annotation(1.5, 2.25, "dog", 0.5),))]


def region(start, end, label, **more):
    value = {"start": start, "end": end, "channel": 0, "labels": [label]}
    return {
        "original_length": 9.0,
        "value": value,
        "id": "x1",
        "from_name": "l",
        "to_name": "a",
        "type": "labels",
        **more,
    }


def task(number, annotations, audio="/data/upload/3/0225a044-night%201.wav", **more):
    return {"id": number, "data": {"audio": audio}, "annotations": annotations, "predictions": [], **more}


def test_a_label_studio_export_is_read(tmp_path):
    text = {"value": {"start": 1, "end": 2, "text": ["x"]}, "from_name": "t", "to_name": "a", "type": "textarea"}
    prediction = [{"result": [region(0, 9, "guess")]}]
    tasks = [
        task(1, [{"result": [region(1, 2.5, "dog"), text], "was_cancelled": False}], predictions=prediction),
        task(2, [], "a.wav", predictions=prediction),  # nobody has annotated it
        task(3, [{"result": [], "was_cancelled": False}], "b.wav"),
        task(4, [{"result": [region(1, 2, "x")], "was_cancelled": True}], "c.wav"),
        task(5, [{"result": [region(1, 2, "x")]}, {"result": [region(3, 4, "y")], "ground_truth": True}], "d.wav"),
        task(6, [{"result": [region(1, 2, "x")]}, {"result": [region(1.5, 3, "x"), region(5, 6, "x")]}], "e.wav"),
    ]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    assert FORMATS["label-studio"].read(tmp_path / "a.json") == [
        FileEvents("/data/upload/3/0225a044-night 1.wav", (Annotation(1.0, 2.5, "dog"),)),
        FileEvents("b.wav"),
        FileEvents("d.wav", (Annotation(3.0, 4.0, "y"),)),
        FileEvents("e.wav", (Annotation(1.0, 3.0, "x"), Annotation(5.0, 6.0, "x"))),
    ]
    small = [{"audio": "a.wav", "id": 1, "label": [{"start": 1, "end": 2, "labels": ["dog", "cat"]}]}]
    (tmp_path / "min.json").write_text(json.dumps(small))
    [recording] = FORMATS["label-studio"].read(tmp_path / "min.json")
    assert recording.events == (Annotation(1.0, 2.0, "dog"), Annotation(1.0, 2.0, "cat"))


def test_names_of_label_studio_become_paths():
    assert local_name("/label/data/local-files/?d=night/a%20b.wav") == "night/a b.wav"
    assert local_name("s3://bucket/x/a.wav") == "x/a.wav"
    assert local_name("C:\\x\\a.wav") == "C:\\x\\a.wav"


RAVEN_HEADER = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n"
FAULTS = [
    ("csv", "file,onset,offset\n", "needs the columns file, onset, offset, label"),
    ("csv", "file,onset,offset,label\na.wav,x,2,dog\n", "line 2, column onset: expected a number, got 'x'"),
    ("csv", "file,onset,offset,label\na.wav,1,2,dog,5\n", "line 2: expected 4 cells, got 5"),
    ("csv", "file,onset,offset,label,time\na,1,2,dog,5h\n", "line 2, column time: expected a time such as"),
    ("jsonl", '{"file": "a.wav", "onset": 1}\n', "line 1: needs the values file, .* lacks offset"),
    ("jsonl", '{"file": null, "onset": 1, "offset": 2, "label": "dog"}\n', "line 1: no file name"),
    ("jsonl", f'{{"file": "a.wav", "onset": 1{400 * "0"}, "offset": 2, "label": "dog"}}\n', "line 1: expected"),
    ("jsonl", '{"file": " ", "onset": null, "offset": null, "label": null}\n', "line 1: no file name"),
    ("csv", "file,onset,offset,label\n,1,2,dog\n", "line 2, column file: no file name"),
    ("jsonl", "{\n", "line 1: expected the values file"),
    ("parquet", "PAR1", "cannot be read as Parquet"),
    ("raven", RAVEN_HEADER + "1\t2\t1\tdog\n", r"line 2, column End Time \(s\): the offset 1 s is before the onset 2"),
    ("raven", RAVEN_HEADER + "1\t1\t2\t\n", "line 2, column Species: no label"),
    ("raven", RAVEN_HEADER + "1\t1.234,5\t2\tdog\n", r"line 2, column Begin Time \(s\): expected a number"),
    ("raven", "a\tb\n", r"needs the columns Begin Time \(s\), End Time \(s\)"),
    ("audacity", "1\t2\tdog\n3\tdog\n", "line 2, column offset: expected a number, got 'dog'"),
    ("audacity", "1\t2\t\n", "line 1, column label: no label"),
    ("dcase", "filename\tonset\toffset\tevent_label\na\t1\t2\t\n", "line 2, column event_label: no label"),
    ("dcase", "filename\tonset\toffset\tevent_label\n\t1\t2\tdog\n", "line 2, column filename: no file name"),
    ("label-studio", "[{", "cannot be read as JSON"),
    ("label-studio", '[{"id": 7, "data": {"text": "a"}, "annotations": [{"result": []}]}]', r"task 1 \(id 7\)"),
    ("label-studio", '[{"data": {}, "annotations": [{"result": [{"type": "labels"}]}]}]', "task 1: not a task"),
]


@pytest.mark.parametrize(("name", "text", "reason"), FAULTS)
def test_a_faulty_file_is_refused_in_one_line_with_its_place(name, text, reason, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=rf"a\.txt.*{reason}") as caught:
        FORMATS[name].read(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)


def test_a_raven_table_of_faulty_rows_alone_names_no_recording(tmp_path):
    table = "Selection\tBegin Time (s)\tEnd Time (s)\tFile Offset (s)\tBegin Path\tSpecies\n1\tx\t2\t1\tr.wav\tdog\n"
    (tmp_path / "a.txt").write_text(table)
    faulty = []
    assert list(FORMATS["raven"].read(tmp_path / "a.txt", faulty=faulty.append)) == []
    assert len(faulty) == 1
    (tmp_path / "a.txt").write_text(f"{RAVEN_HEADER}1\t1\t2\tdog\tmore\n")
    assert list(FORMATS["raven"].read(tmp_path / "a.txt", faulty=faulty.append)) == []


def test_the_other_rows_of_a_faulty_table_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("1\t2\tdog\nx\t2\tdog\n3\t4\tcat\n")
    faults = []
    [recording] = FORMATS["audacity"].read(tmp_path / "a.txt", faults.append)
    assert [event.label for event in recording.events] == ["dog", "cat"]
    assert [fault.place for fault in faults] == ["line 2, column onset"]
