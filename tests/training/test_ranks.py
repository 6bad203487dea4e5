"""Several processes, one run: `earmark train --devices 2` on the CPU, and what each process has to do with it."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from earmark import cli
from earmark.audio import Audio, save_audio
from earmark.data import open_data
from earmark.data.targets import Targets
from earmark.errors import AudioError, ConfigError, DataError, EarmarkError
from earmark.labels import LabelSet
from earmark.training import TrainConfig, launch
from earmark.training.batches import Loader, LogMels, TrainBatches, ValidBatches
from earmark.training.ranks import ALONE, Rank
from earmark.training.settings import Plan

N_CLIPS = 24
SETTINGS = {
    "width": 2,
    "n_heads": 2,
    "sample_rate": 16000,
    "n_clips_seen": 400,
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


# --- what each process does ------------------------------------------------------------------------------------------


def test_the_environment_says_who_one_is(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Rank.from_environment() == ALONE
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="LOCAL_RANK and MASTER_ADDR and MASTER_PORT must be too"):
        Rank.from_environment()
    for name, value in (("LOCAL_RANK", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Rank.from_environment() == Rank(3, 4, 1, 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="cannot be"):
        Rank.from_environment()
    monkeypatch.setenv("LOCAL_RANK", "one")
    with pytest.raises(ConfigError, match="whole numbers were expected"):
        Rank.from_environment()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"devices": 3}, "batch_size: a multiple of the 3 devices was expected, not 8"),
        ({"devices": 2, "num_nodes": 3}, "a multiple of the 6 devices"),
        ({"devices": 0}, "devices: 1 or more was expected"),
        ({"devices": 2, "device": "mps"}, "2 processes share cpu or cuda, not mps"),
        ({"devices": 2, "device": "cuda:1"}, "leave out the device's number"),
    ],
)
def test_devices_that_cannot_be(settings, text):
    with pytest.raises(ConfigError, match=text):
        TrainConfig(batch_size=8, **{"device": "cpu", **settings})


@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("order", ["clips", "blocks", "balanced"])
def test_no_clip_is_lost_or_doubled(n_ranks, n_workers, order):
    labels = LabelSet(("a", "b"))
    ids = [str(number) for number in range(22)]
    features = LogMels([np.full((3, 1), number, np.float32) for number in range(22)])
    targets = Targets([("a",) if number % 3 else ("a", "b") for number in range(22)], labels)
    plan = Plan(n_steps=11, steps_per_epoch=11, batch_size=4, n_warmup_steps=0)
    shown, alone, valid = [], [], []
    for number in range(n_ranks):
        batches = TrainBatches(features, targets, ids, plan, order, 3, 0, Rank(number, n_ranks, number, n_ranks))
        # a run that was stopped after 3 steps, and goes on
        for steps in (range(3), range(3, plan.n_steps)):
            for batch in Loader(batches, steps, n_workers, pin_memory=False):
                assert len(batch.ids) == 4 // n_ranks
                assert batch.features[:, 0, 0].tolist() == [float(name) for name in batch.ids]
                shown += [(batch.step, name) for name in batch.ids]
        own = ValidBatches(features, targets, ids, 4)
        valid += [n for b in Loader(own, range(number, len(own), n_ranks), n_workers, False) for n in b.ids]
    for step in range(plan.n_steps):
        batch = TrainBatches(features, targets, ids, plan, order, 3, 0)[step]
        alone += [(step, name) for name in batch.ids]
    assert sorted(shown) == sorted(alone), "the steps have the clips that one process gives them"
    if order != "balanced":
        counts = np.bincount([int(name) for _, name in shown], minlength=22)
        assert counts.tolist() == [2] * 22, "44 clips shown are two passes over 22"
    assert sorted(valid) == sorted(ids)


class _Spoilt(LogMels):
    """Features of which some cannot be read."""

    def __getitem__(self, clip: int) -> np.ndarray:
        if clip in (0, 5):
            raise AudioError(f"{clip}: damaged")
        return super().__getitem__(clip)


def test_a_clip_that_cannot_be_read_leaves_the_crops_of_the_others():
    log_mels = [np.arange(100 * number, 100 * number + 50, dtype=np.float32)[:, None] for number in range(8)]
    targets = Targets([("a",)] * 8, LabelSet(("a",)))

    def crops(features, rank: Rank = ALONE) -> dict[tuple[int, str], float]:
        plan = Plan(n_steps=4, steps_per_epoch=4, batch_size=4, n_warmup_steps=0)
        batches = TrainBatches(features, targets, [str(n) for n in range(8)], plan, "clips", 5, 0, rank)
        of_steps = (batches[step] for step in range(plan.n_steps))
        return {(b.step, id_): float(x[0, 0]) for b in of_steps for id_, x in zip(b.ids, b.features, strict=True)}

    whole = crops(LogMels(log_mels))
    spoilt = {key: start for key, start in whole.items() if key[1] not in ("0", "5")}
    assert crops(_Spoilt(log_mels)) == spoilt
    assert crops(_Spoilt(log_mels), Rank(0, 2, 0, 2)) | crops(_Spoilt(log_mels), Rank(1, 2, 1, 2)) == spoilt


# --- runs ------------------------------------------------------------------------------------------------------------


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
        # clips are read by two workers of each process
        ({"freeze_batch_norm": True, "cache": "none", "n_workers": 2, "n_clips_seen": 80}, 1e-5),
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
    """Status and standard error of a run to which `act(process)` happened after so many epochs of it."""

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
                told = process.communicate()[1]
            finally:
                process.kill()
        return process.returncode, told

    return acted


def n_rows(out: Path) -> int:
    return len((out / "metrics.csv").read_text().splitlines()) if (out / "metrics.csv").exists() else 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
def test_interrupted_and_killed_it_goes_on_and_torchrun_is_the_same(clips, tmp_path, undisturbed, after_epochs):
    out = tmp_path / "run"
    status, told = after_epochs(1, command(clips, out, "--devices", "2"), out, lambda p: p.send_signal(signal.SIGINT))
    assert status == 130 and "--resume goes on from there" in told, told
    assert "Traceback" not in told
    arguments = ["train", "--out", str(out), "--resume", "--quiet"]
    status, told = after_epochs(4, arguments, out, lambda p: os.kill(ranks(p.pid)[1], signal.SIGKILL))
    lines = [line for line in told.splitlines() if line.startswith("error: ")]
    assert status == 1 and len(lines) == 1, told
    assert "of the run was killed (SIGKILL" in lines[0] and "--resume goes on" in lines[0], told
    assert not (out / "run.json").read_text().count('"finished"')
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "earmark"]
    words = [sys.executable, *torchrun, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best.safetensors") == 1, "one process speaks"
    assert_same(out, undisturbed)


def with_a_bad_clip(clips: Path, folder: Path) -> Path:
    """The table, with a clip more that is none."""
    (folder / "bad.wav").write_bytes(b"nonsense")
    paths = [line if n == 0 else f"{clips.parent}/{line}" for n, line in enumerate(clips.read_text().splitlines())]
    (folder / "clips.csv").write_text("\n".join([*paths, "bad.wav,low,train"]) + "\n")
    return folder / "clips.csv"


def _first_process(process: subprocess.Popen, out: Path) -> bool:
    return len(ranks(process.pid)) >= 1  # on a busy machine the second may be there before anybody looks


def _both_processes(process: subprocess.Popen, out: Path) -> bool:
    return len(ranks(process.pid)) == 2


def _preparing(process: subprocess.Popen, out: Path) -> bool:
    return (out / "run.json").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
@pytest.mark.parametrize("moment", [_first_process, _both_processes, _preparing])
def test_ctrl_c_while_the_processes_start_ends_all_of_them(clips, tmp_path, moment, wait_until):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "earmark", *command(clips, out, "--devices", "2", n_clips_seen=4000)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            wait_until(lambda: moment(process, out), process)
            started = ranks(process.pid)
            process.send_signal(signal.SIGINT)
            told = process.communicate()[1]
        finally:
            process.kill()
    assert process.returncode == 130 and told.count("error: stopped") == 1 and "Traceback" not in told, told
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_an_error_of_one_process_is_told_once(clips, tmp_path, capfd):
    spoilt = with_a_bad_clip(clips, tmp_path)
    assert cli.main(command(spoilt, tmp_path / "run", "--devices", "2", cache="none", balanced=False)) == 1
    told = capfd.readouterr().err
    assert told.count("error: ") == 1 and "bad.wav" in told and "Traceback" not in told, told


def test_clips_that_cannot_be_read_are_known_to_all_and_sigterm_saves_too(clips, tmp_path, after_epochs):
    out = tmp_path / "run"
    spoilt = with_a_bad_clip(clips, tmp_path)
    arguments = command(spoilt, out, "--devices", "2", cache="none", balanced=False, skip_bad=True)
    status, told = after_epochs(2, arguments, out, lambda p: p.send_signal(signal.SIGTERM))
    assert status == 130 and "--resume goes on from there" in told, told
    assert [clip["id"] for clip in record_of(out)["skipped"]] == ["bad.wav"]


def test_several_machines_must_find_each_other(clips, tmp_path, capfd):
    assert cli.main(command(clips, tmp_path / "run", "--devices", "2", "--num-nodes", "2")) == 1
    assert "MASTER_ADDR, MASTER_PORT, NODE_RANK must be set" in capfd.readouterr().err


def two_machines(clips: Path, folder: Path, act=lambda processes: None, **of_second) -> list[tuple[int, str, str]]:
    """Two commands of one process each, as on two machines that share no disk: status, output, errors of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for node in (0, 1):
        own = {**environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(node)}
        arguments = command(clips, folder / f"node{node}", "--num-nodes", "2", **(of_second if node else {}))
        words = [sys.executable, "-m", "earmark", *arguments]
        processes.append(subprocess.Popen(words, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    try:
        act(processes)
        told = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


def test_two_machines_are_two_processes_and_the_first_writes_and_speaks(clips, tmp_path, undisturbed):
    first, second = two_machines(clips, tmp_path)
    assert first[0] == second[0] == 0, (first, second)
    assert "best.safetensors" in first[1] and second[1:] == ("", "")
    assert not (tmp_path / "node1").exists()
    assert_same(tmp_path / "node0", undisturbed)


def test_machines_that_were_told_different_things_do_not_start(clips, tmp_path):
    first, second = two_machines(clips, tmp_path, learning_rate=0.1)
    assert first[0] == second[0] == 1
    for _, _, errors in (first, second):
        assert "error: process 1 of the run has other settings than process 0" in errors, errors
    assert not (tmp_path / "node0").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by way of /proc")
def test_a_process_killed_on_one_machine_is_a_line_on_both(clips, tmp_path, wait_until):
    def kill(processes):
        wait_until(lambda: n_rows(tmp_path / "node0") > 1, processes[0])
        os.kill(ranks(processes[0].pid)[0], signal.SIGKILL)

    first, second = two_machines(clips, tmp_path, kill)
    assert first[0] == second[0] == 1
    assert "process 0 of the run was killed (SIGKILL" in first[2] and "Traceback" not in first[2]
    assert "error: another process of the run was lost" in second[2] and "Traceback" not in second[2], second[2]


def test_clips_are_not_shared_unevenly():
    config = TrainConfig(**SETTINGS)
    ALONE.check(config)
    Rank(1, 4, 1, 4).check(config)
    with pytest.raises(ConfigError, match="a multiple of the 3 devices was expected, not 8"):
        Rank(0, 3, 0, 3).check(config)
    with pytest.raises(ConfigError, match="2 were asked for where torchrun has started 4 processes"):
        Rank(0, 4, 0, 4).check(replace(config, devices=2))
    with pytest.raises(ConfigError, match="leave out the device's number"):
        Rank(0, 2, 0, 2).check(replace(config, device="cuda:1"))


@dataclass
class Ended:
    """A process as `launch` sees one, that ends when it has been looked at so many times."""

    exitcode: int
    n_looks: float = 0

    def __post_init__(self):
        self.sentinel = os.open(os.devnull, os.O_RDONLY)

    def is_alive(self):
        self.n_looks -= 1
        return self.n_looks >= 0


def child(
    rank: int, code: int, n_looks: float = 0, kind: str = "", told: str = "", ended: float = 0.0
) -> launch._Child:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.close()
    return launch._Child(rank, Ended(code, n_looks), receiver, kind, told, ended=ended)


def test_the_first_process_may_take_its_time_to_save_what_was_interrupted(monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.0)
    children = [child(0, 1, 1000, "TrainingInterrupted", "saved"), child(1, 1, 0, "TrainingInterrupted", "stopped")]
    launch._watch(children)
    assert not children[0].process.is_alive()
    failing = [child(0, 0, float("inf")), child(1, 1, 0, "DataError", "bad.wav")]
    launch._watch(failing)
    assert failing[0].process.is_alive(), "nobody waits for it"


@pytest.mark.parametrize(
    ("children", "error", "text"),
    [
        ([child(0, -6), child(1, 1, kind="DataError", told="3.wav")], DataError, "^3.wav$"),
        ([child(0, 1, kind="PeerLost", told="lost"), child(1, -9)], EarmarkError, "process 1 .* killed \\(SIGKILL"),
        ([child(0, 1, kind="PeerLost", told="lost"), child(1, 1, told="Traceback", ended=1.0)], EarmarkError, "^lost$"),
        ([child(0, 1, told="Traceback: a bug")], RuntimeError, "process 0 of the run failed:\nTraceback: a bug"),
    ],
)
def test_what_brought_down_a_run_is_told(children, error, text):
    with pytest.raises(error, match=text):
        launch._outcome(children)


def test_the_data_of_a_run_are_those_of_any_number_of_devices(clips):
    data = open_data(f"csv:{clips}")
    config = TrainConfig(**SETTINGS)
    assert Plan.of(config, len(data)) == Plan.of(replace(config, devices=2), len(data))
