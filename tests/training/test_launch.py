"""Several processes, one run: `earmark train --devices 2` on the CPU, and torchrun."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.errors import DataError
from earmark.parallel.pool import Death
from earmark.training import TrainConfig, TrainingInterrupted, launch
from earmark.training.ranks import PeerLost

N_CLIPS = 24


SETTINGS = {
    "width": 2,
    "n_heads": 2,
    "sample_rate": 16000,
    "n_clips_seen": 280,
    "clips_per_epoch": 40,
    "batch_size": 8,
    "clip_duration": 0.6,
    "ema_decay": 0.9,
    "n_workers": 0,
    "cache": "log_mel",
    "device": "cpu",
    "precision": "float32",
    "seed": 5,
}


QUIET_DROPOUT = {"block_dropout": 0.0, "dropout": 0.0}
"""Dropout is drawn by each process for its own clips; all else is the same on any number of devices."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A table of short tones, with some for validation."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["path,labels,split"]
    for number in range(N_CLIPS + 10):
        rng = np.random.default_rng(number)
        seconds = 0.5 + 0.05 * (number % 4)  # padding, too, must not depend on the number of processes
        wave = 0.02 * rng.standard_normal(round(16000 * seconds))
        names = [name for bit, name in enumerate(("low", "high")) if (number % 3 + 1) >> bit & 1]
        for name in names:
            wave += 0.3 * np.sin(2 * np.pi * {"low": 400, "high": 3000}[name] * np.arange(len(wave)) / 16000)
        save_audio(folder / f"{number}.wav", Audio(wave.astype(np.float32), 16000))
        rows.append(f"{number}.wav,{';'.join(names)},{'train' if number < N_CLIPS else 'valid'}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def command(clips: Path, out: Path, *flags: str, **settings) -> list[str]:
    config = out.with_suffix(".json")
    config.write_text(json.dumps({**SETTINGS, **settings}))
    data = [f"csv:{clips}", "--split", "train", "--valid-split", "valid"]
    return ["train", *data, "--out", str(out), "--config", str(config), "--quiet", *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def record_of(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last.safetensors")


def rows(out: Path) -> list[list[str]]:
    """Losses and figures of the epochs, clocks aside."""
    lines = [line.split(",") for line in (out / "metrics.csv").read_text().splitlines()]
    keep = [i for i, name in enumerate(lines[0]) if "second" not in name and name != "data_share"]
    return [[line[i] for i in keep] for line in lines]


def assert_near(one: Path, other: Path, tolerance: float) -> None:
    a, b = weights(one), weights(other)
    for name, value in a.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, b[name], rtol=tolerance, atol=tolerance, msg=name)
        else:
            assert torch.equal(value, b[name]), name
    for row, twin in zip(rows(one)[1:], rows(other)[1:], strict=True):
        np.testing.assert_allclose([float(x) for x in row], [float(x) for x in twin], rtol=1e-5)


def assert_same(one: Path, other: Path) -> None:
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    best = [load_file(folder / "best.safetensors") for folder in (one, other)]
    assert best[0].keys() == best[1].keys()
    assert all(torch.equal(value, best[1][name]) for name, value in best[0].items())
    assert rows(one) == rows(other)


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"freeze_batch_norm": True, "cache": "none", "n_clips_seen": 80}, 1e-5),
        # Adam makes large steps of gradients that are 0 but for rounding, such as those that batch norm takes away
        ({"sync_batch_norm": True, "n_clips_seen": 80}, 1e-3),
    ],
    ids=["batch norm in evaluation mode", "synchronised"],
)
def test_two_processes_train_as_one(clips, tmp_path, settings, tolerance, capfd):
    """Mixup, SpecAugment, balanced sampling, moving average and validation are all on."""
    assert cli.main(command(clips, tmp_path / "one", **QUIET_DROPOUT, **settings)) == 0
    capfd.readouterr()
    assert cli.main(command(clips, tmp_path / "two", "--devices", "2", **QUIET_DROPOUT, **settings)) == 0
    assert_near(tmp_path / "one", tmp_path / "two", tolerance)
    assert record_of(tmp_path / "two")["n_processes"] == 2
    assert capfd.readouterr().out.count("best.safetensors") == 1, "one process speaks"


@pytest.fixture(scope="module")
def undisturbed(clips, tmp_path_factory) -> Path:
    """A run on two processes, as the defaults have it."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    n_threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")  # as in the runs that are to be the same to the bit
        torch.set_num_threads(1)
        assert cli.main(command(clips, out, "--devices", "2")) == 0
    torch.set_num_threads(n_threads)
    return out


def children(pid: int) -> list[int]:
    """Processes that were started by this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(entry.parent.name))
    return sorted(found)


def ranks(pid: int) -> list[int]:
    """The processes of the run; multiprocessing has one beside them that watches over its resources."""
    found = []
    for child in children(pid):
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found


@pytest.fixture
def after_epochs(wait_until):
    """Status and standard error of a run after `act(process)` at the end of this epoch."""

    def acted(n_epochs: int, arguments: list[str], out: Path, act) -> tuple[int, str]:
        with subprocess.Popen(
            [sys.executable, "-m", "earmark", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            try:
                wait_until(lambda: n_rows(out) > n_epochs, process)
                act(process)
                printed = process.communicate()[1]
            finally:
                process.kill()
        return process.returncode, printed

    return acted


def n_rows(out: Path) -> int:
    return len((out / "metrics.csv").read_text().splitlines()) if (out / "metrics.csv").exists() else 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
def test_an_interrupted_or_killed_run_resumes_also_under_torchrun(clips, tmp_path, undisturbed, after_epochs):
    out = tmp_path / "run"
    status, printed = after_epochs(
        1, command(clips, out, "--devices", "2"), out, lambda p: p.send_signal(signal.SIGINT)
    )
    assert status == 130 and "--resume continues" in printed, printed
    assert "Traceback" not in printed
    arguments = ["train", "--out", str(out), "--resume", "--quiet"]
    status, printed = after_epochs(4, arguments, out, lambda p: os.kill(ranks(p.pid)[1], signal.SIGKILL))
    lines = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert status == 1 and len(lines) == 1, printed
    assert (
        "of the run was killed by signal 9 (if nobody did it, memory" in lines[0] and "--resume continues" in lines[0]
    ), printed
    assert not (out / "run.json").read_text().count('"finished"')
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "earmark"]
    words = [sys.executable, *torchrun, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best.safetensors") == 1, "one process speaks"
    assert_same(out, undisturbed)


def with_a_bad_clip(clips: Path, folder: Path) -> Path:
    """The table with one more clip, which is unreadable."""
    (folder / "bad.wav").write_bytes(b"nonsense")
    paths = [line if n == 0 else f"{clips.parent}/{line}" for n, line in enumerate(clips.read_text().splitlines())]
    (folder / "clips.csv").write_text("\n".join([*paths, "bad.wav,low,train"]) + "\n")
    return folder / "clips.csv"


def _first_process(process: subprocess.Popen, out: Path) -> bool:
    return len(ranks(process.pid)) >= 1  # on a busy machine the second epoch may be over before the first check


def _preparing(process: subprocess.Popen, out: Path) -> bool:
    return (out / "run.json").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
@pytest.mark.parametrize("moment", [_first_process, _preparing])
def test_ctrl_c_while_the_processes_start_ends_all_of_them(clips, tmp_path, moment, wait_until):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "earmark", *command(clips, out, "--devices", "2", n_clips_seen=4000)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            wait_until(lambda: moment(process, out), process)
            started = ranks(process.pid)
            process.send_signal(signal.SIGINT)
            printed = process.communicate()[1]
        finally:
            process.kill()
    assert process.returncode == 130 and printed.count("error: stopped") == 1 and "Traceback" not in printed, printed
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_an_error_of_one_process_is_reported_once(clips, tmp_path, capfd):
    spoilt = with_a_bad_clip(clips, tmp_path)
    assert cli.main(command(spoilt, tmp_path / "run", "--devices", "2", cache="none", balanced=False)) == 1
    printed = capfd.readouterr().err
    assert printed.count("error: ") == 1 and "bad.wav" in printed and "Traceback" not in printed, printed


def test_all_processes_know_unreadable_clips_and_sigterm_saves(clips, tmp_path, after_epochs):
    out = tmp_path / "run"
    spoilt = with_a_bad_clip(clips, tmp_path)
    arguments = command(spoilt, out, "--devices", "2", cache="none", balanced=False, skip_bad=True)
    status, printed = after_epochs(2, arguments, out, lambda p: p.send_signal(signal.SIGTERM))
    assert status == 130 and "--resume continues" in printed, printed
    assert [clip["id"] for clip in record_of(out)["skipped"]] == ["bad.wav"]


def test_several_machines_must_find_each_other(clips, tmp_path, capfd):
    assert cli.main(command(clips, tmp_path / "run", "--devices", "2", "--num-nodes", "2")) == 1
    assert "MASTER_ADDR, MASTER_PORT, NODE_RANK must be set" in capfd.readouterr().err


def two_machines(clips: Path, folder: Path, act=lambda processes: None) -> list[tuple[int, str, str]]:
    """Two commands of one process each, as on two machines that share no disk: status, output, errors of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for node in (0, 1):
        own = {**environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(node)}
        arguments = command(clips, folder / f"node{node}", "--num-nodes", "2")
        words = [sys.executable, "-m", "earmark", *arguments]
        processes.append(subprocess.Popen(words, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    try:
        act(processes)
        printed = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, printed, strict=True)]


def test_two_machines_train_as_two_processes_and_only_the_first_writes_and_prints(clips, tmp_path, undisturbed):
    first, second = two_machines(clips, tmp_path)
    assert first[0] == second[0] == 0, (first, second)
    assert "best.safetensors" in first[1] and second[1:] == ("", "")
    assert not (tmp_path / "node1").exists()
    assert_same(tmp_path / "node0", undisturbed)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
def test_a_process_killed_on_one_machine_gives_one_error_line_on_both(clips, tmp_path, wait_until):
    def kill(processes):
        wait_until(lambda: n_rows(tmp_path / "node0") > 1, processes[0])
        os.kill(ranks(processes[0].pid)[0], signal.SIGKILL)

    first, second = two_machines(clips, tmp_path, kill)
    assert first[0] == second[0] == 1
    assert "process 0 of the run was killed by signal 9" in first[2] and "Traceback" not in first[2]
    assert "error: another process of the run was lost" in second[2] and "Traceback" not in second[2], second[2]


@pytest.mark.parametrize(
    ("outcomes", "cause"),
    [
        ([Death(-6), DataError("3.wav")], 1),
        ([PeerLost("lost"), Death(-9)], 1),
        ([PeerLost("lost"), RuntimeError("a bug or one more consequence")], 0),
        ([RuntimeError("a bug"), PeerLost("lost")], 0),
        ([KeyboardInterrupt(), TrainingInterrupted("saved"), Death(-9), PeerLost("lost")], 1),
        ([TrainingInterrupted("saved"), DataError("3.wav")], 1),
    ],
    ids=repr,
)
def test_the_outcome_that_says_most_is_reported(monkeypatch, outcomes, cause):
    monkeypatch.setattr(launch.Pool, "run", lambda self, task, ranks: zip(ranks, outcomes, strict=True))
    config = TrainConfig(devices=len(outcomes), batch_size=len(outcomes))
    with pytest.raises(BaseException) as caught:
        launch.launch(config, print)
    if isinstance(outcomes[cause], Death):
        assert f"process {cause} of the run was killed by signal 9" in str(caught.value)
    else:
        assert caught.value is outcomes[cause]


def test_an_interruption_before_anything_was_saved_is_one_all_the_same(monkeypatch):
    def interrupted(self, task, ranks):
        yield 0, Death(-9)
        yield 1, KeyboardInterrupt()
        raise KeyboardInterrupt

    monkeypatch.setattr(launch.Pool, "run", interrupted)
    with pytest.raises(TrainingInterrupted, match=r"^stopped; --resume"):
        launch.launch(TrainConfig(devices=2), print)
