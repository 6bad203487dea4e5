"""What is wrong with a data set: each finding from a small file that has it, and jobs that die on the way."""

import csv
import fcntl
import hashlib
import json
import os
import signal
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from earmark.audio import decoding
from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio, open_data
from earmark.data.parquet_audio import ParquetAudio, Shard
from earmark.data.synthetic import SyntheticSound
from earmark.doctor import journal as journal_module
from earmark.doctor import run as run_module
from earmark.doctor import workers
from earmark.doctor.examination import examine
from earmark.doctor.facts import Facts, FactsTable
from earmark.doctor.findings import diagnose
from earmark.doctor.journal import Journal, Stamp, stamp_of
from earmark.doctor.kinds import KEPT, KINDS, LEFT_OUT, Limits
from earmark.doctor.report import Report
from earmark.doctor.run import doctor
from earmark.doctor.workers import CRASHED, examine_all
from earmark.errors import AudioError, ConfigError, DataError, EarmarkError
from earmark.labels import LabelSet

RATE = 16000


def noise(seed=0, seconds=1.0, n_channels=None, rate=RATE):
    shape = round(seconds * rate) if n_channels is None else (n_channels, round(seconds * rate))
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def saved(path, waveform, rate=RATE, subtype="PCM_16"):
    save_audio(path, Audio(waveform, rate), subtype)
    return FileAudio(path)


# one clip


def test_facts_of_a_recording(tmp_path):
    facts = examine(saved(tmp_path / "a.wav", noise(n_channels=2, rate=44100), 44100))
    assert (facts.seconds, facts.sample_rate, facts.n_channels, facts.clipped) == (1.0, 44100, 2, 0.0)
    assert facts.warning is None and facts.error is None
    assert facts.peak == pytest.approx(np.abs(noise(n_channels=2, rate=44100).mean(axis=0)).max(), abs=1e-4)


def test_a_sound_has_one_hash_in_every_lossless_form(tmp_path):
    waveform = noise(n_channels=2)
    forms = [("a.wav", "PCM_16"), ("b.flac", "PCM_16"), ("c.aiff", "PCM_16"), ("d.flac", "PCM_24"), ("e.wav", "FLOAT")]
    exact = np.rint(waveform * 32768) / 32768
    hashes = {examine(saved(tmp_path / name, exact, subtype=subtype)).sha256 for name, subtype in forms}
    samples = np.rint(exact.T * 32768).astype("<i2")
    assert hashes == {hashlib.sha256(b"16000 2\n" + samples.tobytes()).hexdigest()}


def test_other_sounds_have_other_hashes(tmp_path):
    waveform = noise()
    one = examine(saved(tmp_path / "a.wav", waveform)).sha256
    assert examine(saved(tmp_path / "b.wav", waveform[:-1])).sha256 != one
    assert examine(saved(tmp_path / "c.wav", waveform, rate=8000)).sha256 != one
    assert examine(saved(tmp_path / "d.wav", np.stack([waveform, waveform]))).sha256 != one


def test_a_part_is_examined_as_it_is_loaded(tmp_path):
    waveform = noise(seconds=2.0)
    saved(tmp_path / "a.wav", waveform)
    part = examine(FileAudio(tmp_path / "a.wav", onset=0.5, duration=1.0))
    assert part == examine(saved(tmp_path / "b.wav", waveform[8000:24000]))
    assert examine(FileAudio(tmp_path / "a.wav", onset=1.5, duration=1.0)).seconds == 0.5


def naively_clipped(values):
    n = 0
    for channel in values:
        runs = "".join("1" if abs(v) >= 32767 else "0" for v in channel.tolist()).split("0")
        n += sum(len(run) for run in runs if len(run) >= 3)
    return n / values.size


@pytest.mark.parametrize("n_block", [1, 2, 3, 4, 7, 1000])
def test_runs_at_full_scale_are_counted_across_blocks(tmp_path, monkeypatch, n_block):
    monkeypatch.setattr(decoding, "_BLOCK_VALUES", 2 * n_block)
    rng = np.random.default_rng(1)
    values = np.where(rng.uniform(size=(2, 500)) < 0.7, rng.choice([32767, -32767, -32768], (2, 500)), 5)
    facts = examine(saved(tmp_path / "a.wav", (values / 32768).astype(np.float32)))
    assert facts.clipped == naively_clipped(values) > 0.3


def test_a_tone_that_just_reaches_full_scale_is_not_clipped(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert examine(saved(tmp_path / "a.wav", tone)).clipped < 0.001
    assert examine(saved(tmp_path / "b.wav", 1.5 * tone)).clipped > 0.4


def test_channels_that_cancel_are_silent_and_warned_of(tmp_path):
    waveform = noise()
    facts = examine(saved(tmp_path / "a.wav", np.stack([waveform, -waveform])))
    assert facts.peak < 1e-4
    assert facts.warning.startswith("channels cancel each other")


def damaged(folder):
    """Files of which nothing can be heard, and a part of why."""
    whole = saved(folder / "whole.flac", noise(seconds=3.0)).path.read_bytes()
    wav = saved(folder / "whole.wav", noise()).path.read_bytes()
    contents = {
        "header.wav": (wav[:44], "cut off, its header states 32000 bytes"),
        "cut.wav": (wav[: len(wav) // 2], "cut off, its header states 32000 bytes"),
        "cut.flac": (whole[: len(whole) // 2], "damaged or cut off somewhere from"),
        "text.wav": (b"no sound at all", "cannot be read as audio"),
        "empty.wav": (b"", "empty, 0 bytes"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {folder / name: reason for name, (_, reason) in contents.items()} | {folder / "gone.wav": "no such file"}


def test_what_cannot_be_read_says_why_without_its_path(tmp_path):
    for path, reason in damaged(tmp_path).items():
        facts = examine(FileAudio(path))
        assert facts.error.startswith(reason), path
        assert str(tmp_path) not in facts.error
        assert facts == Facts(error=facts.error)
    saved(tmp_path / "a.wav", noise())
    assert examine(FileAudio(tmp_path / "a.wav", onset=3.0)).error == "ends at 1.000 s, before the onset at 3.000 s"


@dataclass(frozen=True)
class Failing:
    """A reader with a fault of its own."""

    def load(self, sample_rate):
        raise ZeroDivisionError("no reason")


def test_a_fault_of_a_reader_is_told_like_damage():
    assert examine(Failing()).error == "ZeroDivisionError: no reason"


def test_a_clip_that_is_no_recording_is_heard_at_32_khz():
    sound = SyntheticSound("bell", (0, 1))
    facts = examine(sound)
    assert (facts.sample_rate, facts.n_channels) == (0, 0)
    assert facts.seconds == pytest.approx(sound.load(32000).duration)


# many clips


def test_a_table_gives_back_what_it_was_given():
    table = FactsTable(3)
    found = Facts(1.25, 44100, 2, 0.5, 0.25, "ab" * 30 + "0000", "odd", None)
    table.add(1, found)
    table.add(2, Facts(error="gone"))
    assert [table.knows(p) for p in range(3)] == [False, True, True]
    assert (table[1], table[2], table.n_known) == (found, Facts(error="gone"), 2)
    for position in (-1, 3):
        with pytest.raises(IndexError):
            table.add(position, found)


READERS = """
import os
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from earmark.audio.recording import Audio

@dataclass(frozen=True)
class Crashing:
    def load(self, sample_rate):
        os._exit(1)

@dataclass(frozen=True)
class CrashingOnce:
    marker: str
    def load(self, sample_rate):
        if not Path(self.marker).exists():
            Path(self.marker).touch()
            os._exit(1)
        return Audio(np.ones(sample_rate, np.float32), sample_rate)
"""


@pytest.fixture
def readers(tmp_path, monkeypatch):
    """A module that the workers can import too."""
    (tmp_path / "readers_that_crash.py").write_text(READERS)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    return importlib.import_module("readers_that_crash")


def test_a_worker_that_dies_costs_its_clip_and_no_other(tmp_path, readers):
    good = [saved(tmp_path / f"{n}.wav", noise(n)) for n in range(3)]
    audio = [good[0], readers.Crashing(), good[1], readers.CrashingOnce(str(tmp_path / "marker")), good[2]]
    facts = dict(examine_all(enumerate(audio), 2, 3))
    assert sorted(facts) == [0, 1, 2, 3, 4]
    assert facts[1] == Facts(error=CRASHED)
    assert facts[3].seconds == 1.0, "it may have been something else"
    assert [facts[p] for p in (0, 2, 4)] == [examine(audio) for audio in good]


def test_only_what_is_needed_is_taken_from_the_clips(tmp_path):
    audio, taken = saved(tmp_path / "a.wav", noise()), []
    examined = examine_all(((n, audio) for n in range(1000) if not taken.append(n)), 1, 4)
    for _ in range(5):
        next(examined)
    examined.close()
    assert len(taken) == 8


def test_workers_that_cannot_start_are_an_error(monkeypatch, tmp_path, readers):
    monkeypatch.setattr(workers, "_work", os._exit)  # which refuses a connection
    with pytest.raises(EarmarkError, match="expected to start, and has ended before its work"):
        list(examine_all(enumerate([saved(tmp_path / "a.wav", noise())]), 1, 1))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process ignores is looked for in /proc")
def test_a_ctrl_c_never_reaches_a_worker():
    worker = workers._Worker(deque())
    try:
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
    finally:
        worker.end()
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
    assert blocked >> signal.SIGINT - 1 & 1


# the journal

FACTS = Facts(1.0, 44100, 2, 0.1, 0.0, "ab" * 32, None, None)


def written(path, n=3):
    with Journal(path).opened(lambda *told: None) as keep:
        for position in range(n):
            keep(
                f"clip {position}",
                replace(FACTS, seconds=position / 3),
                Stamp(position, 2**60, 7) if position else None,
            )


def read(path):
    found = {}
    with Journal(path).opened(lambda clip, *told: found.update({clip: told})) as keep:
        keep("clip 9", FACTS, None)
    return found


def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    written(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    edges = [n for n in range(len(whole) + 1) if b"\n" in whole[max(0, n - 2) : n + 1]]
    for n_bytes in sorted({0, 1, len(whole), *edges, *range(0, len(whole), 50)}):
        path.write_bytes(whole[:n_bytes])
        n_lines = whole[:n_bytes].count(b"\n")
        assert read(path) == {
            f"clip {p}": (replace(FACTS, seconds=p / 3), Stamp(p, 2**60, 7) if p else None)
            for p in range(max(0, n_lines - 1))
        }
        assert path.read_bytes().splitlines(keepends=True)[:-1] == lines[: max(1, n_lines)]
        assert len(path.read_bytes().splitlines()) == max(1, n_lines) + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"my diary", "line 1: damaged"),
        (b"my diary\n", "line 1: damaged"),
        (b"[1, 2]\n", "begun by another version of earmark"),
        (b'HEAD["a", null, 1.0]\nnonsense\n', "line 3: damaged"),
        (b'HEAD["a", null, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n', "line 2: damaged"),
        (b"HEAD[]\n", "line 2: damaged"),
        (b"HEAD[0, [1], 1.0]\n", "line 2: damaged"),
    ],
)
def test_other_journals_are_refused_and_stay(tmp_path, content, message):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content.replace(b"HEAD", journal_module._line(Journal(path)._head)))
    before = path.read_bytes()
    with pytest.raises(DataError, match=message), Journal(path).opened(lambda *told: None):
        pass
    assert path.read_bytes() == before


def test_a_journal_that_its_owner_removed_meanwhile_is_no_claim(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with monkeypatch.context() as patched, Journal(path).opened(lambda *told: None):
        patched.setattr(fcntl, "flock", lambda stream, how: path.unlink())  # the other one's end, then the lock is free
        with pytest.raises(DataError, match="another process is at work there"):
            written(path)
    written(path)


def test_two_at_a_time_are_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path).opened(lambda *told: None), pytest.raises(DataError, match="another process"):
        written(path)
    written(path)


# what is wrong


def dataset_of(clips, **others):
    """A data set of (id, labels, split, group) and what was found of each."""
    made = tuple(Clip(id_, labels, FileAudio(Path(id_)), split, group) for id_, labels, split, group in clips)
    return Dataset("made", LabelSet(("dog", "rain")), made, **others)


def diagnosed(clips, facts, limits=None, **others):
    dataset = dataset_of(clips, **others)
    table = FactsTable(len(dataset))
    for position, each in enumerate(facts):
        table.add(position, each)
    return Report(
        dataset, table, limits or Limits(min_clips=0), diagnose(dataset, table, limits or Limits(min_clips=0))
    )


def facts(sound, seconds=1.0, peak=0.5, **others):
    return Facts(seconds, RATE, 1, peak, sha256=f"{sound:064x}", **others)


def ids(report, kind):
    return [item.get("id") or [clip["id"] for clip in item["clips"]] for item in report.diagnosis.findings[kind]]


def found(report):
    return {kind for kind, items in report.diagnosis.findings.items() if items}


def test_clean_data():
    report = diagnosed([("a", ("dog",), "train", "x"), ("b", ("rain",), "test", "y")], [facts(1), facts(2)])
    assert found(report) == set()
    assert report.is_faultless
    assert report.clean_ids == ["a", "b"]


def test_findings_about_one_clip():
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


def test_clips_shorter_than_promised():
    promised = [("a", 1.0), ("b", 1.05), ("c", 2.0), ("d", None)]
    clips = tuple(Clip(id_, ("dog",), FileAudio(Path(id_), 0.5, duration)) for id_, duration in promised)
    table = FactsTable(4)
    for position in range(4):
        table.add(position, facts(position, seconds=1.0))
    diagnosis = diagnose(Dataset("made", LabelSet(("dog",)), clips), table, Limits())
    assert diagnosis.findings["ends-early"] == [{"id": "c", "seconds": 1.0, "promised": 2.0}]
    assert diagnosis.is_clean.all(), "some of it is there"


def test_of_one_sound_the_first_clip_is_clean():
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


def test_sounds_with_several_labels_or_in_several_splits():
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


def test_clips_that_are_out_anyway_are_no_duplicates():
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


def test_groups_and_files_in_several_splits():
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


def test_labels_with_few_clean_clips():
    clips = [(f"d{n}", ("dog",), "train" if n < 3 else "test", None) for n in range(4)] + [("r", ("rain",), None, None)]
    everything = [facts(n) for n in range(4)] + [Facts(error="broken")]
    rare = {limit: diagnosed(clips, everything, Limits(min_clips=limit)).diagnosis.findings["rare"] for limit in (1, 2)}
    rain = {"label": "rain", "n_clips": 0, "splits": {"test": 0, "train": 0}}
    assert rare[1] == [rain]
    assert rare[2] == [{"label": "dog", "n_clips": 4, "splits": {"test": 1, "train": 3}}, rain]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_seconds": -1.0}, "min_seconds: at least 0 was expected, not -1"),
        ({"silent_dbfs": 1.0}, "silent_dbfs: at most 0 was expected, not 1"),
        ({"clipped_share": 0.0}, "clipped_share: above 0 and at most 1 was expected, not 0"),
        ({"min_clips": -1}, "min_clips: at least 0 was expected, not -1"),
        (
            {"keep": frozenset({"unreadable"})},
            f"keep: some of {', '.join((*LEFT_OUT, *KEPT))} were expected, not unreadable",
        ),
        ({"drop": frozenset({"leaking"})}, f"drop: some of {', '.join(KEPT)} were expected, not leaking"),
        (
            {"drop": frozenset({"clipped"}), "keep": frozenset({"clipped"})},
            "keep: clipped was expected in keep or drop",
        ),
    ],
)
def test_limits_outside_what_they_can_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)


def test_every_kind_has_its_words():
    assert set(LEFT_OUT) | set(KEPT) < set(KINDS)
    assert Limits().what("short") == "clips shorter than 0.2 s"
    assert all("{" not in Limits().what(kind) for kind in KINDS)


# a whole data set


def wrong_data(folder):
    """A table with everything that can be wrong with clips from files."""
    first = noise(1)
    saved(folder / "dog1.wav", first)
    saved(folder / "dog2.flac", first)
    saved(folder / "dog3.wav", noise(3), 44100)
    saved(folder / "rain1.wav", noise(4, n_channels=2))
    saved(folder / "rain2.flac", noise(4, n_channels=2))
    saved(folder / "silent.wav", np.zeros(RATE))
    saved(folder / "short.wav", noise(5, seconds=0.1))
    saved(folder / "square.wav", np.sign(noise(6)))
    saved(folder / "long.wav", noise(7, seconds=2.0))
    saved(folder / "none.wav", noise(8))
    rows = [
        "dog1.wav,dog,,,train,a",
        "dog2.flac,dog,,,test,b",
        "dog3.wav,dog,,,test,a",
        "rain1.wav,rain,,,train,c",
        "rain2.flac,rain;dog,,,train,c",
        "silent.wav,rain,,,train,d",
        "short.wav,rain,,,train,e",
        "square.wav,rain,,,train,f",
        "long.wav,rain,1.5,1.0,train,g",
        "none.wav,,,,train,h",
        "gone.wav,dog,,,train,i",
        "dog1.wav,dog,soon,1.0,train,i",
    ]
    rows += [f"{path.name},dog,,,train,j" for path in damaged(folder)]
    (folder / "clips.csv").write_text("path,labels,onset,duration,split,group\n" + "\n".join(rows[:-1]) + "\n")
    return f"csv:{folder / 'clips.csv'}"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_with_everything_wrong(tmp_path):
    data = wrong_data(tmp_path / "data")
    report = doctor(open_data(data, lenient=True), data, tmp_path / "report", n_jobs=2)
    assert report.clean_ids == ["dog1.wav", "dog3.wav", "square.wav", "long.wav@1.5"]
    assert found(report) == set(KINDS) - {"outside", "warned"}
    assert set(files(tmp_path / "report")) == {"report.json", "clips.csv", "clean.txt"}
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told == report.to_json()
    assert told["coverage"].items() >= {"listed": 16, "found": 15, "missing": 1, "share": 0.9375}.items()
    assert told["clips"]["sample_rates"] == {"16000": 9, "44100": 1}
    assert told["clips"]["below_32_khz"] == 0.9
    assert told["clips"]["channels"] == {"1": 8, "2": 2}
    bars = {bar["from"]: bar["n"] for bar in told["clips"]["durations"] if bar["n"]}
    assert bars == {0.0: 1, 0.2: 1, 0.5: 1, 1.0: 7}
    assert {finding["kind"]: finding["n"] for finding in told["findings"]}["unreadable"] == 5
    assert told["labels"][0] == {"label": "dog", "n_clips": 2, "splits": {"test": 1, "train": 1}}
    assert told["clean"]["n_clips"] == 4
    assert str(tmp_path) not in json.dumps(told)
    clean = open_data(f"clips:{tmp_path / 'report' / 'clean.txt'}")
    assert [clip.id for clip in clean] == report.clean_ids
    assert clean.clip_ids_sha256() == told["clean"]["clip_ids_sha256"]
    assert clean[1] == replace(open_data(data, lenient=True)[2], audio=clean[1].audio)


def test_the_facts_of_each_clip_as_a_table(tmp_path):
    data = wrong_data(tmp_path / "data")
    report = doctor(open_data(data, lenient=True), data, tmp_path / "report", n_jobs=1)
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "report" / "clips.csv").open())}
    assert len(rows) == report.n_listed
    assert [id_ for id_, row in rows.items() if row["status"] == "clean"] == report.clean_ids
    duplicate = rows["rain2.flac"]
    assert (duplicate["status"], duplicate["findings"]) == ("left-out", "duplicate;contradicting")
    assert (duplicate["seconds"], duplicate["sample_rate"], duplicate["n_channels"]) == ("1.0", "16000", "2")
    assert duplicate["sha256"] == rows["rain1.wav"]["sha256"]
    assert rows["silent.wav"]["peak_dbfs"] == "-inf"
    assert (rows["text.wav"]["status"], rows["text.wav"]["sha256"]) == ("unreadable", "")
    assert rows["text.wav"]["reason"].startswith("cannot be read as audio")
    assert (rows["gone.wav"]["status"], rows["gone.wav"]["findings"]) == ("missing", "missing")


@pytest.fixture
def small(tmp_path):
    for n in range(6):
        saved(tmp_path / "data" / ("dog" if n % 2 else "rain") / f"{n}.wav", noise(n, seconds=0.3))
    return f"folder:{tmp_path / 'data'}"


def interrupted(dataset, data, out, after):
    """Examines so many clips, and is then interrupted."""

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        doctor(dataset, data, out, n_jobs=1, progress=stop)


def watched(monkeypatch):
    """The positions of the clips that are examined from now on."""
    examined = []
    original = run_module.examine_all
    monkeypatch.setattr(
        run_module, "examine_all", lambda todo, *n: original((examined.append(t[0]) or t for t in todo), *n)
    )
    return examined


def test_an_interrupted_examination_goes_on_and_ends_in_the_same_bytes(tmp_path, small, monkeypatch):
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)

    interrupted(dataset, small, tmp_path / "report", after=4)
    assert set(files(tmp_path / "report")) == {"journal.jsonl"}
    examined = watched(monkeypatch)
    doctor(dataset, small, tmp_path / "report", n_jobs=2)
    assert sorted(examined) == [4, 5]
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_clips_whose_files_have_changed_since_are_examined_anew(tmp_path, small, monkeypatch):
    dataset, folder = open_data(small), tmp_path / "data" / "dog"
    (folder / "1.wav").write_bytes(b"broken")
    sound = (folder / "3.wav").read_bytes()

    interrupted(dataset, small, tmp_path / "report", after=5)
    saved(folder / "1.wav", noise(9))
    (folder / "3.wav").write_bytes(sound[:-2] + b"ab")  # as many bytes
    examined = watched(monkeypatch)
    report = doctor(dataset, small, tmp_path / "report", n_jobs=1)
    assert [dataset[position].id for position in examined] == ["dog/1.wav", "dog/3.wav", "rain/4.wav"]
    assert found(report) == {"rare"}
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_clips_that_come_and_go_leave_what_is_known_of_the_others(tmp_path, small, monkeypatch):
    interrupted(open_data(small), small, tmp_path / "report", after=4)
    saved(tmp_path / "data" / "dog" / "0.wav", noise(7, seconds=0.3))
    (tmp_path / "data" / "dog" / "3.wav").unlink()
    examined = watched(monkeypatch)
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "report", n_jobs=1)
    assert [dataset[position].id for position in examined] == ["dog/0.wav", "rain/2.wav", "rain/4.wav"]
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_a_file_that_took_the_name_of_another_is_examined_anew(tmp_path):
    folder = tmp_path / "data" / "dog"
    for n in range(5):
        saved(folder / f"{n}.wav", np.zeros(RATE) if n == 1 else noise(n))
        os.utime(folder / f"{n}.wav", (1e9, 1e9))
    data = f"folder:{tmp_path / 'data'}"

    interrupted(open_data(data), data, tmp_path / "report", after=4)
    for n in range(1, 5):
        (folder / f"{n}.wav").rename(folder / f"{n - 1}.wav")
    report = doctor(open_data(data), data, tmp_path / "report", n_jobs=1)
    assert ids(report, "silent") == ["dog/0.wav"]


def test_rows_of_files_that_have_changed_since_are_examined_anew(tmp_path):
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(name, *sounds):
        ids = [f"{name}{n}" for n in range(len(sounds))]
        rows = pa.table({"id": ids, "audio": list(sounds), "labels": ["dog"] * len(sounds)})
        parquet.write_table(rows, tmp_path / "data" / f"{name}.parquet", row_group_size=1)

    saved(tmp_path / "data" / "dog" / "a.wav", noise(1))
    good = (tmp_path / "data" / "dog" / "a.wav").read_bytes()
    write("a", good, b"nonsense", good)
    write("b", b"nonsense", b"nonsense")
    data = f"parquet:{tmp_path / 'data'}"

    interrupted(open_data(data), data, tmp_path / "report", after=4)
    write("b", good, b"nonsense")
    report = doctor(open_data(data), data, tmp_path / "report", n_jobs=1)
    assert [item["id"] for item in report.diagnosis.findings["unreadable"]] == ["a1", "b1"]
    assert stamp_of(open_data(data)[0].audio) is not None
    assert stamp_of(ParquetAudio(Shard("s3://bucket", "a.parquet", "audio"), 0, "a", 0, 0)) is None


def test_only_files_that_are_there_have_a_stamp(tmp_path):
    audio = saved(tmp_path / "a.wav", noise())
    assert stamp_of(audio).n_bytes == 44 + 2 * RATE
    assert stamp_of(FileAudio(tmp_path / "gone.wav")) is None
    assert stamp_of(FileAudio("a\0b")) is None
    assert stamp_of(SyntheticSound("bell", (0, 1))) is None


def test_an_examination_that_died_at_its_end(tmp_path, small, monkeypatch):
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Report, "save", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
        doctor(dataset, small, tmp_path / "report", n_jobs=1)
    (tmp_path / "report" / ".clips-0123456789ab.csv").write_text("half a table")
    monkeypatch.setattr(workers, "_Worker", None)  # nothing is left for one
    doctor(dataset, small, tmp_path / "report")
    assert files(tmp_path / "report") == files(tmp_path / "alone")


@pytest.mark.parametrize("stage", ["save", "write_clips"])
def test_an_examination_is_alone_until_all_is_written(tmp_path, small, monkeypatch, stage):
    owner = Report if stage == "save" else run_module
    original, refused = getattr(owner, stage), []

    def meanwhile(*arguments):
        with monkeypatch.context() as patched, pytest.raises(DataError, match="another process is at work there"):
            patched.setattr(owner, stage, original)
            doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
        refused.append(stage)
        original(*arguments)

    monkeypatch.setattr(owner, stage, meanwhile)
    doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
    assert refused == [stage]
    assert set(files(tmp_path / "report")) == {"report.json", "clips.csv", "clean.txt"}


def test_a_finished_examination_is_done_anew(tmp_path, small):
    doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
    (tmp_path / "data" / "dog" / "1.wav").write_bytes(b"broken since")
    report = doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
    assert ids(report, "unreadable") == ["dog/1.wav"]


def test_folders_with_something_else_are_refused(tmp_path, small):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"a new or empty folder was expected.*thesis.tex"):
        doctor(open_data(small), small, tmp_path / "report")
    (tmp_path / "other").mkdir()
    written(tmp_path / "other" / "journal.jsonl")
    with pytest.raises(DataError, match="the examination of other clips"):
        doctor(open_data(small), small, tmp_path / "other")


def test_what_a_report_depends_on_is_in_the_hash_of_the_data():
    one = dataset_of([("a", ("dog",), "train", "x"), ("b", ("rain",), "test", "y")])
    others = [
        replace(one, clips=one.clips[::-1]),
        replace(one, missing=("m",)),
        replace(one, outside=(("a", ("cat",)),)),
        replace(one, damaged=(("clips.csv, row 9", "no path"),)),
        *(
            replace(one, clips=(replace(one[0], **change), one[1]))
            for change in (
                {"labels": ()},
                {"split": None},
                {"group": None},
                {"audio": FileAudio(Path("a"), 0.5)},
                {"audio": FileAudio(Path("a"), 0.0, 1.0)},
            )
        ),
    ]
    assert len({run_module._digest(each) for each in (one, *others)}) == len(others) + 1
    moved = replace(one, clips=(replace(one[0], audio=FileAudio(Path("elsewhere/a"))), one[1]))
    assert run_module._digest(moved) == run_module._digest(one)


def test_nothing_clean(tmp_path):
    (tmp_path / "data" / "dog").mkdir(parents=True)
    (tmp_path / "data" / "dog" / "a.wav").write_text("no sound")
    data = f"folder:{tmp_path / 'data'}"
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "clean.txt").write_text("of an earlier report")
    report = doctor(open_data(data), data, tmp_path / "report", n_jobs=1)
    assert report.clean_ids == []
    assert set(files(tmp_path / "report")) == {"report.json", "clips.csv"}
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["clips"].items() >= {"readable": 0, "seconds": 0.0, "median": None, "below_32_khz": None}.items()


def test_decoders_errors_are_told_as_they_come(tmp_path, monkeypatch):
    def fail(*arguments):
        raise AudioError(f"{tmp_path}/a.wav: odd, see {tmp_path}/a.wav")

    monkeypatch.setattr(decoding, "mono_blocks", fail)
    assert examine(saved(tmp_path / "a.wav", noise())).error == "odd, see the file"
