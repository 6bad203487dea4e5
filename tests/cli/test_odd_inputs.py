"""The table of odd and bad recordings: through the real command, each gives tags or one clear line."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark import cli
from earmark.audio.recording import load_blocks, probe
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

RATE = 16000
ID3_PICTURE = b"ID3\x03\0\0" + bytes((300_000 >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(300_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(("a", "b", "c"))).save(path)
    return str(path)


def noise(n_samples: int, n_channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n_samples, n_channels)).astype(np.float32)


def sound(
    name: str, waveform: np.ndarray | None = None, rate: int = RATE, subtype: str | None = None
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        soundfile.write(folder / name, noise(RATE) if waveform is None else waveform, rate, subtype=subtype)
        return folder / name

    return write


def changed(write: Callable[[Path], Path], change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def write_changed(folder: Path) -> Path:
        path = write(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return write_changed


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def folder_of_that_name(folder: Path) -> Path:
    (folder / "x.wav").mkdir()
    return folder / "x.wav"


def folder_with_a_recording(folder: Path) -> Path:
    return sound("y.wav")(folder_of_that_name(folder)).parent


def without_rights(folder: Path) -> Path:
    if sys.platform == "win32" or os.geteuid() == 0:
        pytest.skip("needs a user who may not read everything")
    path = sound("a.wav")(folder)
    path.chmod(0)
    return path


def named_pipe(folder: Path) -> Path:
    if sys.platform == "win32":
        pytest.skip("no such files here")
    os.mkfifo(folder / "pipe.wav")
    return folder / "pipe.wav"


def name_that_is_no_text(folder: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/b\xff.wav"))
    try:
        sound("a.wav")(folder).rename(path)
    except OSError:
        pytest.skip("file names are text here")
    return path


def from_a_pipe(data: bytes) -> bytes:
    at = data.index(b"data")
    return data[:4] + b"\xff" * 4 + data[8 : at + 4] + b"\xff" * 4 + data[at + 8 :]


def with_one(value: float) -> np.ndarray:
    waveform = noise(RATE)
    waveform[700] = value
    return waveform


def unknown_xing(data: bytes) -> bytes:
    return data.replace(b"Xing", b"none").replace(b"Info", b"none")


GOOD = {
    "one sample": (sound("a.wav", noise(1)), 1 / RATE),
    "silent": (sound("a.wav", np.zeros(RATE, np.float32)), 1.0),
    "DC": (sound("a.wav", np.full(RATE, 0.9, np.float32)), 1.0),
    "8 channels": (sound("a.wav", noise(RATE, 8)), 1.0),
    **{f"{rate} Hz": (sound("a.wav", noise(rate), rate), 1.0) for rate in (8000, 11025, 44100, 96000, 192000, 384000)},
    "24 bits": (sound("a.wav", subtype="PCM_24"), 1.0),
    "32-bit float beyond full scale": (sound("a.wav", noise(RATE) * 100, subtype="FLOAT"), 1.0),
    "64-bit float, tiny": (sound("a.wav", noise(RATE) * 1e-30, subtype="DOUBLE"), 1.0),
    "32-bit integers as floats": (sound("a.wav", noise(RATE) * 2**32, subtype="FLOAT"), 1.0),
    "no suffix": (changed(sound("a.flac"), lambda data: data), 1.0),
    "wav called mp3": (lambda folder: sound("a.wav")(folder).rename(folder / "a.mp3"), 1.0),
    "wav of unknown length": (changed(sound("a.wav"), from_a_pipe), 1.0),
    "junk before an mp3": (changed(sound("a.mp3"), lambda data: noise(700).tobytes() + data), 1.0),
    "zeros before an mp3": (changed(sound("a.mp3"), lambda data: bytes(5000) + data), 1.0),
    "junk after an mp3": (changed(sound("a.mp3"), lambda data: data + noise(700).tobytes()), 1.0),
    "mp3 with a picture": (changed(sound("a.mp3"), lambda data: ID3_PICTURE + data + b"TAG" + bytes(125)), 1.0),
    "mp3 with a picture and of unknown length": (
        changed(sound("a.mp3"), lambda data: ID3_PICTURE + unknown_xing(data)),
        1.116,
    ),
    "flac with a tag before it": (changed(sound("a.flac"), lambda data: ID3_PICTURE + data), 1.0),
    "unicode": (sound("Straße 雨 🐕.wav"), 1.0),
    "composed and decomposed": (sound("e\u0301 é.flac"), 1.0),
    "line break": (sound("a\nb.wav"), 1.0),
    "no text": (name_that_is_no_text, 1.0),
    "a folder called x.wav with a recording": (folder_with_a_recording, 1.0),
}
BAD = {
    "missing": (lambda folder: folder / "gone.wav", "no such file"),
    "a pipe": (named_pipe, "expected a file, got a pipe or a device; give -"),
    "unreadable": (without_rights, "cannot be opened: Permission denied"),
    "empty": (content("a.wav", b""), "empty, 0 bytes"),
    "header only": (sound("a.wav", noise(0)), "holds no samples, only a header"),
    "text": (content("a.wav", b"not a sound\n" * 100), "cannot be read as audio"),
    "text called m4a": (content("a.m4a", b"not a sound\n" * 100), "cannot be read as audio"),
    "zeros": (content("a.mp3", bytes(10_000)), "cannot be read as audio"),
    "a picture": (content("a.wav", b"\x89PNG\r\n\x1a\n" + bytes(1000)), "cannot be read as audio"),
    "samples without a header": (content("a.raw", noise(RATE).tobytes()), "it has no header"),
    "a folder called x.wav": (folder_of_that_name, "no recording in this folder"),
    "NaN": (sound("a.wav", with_one(np.nan), subtype="FLOAT"), "damaged, 1 NaN or infinite"),
    "infinity": (sound("a.wav", with_one(np.inf), subtype="FLOAT"), "damaged, 1 NaN or infinite"),
    "floats beyond reason": (sound("a.wav", noise(RATE) * np.float32(3e38), subtype="FLOAT"), "where full scale is 1"),
    **{
        f"truncated {suffix}": (changed(sound(f"a.{suffix}"), lambda data: data[: len(data) // 2]), "cut off")
        for suffix in ("wav", "flac", "ogg", "mp3", "aiff", "au", "w64")
    },
    "a rate of 1 Hz": (changed(sound("a.wav"), lambda data: data[:24] + struct.pack("<I", 1) + data[28:]), "1 Hz"),
    "a rate of 4 GHz": (changed(sound("a.wav"), lambda data: data[:24] + b"\xff\xff\xff\xef" + data[28:]), "be read"),
}


@pytest.mark.parametrize(("write", "duration"), GOOD.values(), ids=GOOD)
def test_odd_recordings_are_tagged(
    model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], write: Callable[[Path], Path], duration: float
) -> None:
    status = cli.main(["tag", str(write(tmp_path)), "--model", model, "--json", "--quiet"])
    captured = capfd.readouterr()
    assert (status, captured.err) == (0, "")
    (line,) = captured.out.splitlines()
    result = json.loads(line)
    assert result["duration"] == pytest.approx(duration, rel=1e-3, abs=0.01)
    assert sorted(tag["label"] for tag in result["tags"]) == ["a", "b", "c"]
    assert all(0 <= tag["score"] <= 1 for tag in result["tags"])


@pytest.mark.parametrize(("write", "text"), BAD.values(), ids=BAD)
def test_bad_recordings_get_one_clear_line(
    model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], write: Callable[[Path], Path], text: str
) -> None:
    path = write(tmp_path)
    assert cli.main(["tag", str(path), "--model", model, "--json", "--quiet"]) == 1
    captured = capfd.readouterr()  # of the libraries too
    (told,) = captured.err.splitlines()
    assert told.startswith(f"error: {path}: ")
    assert text in told
    (line,) = captured.out.splitlines()
    assert json.loads(line) == {"file": str(path), "error": told.removeprefix("error: ")}


def test_an_rf64_of_more_than_4_gigabytes(tmp_path: Path) -> None:
    path, n_bytes = tmp_path / "a.wav", 5 << 30
    n_samples = n_bytes // 2
    soundfile.write(path, noise(RATE), RATE, format="RF64")
    head = path.read_bytes()
    at = head.index(b"data") + 8
    sizes = struct.pack("<QQQ", at + n_bytes - 8, n_bytes, n_samples)
    ds64 = head.index(b"ds64") + 8
    path.write_bytes(head[:ds64] + sizes + head[ds64 + 24 : at])
    try:
        try:
            os.truncate(path, at + n_bytes)
        except OSError as error:
            if error.errno not in (errno.EFBIG, errno.ENOSPC):
                raise
            pytest.skip("this disk holds no such file")
        if path.stat().st_blocks * 512 > 1 << 20:
            pytest.skip("this disk knows no holes")
        assert probe(path).n_samples == n_samples
        first = next(load_blocks(path, RATE, 5.0))
        assert first.tolist() == [0.0] * 5 * RATE
    finally:
        path.unlink()


def test_messages_of_libraries_do_not_reach_standard_error(exported: Path, tmp_path: Path) -> None:
    path = content("a.mp3", sound("b.mp3", noise(3 * RATE))(tmp_path).read_bytes()[:3000] + noise(700).tobytes())(
        tmp_path
    )
    words = [sys.executable, "-m", "earmark", "tag", str(path), "--model", str(exported), "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {path}: ")
    assert len(done.stderr.splitlines()) == 1  # libmpg123 writes a line for every frame that it does not understand
