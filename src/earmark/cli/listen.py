"""`earmark listen`: events of live sound."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated, BinaryIO, Final, Literal

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.annotations.start_times import StartTimes
from earmark.audio.live import Encoding, LiveSource, RawSamples, RecordedSound
from earmark.audio.live_media import MediaStream
from earmark.cli import screen
from earmark.cli.event_flags import EventFlags
from earmark.cli.flags import Count, Engine, Model, Overlap, Quiet
from earmark.errors import Limit
from earmark.inference.events import label_thresholds
from earmark.listening.alerts import Alerts, command, webhook
from earmark.listening.budget import Budget
from earmark.listening.clips import ClipConfig, ClipFolder
from earmark.listening.listener import ListenConfig, Listener, Message
from earmark.parallel.interrupts import handled
from earmark.storage.remote import is_url

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


@dataclass(frozen=True)
class _Source:
    """A source by name."""

    open: Callable[[], LiveSource]
    name: str
    is_live: bool = True
    recording: str | None = None


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
    exec: str | None = None,
    webhook_url: Annotated[
        str | None, Parameter(name="--webhook", env_var="EARMARK_WEBHOOK", show_env_var=True)
    ] = None,
    alert_at: Literal["begin", "end"] = "end",
    mqtt: Annotated[str | None, Parameter(env_var="EARMARK_MQTT", show_env_var=True)] = None,
    topic: str = "earmark",
    quiet: Quiet = False,
) -> None:
    """Watch live sound.

    Args:
        source: Number or part of the name of a microphone, a URL, a recording, or - for standard input; else the
            default microphone.
        sample_rate: Rate in Hz. With it, standard input has raw samples; without, a format that names its own rate.
        channels: Number of channels of raw samples or of the microphone; 1 by default.
        encoding: Type of raw samples, little-endian.
        timeout: Seconds without sound after which a microphone or URL counts as lost.
        save_clips: Save the sound of each event into this folder, which has a folder a label.
        exec: Command to run for each event, without a shell; its arguments are label, onset, offset, score, time, clip.
        webhook_url: URL to which each event is posted as JSON.
        alert_at: Send alerts when events begin (provisional), or when they have ended.
        mqtt: Broker to publish to, as mqtt://USER:PASSWORD@HOST; Home Assistant finds the labels. Needs the extra live.
        topic: Prefix of the MQTT topics.
    """
    chosen = _source(source, sample_rate, channels, encoding, timeout)
    budget = events.per_hour

    def report(line: str) -> None:
        screen.note(f"note: {line}", quiet)

    with screen.usage_errors():
        deliveries = [
            (name, make(value))
            for name, make, value in (("exec", command, exec), ("webhook", webhook, webhook_url))
            if value is not None
        ]
        tagger = hub.load(model, engine=engine, overlap=overlap)
    rules = replace(events.settings(tagger.labels), per_hour=None)
    label_thresholds(rules.threshold, tagger.thresholds, tagger.labels)  # fails before the work
    folder = None if save_clips is None else ClipFolder(save_clips, clips, Budget(budget), report)
    start = None if chosen.recording is None else StartTimes().of(chosen.recording)
    with screen.usage_errors():
        listener = Listener(chosen.open, tagger, rules, listening, is_live=chosen.is_live, start=start, clips=folder)
    kind = "began" if alert_at == "begin" else "event"
    with ExitStack() as opened:
        stop = opened.enter_context(_stopping())
        outlets: list[Callable[[Message], None]] = []
        for name, deliver in deliveries:
            alerts = opened.enter_context(closing(Alerts(name, deliver, report)))
            outlets.append(_within(Budget(budget), kind, alerts.offer))
        if mqtt is not None:
            from earmark.listening.home_assistant import Mqtt

            labels = [tagger.labels.names[tagger.labels.index(label)] for label in rules.labels or ()]
            with screen.usage_errors():
                broker = opened.enter_context(closing(Mqtt(mqtt, topic, labels, report)))
            outlets.append(lambda message: broker.offer(message, listener.sounding))
        screen.note(f"listening to {chosen.name} (Ctrl-C stops)", quiet)
        for message in listener.messages(stop):
            screen.write_json(message.to_json())
            for offer in outlets:
                offer(message)


def _source(
    source: str | None, sample_rate: int | None, channels: int | None, encoding: Encoding, timeout: float
) -> _Source:
    """The source that the flags name.

    Raises:
        CycloptsError: A flag does not belong to the source.
    """
    is_input = source in ("-", "./-")
    if source is not None and is_url(source):
        _refuse_raw("a URL", sample_rate, channels)
        return _Source(lambda: MediaStream(source, _without_secrets(source), timeout), _without_secrets(source))
    if source is not None and not is_input and Path(source).exists():
        path = Path(source)
        _refuse_raw("a file", sample_rate, channels)
        if path.is_file():
            return _Source(lambda: RecordedSound(path), source, is_live=False, recording=source)
        return _Source(lambda: MediaStream(path.open("rb", buffering=0), source), source)
    if is_input:
        # Python cannot end while a thread waits for a buffered stream
        stream: BinaryIO = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        if sample_rate is None:
            _refuse_raw("encoded sound; give --sample-rate too", None, channels)
            return _Source(lambda: MediaStream(stream, "standard input"), "standard input")
        raw = RawSamples(stream, sample_rate, channels or 1, encoding)
        return _Source(lambda: raw, "standard input")
    if source is not None and Path(source).name != source:
        raise CycloptsError(f"{source}: no such file")
    from earmark.audio.microphone import Microphone

    name = f"microphone {source}" if source else "the microphone"
    return _Source(lambda: Microphone(source, sample_rate, channels or 1, timeout), name)


def _refuse_raw(what: str, sample_rate: int | None, channels: int | None) -> None:
    if sample_rate is not None or channels is not None:
        named = "--channels" if sample_rate is None else "--sample-rate"
        raise CycloptsError(f"{named} is for raw samples on standard input and microphones, not for {what}")


def _without_secrets(url: str) -> str:
    """The URL without user, password and query."""
    head, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


@contextmanager
def _stopping() -> Iterator[Event]:
    """Is set by Ctrl-C or SIGTERM; the second one interrupts at once."""
    stop = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with handled(handle, signal.SIGINT, signal.SIGTERM):
        yield stop


def _within(budget: Budget, kind: str, offer: Callable[[Message], None]) -> Callable[[Message], None]:
    """Offers the messages of one kind, as far as the hour has any left."""

    def limited(message: Message) -> None:
        if message.type == kind and budget.take(message.onset):
            offer(message)

    return limited
