"""Examinations of whole data sets that are interrupted, continued and repeated."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.data import Clip, Dataset, FileAudio, open_data
from earmark.data.parquet_audio import ParquetAudio, Shard
from earmark.doctor import checkup as run_module
from earmark.doctor.checkup import CRASHED, doctor
from earmark.doctor.examination import examine
from earmark.doctor.facts import Facts
from earmark.doctor.journal import stamp_of
from earmark.doctor.report import Report
from earmark.errors import DataError
from earmark.labels import LabelSet
from earmark.parallel.pool import Pool

RATE = 16000
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


def test_a_clip_that_kills_its_process_is_unreadable_and_affects_no_other(tmp_path, readers, noise, saved):
    good = [saved(tmp_path / f"{n}.wav", noise(n)) for n in range(3)]
    audio = [good[0], readers.Crashing(), good[1], readers.CrashingOnce(str(tmp_path / "marker")), good[2]]
    clips = tuple(Clip(str(n), ("dog",), each) for n, each in enumerate(audio))
    facts = doctor(
        Dataset("made", LabelSet(("dog",)), clips), f"folder:{tmp_path}", tmp_path / "report", n_jobs=2
    ).facts
    assert facts[1] == Facts(error=CRASHED)
    assert facts[3].seconds == 1.0, "the first death may have had another cause"
    assert [replace(facts[p], peak=0.0) for p in (0, 2, 4)] == [replace(examine(each), peak=0.0) for each in good]


@pytest.fixture
def small(tmp_path, noise, saved):
    for n in range(6):
        saved(tmp_path / "data" / ("dog" if n % 2 else "rain") / f"{n}.wav", noise(n, seconds=0.3))
    return f"folder:{tmp_path / 'data'}"


def interrupted(dataset, data, out, after):
    """Examines this many clips, then is interrupted."""

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        doctor(dataset, data, out, n_jobs=1, progress=stop)


def watched(monkeypatch):
    """The positions of the clips that are examined from now on."""
    examined = []

    run = Pool.run

    def watched_run(self, task, items):
        return run(self, task, (examined.append(item[0]) or item for item in items))

    monkeypatch.setattr(Pool, "run", watched_run)
    return examined


def test_an_interrupted_examination_resumes_to_the_same_bytes(tmp_path, small, monkeypatch, files):
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)

    interrupted(dataset, small, tmp_path / "report", after=4)
    assert set(files(tmp_path / "report")) == {"journal.jsonl"}
    examined = watched(monkeypatch)
    doctor(dataset, small, tmp_path / "report", n_jobs=2)
    assert sorted(examined) == [4, 5]
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_clips_with_changed_files_are_examined_again(tmp_path, small, monkeypatch, noise, saved, files, found):
    dataset, folder = open_data(small), tmp_path / "data" / "dog"
    (folder / "1.wav").write_bytes(b"broken")
    sound = (folder / "3.wav").read_bytes()

    interrupted(dataset, small, tmp_path / "report", after=5)
    saved(folder / "1.wav", noise(9))
    (folder / "3.wav").write_bytes(sound[:-2] + b"ab")  # the same number of bytes
    examined = watched(monkeypatch)
    report = doctor(dataset, small, tmp_path / "report", n_jobs=1)
    assert [dataset[position].id for position in examined] == ["dog/1.wav", "dog/3.wav", "rain/4.wav"]
    assert found(report) == {"rare"}
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_added_and_removed_clips_do_not_affect_the_others(tmp_path, small, monkeypatch, noise, saved, files):
    interrupted(open_data(small), small, tmp_path / "report", after=4)
    saved(tmp_path / "data" / "dog" / "0.wav", noise(7, seconds=0.3))
    (tmp_path / "data" / "dog" / "3.wav").unlink()
    examined = watched(monkeypatch)
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "report", n_jobs=1)
    assert [dataset[position].id for position in examined] == ["dog/0.wav", "rain/2.wav", "rain/4.wav"]
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    assert files(tmp_path / "report") == files(tmp_path / "alone")


def test_a_file_with_the_name_of_another_is_examined_again(tmp_path, noise, saved, ids):
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


def test_rows_of_changed_files_are_examined_again(tmp_path, noise, saved):
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


def test_an_examination_killed_while_writing_its_report_resumes(tmp_path, small, monkeypatch, files):
    dataset = open_data(small)
    doctor(dataset, small, tmp_path / "alone", n_jobs=1)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Report, "save", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
        doctor(dataset, small, tmp_path / "report", n_jobs=1)
    (tmp_path / "report" / ".clips-0123456789ab.csv").write_text("half a table")
    monkeypatch.setattr("earmark.parallel.pool._Worker", None)  # no clip is left for a worker
    doctor(dataset, small, tmp_path / "report")
    assert files(tmp_path / "report") == files(tmp_path / "alone")


@pytest.mark.parametrize("stage", ["save", "write_clips"])
def test_only_one_examination_works_in_a_folder(tmp_path, small, monkeypatch, stage, files):
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


def test_a_finished_examination_is_repeated_completely(tmp_path, small, ids):
    doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
    (tmp_path / "data" / "dog" / "1.wav").write_bytes(b"broken since")
    report = doctor(open_data(small), small, tmp_path / "report", n_jobs=1)
    assert ids(report, "unreadable") == ["dog/1.wav"]


def test_folders_with_other_files_are_refused(tmp_path, small, written):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"a new or empty folder was expected.*thesis.tex"):
        doctor(open_data(small), small, tmp_path / "report")
    (tmp_path / "other").mkdir()
    written(tmp_path / "other" / "journal.jsonl")
    with pytest.raises(DataError, match="the examination of other clips"):
        doctor(open_data(small), small, tmp_path / "other")


def test_the_hash_covers_all_that_a_report_depends_on(dataset_of):
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
