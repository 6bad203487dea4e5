"""The folder of a run: one run at a time, and only its own files."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.labels import LabelSet
from earmark.training import TrainingInterrupted
from earmark.training.folder import RunFolder
from tests.training.tones import (
    LABELS,
    SMALL,
    TWO_EPOCHS,
    Broken,
    Tone,
    at_step,
    ctrl_c,
    killed,
    record_of,
    run,
    state_of,
    tones,
    while_reading,
    with_broken,
)


def test_a_run_of_a_version_with_fewer_settings_resumes(tmp_path):
    result = run(tmp_path)
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    del record["config"]["shortest_crop"]
    path.write_text(json.dumps(record))
    assert run(tmp_path, resume=True).history == result.history


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_only_one_process_works_on_a_run(tmp_path, monkeypatch):
    while_reading(monkeypatch, killed)
    with pytest.raises(MemoryError):
        run(tmp_path / "run")
    (tmp_path / "run" / ".resume-0123456789ab.ckpt").write_bytes(b"what the killed process was writing")
    hold = (
        "import sys; from earmark.training.folder import RunFolder as F\nwith F(sys.argv[1]).alone(): print(); input()"
    )
    words = [sys.executable, "-c", hold, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        with pytest.raises(DataError, match="another process is at work there; wait for it, or stop it"):
            run(tmp_path / "run", resume=True)
        other.communicate(b"\n")
    monkeypatch.undo()
    assert run(tmp_path / "run", resume=True).history
    assert not list((tmp_path / "run").glob(".resume-*"))


def test_a_run_without_its_state_does_not_start_again(tmp_path, monkeypatch):
    at_step(monkeypatch, 10, killed)
    with pytest.raises(MemoryError):
        run(tmp_path)
    (tmp_path / "resume.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"resume.ckpt: gone, though metrics.csv has 2 epochs of the run; put it"):
        run(tmp_path, resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_a_run_works_on_file_systems_without_locks(tmp_path, monkeypatch):
    import fcntl

    def missing(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", missing)
    assert run(tmp_path).history


def test_a_run_takes_its_folder_before_it_reads_the_clips(tmp_path, monkeypatch):
    seen = []

    def another():
        seen.append(record_of(tmp_path))
        with pytest.raises(ConfigError, match=r"this holds a run \(run.json\)"):
            run(tmp_path)
        monkeypatch.setattr(RunFolder, "check_new", lambda self: None)
        with pytest.raises(ConfigError, match=r"this holds a run \(run.json\)"):
            run(tmp_path)

    while_reading(monkeypatch, another)
    run(tmp_path, TWO_EPOCHS)
    assert seen[0]["status"] == "preparing" and seen[0]["run_id"] == record_of(tmp_path)["run_id"]
    assert state_of(tmp_path)["run_id"] == seen[0]["run_id"]


@pytest.mark.parametrize("name", ["resume.ckpt", "last.safetensors", "best.safetensors", "metrics.csv"])
def test_a_folder_with_leftovers_of_a_run_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"there are files of a run \({name}\) without its run.json"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_of_other_files_is_refused(tmp_path):
    for name in ("thesis.doc", ".DS_Store"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.doc\); give a new or empty folder"):
        run(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".DS_Store", "thesis.doc"]
    (tmp_path / "thesis.doc").unlink()
    RunFolder(tmp_path).check_new()  # files of the system do not count


def test_a_state_of_another_run_is_refused(tmp_path):
    for name in ("one", "other"):
        run(tmp_path / name, TWO_EPOCHS)
    (tmp_path / "one" / "resume.ckpt").write_bytes((tmp_path / "other" / "resume.ckpt").read_bytes())
    with pytest.raises(CheckpointError, match=r"resume.ckpt: of another run \(\w{16}\) than run.json"):
        run(tmp_path / "one", TWO_EPOCHS, resume=True)


def _in_another_order(data):
    return replace(data, clips=data.clips[::-1])


def _of_other_sounds(data):
    return replace(data, clips=(replace(data[0], audio=replace(data[0].audio, seconds=0.7)), *data.clips[1:]))


def _with_labels_in_another_order(data):
    return replace(data, labels=LabelSet(LABELS.names[::-1]))


@pytest.mark.parametrize("change", [_in_another_order, _of_other_sounds, _with_labels_in_another_order])
def test_the_same_ids_and_labels_are_not_enough_to_resume(tmp_path, monkeypatch, change):
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path)
    changed = change(tones())
    assert changed.fingerprint() == tones().fingerprint()
    with pytest.raises(DataError, match="the train clips as they were when it started; their order"):
        run(tmp_path, data=changed, resume=True)


def test_other_unreadable_clips_than_at_the_start_are_refused(tmp_path, monkeypatch):
    config = replace(SMALL, skip_bad=True)
    data = with_broken(tones(), 1)
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, config, data)
    monkeypatch.setattr(Broken, "load", lambda self, sample_rate: Tone(("low",), 7).load(sample_rate))
    with pytest.raises(DataError, match=r"1 cannot be read now or could not then: broken-0 \(then\);"):
        run(tmp_path, config, data, resume=True)
    monkeypatch.undo()
    run(tmp_path, config, data, resume=True)


def test_invalid_resumptions_and_starts_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no run to resume there .* start a new one"):
        run(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    out = tmp_path / "run"
    run(out)
    with pytest.raises(ConfigError, match=r"this holds a run \(run.json.*resume=True"):
        run(out)
    with pytest.raises(ConfigError, match=r"these differ: learning_rate 0.001 -> 0.01, seed 3 -> 4;"):
        run(out, replace(SMALL, seed=4, learning_rate=0.01, n_workers=1), resume=True)
    with pytest.raises(DataError, match=r"the train clips differ \(16 clips of tones -> 17 clips of tones\)"):
        run(out, data=tones(n_clips=17), resume=True)
    with pytest.raises(DataError, match=r"the valid clips differ \(none -> 3 clips of other\)"):
        run(out, valid=tones("other", 3, first=50), resume=True)
    (out / "resume.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(Exception, match=r"resume.ckpt: damaged or cut off, not readable; start another run"):
        run(out, resume=True)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="a folder for the run was expected"):
        run(file)
