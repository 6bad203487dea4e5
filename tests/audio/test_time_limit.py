"""Decoders that hang."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio import time_limit
from earmark.audio.recording import Audio, load_audio, load_blocks, probe, save_audio
from earmark.data import FileAudio
from earmark.doctor.examination import examine
from earmark.errors import AudioError, ConfigError

RATE = 16000
HUNG = r"^{}: no sound came for 0\.2 s, so it is given up: its decoder hangs, or the disk or network does not answer"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_audio(tmp_path / "a.flac", Audio(np.full(3 * RATE, 0.5, np.float32), RATE))
    return tmp_path / "a.flac"


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A call that returns only when the test ends; the limit is 0.2 s."""
    monkeypatch.setenv(time_limit.VARIABLE, "0.2")
    gate = threading.Event()
    yield lambda *_, **__: gate.wait()
    gate.set()


@pytest.mark.parametrize("call", ["__init__", "read", "seek"])
def test_a_decoder_that_hangs_is_the_failure_of_its_file(
    path: Path, hang: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(soundfile.SoundFile, call, hang)
    with pytest.raises(AudioError, match=HUNG.format(path)):
        load_audio(path, RATE, onset=0.25)
    with pytest.raises(AudioError, match=HUNG.format(path)):
        if call == "__init__":
            probe(path)
        elif call == "read":
            next(load_blocks(path, RATE, 0.3))
        else:
            load_audio(path, RATE, onset=0.5)
    assert "no sound came for 0.2 s" in (examine(FileAudio(path, 0.25)).error or "")


def test_a_disk_that_hangs_is_the_failure_of_its_file(
    path: Path, hang: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", hang)
    with pytest.raises(AudioError, match=HUNG.format(path)):
        load_audio(path, RATE)


def test_the_limit_is_of_a_step_and_not_of_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    call = time_limit.WatchedThread.call

    def recorded(self: time_limit.WatchedThread, task: Callable[[], Any], seconds: float) -> Any:
        limits.append(seconds)
        return call(self, task, seconds)

    monkeypatch.setattr(time_limit.WatchedThread, "call", recorded)
    monkeypatch.setattr(time_limit, "_SKIPPED_SECONDS", 1)
    np.testing.assert_array_equal(load_audio(path, RATE, onset=2.6).waveform, 0.5)
    assert len(limits) >= 6 and set(limits[:-1]) == {time_limit.DEFAULT}  # the last one closes the file


def test_the_limit_is_set_for_this_process_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(time_limit.VARIABLE, "7")
    time_limit.set_time_limit(None)
    assert time_limit.time_limit() == 7
    time_limit.set_time_limit(0.5)
    assert time_limit.time_limit() == 0.5
    monkeypatch.delenv(time_limit.VARIABLE)
    assert time_limit.time_limit() == 300


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", ""])
def test_a_limit_that_is_no_number(path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(time_limit.VARIABLE, text)
    with pytest.raises(ConfigError, match=r"^EARMARK_DECODE_TIMEOUT: a positive number of seconds was expected"):
        load_audio(path, RATE)
