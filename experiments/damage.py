"""Damaged recordings, made from numbers, and what becomes of them when they are read.

`python -m experiments.damage NUMBER` writes one of them into the working folder; with two numbers, it reads those from
the first to before the second, in this process, and prints a line for each.
"""

import faulthandler
import io
import re
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from earmark.audio import media, mp3
from earmark.audio.recording import decode_audio, load_audio
from earmark.errors import AudioError, EarmarkWarning
from earmark.parallel.silence import silence_process

KINDS: Final = ("bytes", "cut", "joined", "spliced", "lengths")
"""Wrong bytes; a missing end; files one after another; a piece moved, left out or put in; edited sizes."""
_RATE: Final = 16000
_TOLERANCE: Final = 0.15
"""Seconds by which a file may be shorter without a note: codecs pad both ends, and lose a frame at damage."""
_WRITTEN: Final = (
    ("wav", "WAV", "PCM_16"),
    ("float.wav", "WAV", "FLOAT"),
    ("adpcm.wav", "WAV", "IMA_ADPCM"),
    ("gsm.wav", "WAV", "GSM610"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("alac.caf", "CAF", "ALAC_16"),
    ("w64", "W64", "PCM_16"),
    ("rf64", "RF64", "PCM_16"),
)
_ENCODED: Final = (
    ("m4a", "ipod", "aac", "fltp"),
    ("webm", "webm", "libopus", "s16"),
    ("mkv", "matroska", "pcm_s16le", "s16"),
    ("wv", "wv", "wavpack", "s16p"),
    ("cbr.mp3", "mp3", "libmp3lame", "fltp"),
    ("ac3.wav", "wav", "ac3", "fltp"),
)


@dataclass(frozen=True)
class DamagedFile:
    """A damaged recording."""

    suffix: str
    kind: str
    content: bytes
    seconds: float
    """Sound that it held before; 0 if the damage may have left out some."""


@cache
def valid_files() -> tuple[tuple[str, tuple[bytes, bytes], float], ...]:
    """Two small valid files of each format, with its name and the seconds of each; the rate of the second differs."""
    files = []
    for suffix, file_format, subtype in _WRITTEN:
        pair = []
        for seed, rate in ((0, _RATE), (1, 8000)):
            memory = io.BytesIO()
            soundfile.write(memory, _noise(seed, rate), rate, format=file_format, subtype=subtype)
            pair.append(memory.getvalue())
        files.append((suffix, (pair[0], pair[1]), 1.0))
    for suffix, muxer, codec, form in _ENCODED if find_spec("av") else ():
        if _has_encoder(codec):
            files.append((suffix, (_encoded(muxer, codec, form, 0), _encoded(muxer, codec, form, 1)), 1.0))
    return tuple(files)


def _noise(seed: int, rate: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, rate).astype(np.float32)


def _has_encoder(codec: str) -> bool:
    import av

    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        return False
    return True


def _encoded(muxer: str, codec: str, form: str, seed: int) -> bytes:
    """The bytes of a file of one second at 48 kHz, written by FFmpeg."""
    import av

    memory, rate = io.BytesIO(), 48000
    with av.open(memory, "w", format=muxer, options={"write_xing": "0"} if muxer == "mp3" else {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout, stream.format, stream.time_base = "mono", form, Fraction(1, rate)
        waveform, n_frame = _noise(seed, rate), 960 if codec in ("libopus", "pcm_s16le") else 1024
        if codec in ("ac3", "libmp3lame"):
            n_frame = {"ac3": 1536, "libmp3lame": 1152}[codec]
        for start in range(0, waveform.size, n_frame):
            part = waveform[None, start : start + n_frame]
            values = part if form == "fltp" else (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=form, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return memory.getvalue()


def make(number: int) -> DamagedFile:
    """The damaged file with this number."""
    valid = valid_files()
    suffix, pair, seconds = valid[number % len(valid)]
    kind = ("bytes", "cut", "bytes", "joined", "bytes", "spliced", "bytes", "lengths")[number // len(valid) % 8]
    generator = np.random.default_rng(number)
    content, is_known = pair[0], False
    match kind:
        case "cut":
            content = content[: int(generator.integers(len(content) // 8, len(content)))]
            # an mp3 without a stated length may end with any frame
            is_known = suffix != "cbr.mp3" or mp3.parts(content)[-1].is_cut
        case "joined":
            others = [valid[int(generator.integers(len(valid)))][1] if generator.random() < 0.5 else pair for _ in "ab"]
            chosen = [other[int(generator.random() < 0.2)] for other in others[: int(generator.integers(1, 3))]]
            content, seconds, is_known = b"".join((content, *chosen)), seconds * (1 + len(chosen)), True
        case "spliced":
            content = _spliced(content, pair[int(generator.integers(2))], generator)
        case "lengths":
            content = _with_other_lengths(content, generator)
        case _:
            content = _with_wrong_bytes(content, generator)
    return DamagedFile(suffix, kind, content, seconds if is_known else 0.0)


def _spliced(content: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """A piece of a file moved, left out, or put in from another one."""
    at, start = (int(generator.integers(len(content))) for _ in range(2))
    n_bytes = int(generator.integers(1, len(content) // 2))
    match generator.integers(4):
        case 0:
            return content[:at] + content[at + n_bytes :]
        case 1:
            return content[:at] + other[start : start + n_bytes] + content[at:]
        case 2:
            return content[:at] + bytes(n_bytes) + content[at:]
        case _:
            return content[:at] + other[start:]


def _with_other_lengths(content: bytes, generator: np.random.Generator) -> bytes:
    """One to three numbers in the header replaced by smaller, larger or extreme ones."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        at, n_bytes = int(generator.integers(min(len(data) - 8, 200))), int(generator.choice([2, 4, 8]))
        order: Any = generator.choice(["little", "big"])
        value = int.from_bytes(data[at : at + n_bytes], order)
        value = int(value * float(generator.choice([0.25, 0.5, 0.9, 1.1, 2.0, 0.0]))) + int(generator.integers(-4, 5))
        if generator.random() < 0.2:
            value = -1
        data[at : at + n_bytes] = (value & (1 << 8 * n_bytes) - 1).to_bytes(n_bytes, order)
    return bytes(data)


def _with_wrong_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """One to three places with wrong, missing or additional bytes."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        at, other = (int(place) for place in generator.integers(len(data), size=2))
        in_header = int(generator.integers(min(len(data), 200)))
        match generator.integers(6):
            case 0:
                for place in generator.integers(len(data), size=generator.integers(1, 30)):
                    data[place] = generator.integers(256)
            case 1:
                data[at:at] = generator.bytes(int(generator.integers(1, 200)))
            case 2:
                del data[at : min(at + int(generator.integers(1, 400)), len(data) - 16)]
            case 3:
                n = int(generator.integers(1, 300))
                data[at : at + n], data[other : other + n] = data[other : other + n], data[at : at + n]
            case 4:
                n = int(generator.choice([1, 2, 4, 8]))
                data[in_header : in_header + n] = bytes([generator.choice([0, 0x7F, 0x80, 0xFF])]) * n
            case 5:
                data[in_header] ^= 1 << int(generator.integers(8))
    return bytes(data)


def outcome(number: int, file: DamagedFile, folder: Path) -> str:
    """How a file is read: whole, noted, refused, or short without a warning; or a description of a fault."""
    path = folder / f"{number}.{file.suffix}"
    path.write_bytes(file.content)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", EarmarkWarning)
            # half of the files are read from memory
            read_from_file = number // 2 % 2
            audio = load_audio(path, _RATE) if read_from_file else decode_audio(file.content, _RATE, str(path))
    except AudioError as error:
        text = str(error)
        return "refused" if text.startswith(f"{path}: ") and "\n" not in text else f"fault: a bad text {text!r}"
    except BaseException as error:
        return f"fault: an unexpected exception {error!r}"
    finally:
        path.unlink()
    if not np.isfinite(audio.waveform).all():
        return "fault: no numbers"
    if any(issubclass(each.category, EarmarkWarning) for each in caught):
        return "noted"
    expected = max(file.seconds, _seconds_by_ffmpeg(file.content))
    if audio.duration < expected - _TOLERANCE:
        return f"short {audio.duration:.2f} s of {expected:.2f} s"
    return "whole"


def _seconds_by_ffmpeg(content: bytes) -> float:
    """Seconds of sound that FFmpeg decodes; 0 without it, or if it fails before the end."""
    if not find_spec("av"):
        return 0.0
    import av

    seconds = 0.0
    try:
        found = media.find_format(content)
        if found is None:
            return 0.0
        with av.open(io.BytesIO(content), "r", format=found) as container:
            for frame in container.decode(audio=0):
                seconds += frame.samples / frame.sample_rate
    except (av.FFmpegError, IndexError, ValueError, OverflowError):
        return 0.0
    return seconds


def memory_mebibytes() -> int:
    """Peak memory of this process; 0 if the system does not state it."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) // 1024 if found else 0


def n_open(expected: int | None = None) -> int:
    """Number of files that this process has open, once threads have ended that keep more open than expected."""
    folder = Path("/proc/self/fd")
    for _ in range(600):
        n_files = len(list(folder.iterdir())) if folder.exists() else 0
        if expected is None or n_files <= expected:
            break
        time.sleep(0.1)
    return n_files


def main(arguments: list[str]) -> None:
    """Writes one damaged file, or reads those between two numbers and prints a line for each."""
    if len(arguments) == 1:
        file = make(int(arguments[0]))
        Path(f"{arguments[0]}.{file.suffix}").write_bytes(file.content)
        return
    faulthandler.enable()
    silence_process()
    with tempfile.TemporaryDirectory() as folder:
        for number, (suffix, (first, _), _) in enumerate(valid_files()):  # libraries loaded once are no leak
            found = outcome(number, DamagedFile(suffix, "none", first, 1.0), Path(folder))
            if found != "whole":
                print(f"{number} {suffix} none fault: a valid file is {found}", flush=True)
        before, usual = n_open(), memory_mebibytes()
        for number in range(int(arguments[0]), int(arguments[1])):
            file = make(number)
            print(f"{number} {file.suffix} {file.kind} ", end="", flush=True)
            print(outcome(number, file, Path(folder)), flush=True)
        print(f"left {n_open(before) - before} {memory_mebibytes() - usual}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
