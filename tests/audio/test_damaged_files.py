"""Thousands of damaged files: each is read or gives one error, and no file or memory leaks.

A separate process reads them, so that a crash in a decoder is reported with the number of the file.
`python tests/audio/test_damaged_files.py NUMBER` writes that file into the working folder.
"""

import faulthandler
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

from earmark.audio.recording import decode_audio, load_audio
from earmark.errors import AudioError

N_FILES = 2000
RATE = 16000
SECONDS_PER_FILE = 300.0
"""Time limit, far above the usual time even on a busy machine."""
MAX_MEBIBYTES = 150
"""Limit of memory above that for the undamaged files: no header of a small file may allocate more."""
WRITTEN = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("wav", "WAV", "GSM610"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("caf", "CAF", "ALAC_16"),
    ("w64", "W64", "PCM_16"),
    ("rf64", "RF64", "PCM_16"),
]
ENCODED = [
    ("m4a", "ipod", "aac", "fltp"),
    ("webm", "webm", "libopus", "s16"),
    ("mkv", "matroska", "pcm_s16le", "s16"),
    ("wv", "wv", "wavpack", "s16p"),
]


def valid_files() -> list[tuple[str, bytes]]:
    """A tiny valid file of each format, with its suffix."""
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2).astype(np.float32)
    files = []
    for suffix, file_format, subtype in WRITTEN:
        memory = io.BytesIO()
        soundfile.write(memory, waveform, RATE, format=file_format, subtype=subtype)
        files.append((suffix, memory.getvalue()))
    if find_spec("av"):
        files += [
            (suffix, encoded(muxer, codec, form, np.tile(waveform, 3)))
            for suffix, muxer, codec, form in ENCODED
            if has_encoder(codec)
        ]
    return files


def has_encoder(codec: str) -> bool:
    import av

    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        return False
    return True


def encoded(muxer: str, codec: str, form: str, waveform: np.ndarray) -> bytes:
    """The bytes of a file with the waveform at 48 kHz, written by FFmpeg."""
    import av

    memory, rate = io.BytesIO(), 48000
    with av.open(memory, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.format, stream.time_base = "mono", form, Fraction(1, rate)
        for start in range(0, waveform.size - 959, 960):
            part = waveform[None, start : start + 960]
            values = part if form == "fltp" else (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, format=form, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return memory.getvalue()


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """The bytes after one to three random kinds of damage."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        if len(data) < 16:
            break
        at, other = (int(place) for place in generator.integers(len(data), size=2))
        in_header = int(generator.integers(min(len(data), 200)))
        match generator.integers(7):
            case 0:  # wrong bytes
                for place in generator.integers(len(data), size=generator.integers(1, 30)):
                    data[place] = generator.integers(256)
            case 1:  # a truncated file
                del data[at:]
            case 2:
                data[at:at] = generator.bytes(int(generator.integers(1, 200)))
            case 3:
                del data[at : at + int(generator.integers(1, 400))]
            case 4:  # swapped blocks
                n_bytes = int(generator.integers(1, 300))
                data[at : at + n_bytes], data[other : other + n_bytes] = (
                    data[other : other + n_bytes],
                    data[at : at + n_bytes],
                )
            case 5:  # an extreme size, rate or count
                data[in_header : in_header + int(generator.choice([1, 2, 4, 8]))] = bytes(
                    [generator.choice([0, 0x7F, 0x80, 0xFF])]
                ) * int(generator.choice([1, 2, 4, 8]))
            case 6:
                data[in_header] ^= 1 << int(generator.integers(8))
    return bytes(data)


def make(number: int, valid: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Suffix and bytes of the damaged file with this number."""
    suffix, content = valid[number % len(valid)]
    return suffix, damaged(content, np.random.default_rng(number))


def memory_mebibytes(field: str) -> int:
    """Memory of this process: VmRSS is the current, VmHWM the peak; 0 if the system does not state it."""
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else 0


def n_open() -> int:
    """Number of files that this process has open; 0 if the system does not state it."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def n_open_later(expected: int) -> int:
    """`n_open`, after the threads that feed pipes had time to end."""
    for _ in range(600):
        if n_open() <= expected:
            break
        time.sleep(0.1)
    return n_open()


def outcome(number: int, suffix: str, content: bytes, folder: Path) -> str:
    """The result of reading a file: "sound", "refused", or a description of the failure."""
    path = folder / f"{number}.{suffix}"
    path.write_bytes(content)
    try:
        # half of the files are read from memory
        audio = load_audio(path, RATE) if number // 2 % 2 else decode_audio(content, RATE, str(path))
    except AudioError as error:
        text = str(error)
        return "refused" if text.startswith(f"{path}: ") and "\n" not in text else f"a bad text: {text!r}"
    except BaseException as error:
        return f"an unexpected exception: {error!r}"
    finally:
        path.unlink()
    return "sound" if np.isfinite(audio.waveform).all() else "no numbers"


def main(numbers: range) -> None:
    """Reads the files with these numbers; prints the result of each, and finally the leaked files and memory."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # a file with a warning counts as read
    valid = valid_files()
    with tempfile.TemporaryDirectory() as folder:
        for number, (suffix, content) in enumerate(valid):  # libraries loaded once are no leak
            write(f"{number} valid {outcome(number, suffix, content, Path(folder))}\n")
        before, usual = n_open(), memory_mebibytes("VmHWM")
        for number in numbers:
            write(f"{number} ")
            write(f"{outcome(number, *make(number, valid), Path(folder))}\n")
        write(f"left {n_open_later(before) - before} files, {memory_mebibytes('VmHWM') - usual} MiB\n")


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def test_two_thousand_damaged_files() -> None:
    with tempfile.TemporaryFile("w+") as errors:
        reader = subprocess.Popen(
            [sys.executable, __file__, "0", str(N_FILES)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert reader.stdout is not None
        outcomes: Counter[str] = Counter()
        lines = []
        while True:
            watch = threading.Timer(SECONDS_PER_FILE, reader.kill)
            watch.start()
            line = reader.stdout.readline()
            watch.cancel()
            if not line.endswith("\n"):
                break
            lines.append(line.strip())
        errors.seek(0)
        crash = f"the file after {lines[-1:]} ended the process: {line!r}\n{errors.read()[-2000:]}"
        assert reader.wait() == 0, crash
    # one decoder writes to standard output too
    lines = [line for line in lines if re.match(r"\d+ |left ", line)]
    for text in lines[:-1]:
        number, _, result = text.partition(" ")
        outcomes[result] += 1
        assert result in ("valid sound", "sound", "refused"), f"file {number}: {result}"
    assert outcomes["sound"] + outcomes["refused"] == N_FILES
    # the test needs both outcomes often
    assert min(outcomes["sound"], outcomes["refused"]) > N_FILES // 10, outcomes
    n_files, n_mebibytes = map(int, re.findall(r"-?\d+", lines[-1]))
    assert n_files == 0
    assert n_mebibytes < MAX_MEBIBYTES


if __name__ == "__main__":
    if len(sys.argv) == 2:
        made_suffix, made = make(int(sys.argv[1]), valid_files())
        Path(f"{sys.argv[1]}.{made_suffix}").write_bytes(made)
    else:
        main(range(int(sys.argv[1]), int(sys.argv[2])))
