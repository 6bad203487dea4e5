"""Truncated files, and files that do not state their length."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio import media
from earmark.audio.containers import check_complete, media_format
from earmark.audio.mp3 import start_of as mp3_start
from earmark.audio.recording import decode_audio, load_audio
from earmark.errors import AudioError, EarmarkWarning

RATE = 16000


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def write(path: Path, waveform: np.ndarray, subtype: str | None = None) -> Path:
    file_format = {"opus": "OGG"}.get(path.suffix[1:], path.suffix[1:].upper())
    soundfile.write(path, waveform, RATE, format=file_format, subtype=subtype)
    return path


def refusal(path: Path) -> str:
    """The error text of `load_audio`, without the path."""
    with pytest.raises(AudioError) as caught:
        load_audio(path, RATE)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("suffix", ["wav", "rf64", "w64", "aiff", "au", "flac", "ogg", "opus", "mp3", "caf"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(10 * RATE))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    text = refusal(path)
    if suffix == "flac":
        assert text.startswith("damaged or cut off somewhere from 0.00 s on; copy it again (")
    elif suffix == "caf":
        assert "cannot be read as audio; it is damaged" in text or text.startswith("cut off")
    else:
        assert text.startswith("cut off")
        assert text.endswith("; copy or download it again")


def test_the_error_states_the_expected_and_the_actual_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    path.write_bytes(path.read_bytes()[:1044])
    expected = "cut off, its header states 32000 bytes of sound but the file holds 1000; copy or download it again"
    assert refusal(path) == expected


def with_bytes(path: Path, at: int, replacement: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[at : at + len(replacement)] = replacement
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_wav_from_a_pipe_is_read_completely(tmp_path: Path, size: int) -> None:
    waveform = noise(RATE)
    path = with_bytes(write(tmp_path / "a.wav", waveform, subtype="FLOAT"), 4, struct.pack("<I", size))
    at = path.read_bytes().index(b"data") + 4
    with_bytes(path, at, struct.pack("<I", size))
    # nothing follows the sound: the PEAK chunk of float files lies before it
    np.testing.assert_array_equal(load_audio(path, RATE).waveform, waveform)


def test_wav_that_is_only_a_header(tmp_path: Path) -> None:
    path = with_bytes(write(tmp_path / "a.wav", noise(RATE)), 40, struct.pack("<I", 0))
    path.write_bytes(path.read_bytes()[:44])
    assert refusal(path) == "holds no samples, only a header"


def test_mp3_after_a_large_id3_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", noise(5 * RATE))
    n_tag = 300_000
    size = bytes((n_tag >> shift) & 0x7F for shift in (21, 14, 7, 0))
    content = path.read_bytes()
    path.write_bytes(b"ID3\x03\0\0" + size + bytes(n_tag) + content)
    assert load_audio(path, RATE).duration == pytest.approx(5.0, abs=0.1)
    path.write_bytes(path.read_bytes()[: n_tag + len(content) // 2])
    assert refusal(path).startswith("cut off, its header states ")


def test_data_after_the_sound_may_be_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 1000) + b"INFO")
    assert load_audio(path, RATE).duration == 1.0


@pytest.mark.parametrize("n_bytes", [1, 36, 44])
def test_a_slightly_larger_stated_size_is_accepted(tmp_path: Path, n_bytes: int) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    with_bytes(path, 40, struct.pack("<I", 2 * RATE + n_bytes))
    assert load_audio(path, RATE).duration == 1.0


def test_chunks_before_the_sound_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    content = path.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"  # an odd size is padded
    path.write_bytes(content[:12] + chunk + content[12:])
    assert load_audio(path, RATE).duration == 1.0
    path.write_bytes(path.read_bytes()[:1000])
    assert "states 32000 bytes of sound but the file holds 942" in refusal(path)


def test_data_after_the_last_ogg_page_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", noise(RATE))
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    check_complete(path, "a.ogg", "OGG")
    path.write_bytes(path.read_bytes() + bytes(200_000))
    check_complete(path, "a.ogg", "OGG")


@pytest.mark.parametrize("n_bytes", [10, 30])
def test_ogg_truncated_in_the_header_of_a_page(tmp_path: Path, n_bytes: int) -> None:
    path = write(tmp_path / "a.ogg", noise(5 * RATE))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS") + n_bytes])
    assert refusal(path) == "cut off in the middle of an Ogg page; copy or download it again"


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE" + bytes(100_000), b"caff" + b"\xff" * 99])
def test_invalid_headers_do_not_count_as_truncated(tmp_path: Path, content: bytes) -> None:
    # the decoder decides whether it is audio at all
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for file_format in ("WAV", "AIFF", "CAF", "OGG"):
        check_complete(path, "a.wav", file_format)


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_the_first_frame_of_an_mp3_is_found(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.mp3", noise(rate), rate)
    content = (tmp_path / "a.mp3").read_bytes()
    assert mp3_start(content) == 0
    junk = np.random.default_rng(1).bytes(5000) + b"\xff"
    assert mp3_start(junk + content) == 5001
    tag = b"ID3\x03\0\0\0\0\x01\0" + bytes(128)
    assert mp3_start(tag + junk + content) == len(tag) + 5001
    assert mp3_start(junk) is None
    assert mp3_start(b"") is None


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypM4A ", "mov"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"G" + bytes(187) + b"G" + bytes(187) + b"G" + bytes(187), "mpegts"),
        (bytes(4) + (b"G" + bytes(191)) * 3, "mpegts"),
        (b"Get up, stand up. " * 50, None),
        (bytes.fromhex("fff15080013ffc00") + b"\xff\xf1", "aac"),
        (bytes.fromhex("fff15080013ffc00") + b"\0\0", None),
        (bytes.fromhex("fffb90c400000000"), None),
        (b"", None),
    ],
)
def test_formats_are_recognized_by_their_first_bytes(content: bytes, name: str | None) -> None:
    if content[:2] == b"\xff\xf1":  # the frame states 9 bytes
        content = content[:8] + bytes(1) + content[8:]
    assert media_format(content) == name


@pytest.mark.parametrize(
    ("content", "stated", "file_format"),
    [
        (b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\x01\x08mdat" + bytes(256), 256, "mov"),
        (b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x01mdat\0\0\0\0\0\0\x01\0" + bytes(240), 240, "mov"),
        (bytes.fromhex("1a45dfa3 82 0000 18538067 41 00") + bytes(256), 256, "matroska"),
        (b"RIFF\0\x01\0\0AVI " + bytes(252), 256, "avi"),
    ],
)
def test_truncated_containers_are_refused(content: bytes, stated: int, file_format: str) -> None:
    check_complete(content, "x", file_format)
    with pytest.raises(AudioError, match=f"^x: cut off, its header states {stated} bytes but the file holds "):
        check_complete(content[:-100], "x", file_format)


@pytest.mark.parametrize(
    "content", [b"", b"\x1a", b"\0" * 100, b"\xff" * 100, b"\x1a\x45\xdf\xa3\x82\0\0\x18\x53\x80\x67\x01" + b"\xff" * 7]
)
def test_invalid_and_unknown_sizes_do_not_count_as_truncated(content: bytes) -> None:
    for file_format in ("mov", "matroska", "avi", "asf", "mpegts"):
        check_complete(content if file_format != "avi" else content[:4], "x", file_format)


@pytest.mark.parametrize("stated", [0, 8000])
@pytest.mark.parametrize("onset", [0.0, 3.0])
def test_sound_behind_the_stated_end_of_a_wav_is_read_with_a_note(tmp_path, stated, onset):
    waveform = np.random.default_rng(0).uniform(-0.3, 0.3, 4 * RATE).astype(np.float32)
    path = write(tmp_path / "a.wav", waveform)
    whole = load_audio(path, RATE, onset)
    with_bytes(path, path.read_bytes().index(b"data") + 4, struct.pack("<I", stated))
    with pytest.warns(EarmarkWarning, match=rf"a\.wav: its header states {stated} bytes of sound"):
        read = load_audio(path, RATE, onset)
    np.testing.assert_array_equal(read.waveform, whole.waveform)
    with pytest.warns(EarmarkWarning, match="read too"):
        assert decode_audio(path.read_bytes(), RATE, "bytes").duration == 4.0


@pytest.mark.parametrize("behind", [b"LIST\x04\0\0\0INFO", b"TAG" + bytes(125), bytes(4096), b"id3 \x02\0\0\0ab"])
def test_chunks_and_tags_behind_the_sound_of_a_wav_are_no_sound(tmp_path, behind):
    path = write(tmp_path / "a.wav", np.zeros(RATE, np.float32) + 0.1)
    path.write_bytes(path.read_bytes() + behind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_audio(path, RATE).duration == 1.0


@pytest.mark.parametrize("size", [(1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("suffix", ["w64", "caf", "rf64"])
def test_the_largest_number_of_64_bits_is_an_unknown_size(tmp_path: Path, suffix: str, size: int) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(RATE))
    wanted, n_before = {"w64": (b"data", 16), "caf": (b"data", 4), "rf64": (b"ds64", 16)}[suffix]
    at = path.read_bytes().index(wanted) + n_before
    waveform = load_audio(path, RATE).waveform
    with_bytes(path, at, size.to_bytes(8, "big" if suffix == "caf" else "little"))
    np.testing.assert_array_equal(load_audio(path, RATE).waveform, waveform)


@pytest.mark.parametrize("size", [0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_the_largest_number_of_32_bits_is_an_unknown_size(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.au", noise(RATE))
    assert load_audio(with_bytes(path, 8, size.to_bytes(4)), RATE).duration == 1.0


def test_ac3_that_is_stored_as_samples_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.spdif"
    with av.open(str(path), "w", format="spdif") as container:
        stream = container.add_stream("ac3", rate=48000)
        stream.layout = "mono"
        for start in range(0, 48000, 1536):
            frame = av.AudioFrame.from_ndarray(np.full((1, 1536), 0.25, np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = np.frombuffer(path.read_bytes(), np.int16).reshape(-1, 2)
    wav = tmp_path / "a.wav"
    soundfile.write(wav, samples, 48000)
    for each in (path, wav):
        middle = load_audio(each, 48000).waveform[10000:20000]
        assert np.abs(middle - 0.25).max() < 0.05
    monkeypatch.setattr(media, "is_installed", lambda: False)
    assert "its sound is in AC-3 or DTS, stored as samples; reading it needs the extra" in refusal(wav)
