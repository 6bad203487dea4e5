"""Messages about live sound: the events of the recording, gaps, and the end."""

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from earmark.audio.live_media import MediaStream
from earmark.audio.recording import Audio
from earmark.errors import AudioError, ConfigError
from earmark.inference.events import EventSettings
from earmark.inference.tagger import Tagger
from earmark.listening.listener import ListenConfig, Listener, Message, seconds_since_start
from tests.listening.conftest import RATE, Player

RULES = EventSettings(max_gap=0.5, min_duration=0.3, pad=0.1)


def random_sound(levels: Callable[..., Audio], n: int, seed: int = 4) -> np.ndarray:
    return levels(*np.repeat(np.random.default_rng(seed).uniform(-0.4, 0.4, n), 3).tolist()).waveform


def events(messages: list[Message]) -> list[tuple[str, float, float, float]]:
    found = [(m.label, m.onset, m.offset, m.score) for m in messages if m.type == "event"]
    return sorted((str(label), *(round(float(value), 6) for value in rest)) for label, *rest in found)


def offline(
    tagger: Tagger,
    waveform: np.ndarray,
    rules: EventSettings,
    base: float = 0.0,
    sizes: tuple[float, float] = (0.4, 0.4),
) -> list[Any]:
    timeline = tagger.timeline(Audio(waveform, RATE), window=sizes[0], hop=sizes[1], context=0.0)
    found = timeline.events(settings=rules)
    return [(e.label, round(base + e.onset, 6), round(base + e.offset, 6), round(e.score, 6)) for e in found]


def test_events_are_those_of_the_recording_and_begin_before_they_end(levels, tagger, listening):
    waveform = random_sound(levels, 30)
    messages = list(listening(Player(waveform), RULES).messages(Event()))
    assert messages[0].type == "started" and messages[-1].type == "finished"
    assert messages[-1].onset == pytest.approx(len(waveform) / RATE)
    assert events(messages) == sorted(offline(tagger, waveform, RULES)) and len(events(messages)) > 5
    start = messages[0].time
    for at, message in enumerate(messages):
        assert message.time == start + timedelta(seconds=message.onset)
        if message.type == "event":
            before = [m for m in messages[:at] if m.type == "began" and m.label == message.label]
            assert any(message.onset <= m.onset <= message.offset for m in before)
    n_began = sum(message.type == "began" for message in messages)
    assert n_began < 2 * len(events(messages)), "each begins about once"


@pytest.mark.parametrize("sizes", [(0.4, 0.4), (0.8, 0.4), (2.0, 0.4)])
@pytest.mark.parametrize("max_gap", [0.0, 0.7])
def test_each_event_begins_once(levels, tagger, listening, sizes, max_gap):
    waveform, rules = random_sound(levels, 60, seed=5), EventSettings(max_gap=max_gap, min_duration=0.3)
    messages = list(listening(Player(waveform), rules, sizes=sizes).messages(Event()))
    assert events(messages) == sorted(offline(tagger, waveform, rules, sizes=sizes)) and len(events(messages)) > 5
    for label in {message.label for message in messages if message.label}:
        own = [message for message in messages if message.label == label]
        assert [message.type for message in own] == ["began", "event"] * (len(own) // 2)
        for began, event in zip(own[::2], own[1::2], strict=True):
            assert event.onset - (sizes[0] - sizes[1]) / 2 - 1e-6 <= began.onset < event.offset


def test_padding_that_the_end_of_resampled_sound_cuts_begins_nothing(listening, monkeypatch):
    rate = 2205  # resampled sound ends up to a sample earlier
    monkeypatch.setattr("tests.listening.conftest.RATE", rate)
    monkeypatch.setattr("tests.listening.conftest._Piece.sample_rate", rate)
    for n_more in range(4):
        sound = np.full(6 * rate + n_more, 0.4, np.float32)
        sound[: 3 * rate] = -0.4
        messages = list(
            listening(Player(sound), EventSettings(pad=5.0, labels=("low",)), sizes=(0.8, 0.4)).messages(Event())
        )
        assert [message.type for message in messages if message.label] == ["began", "event"]


def test_a_lost_source_is_opened_again_and_times_count_the_gap(levels, tagger, listening):
    waveform = random_sound(levels, 30)
    pieces = waveform[:11_000], waveform[11_000:20_000], waveform[20_000:]
    player = Player(*pieces, lost=7.5)
    messages = list(listening(player, RULES).messages(Event()))
    assert [m.type for m in messages if m.type in ("lost", "gap")] == ["lost", "gap"] * 2
    gaps = [(m.onset, m.offset) for m in messages if m.type == "gap"]
    assert gaps == [pytest.approx((11, 18.5)), pytest.approx((27.5, 35))]
    assert "the connection was closed" in next(m.reason for m in messages if m.type == "lost")
    expected = [
        e for piece, base in zip(pieces, (0, 18.5, 35), strict=True) for e in offline(tagger, piece, RULES, base)
    ]
    assert events(messages) == sorted(expected)


def test_delays_of_opening_the_source_do_not_add_up(levels, listening):
    piece = levels(*[0.0] * 20).waveform  # 8 s
    player = Player(*[piece] * 5, lost=5.0, opening=3.0)
    messages = list(listening(player).messages(Event()))
    assert [m.offset for m in messages if m.type == "gap"] == [pytest.approx(13 * n) for n in range(1, 5)]


def test_sound_that_cannot_be_analysed_is_a_loss_and_at_the_start_an_error(levels, listening):
    broken = levels(*[0.5] * 20).waveform.copy()
    broken[6000:] = np.nan
    messages = list(listening(Player(broken, levels(*[0.0] * 5).waveform, lost=3.0)).messages(Event()))
    assert [m.type for m in messages if not m.label] == ["started", "lost", "gap", "finished"]
    assert "NaN" in next(m.reason for m in messages if m.type == "lost")
    assert [e[1:3] for e in events(messages)] == [(0, 6)], "the running event ends and is not lost"
    player = Player(broken[6000:], broken[6000:])
    with pytest.raises(AudioError, match="NaN"):
        list(listening(player).messages(Event()))
    assert player.n_opened == 1


def test_seconds_asleep_are_a_gap(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("time.CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr("time.clock_gettime", lambda clock: 1e6 if clock == 7 else 0.0, raising=False)
    assert seconds_since_start() == 1e6


def test_events_that_last_when_the_source_is_lost_end_there(levels, listening):
    loud = levels(*[0.5] * 10).waveform
    messages = list(listening(Player(loud, loud, lost=2.0)).messages(Event()))
    assert [(m.type, m.label) for m in messages if m.label or m.type == "lost"] == [
        ("began", "low"),
        ("event", "low"),
        ("lost", None),
        ("began", "low"),
        ("event", "low"),
    ]
    assert [e[1:3] for e in events(messages)] == [(0, 4), (6, 10)]


def test_it_gives_up_after_the_attempts_that_are_allowed(levels, listening):
    player = Player(levels(*[0.0] * 5).waveform, ends=False)
    messages: list[Message] = []
    with pytest.raises(AudioError, match="nobody answers"):
        collect(messages, listening(player, retries=2).messages(Event()))
    assert player.n_opened == 3
    assert [message.type for message in messages] == ["started", "lost"]


def test_a_gap_does_not_count_as_sound_of_a_stable_connection(levels, listening):
    short = levels(*[0.0] * 5).waveform
    player = Player(*[short] * 6, lost=20.0, ends=False)
    messages: list[Message] = []
    with pytest.raises(AudioError, match="closed"):
        collect(messages, listening(player, retries=3).messages(Event()))
    assert player.n_opened == 4


def test_a_stable_connection_renews_the_attempts(levels, listening):
    player = Player(*[levels(*[0.0] * 26).waveform] * 6, lost=20.0, ends=False)  # 10.4 s each
    with pytest.raises(AudioError, match="nobody answers"):
        list(listening(player, retries=1).messages(Event()))
    assert player.n_opened == 7


def collect(found: list[Message], messages: Iterator[Message]) -> None:
    """Collects the messages before an error too."""
    for message in messages:
        found.append(message)  # noqa: PERF402


def test_a_source_that_never_opens_is_an_error_at_once(listening):
    player = Player()
    with pytest.raises(AudioError, match="nobody answers"):
        list(listening(player).messages(Event()))
    assert player.n_opened == 1


def test_stopping_ends_the_running_events(levels, listening):
    stop = Event()
    messages = []
    for message in listening(Player(levels(*[0.5] * 1000).waveform)).messages(stop):
        messages.append(message)
        if message.type == "began":
            stop.set()
    assert [m.type for m in messages] == ["started", "began", "event", "finished"]


def test_the_labels_that_sound_are_known_at_each_message(levels, listening):
    listener = listening(Player(levels(-0.1, 0.5, 0.5, -0.1, -0.1, -0.1).waveform))
    sounding = {message.type: listener.sounding for message in listener.messages(Event())}
    assert (sounding["began"], sounding["event"]) == ({"low"}, set())


def test_a_recording_has_the_time_of_day_that_is_given_or_none(levels, listening):
    quiet = levels(0, 0).waveform
    assert [m.time for m in listening(Player(quiet), is_live=False).messages(Event())] == [None, None]


def test_invalid_settings_are_refused_before_the_source_is_opened(tagger):
    player = Player()
    with pytest.raises(ConfigError, match="window"):
        Listener(player.open, tagger, EventSettings(), ListenConfig(window=-1.0))
    assert player.n_opened == 0


def test_memory_does_not_grow(listening):
    class Endless:
        sample_rate, n_channels = RATE, 1

        def __init__(self) -> None:
            self.n_read, self.held = 0, []

        def read(self) -> np.ndarray | None:
            self.n_read += 1
            if self.n_read % 30 == 0:
                self.held.append(tracemalloc.get_traced_memory()[0])
            return np.full((1, 2000), self.n_read % 2 - 0.5, np.float32) if self.n_read < 150 else None

        def close(self) -> None: ...

    source = Endless()
    player = Player()
    player.open = lambda: source
    tracemalloc.start()
    try:
        n_events = sum(message.type == "event" for message in listening(player).messages(Event()))
    finally:
        tracemalloc.stop()
    assert n_events > 140
    # one block kept for each read would be 720,000 bytes; some wait for the listener at any time
    assert source.held[-1] - source.held[1] < 500_000


def test_to_json_has_what_is_known():
    message = Message("event", 3600.123456, 3601.0, "dog", 0.123456789)
    assert message.to_json() == {
        "type": "event",
        "onset": 3600.123,
        "offset": 3601.0,
        "label": "dog",
        "score": 0.123457,
    }


@contextmanager
def radio(*pieces: bytes) -> Iterator[str]:
    """A server that sends one piece at each request, then refuses."""
    waiting = list(pieces)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not waiting:
                self.send_error(503)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(waiting.pop(0))

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def endless_wav(waveform: np.ndarray) -> bytes:
    """Float samples behind a header that states no length."""
    head = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 2**32 - 1, b"WAVEfmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32, b"data", 2**32 - 1
    )
    return head + waveform.astype("<f4").tobytes()


def test_an_http_stream_with_interruptions_has_the_events_outside_the_gaps(levels, tagger):
    waveform = random_sound(levels, 40)
    pieces = waveform[:17_000], waveform[17_000:30_000], waveform[30_000:]
    messages: list[Message] = []
    with radio(*map(endless_wav, pieces)) as url, pytest.raises(AudioError, match="radio: "):
        config = ListenConfig(window=0.4, hop=0.4, retries=1, longest_wait=0.01)
        listener = Listener(lambda: MediaStream(url, "radio"), tagger, RULES, config)
        collect(messages, listener.messages(Event()))
    bases = [0.0, *(m.offset for m in messages if m.type == "gap")]
    assert len(bases) == 3
    expected = [e for piece, base in zip(pieces, bases, strict=True) for e in offline(tagger, piece, RULES, base)]
    assert len(expected) > 5
    for ours, theirs in zip(events(messages), sorted(expected), strict=True):
        assert ours[0] == theirs[0] and ours[1:] == pytest.approx(theirs[1:], abs=1e-5)
