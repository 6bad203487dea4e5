"""Writes results/listen-hour.md and .json: an hour of sound through a pipe and through a stream with interruptions."""

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark import hub
from earmark.annotations.formats import FORMATS
from earmark.audio.live_media import MediaStream
from earmark.audio.recording import load_audio, pcm16
from earmark.data import FileAudio, open_data
from earmark.errors import ConfigError, DataError, EarmarkError
from earmark.inference.events import EventSettings
from earmark.listening.listener import ListenConfig, Listener
from experiments.radio import AHEAD, Receiver, Station, on_air
from experiments.steps import RESULTS, commit

KEPT: Final = RESULTS / "listen-hour.json"
RATE: Final = 16000
RULES: Final = EventSettings(max_gap=0.4, min_duration=0.4, pad=0.1)
LOST: Final = (6.0, 12.0, 4.0, 20.0, 8.0)
"""Seconds of sound that each interruption of the stream loses."""
MARGIN: Final = 10.0
"""Seconds around an interruption whose events are not compared with those of the whole recording."""
SAMPLED: Final = 30.0
"""Seconds of sound between two measurements of the memory."""
_CLIP: Final = (0.5, 4.0)
"""Shortest and longest silence between two clips, in seconds."""
_GRID: Final = 2.0
"""Pieces of the stream begin at multiples of this, a multiple of the hop and of the length of a segment."""
_EXACT: Final = 0.0015
"""Largest difference of equal times in seconds: times are written in milliseconds."""
_SHORTEST: Final = 10.0
"""Minimum seconds of a piece."""
_TOPIC: Final = "earmark/hour"

Found = tuple[str, float, float]
"""Label, onset and offset of an event."""


def listen_hour(bank: Path | None = None, *, minutes: float = 60.0, speed: float = 20.0, out: Path = KEPT) -> int:
    """Listen to an hour of sound, played fast through a pipe and through an HTTP stream with interruptions.

    Args:
        bank: Folder of ESC-50.
        minutes: Length of the sound.
        speed: Maximum seconds of sound per second; a slower machine takes longer.
        out: The file with the figures; the page lies beside it.
    """
    if bank is not None:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(bank, Path(folder), 60 * minutes, speed)
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    figures = json.loads(out.read_text())
    text = page(figures)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text, end="")
    wrong = [figures["pipe"]["n_different"], figures["http"]["n_different"], figures["http"]["n_different_hour"]]
    return int(any(wrong) or figures["pipe"]["mqtt"] != figures["pipe"]["messages"])


def measure(bank: Path, folder: Path, seconds: float, speed: float) -> dict[str, Any]:
    """Figures of both passes.

    Raises:
        EarmarkError: A command failed.
    """
    hour = folder / "hour.wav"
    n_clips = join_clips(bank, hour, seconds)
    pieces = cut(seconds)
    for number, (begin, end) in enumerate(pieces):
        _copy_part(hour, folder / f"piece{number}.wav", begin, end)
    found = detected(folder)
    whole, alone = found[hour.name], [found[f"piece{number}.wav"] for number in range(len(pieces))]
    pipe = through_pipe(hour, speed)
    http = through_http(hour, pieces, alone, whole, speed)
    pipe["n_different"] = n_different(pipe.pop("found"), whole, _EXACT)
    about = {"commit": commit(), "seconds": seconds, "speed": speed, "n_clips": n_clips, "n_events": len(whole)}
    return {**about, "pipe": pipe, "http": http}


def join_clips(bank: Path, path: Path, seconds: float) -> int:
    """Writes clips of the bank in random order with silence between them; returns their number."""
    rng = np.random.default_rng(19)
    clips = open_data(f"esc50:{bank}").clips
    n_left, n_clips = round(seconds * RATE), 0
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for at in rng.permutation(len(clips)).tolist():
            audio = clips[at].audio
            if not isinstance(audio, FileAudio):
                raise DataError(f"{bank}: files were expected")
            silence = np.zeros(round(rng.uniform(*_CLIP) * RATE), np.int16)
            samples = np.concatenate([pcm16(load_audio(audio.path, RATE).waveform), silence])[:n_left]
            file.writeframes(samples.astype("<i2").tobytes())
            n_left, n_clips = n_left - len(samples), n_clips + 1
            if not n_left:
                return n_clips
    raise DataError(f"{bank}: its clips are too short for {seconds:g} s of sound")


def cut(seconds: float) -> list[tuple[float, float]]:
    """First and last second of each piece of the stream; between them it loses `LOST`.

    Raises:
        ConfigError: A piece would be too short.
    """
    length = seconds / (len(LOST) + 1)
    begins = [0.0, *(round(length * (i + 1) / _GRID) * _GRID for i in range(len(LOST)))]
    ends = [*(begin - lost for begin, lost in zip(begins[1:], LOST, strict=True)), seconds]
    pieces = list(zip(begins, ends, strict=True))
    if any(end - begin < _SHORTEST for begin, end in pieces):
        raise ConfigError(
            f"more than {seconds / 60:g} was expected: the interruptions leave too little sound", "minutes"
        )
    return pieces


def _copy_part(source: Path, target: Path, begin: float, end: float) -> None:
    with wave.open(str(source)) as read, wave.open(str(target), "wb") as written:
        written.setparams(read.getparams())
        read.setpos(round(begin * RATE))
        written.writeframes(read.readframes(round((end - begin) * RATE)))


def detected(folder: Path) -> dict[str, list[Found]]:
    """Events of the recordings of a folder by `earmark detect`, by file name."""
    table = folder / "events.csv"
    command = [sys.executable, "-m", "earmark", "detect", str(folder), *_flags(), "--out", str(table), "--quiet"]
    subprocess.run(command, check=True)
    read = FORMATS["csv"].read
    if read is None:
        raise EarmarkError("a format that can be read was expected")
    found: dict[str, list[Found]] = {path.name: [] for path in folder.glob("*.wav")}
    for file in read(table):
        found[Path(file.file).name] += [(event.label, event.onset, event.offset) for event in file.events]
    return found


def _flags() -> list[str]:
    values = {"--max-gap": RULES.max_gap, "--min-duration": RULES.min_duration, "--pad": RULES.pad}
    return [word for flag, value in values.items() for word in (flag, str(value))]


def through_pipe(hour: Path, speed: float) -> dict[str, Any]:
    """Figures of `earmark listen -`, which gets the recording through a pipe and publishes to a broker."""
    with broker() as port, subscribed(port) as counts:
        command = [sys.executable, "-m", "earmark", "listen", "-", "--sample-rate", str(RATE), *_flags(), "--quiet"]
        command += ["--mqtt", f"mqtt://127.0.0.1:{port}", "--topic", _TOPIC]
        lines, memory = hour.with_suffix(".jsonl"), list[tuple[float, float]]()
        started = time.monotonic()
        with (
            lines.open("w") as output,
            wave.open(str(hour)) as file,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as process,
        ):
            if process.stdin is None:
                raise EarmarkError("a pipe was expected")
            while data := file.readframes(RATE):
                process.stdin.write(data)  # waits where the command is slower
                position = file.tell() / RATE
                if not memory or position - memory[-1][0] >= SAMPLED:
                    memory.append((position, resident_mebibytes(process.pid)))
                time.sleep(max(0.0, started + position / speed - time.monotonic()))
            process.stdin.close()
            process.wait()
        seconds = time.monotonic() - started
        if process.returncode:
            raise EarmarkError(f"`earmark listen` ended with status {process.returncode}")
        while not counts["offline"]:  # the last message of the command
            time.sleep(0.05)
    messages = [json.loads(line) for line in lines.read_text().splitlines()]
    found = [(m["label"], m["onset"], m["offset"]) for m in messages if m["type"] == "event"]
    sent = dict(sorted(Counter(message["type"] for message in messages).items()))
    received = {kind: counts[kind] for kind in sent}
    return {"took": seconds, "found": found, "messages": sent, "mqtt": received, "memory": memory}


def through_http(
    hour: Path, pieces: list[tuple[float, float]], alone: list[list[Found]], whole: list[Found], speed: float
) -> dict[str, Any]:
    """Figures of a `Listener` to a station that is off the air between the pieces.

    Args:
        hour: The recording.
        pieces: First and last second of each piece.
        alone: Events of each piece by `earmark detect`.
        whole: Events of the recording by `earmark detect`.
        speed: Maximum seconds of sound per second.
    """
    station = Station(hour, pieces, speed)
    found: list[list[Found]] = []
    gaps: list[tuple[float, float]] = []
    memory: list[tuple[float, float]] = []
    tagger = hub.load(hub.DEFAULT_MODEL)
    with on_air(station, RATE) as url:
        listener = Listener(
            lambda: Receiver(MediaStream(url, "radio"), station),
            tagger,
            RULES,
            ListenConfig(longest_wait=0.05),
            clock=lambda: station.position,
        )
        started = time.monotonic()
        for message in listener.messages(station.ended):
            if message.type in ("started", "gap"):
                found.append([])
                if message.offset is not None:
                    gaps.append((message.onset, message.offset))
            if message.type == "event" and message.label is not None and message.offset is not None:
                found[-1].append((message.label, message.onset, message.offset))
            if not memory or station.position - memory[-1][0] >= SAMPLED:
                memory.append((station.position, resident_mebibytes(os.getpid())))
        seconds = time.monotonic() - started
    begins = [0.0, *(end for _, end in gaps)]
    late = [ours - piece[0] for ours, piece in zip(begins, pieces, strict=True)]
    pairs = zip(found, alone, begins, strict=True)
    n_wrong = sum(n_different(_moved(ours, -begin), events, _EXACT) for ours, events, begin in pairs)
    placed = [event for ours, error in zip(found, late, strict=True) for event in _moved(ours, -error)]
    return {
        "took": seconds,
        "n_events": sum(map(len, found)),
        "lost": [piece[0] - before[1] for before, piece in itertools.pairwise(pieces)],
        "late": late,
        "n_different": n_wrong,
        "n_outside": len(outside(whole, pieces)),
        "n_different_hour": len(without_partner(outside(whole, pieces), placed, _EXACT))
        + len(without_partner(outside(placed, pieces), whole, _EXACT)),
        "memory": memory,
    }


def _moved(events: Sequence[Found], seconds: float) -> list[Found]:
    return [(label, onset + seconds, offset + seconds) for label, onset, offset in events]


def outside(events: Sequence[Found], pieces: Sequence[tuple[float, float]]) -> list[Found]:
    """The events that are at least `MARGIN` away from all interruptions."""
    gaps = [(before[1] - MARGIN, piece[0] + MARGIN) for before, piece in itertools.pairwise(pieces)]
    return [event for event in events if not any(event[1] < end and event[2] > begin for begin, end in gaps)]


def without_partner(events: Sequence[Found], others: Sequence[Found], tolerance: float) -> list[Found]:
    """The events for which the others have none with the same label and nearly the same times."""

    def is_near(event: Found, other: Found) -> bool:
        return event[0] == other[0] and max(abs(event[1] - other[1]), abs(event[2] - other[2])) <= tolerance

    return [event for event in events if not any(is_near(event, other) for other in others)]


def n_different(events: Sequence[Found], others: Sequence[Found], tolerance: float) -> int:
    """The number of events that only one of two lists has."""
    return len(without_partner(events, others, tolerance)) + len(without_partner(others, events, tolerance))


def resident_mebibytes(process: int) -> float:
    """Resident memory of a process in MiB; only on Linux."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


@contextmanager
def broker() -> Iterator[int]:
    """The port of a mosquitto that anyone on this machine may use.

    Raises:
        EarmarkError: mosquitto is not installed.
    """
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise EarmarkError("mosquitto is not installed: apt-get install mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        with subprocess.Popen([program, "-c", str(settings)], stderr=subprocess.DEVNULL) as process:
            try:
                while socket.socket().connect_ex(("127.0.0.1", port)):
                    if process.poll() is not None:
                        raise EarmarkError(f"mosquitto ended with status {process.returncode}")
                    time.sleep(0.05)
                yield port
            finally:
                process.terminate()


@contextmanager
def subscribed(port: int) -> Iterator[Counter[str]]:
    """Numbers of messages by type that a subscriber of the broker receives; `offline` is the last one of a client."""
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    counts: Counter[str] = Counter()

    def receive(client: object, data: object, message: Any) -> None:
        text = message.payload.decode()
        if message.topic == f"{_TOPIC}/messages":
            counts[json.loads(text)["type"]] += 1
        elif message.topic == f"{_TOPIC}/status":
            counts[text] += 1

    subscriber = paho.Client(CallbackAPIVersion.VERSION2)
    subscriber.on_message = receive
    subscriber.on_subscribe = lambda *words: counts.update(["subscribed"])
    subscriber.connect("127.0.0.1", port)
    subscriber.subscribe(f"{_TOPIC}/#", qos=1)
    subscriber.loop_start()
    try:
        while not counts["subscribed"]:
            time.sleep(0.05)
        yield counts
    finally:
        subscriber.disconnect()
        subscriber.loop_stop()


def page(figures: dict[str, Any]) -> str:
    """The page: a Markdown text with a table of the memory."""
    pipe, http = figures["pipe"], figures["http"]
    lost = ", ".join(f"{seconds:g}" for seconds in http["lost"])
    late = max(abs(seconds) for seconds in http["late"])
    sent, received = (", ".join(f"{n} {kind}" for kind, n in pipe[who].items()) for who in ("messages", "mqtt"))
    return (
        "# An hour of live sound\n\n"
        f"Written by `python -m experiments listen-hour ESC-50`, commit {figures['commit']}. {figures['n_clips']} "
        f"clips of ESC-50 with silence between them, {figures['seconds'] / 60:g} minutes, are played at most "
        f"{figures['speed']:g} times as fast as recorded; where the machine is slower, the source waits. "
        f"`earmark detect` finds {figures['n_events']} events in the recording.\n\n"
        f"- **Pipe**, `earmark listen -`: {pipe['n_different']} events differ from those of `detect`, in label or by "
        f"more than 1 ms. It took {pipe['took']:.0f} s, {figures['seconds'] / pipe['took']:.1f} times as fast as the "
        "sound.\n"
        f"- **MQTT**: the command wrote {sent}; a subscriber of the broker received {received}.\n"
        f"- **HTTP stream**, `Listener` with the station's clock: {len(http['lost'])} interruptions lost {lost} s. Of "
        f"{http['n_events']} events, {http['n_different']} differ from those of `detect` on the sound between two "
        f"interruptions. After an interruption, the clock places the sound {late:.2f} s wrong at most, because the "
        f"station is up to {AHEAD:g} s ahead of its listener. When this shift is removed, "
        f"{http['n_different_hour']} events differ from the {http['n_outside']} events of the whole recording that are "
        f"at least {MARGIN:g} s away from the interruptions. It took "
        f"{http['took']:.0f} s.\n\n"
        f"Resident memory in MiB, of the command and of a process that also has the station:\n\n"
        "| minutes of sound | pipe | HTTP |\n|---:|---:|---:|\n"
    ) + "".join(
        f"| {seconds / 60:.1f} | {ours:.1f} | {theirs:.1f} |\n"
        for (seconds, ours), theirs in _at_shares(pipe["memory"], http["memory"])
    )


def _at_shares(pipe: list[list[float]], http: list[list[float]]) -> Iterator[tuple[list[float], float]]:
    """Evenly spread samples of the pipe, up to eleven, each with the nearest sample of the stream."""
    for at in sorted({round(share * (len(pipe) - 1)) for share in np.linspace(0, 1, 11)}):
        yield pipe[at], min(http, key=lambda sample: abs(sample[0] - pipe[at][0]))[1]
