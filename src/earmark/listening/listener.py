"""`Listener`: live sound -> messages about events and gaps."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Annotated, Any, Final, Literal

import numpy as np

from earmark.audio.live import LiveSource
from earmark.errors import AudioError, Limit, check_settings
from earmark.inference.events import Event, EventSettings
from earmark.inference.stream import Stream
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import HOP, WINDOW
from earmark.listening.clips import ClipFolder, RecentSound
from earmark.listening.reader import Block, Ended, Opened, Reader

_FIRST_WAIT: Final = 1.0
"""Seconds before the first attempt to connect again; each later wait is twice as long."""
_SLACK: Final = 1e-6
_END_SLACK: Final = 0.01
"""Seconds by which resampled sound may be shorter."""
_STABLE: Final = 10.0
"""Seconds of sound after which a connection counts as stable, so that the next waits are short again."""


@dataclass(frozen=True)
class ListenConfig:
    """How the sound is analysed, and what happens when the source is lost."""

    window: float = WINDOW
    """Seconds pooled for one row of scores."""
    hop: float = HOP
    """Seconds from one row of scores to the next."""
    context: float | None = None
    """Seconds around each row that decide which labels sound; 0 is off; by default half a training clip."""
    step: float | None = None
    """Seconds of sound per run of the network, by default one segment; more needs less computing and adds latency."""
    retries: Annotated[int | None, Limit(at_least=0)] = None
    """Attempts in a row to reach a lost source before giving up; by default no limit."""
    longest_wait: Annotated[float, Limit(above=0)] = 60.0
    """Longest wait between two attempts, in seconds; the waits begin with 1 s and double."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Message:
    """A line about the sound. Times are seconds since the listening began, gaps included."""

    type: Literal["started", "began", "event", "lost", "gap", "finished"]
    """`began` is provisional: the event may still grow, and its onset may become later. `event` is final.

    `lost` begins a gap, `gap` ends it.
    """
    onset: float
    offset: float | None = None
    label: str | None = None
    score: float | None = None
    time: datetime | None = None
    """Time of day of the onset; None where it is unknown."""
    clip: str | None = None
    """The file with the sound of the event."""
    reason: str | None = None
    """Why the source was lost."""

    def to_json(self) -> dict[str, Any]:
        """The values that are known; times in milliseconds."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        for name in ("onset", "offset", "score"):
            if name in values:
                values[name] = round(values[name], 6 if name == "score" else 3)
        if self.time is not None:
            values["time"] = self.time.isoformat(timespec="milliseconds")
        return values


def seconds_since_start() -> float:
    """Seconds since the computer started; those asleep count, which `time.monotonic` leaves out on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Listener:
    """Watches one source until it ends, in constant memory.

    When the source is lost, the running events end. A new stream begins after the gap, whose length the clock measures.

    Args:
        open_source: Opens the source; called again after each loss.
        tagger: The model.
        events: Rules of the events; without `per_hour`.
        config: Other settings.
        is_live: Whether a lost source is opened again, and its sound dates from when it arrives.
        start: Time of day of the first sample; by default now where the source is live.
        clips: Saves the sound of events; None saves none.
        clock: Returns seconds; measures gaps.

    Raises:
        ConfigError: A setting is invalid.
        DataError: A label is unknown.
    """

    def __init__(
        self,
        open_source: Callable[[], LiveSource],
        tagger: Tagger,
        events: EventSettings,
        config: ListenConfig,
        *,
        is_live: bool = True,
        start: datetime | None = None,
        clips: ClipFolder | None = None,
        clock: Callable[[], float] = seconds_since_start,
    ) -> None:
        self._open_source, self._tagger, self._events, self._config = open_source, tagger, events, config
        self._is_live, self._start, self._clips, self._clock = is_live, start, clips, clock
        self._piece: _Piece | None = None
        self._origin: float | None = None  # clock at the start; all pieces count from it, so that errors do not add up
        self._position = 0.0
        self._new_stream(16000)  # an invalid setting is an error before the source is opened

    @property
    def sounding(self) -> set[str]:
        """Labels of the events that have begun and still last."""
        return set() if self._piece is None else self._piece.sounding

    def messages(self, stop: Flag) -> Iterator[Message]:
        """The messages until the sound ends or `stop` is set, which ends the running events.

        Raises:
            AudioError: The source cannot be opened at first, or is lost for good.
        """
        n_failed, wait = 0, _FIRST_WAIT
        while True:
            error: Exception | None = None
            with closing(Reader(self._open_source, self._clock)) as reader:
                try:
                    while not stop.is_set() and not isinstance(item := reader.next(), Ended):
                        yield from self._take(item)
                    if not stop.is_set() and isinstance(item, Ended):
                        error = item.error
                except AudioError as raised:  # sound that cannot be analysed, such as NaN of a damaged packet
                    error = raised
            seconds = self._piece.duration if self._piece is not None and self._piece.is_placed else None
            yield from self._finish_piece()
            if stop.is_set() or error is None:
                break
            if not isinstance(error, AudioError) or not self._is_live or not self._position:
                raise error
            if seconds is not None:
                yield self._message("lost", self._position, reason=str(error))
                if seconds >= _STABLE:
                    n_failed, wait = 0, _FIRST_WAIT
            if self._config.retries is not None and n_failed >= self._config.retries:
                raise error
            n_failed += 1
            if stop.wait(min(wait, self._config.longest_wait)):
                break
            wait = min(2 * wait, self._config.longest_wait)
        yield self._message("finished", self._position)

    def _new_stream(self, sample_rate: int, n_channels: int = 1) -> Stream:
        config = self._config
        return self._tagger.stream(
            sample_rate,
            n_channels=n_channels,
            window=config.window,
            hop=config.hop,
            context=config.context,
            step=config.step,
            settings=self._events,
        )

    def _take(self, item: Opened | Block | None) -> Iterator[Message]:
        if isinstance(item, Opened):
            stream = self._new_stream(item.sample_rate, item.n_channels)
            self._piece = _Piece(stream, item.sample_rate, self._events, self._clips)
        elif isinstance(item, Block) and self._piece is not None and item.samples.shape[1]:
            if not self._piece.is_placed:
                yield self._place(item, self._piece)
            for message in self._piece.push(item.samples):
                yield self._dated(message)
            self._position = self._piece.position

    def _place(self, first: Block, piece: "_Piece") -> Message:
        """The message about where a connection begins in time: its first block ends when it arrives."""
        length = first.samples.shape[1] / piece.sample_rate
        if self._origin is None:
            self._origin = first.time - length
            if self._is_live and self._start is None:
                self._start = datetime.now().astimezone() - timedelta(seconds=length)
            piece.place(0.0, self._start)
            return self._message("started", 0.0)
        onset = self._position
        offset = max(onset, first.time - length - self._origin)
        piece.place(offset, self._start)
        return self._message("gap", onset, offset)

    def _finish_piece(self) -> Iterator[Message]:
        piece, self._piece = self._piece, None
        if piece is not None and piece.is_placed:
            for message in piece.finish():
                yield self._dated(message)

    def _message(self, kind: Any, onset: float, offset: float | None = None, reason: str | None = None) -> Message:
        return self._dated(Message(kind, onset, offset, reason=reason))

    def _dated(self, message: Message) -> Message:
        if self._start is None:
            return message
        return replace(message, time=self._start + timedelta(seconds=message.onset))


class _Piece:
    """The sound of one connection."""

    def __init__(self, stream: Stream, sample_rate: int, events: EventSettings, clips: ClipFolder | None) -> None:
        self.sample_rate = sample_rate
        self.is_placed = False
        self._stream, self._events, self._clips = stream, events, clips
        self._base = 0.0
        self._start: datetime | None = None
        delay = stream.latency + stream.trim + events.delay
        self._sound = None if clips is None else RecentSound(sample_rate, clips.seconds(delay))
        self._row: np.ndarray | None = None
        self.sounding: set[str] = set()
        """Labels of the events that have begun and still last."""
        self._began: dict[str, list[float]] = {}  # onsets of events that have begun and are not final, by label
        self._saved: dict[str, tuple[float, str | None]] = {}  # clips of events that still last, by label

    def place(self, base: float, start: datetime | None) -> None:
        """Sets when the sound begins, in seconds since the listening began, and the time of day of second 0."""
        self._base, self._start, self.is_placed = base, start, True

    @property
    def duration(self) -> float:
        """Seconds of sound so far."""
        return self._stream.duration

    @property
    def position(self) -> float:
        """Seconds at which the sound so far ends."""
        return self._base + self.duration

    def push(self, samples: np.ndarray) -> Iterator[Message]:
        """Takes samples and yields the messages that they cause."""
        if self._sound is not None:
            self._sound.push(samples)
        final = self._stream.push(samples)
        if self._stream.scores is self._row:  # no new window
            return
        self._row = self._stream.scores
        sounding = self._stream.sounding
        self.sounding = {event.label for event in sounding}
        for event in final:
            yield from self._ended(event)
        for event in sounding:
            began = self._began.setdefault(event.label, [])
            if event.onset not in began:
                began.append(event.onset)
                yield self._of(event, "began")
            if self._clips is not None and event.offset - event.onset >= self._clips.longest_clip:
                self._save_early(event)

    def finish(self) -> Iterator[Message]:
        """Messages of the events that remain."""
        final = self._stream.finish()
        self.sounding = set()
        for event in final:
            yield from self._ended(event)

    def _of(self, event: Event, kind: Literal["began", "event"]) -> Message:
        offset = None if kind == "began" else self._base + event.offset
        return Message(kind, self._base + event.onset, offset, event.label, event.score)

    def _ended(self, event: Event) -> Iterator[Message]:
        # the end without padding: it lies behind the first cell of this event, and before that of the next
        is_cut = event.offset > self.duration - _END_SLACK
        end = event.offset if is_cut else event.offset - self._events.pad + _SLACK
        began = self._began.pop(event.label, [])
        if not any(onset < end for onset in began):
            yield self._of(event, "began")  # it was over before the next window
        self._began[event.label] = [onset for onset in began if onset >= end]
        saved = self._saved.get(event.label)
        if saved is not None and saved[0] < end:
            del self._saved[event.label]
            clip = saved[1]
        else:
            clip = self._save(event)
        yield replace(self._of(event, "event"), clip=clip)

    def _save_early(self, event: Event) -> None:
        """Saves the first part of a long event before its sound is forgotten."""
        saved = self._saved.get(event.label)
        if saved is None or saved[0] != event.onset:
            self._saved[event.label] = event.onset, self._save(event)

    def _save(self, event: Event) -> str | None:
        if self._clips is None or self._sound is None:
            return None
        time = None if self._start is None else self._start + timedelta(seconds=self._base + event.onset)
        return self._clips.save(self._sound, event, self._base, time)
