"""Names of live sources: what each means, and which flags belong to it."""

import os
import sys
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from earmark.cli.live_sources import named_source
from earmark.errors import AudioError, EarmarkError


def named(source, sample_rate=None, channels=None):
    return named_source(source, sample_rate, channels, "int16", 30.0)


@pytest.fixture(autouse=True)
def standard_input(monkeypatch):
    with Path(os.devnull).open() as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        yield


def test_an_input_that_has_ended_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "sound"
    path.write_bytes(b"no sound" * 100)
    with path.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        source = named("-")
        with pytest.raises(EarmarkError, match="standard input: cannot be opened") as error:
            source.open()
    assert not isinstance(error.value, AudioError), "a lost source is opened again"


def test_a_url_is_shown_without_its_secrets():
    source = named("rtsp://user:secret@camera.local/live?token=abc")
    assert source.name == "rtsp://camera.local/live" and source.is_live


def test_a_file_is_a_recording_and_a_name_is_a_microphone(tmp_path: Path):
    path = tmp_path / "20240501_053000.wav"
    path.write_bytes(b"")
    recording = named(str(path))
    assert (recording.is_live, recording.recording) == (False, str(path))
    assert named("usb").name == "microphone usb" and named(None).name == "the microphone"
    assert named("-", 16000).name == "standard input"


@pytest.mark.parametrize(
    ("source", "rate", "channels", "words"),
    [
        ("http://radio/live", 16000, None, "--sample-rate is for raw samples"),
        ("-", None, 2, "--channels is for raw samples .* give --sample-rate too"),
        ("no/such.wav", None, None, "no/such.wav: no such file"),
    ],
)
def test_flags_of_other_sources_are_refused(source, rate, channels, words):
    with pytest.raises(CycloptsError, match=words):
        named(source, rate, channels)
