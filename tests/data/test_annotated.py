"""Sources of annotations: what is read, what is refused, and whole recordings with their events."""

import json

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import EventClips, open_data
from earmark.data.annotated import read_recordings
from earmark.data.listing import write_clips
from earmark.errors import DataError, EarmarkWarning

HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tSpecies\n"


@pytest.fixture
def folder(tmp_path):
    for name, seconds in (("a.wav", 10.0), ("sub/b.wav", 5.0)):
        save_audio(tmp_path / name, Audio(np.full(int(seconds * 1000), 0.1), 1000))
    return tmp_path


def raven(folder, *rows, header=HEADER):
    path = folder / "all.Table.1.selections.txt"
    path.write_text(header + "".join("\t".join(row.split("|")) + "\n" for row in rows))
    return path


def test_two_views_and_several_files_of_raven(folder):
    raven(
        folder,
        "1|Waveform 1|1|2,0|3,5|a.wav|2,0|robin",
        "1|Spectrogram 1|1|2,0|3,5|a.wav|2,0|robin",
        "2|Spectrogram 1|1|3.0|5.0|a.wav|3.0|wren",
        "3|Spectrogram 1|1|14.0|14.0|D:\\x\\sub\\b.wav|4.0|robin",
    )
    data = open_data(f"raven:{folder}", event_clips=EventClips(pad=0.25))
    assert data.labels.names == ("robin", "wren")
    assert [(clip.id, clip.labels, clip.group, clip.split) for clip in data] == [
        ("a.wav@1.75-3.75", ("robin",), "a.wav", None),
        ("a.wav@2.75-5.25", ("robin", "wren"), "a.wav", None),
        ("sub/b.wav@3.5-4.5", ("robin",), "sub/b.wav", None),
    ]
    assert data[0].load(1000).duration == 2.0


def test_clips_without_annotations_keep_away_from_them(folder):
    raven(folder, "1|S|1|2|3.5|a.wav|2|robin")
    rules = EventClips(pad=0.5, negatives=2)
    data = open_data(f"raven:{folder}", event_clips=rules)
    negatives = [clip for clip in data if not clip.labels]
    assert len(data) == 3 and len(negatives) == 2
    for clip in negatives:
        assert clip.audio.duration == 2.5 and clip.group == "a.wav"  # b.wav may hold anything
        assert clip.audio.onset >= 4.0 or clip.audio.onset + 2.5 <= 1.5
    assert open_data(f"raven:{folder}", event_clips=rules) == data
    with pytest.warns(EarmarkWarning, match="only 2 clips of 9 without annotations found room in 1 recording"):
        open_data(f"raven:{folder}", event_clips=EventClips(pad=0.5, negatives=9))


def test_an_empty_label_track_states_that_there_is_no_event(folder):
    (folder / "a.txt").write_text("1.0\t2.0\tdog\n\\\t100.0\t200.0\n")
    (folder / "sub" / "b.txt").write_text("")
    (folder / "CONFIG.TXT").write_text("Sample rate : 48000\n")
    with pytest.warns(EarmarkWarning, match="skipped 1 text file among the label tracks of Audacity: CONFIG.TXT"):
        data = open_data(f"audacity:{folder}", event_clips=EventClips(negatives=6))
    assert {clip.group for clip in data if not clip.labels} == {"a.wav", "sub/b.wav"}


def test_recordings_may_lie_elsewhere(folder):
    table = folder / "meta" / "events.tsv"
    table.parent.mkdir()
    table.write_text("filename\tonset\toffset\tevent_label\na.wav\t1\t2\tdog\nb.wav\t\t\t\n")
    with pytest.raises(DataError, match=r"events\.tsv, line 2, column filename: .*no recording"):
        open_data(f"dcase:{table}")
    data = open_data(f"dcase:{table}", event_clips=EventClips(audio=str(folder)))
    assert [clip.id for clip in data] == ["a.wav@1.0-2.0"]


def test_a_clip_list_keeps_the_rules(folder, monkeypatch):
    raven(folder, "1|S|1|2|3.5|a.wav|2|robin", "2|S|1|1|1|b.wav|1|wren")
    rules = EventClips(pad=0.5, negatives=2, audio=str(folder))
    data = open_data(f"raven:{folder}", event_clips=rules)
    (folder / "lists").mkdir()
    write_clips(folder / "lists" / "some.txt", f"raven:{folder}", [clip.id for clip in data], event_clips=rules)
    write_clips(folder / "again.txt", f"clips:{folder / 'lists' / 'some.txt'}", [data[0].id])
    monkeypatch.chdir(folder.parent)
    assert [clip.id for clip in open_data(f"clips:{folder / 'lists' / 'some.txt'}")] == [clip.id for clip in data]
    assert [clip.id for clip in open_data(f"clips:{folder / 'again.txt'}")] == [data[0].id]
    assert str(folder) not in (folder / "again.txt").read_text()


def test_an_export_of_label_studio(folder):
    value = {"start": 1, "end": 2.5, "channel": 0, "labels": ["dog", "rain"]}
    result = {"type": "labels", "value": value, "from_name": "label", "to_name": "audio", "original_length": 10.0}
    tasks = [
        {"id": 1, "data": {"audio": "/data/upload/7/0225a044-a.wav"}, "annotations": [{"result": [result]}]},
        {"id": 2, "data": {"audio": "/data/local-files/?d=x/sub/b.wav"}, "annotations": []},
    ]
    (folder / "export.json").write_text(json.dumps(tasks))
    [clip] = open_data(f"label-studio:{folder / 'export.json'}")
    assert (clip.id, clip.labels) == ("a.wav@1.0-2.5", ("dog", "rain"))


def test_whole_recordings_with_their_events(folder):
    table = raven(folder, "1|S|1|2|3.5|a.wav|2|robin", "2|S|1|3|99|b.wav|3|wren")
    data, events = read_recordings("raven", table, EventClips())
    assert [(clip.id, clip.labels, clip.audio.duration) for clip in data] == [
        ("a.wav", ("robin",), None),
        ("sub/b.wav", ("wren",), None),
    ]
    assert [tuple(event) for event in events["sub/b.wav"]] == [("wren", 3.0, 5.0)]


FAULTS = {
    "1|S|1|2|x|a.wav|2|robin": r"line 2, column End Time \(s\): expected a number, got 'x'",
    "1|S|1|2|1|a.wav|2|robin": r"line 2, column End Time \(s\): the offset 1 s is before the onset 2 s",
    "1|S|1|2|3|a.wav|2|": "line 2, column Species: no label",
    "1|S|1|2|3|c.wav|2|robin": "line 2, column Begin File: no recording 'c.wav' in",
    "1|S|1|12|13|a.wav|12|robin": r"line 2: the annotation from 12 s on begins after the end of .*a\.wav, .* 10\.000 s",
}


@pytest.mark.parametrize(("row", "reason"), FAULTS.items())
def test_a_faulty_row_is_refused_with_its_place_and_skipped_leniently(folder, row, reason):
    raven(folder, row, "2|S|1|1|2|a.wav|1|wren")
    with pytest.raises(DataError, match=rf"all\.Table\.1\.selections\.txt, {reason}") as caught:
        open_data(f"raven:{folder}")
    assert "\n" not in str(caught.value)
    data = open_data(f"raven:{folder}", lenient=True)
    assert [clip.labels for clip in data] == [("wren",)]
    assert len(data.damaged) + len(data.missing) == 1


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("raven:none", "none: no such file or folder; expected annotations for raven:"),
        ("raven:", r"expected selection tables of Raven \(\.txt\) in the folder, there are none"),
        ("audacity:", r"expected label tracks of Audacity \(\.txt\) in the folder, there are none"),
        ("dcase:", "expected a file for dcase:, got a folder"),
        ("label-studio:a.wav", "a.wav: cannot be read"),
        ("dcase:empty.tsv", "no annotation in 1 recording"),
    ],
)
def test_a_source_without_annotations_is_refused(folder, spec, reason):
    (folder / "empty.tsv").write_text("filename\tonset\toffset\tevent_label\na.wav\t\t\t\n")
    source, _, path = spec.partition(":")
    with pytest.raises(DataError, match=reason):
        open_data(f"{source}:{folder / path}")


def test_an_error_about_missing_recordings_names_one_and_the_setting(folder):
    raven(folder, "1|S|1|2|3|gone/c.wav|2|robin", "2|S|1|2|3|gone/d.wav|2|robin")
    with pytest.raises(DataError, match=r"none of its 2 recordings is found in .*, such as 'gone/c.wav'") as caught:
        open_data(f"raven:{folder}", lenient=True)
    assert dict(caught.value.remedy) == {"audio": "FOLDER"}


def test_names_may_count_from_the_working_folder_unless_one_of_recordings_is_given(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "tables").mkdir()
    raven(folder / "tables", "1|S|1|2|3|sub/b.wav|2|robin")
    assert [clip.group for clip in open_data("raven:tables")] == ["sub/b.wav"]
    with pytest.raises(DataError, match=r"no recording 'sub/b\.wav' in tables"):
        open_data("raven:tables", event_clips=EventClips(audio="tables"))
