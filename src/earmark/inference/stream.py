"""Live tagging: samples in as they come, events and current scores out, equal to the timeline of the recording."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from earmark.audio.recording import Audio, samples_to_seconds
from earmark.audio.resampling import StreamResampler
from earmark.errors import AudioError, ConfigError
from earmark.inference.engine import ChunkedEncoder, Engine, WindowedEncoder
from earmark.inference.events import Event, EventFinder, EventSettings, Threshold, trim_of
from earmark.inference.windows import SlidingWindows, seconds_per_segment, sigmoid

if TYPE_CHECKING:
    from jaxtyping import Float


class Stream:
    """Scores a stream of samples; made by `Tagger.stream`. Its memory and its work per second are constant.

    Args: As for `Tagger.stream`.

    Raises:
        ConfigError: A setting is invalid.
        AudioError: The sample rate is invalid.
    """

    def __init__(
        self,
        engine: Engine,
        sample_rate: int,
        *,
        n_channels: int = 1,
        window: float,
        hop: float,
        context: float,
        threshold: Threshold = None,
        release: float | None = None,
        settings: EventSettings = EventSettings(),  # noqa: B008 (frozen)
        step: float | None = None,
    ) -> None:
        if n_channels < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_channels}", "n_channels")
        self._engine, self._n_channels = engine, n_channels
        self._resampler = StreamResampler(sample_rate, engine.sample_rate)
        self._windows = SlidingWindows(engine, window, hop, context=context)
        self._window, self._hop, self._context = window, hop, context
        seconds = seconds_per_segment(engine)
        if step is not None and not seconds * (1 - 1e-9) <= step < 3600:
            raise ConfigError(f"{seconds:g} s, the length of one segment, or more was expected, not {step:g}", "step")
        if step is not None and engine.halo is None:
            raise ConfigError(
                "none was expected: this model encodes windows of its training clips' length, whose overlap sets the "
                "step",
                "step",
            )
        n_step = 1 if step is None else int(step / seconds + 1e-9)
        self._encoder = WindowedEncoder(engine) if engine.halo is None else ChunkedEncoder(engine, n_step)
        settings = settings.replaced(threshold, release)
        self.trim = trim_of(window, hop)
        """Seconds that are cut off each end of an event's cells (`trim_of`)."""
        self._finder = EventFinder(settings, engine.labels, engine.thresholds, trim=self.trim)
        self._held: list[np.ndarray] = []  # (channel, sample) each; too few for the next segments
        self._n_pushed = 0
        self._n_needed = self._samples_needed()
        self._row: np.ndarray | None = None  # the latest row; the next row determines the end of its cell
        self._finished = False

    @property
    def latency(self) -> float:
        """Maximum seconds between the end of a window and its scores, without computing time.

        A window waits for the end of its context. A segment depends on `halo` segments after it, and the network runs
        once per step; without a halo, a segment waits for the end of the window that the network encodes. `push`
        returns an event with the scores of the first window after it, or, where gaps are bridged or events padded, of
        the first one `EventSettings.delay` after it.
        """
        after = max(0.0, (self._context - self._window) / 2)
        return after + (self._encoder.delay + 1) * seconds_per_segment(self._engine)

    @property
    def duration(self) -> float:
        """Seconds of audio pushed so far."""
        return samples_to_seconds(self._n_pushed, self._resampler.from_rate)

    @property
    def scores(self) -> Float[np.ndarray, " label"] | None:
        """Scores of the latest window; None before the first is complete."""
        return self._row

    @property
    def sounding(self) -> list[Event]:
        """Events that have not ended and last at least `min_duration` if they end now, without padding.

        The onset of such an event is the start of the cell of its first window; when it has ended, it begins up to
        `trim` later. `push` returns an event when no later sound can change it.
        """
        return self._finder.sounding

    def push(self, samples: np.ndarray) -> list[Event]:
        """Takes any number of samples and returns the events that are now final, each once.

        Args:
            samples: (sample,) or, with `n_channels` rows, (channel, sample); floats of full scale 1, or int16 or int32;
                may be empty.

        Raises:
            AudioError: The dtype, shape or number of channels is wrong, or a sample is NaN or infinite.
            ConfigError: The stream is finished.
        """
        self._check_open()
        shape = np.shape(samples)
        if len(shape) in (1, 2) and (shape[0] if len(shape) == 2 else 1) != self._n_channels:
            expected = "(sample,)" if self._n_channels == 1 else f"({self._n_channels} channels, sample)"
            raise AudioError(
                f"this stream takes {expected}, got shape {shape}; transpose (sample, channel) arrays, and start "
                "the stream with their n_channels"
            )
        if isinstance(samples, np.ndarray) and samples.ndim in (1, 2) and samples.shape[-1] == 0:
            return []
        if not _is_sound(samples):
            self._audio(samples)  # raises the error
        # converting and resampling a single sample takes longer than it lasts: samples wait for those that are needed
        events = self._take_held() if self._held and self._held[0].dtype != samples.dtype else []
        self._held.append(samples.copy().reshape(self._n_channels, -1))
        self._n_pushed += samples.shape[-1]
        return events + (self._take_held() if self._n_pushed >= self._n_needed else [])

    def finish(self) -> list[Event]:
        """Ends the stream and returns the remaining events.

        Raises:
            ConfigError: The stream is finished already.
        """
        self._check_open()
        self._finished = True
        events = self._take_held() if self._held else []
        events += self._score(self._resampler.finish())
        if not self._encoder.n_samples:
            return events
        duration = samples_to_seconds(self._encoder.n_samples, self._engine.sample_rate)
        first = self._windows.n_windows
        logits = self._windows.finish(self._encoder.finish(), duration)
        events += self._rows(first, logits, duration)
        if self._row is not None:
            onset = (self._windows.n_windows - 1) * self._hop
            self._finder.end_cell(min(onset + self._window, duration))
        return events + self._finder.finish(duration)

    def _check_open(self) -> None:
        if self._finished:
            raise ConfigError("this stream is finished; start another one with Tagger.stream")

    def _audio(self, samples: np.ndarray) -> Audio:
        # in one row: that a part has fewer samples than channels is no mistake
        is_array = isinstance(samples, np.ndarray) and samples.ndim == 2
        return Audio(samples.reshape(-1) if is_array else samples, self._resampler.from_rate)

    def _samples_needed(self) -> int:
        """Number of samples, pushed ones included, before which no segment can be complete."""
        return -(-self._encoder.n_needed * self._resampler.from_rate // self._engine.sample_rate)

    def _take_held(self) -> list[Event]:
        """Resamples and scores the samples that wait."""
        samples, self._held = np.concatenate(self._held, axis=1), []
        waveform = self._audio(samples).waveform.reshape(samples.shape).mean(axis=0)
        events = self._score(self._resampler.push(waveform))
        self._n_needed = self._samples_needed()
        return events

    def _score(self, waveform: np.ndarray) -> list[Event]:
        """Events that are final with these samples, at the network's rate."""
        events: list[Event] = []
        for segments in self._encoder.push(waveform) if waveform.size else ():
            first = self._windows.n_windows
            events += self._rows(first, self._windows.push(segments), np.inf)
        return events

    def _rows(self, first: int, logits: np.ndarray, duration: float) -> list[Event]:
        """Events that are final with these windows; `first` is the index of the first window."""
        events: list[Event] = []
        for index, row in enumerate(sigmoid(logits), first):
            onset = start = index * self._hop
            if self._row is not None:
                # the cells of Timeline.cells
                before = (index - 1) * self._hop
                ends = min(before + self._window, duration), min(onset + self._window, duration)
                border = ((onset + ends[1]) / 2 + (before + ends[0]) / 2) / 2
                self._finder.end_cell(min(border, ends[0]))
                start = max(border, onset)
            events += self._finder.begin_cell(start, row)
            self._row = row
        return events


def _is_sound(samples: object) -> bool:
    """Whether `Audio` takes the samples, as far as is quickly known; those that it takes may fail this test."""
    if not isinstance(samples, np.ndarray) or samples.ndim not in (1, 2):
        return False
    if samples.dtype == np.int16 or samples.dtype == np.int32:
        return True
    if samples.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):  # a sum that is not finite is no error yet
        return math.isfinite(samples.item() if samples.size == 1 else samples.sum())
