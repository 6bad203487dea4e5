"""Recordings that are more, or less, than one whole file: joined files, gaps, wrong lengths, codecs within wav."""

import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from earmark.audio import media, ogg
from earmark.audio.recording import decode_audio, load_audio, load_blocks, probe
from earmark.data.clips import FileAudio
from earmark.doctor.examination import examine
from earmark.errors import AudioError, EarmarkWarning

RATE = 16000
FORMATS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
}


def tone(hertz: float, rate: int = RATE, seconds: float = 2.0, n_channels: int = 1) -> np.ndarray:
    waveform = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return np.repeat(waveform[:, None], n_channels, axis=1)


def encoded(name: str, waveform: np.ndarray, rate: int = RATE) -> bytes:
    memory = io.BytesIO()
    file_format, subtype = FORMATS[name]
    soundfile.write(memory, waveform, rate, format=file_format, subtype=subtype)
    return memory.getvalue()


def read(content: bytes, rate: int = RATE) -> SimpleNamespace:
    """The waveform, its duration and the texts of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        audio = decode_audio(content, rate, "x")
    return SimpleNamespace(
        waveform=audio.waveform, duration=audio.duration, notes=" | ".join(str(each.message) for each in caught)
    )


def loudest(waveform: np.ndarray, start: float, stop: float) -> float:
    """Frequency (Hz) of the loudest tone between two times."""
    part = waveform[round(start * RATE) : round(stop * RATE)]
    return float(np.abs(np.fft.rfft(part)).argmax() * RATE / part.size)


@pytest.mark.parametrize("name", FORMATS)
def test_joined_files_are_read_one_after_another(name: str) -> None:
    first, second = encoded(name, tone(500)), encoded(name, tone(1500))
    joined = read(first + second)
    assert joined.duration == pytest.approx(4.0, abs=0.01)
    assert loudest(joined.waveform, 0.1, 1.9) == pytest.approx(500, abs=5)
    assert loudest(joined.waveform, 2.1, 3.9) == pytest.approx(1500, abs=5)
    # links are usual in Ogg
    assert ("joined" in joined.notes) == (name not in ("vorbis", "opus"))
    assert not read(first).notes
    other = encoded(name, tone(1500, 8000, n_channels=2), 8000)
    mixed = read(first + other + second)
    assert mixed.duration == pytest.approx(6.0, abs=0.01)
    assert loudest(mixed.waveform, 2.1, 3.9) == pytest.approx(1500, abs=5)
    assert "its rate changes to 8000 Hz; that part is resampled (after 2.0 s)" in mixed.notes


@pytest.mark.parametrize("name", ["mp3", "vorbis", "flac", "wav"])
def test_all_ways_to_read_a_joined_file_agree(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(encoded(name, tone(500)) + encoded(name, tone(1500)))
    whole = read(path.read_bytes()).waveform
    assert probe(path).duration is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarmarkWarning)
        np.testing.assert_array_equal(np.concatenate(list(load_blocks(path, RATE, 0.7))), whole)
        part = load_audio(path, RATE, onset=1.5, duration=1.0).waveform
    np.testing.assert_array_equal(part, whole[24000:40000])
    facts = examine(FileAudio(path))
    assert facts.seconds == pytest.approx(4.0, abs=0.01)
    assert ("joined" in (facts.warning or "")) == (name != "vorbis")


def id3(n_bytes: int) -> bytes:
    return b"ID3\x03\0\0" + bytes(n_bytes >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(n_bytes)


@pytest.mark.parametrize("name", ["mp3", "flac"])
@pytest.mark.parametrize("between", [id3(1000), b"TAG" + bytes(125), bytes(5000), id3(100) + id3(300_000)])
def test_tags_between_and_behind_joined_files(name: str, between: bytes) -> None:
    first, second = encoded(name, tone(500)), encoded(name, tone(1500))
    joined = read(between + first + between + second + between if name == "mp3" else first + between + second)
    assert joined.duration == pytest.approx(4.0, abs=0.08)
    assert "2 " in joined.notes and "skipped" not in joined.notes
    assert not read(first + b"TAG" + bytes(125)).notes


@pytest.mark.parametrize("between", [b"", id3(1000), b"TAG" + bytes(125)])
def test_an_mp3_of_constant_bit_rate_with_another_file_behind_its_tag(between: bytes) -> None:
    first, second = in_container("libmp3lame", "mp3", 500), in_container("libmp3lame", "mp3", 1500)
    joined = read(first + between + second)
    assert joined.duration == pytest.approx(4.0, abs=0.1)
    assert loudest(joined.waveform, 2.2, 3.9) == pytest.approx(1500, abs=5)
    assert "all are read" in joined.notes
    assert not read(first + between).notes


@pytest.mark.parametrize("muxer", ["flv", "mp4", "mov"])
def test_joined_files_of_ffmpeg_formats(tmp_path: Path, muxer: str) -> None:
    first, second = in_container("aac", muxer, 500), in_container("aac", muxer, 1500)
    path = tmp_path / f"a.{muxer}"
    path.write_bytes(first + second)
    joined = read(path.read_bytes())
    assert joined.duration == pytest.approx(4.0, abs=0.1)
    assert loudest(joined.waveform, 0.1, 1.9) == pytest.approx(500, abs=5)
    assert loudest(joined.waveform, 2.1, 3.9) == pytest.approx(1500, abs=5)
    assert "2 files are joined in it; all are read" in joined.notes
    assert not read(first).notes
    with pytest.warns(EarmarkWarning, match="2 files are joined"):
        np.testing.assert_array_equal(load_audio(path, RATE).waveform, joined.waveform)


def test_a_part_that_ffmpeg_does_not_read_gives_a_note() -> None:
    second = in_container("aac", "mp4", 1500)
    joined = read(in_container("aac", "mp4", 500) + second[: len(second) // 2])
    assert joined.duration == pytest.approx(2.0, abs=0.1)
    assert "a part of it cannot be read and is left out" in joined.notes


def test_an_mp3_with_junk_between_its_frames() -> None:
    first, second = encoded("mp3", tone(500)), encoded("mp3", tone(1500))
    junk = np.random.default_rng(0).bytes(20_000)
    joined = read(first + junk + second)
    assert joined.duration == pytest.approx(4.0, abs=0.1)
    assert "20000 bytes between its frames are no mp3 and are skipped" in joined.notes


def test_an_mp3_that_states_too_few_frames() -> None:
    content = bytearray(encoded("mp3", tone(500)))
    at = content.index(b"Xing") + 8
    content[at : at + 4] = (10).to_bytes(4)
    reading = read(bytes(content))
    assert reading.duration == pytest.approx(2.0, abs=0.15)
    assert "its header states 10 frames, but " in reading.notes


def test_a_flac_that_states_too_few_samples() -> None:
    content = bytearray(encoded("flac", tone(500)))
    content[22:26] = (8000).to_bytes(4)
    reading = read(bytes(content))
    assert reading.duration == 2.0
    assert "its header states 8000 samples, but 32000 follow; all are read" in reading.notes


def test_a_flac_whose_header_states_another_rate_than_its_frames() -> None:
    content = bytearray(encoded("flac", tone(500)))
    content[18] ^= 0x40
    reading = read(bytes(content))
    assert reading.duration == 2.0
    assert loudest(reading.waveform, 0.1, 1.9) == pytest.approx(500, abs=5)
    assert "its sound 16000 Hz, at which it is read" in reading.notes


def test_large_joined_flac_files_of_the_same_length() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40 * RATE)
    content = encoded("flac", noise)
    assert len(content) > 1 << 20
    assert read(content + content).duration == 80.0


@pytest.mark.parametrize(("name", "size_at"), [("aiff", b"SSND"), ("au", None), ("caf", b"data"), ("w64", None)])
def test_sound_behind_the_stated_end_is_read_with_a_note(name: str, size_at: bytes | None) -> None:
    content = bytearray(encoded(name, tone(500)))
    match name:
        case "aiff":
            at, size = content.index(b"SSND") + 4, struct.pack(">I", 16008)
            common = content.index(b"COMM") + 10
            content[common : common + 4] = (8000).to_bytes(4)
        case "au":
            at, size = 8, struct.pack(">I", 16000)
        case "caf":
            at, size = content.index(b"data") + 4, struct.pack(">q", 16004)
        case _:
            at, size = content.index(b"data\xf3\xac") + 16, struct.pack("<q", 16024)
    content[at : at + len(size)] = size
    reading = read(bytes(content))
    assert reading.duration == pytest.approx(2.0, abs=0.001)
    assert "the rest of the file is read too" in reading.notes


def test_silence_behind_the_stated_end_of_a_wav_may_be_sound() -> None:
    waveform = tone(500)
    waveform[8000:16000] = 0
    content = bytearray(encoded("wav", waveform))
    content[40:44] = struct.pack("<I", 20000)
    assert read(bytes(content)).duration == 2.0


def pages(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        n_segments = content[at + 26]
        n_bytes = 27 + n_segments + sum(content[at + 27 : at + 27 + n_segments])
        yield content[at : at + n_bytes]
        at += n_bytes


def edited(page: bytes, granule: int | None = None, sequence: int | None = None) -> bytes:
    """A page with another time or number, and the right checksum."""
    data = bytearray(page)
    if granule is not None:
        data[6:14] = granule.to_bytes(8, "little", signed=True)
    if sequence is not None:
        data[18:22] = sequence.to_bytes(4, "little")
    data[22:26] = bytes(4)
    data[22:26] = ogg._checksum(bytes(data))
    return bytes(data)


def clock(page: bytes) -> int:
    return int.from_bytes(page[6:14], "little", signed=True)


RISING = np.concatenate([tone(hertz, 48000, 1.0) for hertz in range(400, 1400, 100)])
RISING = 0.8 * RISING + 0.1 * np.random.default_rng(0).uniform(-1, 1, RISING.shape)  # pages hold less of noise


@pytest.fixture(scope="module", params=["vorbis", "opus"])
def rising(request: pytest.FixtureRequest) -> list[bytes]:
    """The pages of 10 s whose tone rises by 100 Hz each second, from 400 Hz on."""
    return list(pages(encoded(request.param, RISING, 48000)))


def check_times(waveform: np.ndarray, seconds: tuple[int, ...]) -> None:
    for second in seconds:
        assert loudest(waveform, second + 0.25, second + 0.75) == pytest.approx(400 + 100 * second, abs=10)


@pytest.mark.parametrize("is_renumbered", [False, True])
def test_a_gap_in_the_clock_of_an_ogg_is_filled_with_silence(rising: list[bytes], is_renumbered: bool) -> None:
    kept = [page for page in rising if not 4 * 48000 < clock(page) <= 6 * 48000]
    if is_renumbered:  # a call in which silence was not sent
        kept = [edited(page, sequence=number) for number, page in enumerate(kept)]
    reading = read(b"".join(kept))
    assert reading.duration == pytest.approx(10.0, abs=0.03)
    check_times(reading.waveform, (0, 1, 2, 7, 8, 9))
    assert np.abs(reading.waveform[round(4.6 * RATE) : round(5.4 * RATE)]).max() == 0
    assert "its clock has a gap from " in reading.notes and "filled with silence" in reading.notes


def test_an_ogg_cut_from_the_middle_of_a_stream_begins_at_zero(rising: list[bytes]) -> None:
    shifted = [edited(page, clock(page) + 48000 * 7200) if clock(page) > 0 else page for page in rising]
    reading = read(b"".join(shifted))
    assert reading.duration == pytest.approx(10.0, abs=0.1)
    check_times(reading.waveform, (0, 5, 9))
    late = read(b"".join(page for page in rising if not 0 < clock(page) <= 3 * 48000))
    assert 7.0 < late.duration < 7.9
    assert loudest(late.waveform, late.duration - 0.75, late.duration - 0.25) == pytest.approx(1300, abs=10)


def test_a_clock_that_jumps_by_a_day_or_is_set_back_is_left_out_with_a_note(rising: list[bytes]) -> None:
    cases = ((86400 * 48000, "a clock that jumps by more than 3600 s"), (-3 * 48000, "a clock that is set back"))
    for ticks, text in cases:
        moved = [edited(page, clock(page) + ticks) if clock(page) > 5 * 48000 else page for page in rising]
        reading = read(b"".join(moved))
        assert reading.duration == pytest.approx(10.0, abs=0.1)
        check_times(reading.waveform, (0, 5, 9))
        assert text in reading.notes


def test_a_damaged_page_is_read_with_a_note(rising: list[bytes]) -> None:
    damaged = bytearray(rising[len(rising) // 2])
    damaged[-40] ^= 1
    content = b"".join((*rising[: len(rising) // 2], bytes(damaged), *rising[len(rising) // 2 + 1 :]))
    reading = read(content)
    assert reading.duration == pytest.approx(10.0, abs=0.05)
    check_times(reading.waveform, (0, 9))
    assert "has a damaged page at " in reading.notes


def test_an_ogg_without_a_mark_of_its_end_gives_a_note(rising: list[bytes]) -> None:
    reading = read(b"".join(rising[:-1]))
    assert reading.duration > 5
    assert "without a mark of its end; it may be cut off" in reading.notes


def test_an_ogg_of_a_radio_station_with_many_links() -> None:
    songs = [encoded("vorbis", tone(hertz, seconds=1.0)) for hertz in (400, 500, 600, 700)]
    reading = read(b"".join(songs))
    assert reading.duration == pytest.approx(4.0, abs=0.01)
    assert not reading.notes
    assert [round(loudest(reading.waveform, at + 0.1, at + 0.9), -1) for at in range(4)] == [400, 500, 600, 700]


def test_bw64_is_read(tmp_path: Path) -> None:
    content = encoded("rf64", tone(500))
    assert read(b"BW64" + content[4:]).duration == 2.0


@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF])
def test_an_rf64_whose_chunk_of_sizes_was_never_filled_in(data_size: int) -> None:
    content = bytearray(encoded("rf64", tone(500)))
    content[20:44] = bytes(24)
    at = content.index(b"data", 44) + 4
    content[at : at + 4] = struct.pack("<I", data_size)
    reading = read(bytes(content))
    assert reading.duration == 2.0
    assert "its header states 0 bytes of sound; the rest of the file is read too" in reading.notes


@pytest.mark.parametrize("name", ["wav", "aiff", "flac", "vorbis"])
def test_sound_behind_a_tag_is_read_to_its_end(name: str) -> None:
    content = encoded(name, tone(500))
    reading = read(id3(20_000) + content)
    assert reading.duration == read(content).duration and not reading.notes


def test_a_further_chunk_of_sound_gives_a_note() -> None:
    content = encoded("wav", tone(500))
    reading = read(content + content[content.index(b"data") :])
    assert reading.duration == 2.0
    assert "64000 bytes of sound in a further chunk are not read" in reading.notes


def in_container(codec: str, muxer: str, hertz: float, rate: int = 44100) -> bytes:
    """Two seconds of a tone in a format of FFmpeg."""
    av = pytest.importorskip("av")
    memory = io.BytesIO()
    with av.open(memory, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        form = stream.format = "s16" if codec == "g722" else "fltp"
        waveform = tone(hertz, rate).T.astype(np.float32)
        values = waveform if form == "fltp" else (waveform * 32767).astype(np.int16)
        stream.codec_context.open(strict=False)
        n_frame = stream.codec_context.frame_size or 1024
        for start in range(0, values.shape[1], n_frame):
            part = np.ascontiguousarray(values[:, start : start + n_frame])
            frame = av.AudioFrame.from_ndarray(part, format=form, layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("codec", "rate", "known"), [("ac3", 48000, "AC-3"), ("g722", 16000, "G.722"), ("libmp3lame", 44100, None)]
)
def test_codecs_in_wav(codec: str, rate: int, known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    content = in_container(codec, "wav", 500, rate)
    assert read(content).duration == pytest.approx(2.0, abs=0.08)
    monkeypatch.setattr(media, "is_installed", lambda: False)
    if known is None:
        assert read(content).duration == pytest.approx(2.0, abs=0.08)
    else:
        with pytest.raises(AudioError, match=rf"^x: its sound is in {known}; reading it needs the extra: pip install"):
            read(content)


@pytest.mark.parametrize("box", [b"wide", b"free", b"skip"])
def test_a_mov_whose_first_box_is_not_ftyp(box: bytes) -> None:
    av = pytest.importorskip("av")
    memory = io.BytesIO()
    with av.open(memory, "w", format="mov") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((tone(500).T * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = memory.getvalue()
    assert read(content[:4] + box + content[8:]).duration == pytest.approx(2.0)


def test_ffmpeg_opens_no_playlist() -> None:
    pytest.importorskip("av")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"
    for text in (playlist, b"ffconcat version 1.0\nfile a.wav\n"):
        with pytest.raises(AudioError, match=r"in a format other than .*, w64, mp4 and webm: convert it, for example"):
            read(text)


@pytest.mark.parametrize("name", ["mp3", "vorbis", "flac"])
def test_wrong_suffixes_do_not_matter(tmp_path: Path, name: str) -> None:
    for suffix in ("wav", "mp3", "ogg", "flac", "m4a", ""):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(encoded(name, tone(500)))
        assert load_audio(path, RATE).duration == pytest.approx(2.0, abs=0.01)
