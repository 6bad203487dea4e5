"""`earmark listen`: events of live sound."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated, Final

from cyclopts import Parameter

from earmark import hub
from earmark.annotations.start_times import StartTimes
from earmark.audio.live import Encoding
from earmark.cli import screen
from earmark.cli.alert_flags import AlertFlags
from earmark.cli.event_flags import EventFlags
from earmark.cli.flags import Count, Engine, Model, Overlap, Quiet
from earmark.cli.live_sources import named_source
from earmark.errors import Limit
from earmark.inference.events import label_thresholds
from earmark.listening.budget import Budget
from earmark.listening.clips import ClipConfig, ClipFolder
from earmark.listening.listener import ListenConfig, Listener
from earmark.parallel.interrupts import handled

_STALLED: Final = 30.0


@dataclass(frozen=True)
class LiveEventFlags(EventFlags):
    """Rules of live events; `per_hour` chooses none of them."""

    per_hour: Annotated[
        int | None,
        Limit(at_least=1),
        Parameter(
            help="Save at most this many clips, and send at most this many of each kind of alert, in 60 minutes."
        ),
    ] = None


_EVENTS: Final = LiveEventFlags()
_LISTEN: Final = ListenConfig()
_CLIPS: Final = ClipConfig()
_ALERTS: Final = AlertFlags()


def listen(
    source: str | None = None,
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    overlap: Overlap = None,
    sample_rate: Annotated[int | None, Limit(at_least=1000, at_most=384_000)] = None,
    channels: Count | None = None,
    encoding: Encoding = "int16",
    timeout: Annotated[float, Limit(above=0)] = _STALLED,
    listening: Annotated[ListenConfig, Parameter(name="*")] = _LISTEN,
    events: Annotated[LiveEventFlags, Parameter(name="*")] = _EVENTS,
    save_clips: Path | None = None,
    clips: Annotated[ClipConfig, Parameter(name="*")] = _CLIPS,
    alerts: Annotated[AlertFlags, Parameter(name="*")] = _ALERTS,
    quiet: Quiet = False,
) -> None:
    """Watch live sound.

    Args:
        source: Microphone (number or part of its name), URL, file or - (standard input); else the default microphone.
        sample_rate: Rate in Hz. With it, standard input has raw samples; without, a format that names its own rate.
        channels: Number of channels of raw samples or of the microphone; 1 by default.
        encoding: Type of raw samples, little-endian.
        timeout: Seconds without sound after which a microphone or URL counts as lost.
        save_clips: Save the sound of each event into this folder, in a folder for each label.
    """

    def report(line: str) -> None:
        screen.note(f"note: {line}", quiet)

    chosen = named_source(source, sample_rate, channels, encoding, timeout)
    with screen.usage_errors():
        alerts.deliveries()  # an invalid one fails before the work
        tagger = hub.load(model, engine=engine, overlap=overlap)
    rules = replace(events.settings(tagger.labels), per_hour=None)
    label_thresholds(rules.threshold, tagger.thresholds, tagger.labels)  # fails before the work
    budget = Budget(events.per_hour)
    folder = None if save_clips is None else ClipFolder(save_clips, clips, budget, report, chosen.recording)
    start = None if chosen.recording is None else StartTimes().of(chosen.recording)
    with screen.usage_errors():
        listener = Listener(chosen.open, tagger, rules, listening, is_live=chosen.is_live, start=start, clips=folder)
    names = tagger.labels.names
    labels = [names[tagger.labels.index(label)] for label in rules.labels or ()]
    with ExitStack() as opened:
        stop = opened.enter_context(_stopping())
        with screen.usage_errors():
            opening = alerts.outlets(labels, names, events.per_hour, lambda: listener.sounding, report)
            outlets = opened.enter_context(opening)
        screen.note(f"listening to {chosen.name} (Ctrl-C stops)", quiet)
        for message in listener.messages(stop):
            screen.write_json(message.to_json())
            for offer in outlets:
                offer(message)


@contextmanager
def _stopping() -> Iterator[Event]:
    """Yields a flag that Ctrl-C or SIGTERM sets; the second signal interrupts at once."""
    stop = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with handled(handle, signal.SIGINT, signal.SIGTERM):
        yield stop
