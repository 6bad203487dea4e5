"""Recordings from pipes: each format, errors that name the pipe, and pipes that deliver nothing."""

import errno
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio import time_limit
from earmark.audio.pipes import temporary_copy
from earmark.audio.recording import load_audio
from earmark.errors import AudioError

RATE = 16000
FORMATS = [
    ("wav", "PCM_16"),
    ("wav", "FLOAT"),
    ("wav", "GSM610"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("opus", "OPUS"),
    ("mp3", "MPEG_LAYER_III"),
    ("aiff", "PCM_16"),
    ("au", "PCM_16"),
    ("caf", "PCM_16"),
    ("w64", "PCM_16"),
    ("rf64", "PCM_16"),
]


def write(path: Path, subtype: str | None = None) -> Path:
    file_format = {"opus": "OGG"}.get(path.suffix[1:], path.suffix[1:].upper())
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    soundfile.write(path, noise, RATE, format=file_format, subtype=subtype)
    return path


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_a_pipe_of_any_format_is_read(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = write(tmp_path / f"noise.{suffix}", subtype)
    incoming, outgoing = os.pipe()

    def feed() -> None:
        with os.fdopen(outgoing, "wb") as pipe:
            pipe.write(path.read_bytes())

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(incoming, "rb") as stream, temporary_copy(stream) as temporary:
        thread.join()
        assert temporary.stat().st_mode & 0o077 == 0 or temporary.parent.stat().st_mode & 0o077 == 0
        np.testing.assert_array_equal(load_audio(temporary, RATE).waveform, load_audio(path, RATE).waveform)
    assert not temporary.parent.exists()


def test_errors_about_a_pipe_name_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:99])
    with (tmp_path / "cut").open("rb") as stream:
        with (
            pytest.raises(AudioError, match=r"^standard input: cut off, ") as caught,
            temporary_copy(stream) as temporary,
        ):
            load_audio(temporary, RATE)
        assert not temporary.exists()
        assert str(temporary.parent) not in str(caught.value)
        with pytest.raises(AudioError, match=r"^-: empty, received 0 bytes$"), temporary_copy(stream, "-"):
            pass
        monkeypatch.setattr(shutil, "copyfileobj", full)
        text = "cannot be copied to a temporary file: No space left on device; set TMPDIR"
        with pytest.raises(AudioError, match=text), temporary_copy(stream):
            pass


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_named_pipe_that_never_delivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv(time_limit.VARIABLE, "0.2")
    # opened for both directions, it is never at its end
    with os.fdopen(os.open(tmp_path / "pipe", os.O_RDWR), "rb", buffering=0) as stream:
        os.write(stream.fileno(), b"RIFF")
        with pytest.raises(AudioError, match=r"^-: no sound came for 0\.2 s"), temporary_copy(stream, "-"):
            pass
        os.write(stream.fileno(), b"the end of the reading thread")
    with pytest.raises(AudioError, match="expected a file, got a pipe or a device; give - to read standard input"):
        load_audio(tmp_path / "pipe", RATE)
