"""Files of different formats that are joined in one: each part is read, and a note says so."""

import io
import struct
import warnings
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.recording import Audio, decode_audio, load_audio
from earmark.data.clips import FileAudio
from earmark.doctor.examination import examine
from earmark.errors import AudioError, EarmarkWarning

RATE = 16000
SECONDS = 0.6
WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
}
ENCODED = {
    "m4a": ("ipod", "aac", "fltp"),
    "aac": ("adts", "aac", "fltp"),
    "mka": ("matroska", "pcm_s16le", "s16"),
    "avi": ("avi", "pcm_s16le", "s16"),
    "ts": ("mpegts", "mp2", "s16"),
    "mpg": ("mpeg", "mp2", "s16"),
    "ac3": ("ac3", "ac3", "fltp"),
    "tta": ("tta", "tta", "s16"),
    "wv": ("wv", "wavpack", "s16p"),
    "amr": ("amr", "libopencore_amrnb", "s16"),
}


@cache
def file(name: str, hertz: int) -> bytes:
    """A tone of 0.6 s in a format."""
    rate = {"amr": 8000, "ac3": 48000}.get(name, RATE)
    waveform = (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * SECONDS)) / rate)).astype(np.float32)
    memory = io.BytesIO()
    if name in WRITTEN:
        file_format, subtype = WRITTEN[name]
        soundfile.write(memory, waveform, rate, format=file_format, subtype=subtype)
        return memory.getvalue()
    av = pytest.importorskip("av")
    muxer, codec, form = ENCODED[name]
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    with av.open(memory, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.format, stream.time_base = "mono", form, Fraction(1, rate)
        values = waveform[None] if form == "fltp" else (waveform[None] * 32767).astype(np.int16)
        stream.codec_context.open(strict=False)
        n_frame = stream.codec_context.frame_size or 960
        for start in range(0, waveform.size, n_frame):
            part = np.ascontiguousarray(values[:, start : start + n_frame])
            frame = av.AudioFrame.from_ndarray(part, format=form, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return memory.getvalue()


def read(content: bytes) -> tuple[Audio, str]:
    """The sound, and the texts of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        audio = decode_audio(content, RATE, "x")
    return audio, " | ".join(str(each.message) for each in caught)


def loudest(audio: Audio, start: float, stop: float) -> float:
    """Frequency (Hz) of the loudest tone between two times."""
    part = audio.waveform[round(start * RATE) : round(stop * RATE)]
    return float(np.abs(np.fft.rfft(part)).argmax() * RATE / part.size)


def check_both_are_read(content: bytes) -> None:
    audio, notes = read(content)
    assert "2 files are joined in it; all are read" in notes
    assert audio.duration == pytest.approx(2 * SECONDS, abs=0.2)
    assert loudest(audio, 0.1, 0.5) == pytest.approx(500, abs=20)
    assert loudest(audio, audio.duration - 0.45, audio.duration - 0.15) == pytest.approx(1500, abs=20)


@pytest.mark.parametrize("second", ["mp3", "m4a", "ac3", "tta"])
@pytest.mark.parametrize("first", [*WRITTEN, *ENCODED])
def test_a_file_of_another_format_behind_each_format(first: str, second: str) -> None:
    assert not read(file(first, 500))[1]
    if first != second or first == "tta":
        check_both_are_read(file(first, 500) + file(second, 1500))


@pytest.mark.parametrize("second", [*WRITTEN, *ENCODED])
@pytest.mark.parametrize("first", ["wav", "flac"])
def test_each_format_behind_a_file_of_another_one(first: str, second: str) -> None:
    if second not in (first, "aiff", "au", "wav"):
        check_both_are_read(file(first, 500) + file(second, 1500))


@pytest.mark.parametrize("between", [bytes(999), b"TAG" + bytes(125), b"no sound " * 99])
@pytest.mark.parametrize(("first", "second"), [("wav", "mp3"), ("flac", "wav"), ("mp3", "flac"), ("ogg", "m4a")])
def test_other_bytes_between_two_formats(first: str, second: str, between: bytes) -> None:
    check_both_are_read(file(first, 500) + between + file(second, 1500))


@pytest.mark.parametrize("stated", [0, 1000, 0xFFFFFFFF])
@pytest.mark.parametrize("second", ["mp3", "flac", "ogg"])
def test_a_wav_of_unknown_or_wrong_length_before_another_format(stated: int, second: str) -> None:
    wav = file("wav", 500)
    at = wav.index(b"data") + 4
    check_both_are_read(wav[:at] + struct.pack("<I", stated) + wav[at + 4 :] + file(second, 1500))


def test_many_files_from_disk_and_in_parts(tmp_path: Path) -> None:
    names = ("flac", "wav", "flac", "mp3", "ogg", "m4a", "wav", "tta", "mp3")
    path = tmp_path / "a.flac"
    path.write_bytes(b"".join(file(name, 500 + 100 * number) for number, name in enumerate(names)))
    with pytest.warns(EarmarkWarning, match="9 files are joined"):
        whole = load_audio(path, RATE)
    assert whole.duration == pytest.approx(len(names) * SECONDS, abs=0.4)
    assert loudest(whole, 0.7, 1.1) == pytest.approx(600, abs=10)
    assert loudest(whole, whole.duration - 0.5, whole.duration - 0.2) == pytest.approx(1300, abs=10)
    with pytest.warns(EarmarkWarning, match="9 files are joined"):
        part = load_audio(path, RATE, onset=1.0, duration=1.0)
    np.testing.assert_array_equal(part.waveform, whole.waveform[RATE : 2 * RATE])
    assert "9 files are joined" in (examine(FileAudio(path)).warning or "")


def test_a_second_file_that_cannot_be_read_gives_a_note_with_its_place() -> None:
    second = file("wav", 1500)
    audio, notes = read(file("flac", 500) + second[: len(second) // 2])
    assert audio.duration == pytest.approx(SECONDS, abs=0.01)
    assert "a part of it cannot be read and is left out" in notes and "(after 0.6 s)" in notes


@pytest.mark.parametrize("name", ["m4a", "mka"])
def test_joined_files_with_a_clock_stay_in_time(name: str) -> None:
    one = read(file(name, 500))[0].duration
    audio, notes = read(4 * file(name, 500))
    assert audio.duration == pytest.approx(4 * one, abs=0.001)
    assert "4 files are joined in it; all are read" in notes


@pytest.mark.parametrize("name", ["m4a", "mka", "avi", "ac3", "wv", "amr", "tta", "wav", "flac"])
def test_an_id3_tag_before_any_format(name: str) -> None:
    content = file(name, 500)
    tagged, notes = read(b"ID3\x03\0\0\0\0\x07\x68" + bytes(1000) + content)
    np.testing.assert_array_equal(tagged.waveform, read(content)[0].waveform)
    assert not notes


def test_a_file_of_id3_tags_alone_is_refused() -> None:
    with pytest.raises(AudioError):
        decode_audio(3000 * b"ID3\x03\0\0\0\0\0\0", RATE, "x.mp3")


def test_flac_in_ogg_beside_another_link(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "a.ogg"
    with av.open(str(path), "w", format="oga") as container:
        stream = container.add_stream("flac", rate=RATE)
        stream.layout, stream.format = "mono", "s16"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    silence, tone = path.read_bytes(), file("ogg", 1500)
    for content, start in ((silence + tone, 0.288), (tone + silence, 0.0)):
        audio, notes = read(content)
        assert audio.duration == pytest.approx(0.288 + SECONDS, abs=0.01)
        assert loudest(audio, start + 0.1, start + 0.5) == pytest.approx(1500, abs=20)
        assert "left out" not in notes


def test_a_track_of_joined_files_is_refused_beyond_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(file("wav", 500) + file("mp3", 1500))
    with pytest.raises(AudioError, match="track 2 was asked for"):
        load_audio(path, RATE, track=2)
