"""`earmark listen` from the command line: a pipe, a recording, and clean ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from earmark import cli
from earmark.annotations.formats import FORMATS
from earmark.audio.recording import Audio, save_audio

COMMAND = [sys.executable, "-m", "earmark", "listen"]


def lines(text: str | bytes) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that comes and goes, with the start of the recording in its name."""
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.2, 16000 * 12) * (np.arange(16000 * 12) // 32000 % 2)
    path = tmp_path_factory.mktemp("sound") / "20240501_053000.wav"
    save_audio(path, Audio(waveform.astype(np.float32), 16000), "PCM_16")
    return path


def test_a_recording_and_a_pipe_have_the_events_of_detect(sound: Path, tmp_path: Path, capfd) -> None:
    assert cli.main(["detect", str(sound), "--threshold", "0.05", "--out", str(tmp_path / "e.csv"), "--quiet"]) == 0
    (expected,) = FORMATS["csv"].read(tmp_path / "e.csv")
    wanted = sorted((event.label, round(event.onset, 3), round(event.offset, 3)) for event in expected.events)
    assert wanted
    capfd.readouterr()
    clips = tmp_path / "clips"
    assert cli.main(["listen", str(sound), "--threshold", "0.05", "--save-clips", str(clips), "--quiet"]) == 0
    found = lines(capfd.readouterr().out)
    events = [line for line in found if line["type"] == "event"]
    assert sorted((line["label"], line["onset"], line["offset"]) for line in events) == wanted
    assert found[0]["type"] == "started" and found[0]["time"].startswith("2024-05-01T05:30:00")
    assert found[-1]["type"] == "finished" and found[-1]["onset"] == 12
    assert all(Path(line["clip"]).is_file() for line in events)
    raw = (np.frombuffer(sound.read_bytes()[44:], "<i2")).tobytes()
    piped = subprocess.run(
        [*COMMAND, "-", "--sample-rate", "16000", "--threshold", "0.05", "--quiet"],
        input=raw,
        capture_output=True,
        check=True,
    )
    events = [line for line in lines(piped.stdout) if line["type"] == "event"]
    assert sorted((line["label"], line["onset"], line["offset"]) for line in events) == wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_the_events_that_last(number: int) -> None:
    command = [*COMMAND, "-", "--sample-rate", "16000", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(bytes(32000 * 3))
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["type"] == "started"
        process.send_signal(number)
        assert lines(process.stdout.read())[-1]["type"] == "finished"
    assert process.returncode == 0


def test_flags_are_checked_before_the_work(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        assert cli.main(["listen", "-", "--sample-rate", "16000", "--exec", ""]) == 2
    assert "--exec" in capfd.readouterr().err
    assert cli.main(["listen", "no/such.wav"]) == 2
    assert "no/such.wav: no such file" in capfd.readouterr().err
