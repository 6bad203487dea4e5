"""Formats read by FFmpeg: complete files, parts of files, truncated and damaged files."""

import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from earmark.audio import media
from earmark.audio.pipes import temporary_copy
from earmark.audio.recording import decode_audio, find_audio, load_audio, load_blocks, probe
from earmark.data import FileAudio
from earmark.doctor.examination import examine
from earmark.errors import AudioError, EarmarkWarning

av = pytest.importorskip("av")

RATE = 16000


@dataclass(frozen=True)
class Form:
    """A container format with a codec."""

    suffix: str
    codec: str
    muxer: str | None = None
    rate: int = 44100
    options: tuple[tuple[str, str], ...] = ()
    has_video: bool = False
    lead: float = 0.0
    """Seconds of padding at the start that the container does not state, less what FFmpeg drops."""

    def __str__(self) -> str:
        return f"{self.codec}-{self.suffix}{'-video' if self.has_video else ''}{'-fragments' if self.options else ''}"


FRAGMENTS = (("movflags", "frag_keyframe+empty_moov"),)
FORMS = [
    Form("m4a", "aac"),
    Form("m4a", "alac"),
    Form("mp4", "aac", has_video=True),
    Form("mp4", "aac", muxer="mp4", options=FRAGMENTS, lead=1024 / 44100),
    Form("mov", "pcm_s16le"),
    Form("webm", "libopus", rate=48000),
    Form("mkv", "libopus", rate=48000, has_video=True),
    Form("mka", "libmp3lame"),
    Form("mkv", "pcm_s24le"),
    Form("aac", "aac", muxer="adts", lead=1024 / 44100),
    Form("ts", "aac", muxer="mpegts", lead=1024 / 44100),
    Form("flv", "aac", lead=1024 / 44100),
    Form("avi", "pcm_s16le", has_video=True),
    Form("avi", "pcm_u8"),
    Form("mpg", "ac3", muxer="mpeg", has_video=True, lead=256 / 44100),
    Form("ac3", "ac3", lead=256 / 44100),
    Form("wma", "wmav2", muxer="asf", lead=0.092 - 2048 / 44100),
    Form("wv", "wavpack"),
]
STATING = [form for form in FORMS if form.suffix in ("m4a", "mp4", "mov", "webm", "mkv", "mka", "avi", "wma", "wv")]


class Pipe:
    """A stream without seek: no length can be written into the header afterwards."""

    name = "pipe"

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def encode(form: Form, waveform: np.ndarray, target: Path | BytesIO | Pipe) -> None:
    """Encodes (sample,) or (channel, sample) at the rate of the form; skips the test without the encoder."""
    channels = np.atleast_2d(waveform)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    try:
        codec = av.codec.Codec(form.codec, "w")
    except ValueError:
        pytest.skip(f"this FFmpeg has no encoder {form.codec}")
    muxer = form.muxer or {"mkv": "matroska", "mka": "matroska", "m4a": "ipod"}.get(form.suffix, form.suffix)
    with av.open(target, "w", format=muxer, options=dict(form.options)) as container:
        if form.has_video:
            video = container.add_stream("libvpx" if muxer == "ogg" else "mpeg4", rate=10)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
        stream = container.add_stream(form.codec, rate=form.rate)
        stream.layout, stream.format, stream.bit_rate = layout, codec.audio_formats[0], 128_000
        stream.time_base = Fraction(1, form.rate)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=form.rate, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = form.rate, Fraction(1, form.rate), 0
        fifo = av.AudioFifo()
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            fifo.write(part)
        container.start_encoding()
        for part in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        if form.has_video:
            for _ in range(round(10 * channels.shape[1] / form.rate)):
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
            container.mux(video.encode(None))


def sound(rate: int, seconds: float = 2.0) -> np.ndarray:
    """A rising tone: no two moments are alike, and every codec keeps it."""
    moments = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * moments) * moments)).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form], Path]:
    """Writes 2 s of sound in a form, once per form."""
    folder = tmp_path_factory.mktemp("media")

    def write(form: Form) -> Path:
        path = folder / f"{form}.{form.suffix}"
        if not path.exists():
            memory = BytesIO()
            encode(form, sound(form.rate), memory)
            path.write_bytes(memory.getvalue())
        return path

    return write


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_format_is_read(written: Callable[[Form], Path], form: Form) -> None:
    path = written(form)
    info, audio = probe(path), load_audio(path, form.rate)
    assert (info.sample_rate, info.n_channels) == (form.rate, 1)
    assert info.n_samples in (audio.waveform.size, None)
    assert -1e-4 <= audio.duration - form.lead - 2.0 < 0.1  # the last packet may be filled up
    lead = round(form.lead * form.rate)
    expected = sound(form.rate)
    # sample-exact: a shift of one sample would make it 0.04
    error = audio.waveform[lead + 4000 : lead + 80000] - expected[4000:80000]
    assert np.sqrt(np.mean(error**2)) < 0.02


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_blocks_bytes_pipes_and_parts_equal_the_recording(written: Callable[[Form], Path], form: Form) -> None:
    path = written(form)
    whole = load_audio(path, form.rate).waveform
    np.testing.assert_array_equal(np.concatenate(list(load_blocks(path, form.rate, 0.3))), whole)
    np.testing.assert_array_equal(decode_audio(path.read_bytes(), form.rate, "x").waveform, whole)
    part = load_audio(path, form.rate, onset=0.5, duration=0.25).waveform
    np.testing.assert_array_equal(part, whole[form.rate // 2 : form.rate * 3 // 4])
    with path.open("rb") as stream, temporary_copy(stream) as temporary:
        np.testing.assert_array_equal(load_audio(temporary, form.rate).waveform, whole)


PIPED = [
    Form("mp3", "libmp3lame"),
    Form("wav", "pcm_s16le"),
    Form("flac", "flac"),
    Form("mp4", "aac", options=FRAGMENTS),
    Form("webm", "libopus", rate=48000),
    Form("mkv", "pcm_s16le"),
    Form("ogg", "libopus", rate=48000),
    Form("aiff", "pcm_s16be"),
    Form("au", "pcm_s16be"),
    Form("caf", "pcm_s16le"),
    Form("avi", "pcm_s16le"),
]


@pytest.mark.parametrize("form", PIPED, ids=str)
def test_files_without_stated_length_are_read_completely(form: Form) -> None:
    pipe = Pipe()
    encode(form, sound(form.rate), pipe)
    assert decode_audio(bytes(pipe.content), form.rate, "-").duration == pytest.approx(2.0, abs=0.05)


def test_channels_are_averaged(tmp_path: Path) -> None:
    for n_channels in (2, 6):
        form = Form("mkv", "pcm_s16le")
        encode(form, np.stack([sound(44100) * 0.1 * c for c in range(n_channels)]), tmp_path / "a.mkv")
        assert probe(tmp_path / "a.mkv").n_channels == n_channels
        expected = sound(44100) * 0.1 * (n_channels - 1) / 2
        np.testing.assert_allclose(load_audio(tmp_path / "a.mkv", 44100).waveform, expected, atol=1e-4)


def test_codecs_that_libsndfile_lacks_are_read_by_ffmpeg(tmp_path: Path) -> None:
    encode(Form("caf", "amr_nb", rate=8000), sound(8000), tmp_path / "a.caf")
    assert load_audio(tmp_path / "a.caf", RATE).duration == pytest.approx(2.0, abs=0.05)
    encode(Form("ogg", "libopus", rate=48000, has_video=True), sound(48000), tmp_path / "a.ogv")
    assert load_audio(tmp_path / "a.ogv", RATE).duration == pytest.approx(2.0, abs=0.05)
    (tmp_path / "a.ogv").write_bytes((tmp_path / "a.ogv").read_bytes()[:-100])
    with pytest.raises(AudioError, match=r"a\.ogv: cut off in the middle of an Ogg page"):
        load_audio(tmp_path / "a.ogv", RATE)


def test_the_suffix_does_not_matter(written: Callable[[Form], Path], tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3", "a", "ü\udcff.flac" if sys.platform == "linux" else "ü.flac"):
        (tmp_path / name).write_bytes(written(FORMS[0]).read_bytes())
        assert load_audio(tmp_path / name, RATE).duration == pytest.approx(2.0)


def test_an_id3_tag_before_the_sound_is_skipped(written: Callable[[Form], Path], tmp_path: Path) -> None:
    content = written(next(form for form in FORMS if form.suffix == "aac")).read_bytes()
    (tmp_path / "a.aac").write_bytes(b"ID3\x03\0\0\0\0\x07\x68" + bytes(1000) + content)
    assert load_audio(tmp_path / "a.aac", RATE).duration == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_video_without_sound(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(video.encode(None))
    for read in (probe, lambda path: load_audio(path, RATE)):
        with pytest.raises(AudioError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: a video without sound"


@pytest.mark.parametrize("share", [0.4, 0.6, 0.95])
@pytest.mark.parametrize("form", STATING, ids=str)
def test_truncated_files_are_refused(written: Callable[[Form], Path], form: Form, share: float) -> None:
    content = written(form).read_bytes()
    with pytest.raises(AudioError, match=r"^x: .*cut off.*; (copy or download it again|copy it again \()"):
        decode_audio(content[: int(len(content) * share)], RATE, "x")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_damaged_files_are_read_or_refused_in_one_line(
    written: Callable[[Form], Path], form: Form, capfd: pytest.CaptureFixture[str]
) -> None:
    content = written(form).read_bytes()
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarmarkWarning)
        for _ in range(20):
            damaged = bytearray(content)
            for place in generator.integers(0, len(content), 20):
                damaged[place] = generator.integers(256)
            try:
                assert decode_audio(bytes(damaged), RATE, "x").duration < 1000
            except AudioError as error:
                assert str(error).startswith("x: ")
                assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")  # FFmpeg prints nothing


def test_a_gap_in_the_middle_gives_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    encode(Form("webm", "libopus", rate=48000), sound(48000, 20.0), path)
    content = path.read_bytes()
    clusters = [at for at in range(len(content)) if content.startswith(b"\x1f\x43\xb6\x75", at)]
    assert len(clusters) > 2
    path.write_bytes(content[: clusters[1]] + bytes(clusters[2] - clusters[1]) + content[clusters[2] :])
    with pytest.warns(EarmarkWarning, match=r"a\.webm: [45]\.\d s of silence put in at \d\.\d s"):
        assert load_audio(path, RATE).duration == pytest.approx(20.0, abs=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_audio(path, RATE, duration=1.0).duration == 1.0


@dataclass(frozen=True)
class Clock:
    """A container with a late start and a gap in its sound."""

    suffix: str
    codec: str
    muxer: str
    rate: int = 48000


CLOCKS = [Clock("mp4", "aac", "mp4"), Clock("mkv", "pcm_s16le", "matroska"), Clock("ts", "ac3", "mpegts")]


@pytest.fixture(scope="module")
def stretched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Clock], Path]:
    """Writes pictures, and 3 s of sound that begins after 1 s and has a gap of 1.5 s after 2 s, once per form."""
    folder = tmp_path_factory.mktemp("clocks")

    def write(clock: Clock) -> Path:
        path = folder / f"{clock.codec}.{clock.suffix}"
        if path.exists():
            return path
        with av.open(str(path), "w", format=clock.muxer) as container:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            stream = container.add_stream(clock.codec, rate=clock.rate)
            stream.layout, stream.format = "mono", av.codec.Codec(clock.codec, "w").audio_formats[0]
            stream.codec_context.open(strict=False)
            packets = []
            for _ in range(60):
                packets += video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8)))
            packets += video.encode(None)
            n_frame = stream.codec_context.frame_size or 1000
            resampler = av.AudioResampler(format=stream.format, layout="mono", rate=clock.rate)
            whole = sound(clock.rate, 3.0)
            for start in range(0, len(whole) - n_frame, n_frame):
                block = np.ascontiguousarray(whole[None, start : start + n_frame])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate = clock.rate
                (frame,) = resampler.resample(frame)
                frame.time_base = Fraction(1, clock.rate)
                frame.pts = start + clock.rate + round(1.5 * clock.rate) * (start >= 2 * clock.rate)
                packets += stream.encode(frame)
            for packet in sorted([*packets, *stream.encode(None)], key=lambda one: float(one.dts * one.time_base)):
                container.mux(packet)
        return path

    return write


@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: clock.suffix)
def test_a_late_start_and_a_gap_are_silence(stretched: Callable[[Clock], Path], clock: Clock) -> None:
    path = stretched(clock)
    with pytest.warns(EarmarkWarning) as told:
        audio = load_audio(path, clock.rate)
    texts = [str(one.message) for one in told]
    assert len(texts) == 2 and "1.0 s of silence put in at the start, where its sound track begins late" in texts[0]
    assert texts[1].startswith(f"{path}: 1.5 s of silence put in at 3.0 s, where its sound track has a gap")
    assert audio.duration == pytest.approx(5.5, abs=0.1)
    assert probe(path).n_samples in (None, audio.waveform.size)
    loud = np.abs(audio.waveform) > 0.01
    for start, stop, share in ((0.0, 0.95, 0.0), (1.1, 2.9, 0.9), (3.15, 4.4, 0.0), (4.65, 5.4, 0.9)):
        part = loud[round(start * clock.rate) : round(stop * clock.rate)].mean()
        assert part >= share if share else part == 0


@pytest.mark.filterwarnings("ignore::earmark.errors.EarmarkWarning")
@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: clock.suffix)
def test_parts_blocks_and_facts_have_the_same_clock(stretched: Callable[[Clock], Path], clock: Clock) -> None:
    path = stretched(clock)
    whole = load_audio(path, clock.rate).waveform
    np.testing.assert_array_equal(np.concatenate(list(load_blocks(path, clock.rate, 0.3))), whole)
    np.testing.assert_array_equal(decode_audio(path.read_bytes(), clock.rate, "x").waveform, whole)
    for onset, duration in ((0.5, 1.0), (2.5, 2.5), (3.5, 0.5)):
        part = load_audio(path, clock.rate, onset, duration).waveform
        start = round(onset * clock.rate)
        np.testing.assert_array_equal(part, whole[start : start + round(duration * clock.rate)])
    facts = examine(FileAudio(path))
    assert facts.seconds == len(whole) / clock.rate
    assert "1.5 s of silence put in at 3.0 s" in (facts.warning or "")


def test_without_the_extra_the_error_says_how_to_install_it(
    written: Callable[[Form], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = ((FORMS[0], "mp4 or m4a"), (FORMS[5], "webm or mkv"), (FORMS[16], "asf"))
    paths = [(written(form), known) for form, known in forms]
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(media, "is_installed", lambda: False)
    for path, known in paths:
        with pytest.raises(AudioError) as caught:
            load_audio(path, RATE)
        assert str(caught.value) == f"{path}: reading {known} needs the extra: pip install 'earmark[media]'"
    (tmp_path / "a.caf").write_bytes(b"caff" + bytes(100))
    without = (
        r"w64 and, with the extra \(pip install 'earmark\[media\]'\), mp4 and webm: convert it, for example to wav$"
    )
    with pytest.raises(AudioError, match=without):
        load_audio(tmp_path / "a.caf", RATE)


def test_folder_scans_include_media_if_the_extra_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "b.M4A", "c.webm", "d.MTS", "d.txt"):
        (tmp_path / name).touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [path.name for path in find_audio(tmp_path)] == ["a.wav", "b.M4A", "c.webm", "d.MTS"]
    monkeypatch.setattr(media, "is_installed", lambda: False)
    with pytest.warns(EarmarkWarning, match=r"3 files skipped, 1 \.m4a, 1 \.mts, 1 \.webm: they need the extra: pip"):
        assert [path.name for path in find_audio(tmp_path)] == ["a.wav"]


def test_threads_can_read_the_same_file(written: Callable[[Form], Path]) -> None:
    path = written(FORMS[0])
    whole = load_audio(path, RATE).waveform
    same = []
    threads = [
        threading.Thread(target=lambda: same.append(np.array_equal(load_audio(path, RATE).waveform, whole)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 4
