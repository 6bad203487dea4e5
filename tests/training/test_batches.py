"""Batches, and the processes that read them."""

import os
import signal
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.data.targets import Targets
from earmark.errors import EarmarkError
from earmark.model.frontend import FLOOR_DB
from earmark.training.batches import ValidBatches, Waveforms, batches_of_workers, load_batches, sound_or_error
from tests.training.tones import (
    LABELS,
    SMALL,
    Tone,
    assert_same_state,
    batches_of,
    record_of,
    run,
    state_of,
    targets_of,
    tones,
    with_broken,
)


@pytest.mark.parametrize("order", ["balanced", "clips", "blocks"])
def test_a_batch_depends_on_the_seed_and_its_step_alone(order):
    data = tones(n_clips=7, seconds=1.2)
    features = Waveforms(data.clips, 16000)
    one, other = (batches_of(data, features, order=order) for _ in range(2))
    forth, back = [one[step] for step in range(8)], [other[step] for step in range(7, -1, -1)][::-1]
    for a, b in zip(forth, back, strict=True):
        assert a.ids == b.ids and torch.equal(a.features, b.features) and torch.equal(a.target, b.target)
    # one block of 7 clips is read as it lies
    assert order == "blocks" or any(
        a.ids != batches_of(data, features, order=order, seed=1)[i].ids for i, a in enumerate(forth)
    )
    if order != "balanced":
        shown = [name for batch in forth for name in batch.ids][:28]
        assert all(len(set(shown[i : i + 7])) == 7 for i in range(0, 28, 7)), "each pass shows each clip once"


def test_a_batch_is_padded_and_its_rows_belong_together():
    clips = tuple(Clip(str(i), ("low",), Tone(("low",), i, 0.25 * (i + 1))) for i in range(4))
    data = Dataset("lengths", LABELS, clips)
    batch = batches_of(data, Waveforms(clips, 16000), order="clips")[0]
    assert sorted(batch.ids) == ["0", "1", "2", "3"] and batch.features.shape == (4, 16000)
    for row, name in enumerate(batch.ids):
        length = 4000 * (int(name) + 1)
        assert batch.lengths[row] == length
        np.testing.assert_array_equal(batch.features[row, :length], clips[int(name)].load(16000).waveform)
        assert not batch.features[row, length:].any()


def test_long_clips_are_cropped_at_random():
    array = np.arange(100, dtype=np.float32)[:, None] * np.ones(64, np.float32)
    data = tones(n_clips=1)
    batches = batches_of(data, [array], crop=40)
    starts = set()
    for step in range(50):
        for row in batches[step].features[:, :, 0]:
            assert torch.equal(row, torch.arange(row[0].item(), row[0].item() + 40))
            starts.add(int(row[0]))
    assert min(starts) <= 2 and max(starts) >= 58 and len(starts) > 40
    valid = ValidBatches([array], targets_of(data), ["a"], 4)[0]
    assert valid.features.shape == (1, 100, 64)


def test_shorter_log_mels_are_padded_with_silence():
    data = tones(n_clips=2)
    mels = [np.zeros((n, 64), np.float32) for n in (10, 20)]
    batch = ValidBatches(mels, targets_of(data), ["a", "b"], 4)[0]
    assert (batch.features[0, 10:] == FLOOR_DB).all() and (batch.features[1] == 0).all()


def test_unlabelled_clips_are_drawn_too():
    data = tones(n_clips=14)
    data = replace(data, clips=(*data.clips, Clip("nothing", (), Tone((), 99))))
    batches = batches_of(data, Waveforms(data.clips, 16000))
    shown = [number for step in range(45) for number in batches.clips(step).tolist()]
    assert 0.2 < shown.count(14) / len(shown) < 0.3, "a quarter, beside three labels"


def test_reading_in_other_processes_changes_nothing(tmp_path):
    config = replace(SMALL, n_clips_seen=32)
    run(tmp_path / "main", replace(config, cache="none"))
    run(tmp_path / "workers", replace(config, cache="none", n_workers=2), valid=tones("other", 4, first=50))
    run(tmp_path / "cache", replace(config, cache="log_mel"))
    states = [state_of(tmp_path / name) for name in ("main", "workers", "cache")]
    assert_same_state(states[0]["averaged"], states[1]["averaged"])
    for name, value in states[0]["averaged"].items():
        torch.testing.assert_close(states[2]["averaged"][name], value, rtol=1e-3, atol=1e-4)


@dataclass(frozen=True)
class _Fatal:
    """A sound that kills the process that reads it, like the system when memory runs out."""

    def load(self, sample_rate: int) -> Audio:
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return Tone(("low",), 0).load(sample_rate)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_reader_is_reported_in_a_line(tmp_path):
    data = Dataset("fatal", LABELS, (Clip("fatal", ("low",), _Fatal()), *tones(n_clips=7)))
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        run(tmp_path, replace(SMALL, cache="none", n_workers=1, balanced=False), data)
    assert record_of(tmp_path)["status"] == "failed"


def handing_over(*batches, error):
    """A loader whose worker dies after these batches."""
    yield from batches
    raise error


@pytest.mark.parametrize(
    "error",
    [
        EOFError(),
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionRefusedError(111, "Connection refused"),
        BrokenPipeError(32, "Broken pipe"),
        OSError("got end of file during message"),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        RuntimeError("Pin memory thread exited unexpectedly"),
    ],
    ids=repr,
)
def test_a_worker_killed_while_it_hands_over_a_batch_is_reported_in_a_line(error):
    handed_over = batches_of_workers(handing_over("batch", error=error))
    assert next(handed_over) == "batch"
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        next(handed_over)


@pytest.mark.parametrize(
    "error",
    [
        EOFError("Caught EOFError in DataLoader worker process 0.\nOriginal Traceback ..."),
        OSError(28, "No space left on device"),
        RuntimeError("CUDA error"),
        EarmarkError("damaged"),
    ],
    ids=repr,
)
def test_other_errors_of_a_loader_keep_their_class(error):
    with pytest.raises(type(error)) as raised:
        next(batches_of_workers(handing_over(error=error)))
    assert raised.value is error


def test_a_run_whose_worker_is_killed_while_it_hands_over_a_batch_ends_with_a_line(tmp_path, monkeypatch):
    class CutOff(DataLoader):
        def __iter__(self):
            # as the loader's queue says it, which looks at its workers before the killed one counts as dead
            return handing_over(next(super().__iter__()), error=EOFError())

    monkeypatch.setattr("earmark.training.batches.DataLoader", CutOff)
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        run(tmp_path, replace(SMALL, cache="none", n_workers=1))
    assert record_of(tmp_path)["status"] == "failed"


def test_an_end_of_file_in_the_data_does_not_count_as_a_killed_worker():
    class Cut(Waveforms):
        def __getitem__(self, clip):
            raise EOFError("of the data")

    batches = ValidBatches(Cut((), 16000), Targets([("low",)], LABELS), ["a"], 1)
    with pytest.raises(EOFError, match="of the data"):
        next(iter(load_batches(batches, range(1), n_workers=0)))


def test_a_clip_is_its_sound_or_the_text_of_its_error():
    clips = with_broken(tones(n_clips=1), 1)
    assert sound_or_error(clips[0], 16000) == "broken.wav: damaged"
    sound = sound_or_error(clips[1], 8000)
    assert sound.sample_rate == 8000 and np.array_equal(sound.waveform, clips[1].load(8000).waveform)
