"""Each finding, from the facts about a few clips."""

from pathlib import Path

from earmark.data import Clip, Dataset, FileAudio
from earmark.doctor.facts import Facts, FactsTable
from earmark.doctor.findings import diagnose
from earmark.doctor.kinds import KINDS, Limits
from earmark.labels import LabelSet

RATE = 16000


def facts(sound, seconds=1.0, peak=0.5, **others):
    return Facts(seconds, RATE, 1, peak, sha256=f"{sound:064x}", **others)


def test_clean_data(found, diagnosed):
    report = diagnosed([("a", ("dog",), "train", "x"), ("b", ("rain",), "test", "y")], [facts(1), facts(2)])
    assert found(report) == set()
    assert report.is_faultless
    assert report.clean_ids == ["a", "b"]


def test_findings_about_one_clip(diagnosed):
    clips = [(name, ("dog",), None, None) for name in "abcdefg"]
    clips[5] = ("f", (), None, None)
    everything = [
        Facts(error="broken"),
        facts(1, seconds=0.19),
        facts(2, peak=0.00099),
        facts(3, clipped=0.001),
        facts(4, warning="odd"),
        facts(5),
        facts(6),
    ]
    report = diagnosed(
        clips, everything, missing=("m",), outside=(("f", ("cat",)),), damaged=(("clips.csv, row 9", "no path"),)
    )
    findings = report.diagnosis.findings
    assert list(findings) == list(KINDS)
    expected = {
        "damaged": {"part": "clips.csv, row 9", "reason": "no path"},
        "missing": {"id": "m"},
        "unreadable": {"id": "a", "reason": "broken"},
        "outside": {"id": "f", "labels": ["cat"]},
        "unlabelled": {"id": "f"},
        "short": {"id": "b", "seconds": 0.19},
        "silent": {"id": "c", "peak_dbfs": -60.09},
        "clipped": {"id": "d", "share": 0.001},
        "warned": {"id": "e", "warning": "odd"},
    }
    assert {kind: items for kind, items in findings.items() if items} == {k: [item] for k, item in expected.items()}
    assert report.clean_ids == ["d", "e", "g"]
    limits = Limits(
        min_clips=0, keep=frozenset({"unlabelled", "short", "silent"}), drop=frozenset({"clipped", "warned"})
    )
    assert diagnosed(clips, everything, limits).clean_ids == ["b", "c", "f", "g"]


def test_clips_shorter_than_listed():
    promised = [("a", 1.0), ("b", 1.05), ("c", 2.0), ("d", None)]
    clips = tuple(Clip(id_, ("dog",), FileAudio(Path(id_), 0.5, duration)) for id_, duration in promised)
    table = FactsTable(4)
    for position in range(4):
        table.add(position, facts(position, seconds=1.0))
    diagnosis = diagnose(Dataset("made", LabelSet(("dog",)), clips), table, Limits())
    assert diagnosis.findings["ends-early"] == [{"id": "c", "seconds": 1.0, "promised": 2.0}]
    assert diagnosis.is_clean.all(), "some of it is there"


def test_the_first_of_several_clips_with_one_sound_is_clean(ids, found, diagnosed):
    clips = [(name, ("dog",), "train", None) for name in "abcd"]
    report = diagnosed(clips, [facts(2), facts(1), facts(2), facts(2)])
    assert ids(report, "duplicate") == [["a", "c", "d"]]
    assert found(report) == {"duplicate"}
    assert report.clean_ids == ["a", "b"]
    many = [(f"{n:03d}", ("dog",), "train", None) for n in range(500)]
    assert diagnosed(many, [facts(n % 2) for n in range(500)]).clean_ids == ["000", "001"]
    kept = diagnosed(clips, [facts(1)] * 4, Limits(min_clips=0, keep=frozenset({"duplicate"})))
    assert kept.clean_ids == list("abcd")
    assert kept.is_faultless


def test_sounds_with_several_labels_or_in_several_splits(ids, diagnosed):
    clips = [("a", ("dog",), "train", None), ("b", ("dog",), "test", None), ("c", ("rain",), None, None)]
    clips += [("d", ("dog", "rain"), "train", None), ("e", ("rain", "dog"), None, None)]
    report = diagnosed(clips, [facts(2), facts(2), facts(1), facts(1), facts(3)])
    assert ids(report, "duplicate") == [["a", "b"], ["c", "d"]]
    assert ids(report, "contradicting") == [["c", "d"]]
    assert ids(report, "leaking") == [["a", "b"]]
    first = report.diagnosis.findings["leaking"][0]["clips"][0]
    assert first == {"id": "a", "labels": ["dog"], "split": "train"}
    assert report.clean_ids == ["a", "e"]
    keep = frozenset({"contradicting"})
    assert diagnosed(clips, [facts(1)] * 5, Limits(min_clips=0, keep=keep)).clean_ids == ["a"]


def test_excluded_clips_do_not_count_as_duplicates(found, diagnosed):
    clips = [
        ("a", (), None, None),
        ("b", ("dog",), None, None),
        ("c", ("rain",), None, None),
        ("d", ("dog",), None, None),
    ]
    report = diagnosed(clips, [facts(1), facts(1), facts(0, peak=0.0), facts(0, peak=0.0)])
    assert found(report) == {"unlabelled", "silent"}
    assert report.clean_ids == ["b"]
    keep = Limits(min_clips=0, keep=frozenset({"silent", "unlabelled"}))
    both = diagnosed(clips, [facts(1), facts(1), facts(0, peak=0.0), facts(0, peak=0.0)], keep)
    assert found(both) == {"unlabelled", "silent", "duplicate", "contradicting"}
    assert both.clean_ids == ["c", "d"], "silence is not compared"


def test_groups_and_files_in_several_splits(diagnosed):
    clips = [("a", ("dog",), "train", "x"), ("b", ("dog",), "test", "y + x"), ("c", ("dog",), "test", "y")]
    clips += [("d", ("dog",), None, "z"), ("e", ("dog",), "train", "z")]
    report = diagnosed(clips, [facts(n) for n in range(5)])
    expected = {"group": "x", "splits": {"test": 1, "train": 1}, "clips": ["a", "b"]}
    assert report.diagnosis.findings["spanning"] == [expected]
    parts = [("f@0", 0.0, "train"), ("f@1", 1.0, "test"), ("f@2", 2.0, "test")]
    made = tuple(Clip(id_, ("dog",), FileAudio(Path("/secret/f"), at, 1.0), split) for id_, at, split in parts)
    table = FactsTable(3)
    for position in range(3):
        table.add(position, facts(position))
    diagnosis = diagnose(Dataset("made", LabelSet(("dog",)), made), table, Limits())
    expected = {"group": None, "splits": {"test": 2, "train": 1}, "clips": ["f@0", "f@1", "f@2"]}
    assert diagnosis.findings["spanning"] == [expected]


def test_labels_with_few_clean_clips(diagnosed):
    clips = [(f"d{n}", ("dog",), "train" if n < 3 else "test", None) for n in range(4)] + [("r", ("rain",), None, None)]
    everything = [facts(n) for n in range(4)] + [Facts(error="broken")]
    rare = {limit: diagnosed(clips, everything, Limits(min_clips=limit)).diagnosis.findings["rare"] for limit in (1, 2)}
    rain = {"label": "rain", "n_clips": 0, "splits": {"test": 0, "train": 0}}
    assert rare[1] == [rain]
    assert rare[2] == [{"label": "dog", "n_clips": 4, "splits": {"test": 1, "train": 3}}, rain]
