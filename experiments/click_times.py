"""Writes results/click-times.md: clicks at known seconds of videos and sound files, found where they were put."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark.audio.recording import load_audio
from earmark.errors import EarmarkWarning
from experiments.steps import RESULTS, commit

CLICKS: Final = (0.31, 0.87, 1.46, 2.34, 3.12, 3.71)
"""Seconds of the clicks in the sound, before it is stretched by a late start and a gap."""
LATE: Final = 1.25
"""Seconds after the first picture at which the sound of a video begins."""
GAP: Final = (2.0, 1.5)
"""Second of the sound at which there is a gap, and its length in seconds."""
LIMIT: Final = 0.03
"""Seconds by which a click may be misplaced."""
_SECONDS: Final = 4.2
_PICTURES: Final = 25
"""Pictures a second."""
_WRAP: Final = 2**33 / 90000
"""Seconds after which the clock of MPEG-TS begins again."""


@dataclass(frozen=True)
class Form:
    """A container with a codec."""

    suffix: str
    codec: str
    rate: int = 48000
    video: str | None = "mpeg4"
    """Encoder of the pictures; None for a file with sound alone."""
    muxer: str | None = None
    """FFmpeg's name of the container, where it is not the suffix."""
    options: tuple[tuple[str, str], ...] = ()
    origin: float = 0.0
    """Seconds at which the clock begins."""
    keeps_gaps: bool = True
    """Whether the container stores the gap and the late start, with this codec in FFmpeg."""
    is_counted: bool = True
    """Whether FFmpeg counts the gap and the late start when it reads the file."""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.suffix}, {self.codec.removeprefix('lib')}{f', {self.note}' if self.note else ''}"


_LIVE: Final = (("live", "1"),)
FORMS: Final = (
    Form("mp4", "aac"),
    Form("mp4", "aac", rate=16000, note="16 kHz"),
    Form("mp4", "aac", options=(("movflags", "frag_keyframe+empty_moov+delay_moov"),), note="fragments"),
    Form("mp4", "libopus"),
    Form("mp4", "flac"),
    Form("mp4", "libmp3lame", rate=44100),
    Form("mp4", "ac3"),
    Form("mov", "alac", rate=44100),
    Form("mov", "pcm_s16le", keeps_gaps=False),
    Form("m4a", "aac", rate=44100, video=None, muxer="ipod", note="no video"),
    Form("3gp", "libopencore_amrnb", rate=8000),
    Form("mkv", "aac", muxer="matroska"),
    Form("mkv", "libmp3lame", rate=44100, muxer="matroska"),
    Form("mkv", "ac3", muxer="matroska"),
    Form("mkv", "flac", muxer="matroska"),
    Form("mkv", "pcm_s24le", muxer="matroska"),
    Form("mkv", "wavpack", muxer="matroska"),
    Form("mka", "libopus", video=None, muxer="matroska", note="no video"),
    Form("webm", "libopus", video="libvpx"),
    Form("webm", "libopus", video="libvpx", options=_LIVE, origin=3600.0, note="live, from 1 h on"),
    Form("webm", "libopus", video=None, options=_LIVE, note="live, no video"),
    Form("ts", "aac", muxer="mpegts"),
    Form("ts", "mp2", muxer="mpegts"),
    Form("ts", "libopus", muxer="mpegts"),
    Form("ts", "ac3", muxer="mpegts", origin=72000.0, note="from 20 h on"),
    Form("ts", "aac", muxer="mpegts", origin=_WRAP - 4, note="its clock begins again"),
    Form("mts", "ac3", muxer="mpegts", options=(("mpegts_m2ts_mode", "1"),)),
    Form("mpg", "mp2", video="mpeg2video", muxer="mpeg"),
    Form("flv", "aac", rate=44100, video="flv"),
    Form("flv", "libmp3lame", rate=44100, video=None, note="no video"),
    Form("wmv", "wmav2", rate=44100, video="msmpeg4", muxer="asf"),
    Form("avi", "libmp3lame", rate=44100, is_counted=False),
    Form("avi", "ac3", is_counted=False),
)
"""All combinations of the page; some are the same container with another clock."""


@dataclass(frozen=True)
class Errors:
    """Differences in seconds between found clicks and a clock."""

    written: tuple[float, ...]
    """From the times at which the clicks were written, counted from the first picture or sound."""
    by_ffmpeg: tuple[float, ...]
    """From the times that FFmpeg's own timestamps of the decoded frames give."""


def click_times() -> None:
    """Measure where the clicks of files in many containers and codecs are found."""
    with tempfile.TemporaryDirectory() as folder:
        text = page([(form, measure(form, Path(folder))) for form in FORMS])
    (RESULTS / "click-times.md").write_text(text, encoding="utf-8")
    print(text, end="")


def page(rows: Sequence[tuple[Form, Errors]]) -> str:
    """The page: a Markdown table, one row for each form."""
    largest = max(1000 * max(map(abs, errors.by_ffmpeg)) for form, errors in rows if form.is_counted)
    text = (
        "# Times of clicks in videos\n\n"
        f"Written by `python -m experiments click-times`, commit {commit()}, with PyAV {version('av')}; the times do "
        f"not depend on the machine. Each file has {len(CLICKS)} clicks. The sound begins {LATE:g} s after the first "
        f"picture (in files without video at once) and has a gap of {GAP[1]:g} s. The columns are the mean and the "
        "largest difference, in ms, between the clicks that `load_audio` returns and two clocks: the times at which "
        "they were written, and the timestamps that FFmpeg gives the decoded frames, counted from the start that the "
        f"container states. The largest difference from FFmpeg's timestamps is {largest:.1f} ms (AVI is not "
        "compared).\n\n"
        "The 25 ms of mp3 in FLV are padding of its encoder, which FLV cannot mark. FFmpeg does not store the gap of "
        "PCM in mov. In AVI it stores late starts and gaps as empty chunks, which it does not count when it reads; "
        "`load_audio` does.\n\n"
        "| container, codec | late start, gap | as written | by FFmpeg |\n|---|---|---:|---:|\n"
    )
    for form, errors in rows:
        what = f"{LATE:g} s, {GAP[1]:g} s" if form.video else f"-, {GAP[1]:g} s"
        written = _ms(errors.written) if form.keeps_gaps else "not stored"
        by_ffmpeg = _ms(errors.by_ffmpeg) if form.is_counted else "not counted"
        text += f"| {form} | {what} | {written} | {by_ffmpeg} |\n"
    return text


def _ms(errors: Sequence[float]) -> str:
    values = 1000 * np.array(errors)
    return f"{values.mean():+.1f}, {np.abs(values).max():.1f}"


def measure(form: Form, folder: Path) -> Errors:
    """Writes a file, reads it with earmark, and compares its clicks with both clocks."""
    path = folder / f"{FORMS.index(form)}.{form.suffix}"
    write(form, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarmarkWarning)
        found = find_clicks(load_audio(path, form.rate).waveform, form.rate)
    late = LATE if form.video else 0.0
    written = [second + late + (GAP[1] if second >= GAP[0] else 0.0) for second in CLICKS]
    by_ffmpeg = find_clicks(_placed(form, path), form.rate)
    return Errors(_differences(found, written), _differences(found, by_ffmpeg))


def _differences(found: Sequence[float], true: Sequence[float]) -> tuple[float, ...]:
    return tuple((np.array(found) - true).tolist()) if len(found) == len(true) else (float("inf"),)


def find_clicks(waveform: np.ndarray, rate: int) -> list[float]:
    """Seconds of the clicks: the centres of short bursts of energy."""
    width = round(0.02 * rate)
    power = np.convolve(waveform.astype(np.float64) ** 2, np.hanning(width), "same")
    loud = np.flatnonzero(power > 0.2 * power.max())
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > round(0.1 * rate)) + 1)
    return [float(np.average(group, weights=power[group])) / rate for group in groups]


def _sound(rate: int) -> np.ndarray:
    sound = np.zeros(round(_SECONDS * rate), np.float32)
    n_click = round(0.008 * rate)
    click = 0.8 * np.hanning(n_click) * np.sin(2 * np.pi * 1000 * np.arange(n_click) / rate)
    for second in CLICKS:
        start = round(second * rate) - n_click // 2
        sound[start : start + n_click] = click
    return sound


def write(form: Form, path: Path) -> None:
    """Writes the clicks in a form.

    Raises:
        av.codec.codec.UnknownCodecError: This FFmpeg has no such encoder.
    """
    import av

    with av.open(str(path), "w", format=form.muxer or form.suffix, options=dict(form.options)) as container:
        packets = list(_picture_packets(container, form)) if form.video else []
        packets += _sound_packets(container, form)
        # stable: of packets of one time the pictures come first
        for packet in sorted(packets, key=lambda packet: float((packet.dts or packet.pts or 0) * packet.time_base)):
            container.mux(packet)


def _picture_packets(container: Any, form: Form) -> Iterator[Any]:
    import av

    stream = container.add_stream(form.video, rate=_PICTURES)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for number in range(round(_PICTURES * (_SECONDS + LATE + GAP[1]))):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number % 250, np.uint8))
        frame.pts, frame.time_base = number + round(form.origin * _PICTURES), Fraction(1, _PICTURES)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_packets(container: Any, form: Form) -> Iterator[Any]:
    import av

    stream = container.add_stream(form.codec, rate=form.rate)
    stream.layout, stream.bit_rate = "mono", 12200 if "amr" in form.codec else 96000
    formats: Any = av.codec.Codec(form.codec, "w").audio_formats
    stream.format = formats[0]
    stream.codec_context.open(strict=False)
    n_frame = stream.codec_context.frame_size or 960
    sound = _sound(form.rate)
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=form.rate)
    late = LATE if form.video else 0.0
    for start in range(0, len(sound) - n_frame + 1, n_frame):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + n_frame], format="fltp", layout="mono")
        frame.sample_rate = form.rate
        (frame,) = resampler.resample(frame)
        moved = form.origin + late + (GAP[1] if start >= GAP[0] * form.rate else 0.0)
        frame.pts, frame.time_base = start + round(moved * form.rate), Fraction(1, form.rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _placed(form: Form, path: Path) -> np.ndarray:
    """The decoded frames, each put where its own timestamp says: a plain reference."""
    import av

    with av.open(str(path)) as container:
        begin = (container.start_time or 0) / av.time_base
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=form.rate)
        frames: list[tuple[int, Any]] = []
        for frame in container.decode(container.streams.audio[0]):
            if frame.pts is None:  # FFmpeg's last frame of Windows Media; it follows the one before
                start = frames[-1][0] + frames[-1][1].samples
            else:
                start = round((float(frame.pts * (frame.time_base or 0)) - begin) * form.rate)
            frames.append((start, frame))
    placed = np.zeros(max(start + frame.samples for start, frame in frames), np.float32)
    for start, frame in frames:
        (frame,) = resampler.resample(frame)
        placed[start : start + frame.samples] = frame.to_ndarray()[0]
    return placed
