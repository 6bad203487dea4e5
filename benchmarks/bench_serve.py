"""Load on `earmark serve`: requests of many clients, hostile requests, streams compared with whole recordings.

python benchmarks/bench_serve.py RECORDINGS [--requests 200] [--clients 20] [--hostile 1000] [--streams 50]

RECORDINGS is a folder. The server runs as a process of its own with the shipped model. Memory is its resident set.
Other programs running at the same time distort the figures.
"""

import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from earmark import hub
from earmark.audio.recording import find_audio, load_audio

TOKEN = "bench"
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}


def post(port: int, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of the answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", path, body, {**ALLOWED, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def load(port: int, files: list[Path], n_requests: int, n_clients: int) -> None:
    """Prints whether all answers are right, and how long they took."""
    tagger = hub.load()
    expected = {file: {tag.label: tag.score for tag in tagger.tag(file, top=5)} for file in files}
    content = {file: file.read_bytes() for file in files}

    def ask(number: int) -> tuple[float, bool]:
        file = files[number % len(files)]
        begin = time.perf_counter()
        status, body = post(port, "/api/tag", content[file])
        seconds = time.perf_counter() - begin
        tags = {tag["label"]: tag["score"] for tag in json.loads(body)} if status == 200 else {}
        is_right = tags.keys() == expected[file].keys() and all(
            abs(score - expected[file][label]) < 1e-4 for label, score in tags.items()
        )
        return seconds, is_right

    begin = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as pool:
        results = list(pool.map(ask, range(n_requests)))
    wall = time.perf_counter() - begin
    seconds = np.array([result[0] for result in results])
    print(
        f"{sum(right for _, right in results)} of {n_requests} requests from {n_clients} clients right; "
        f"{n_requests / wall:.1f} a second, p50 {np.percentile(seconds, 50):.2f} s, "
        f"p99 {np.percentile(seconds, 99):.2f} s"
    )


def raw(port: int, text: str, body: bytes = b"", finish: bool = True) -> int:
    """Status of the answer to bytes on a socket; 0 where the server closes without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        head = f"{text}\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        try:
            connection.sendall(head.encode() + body)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except OSError:
            return 0
    found = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(found[1]) if found else 0


def flood(port: int, kind: int) -> int:
    """Close code of a stream that is misused."""
    address = f"ws://127.0.0.1:{port}/api/stream"
    try:
        with connect(address, additional_headers=ALLOWED, proxy=None) as stream:
            if kind == 0:
                stream.send(b"\0" * (2 << 20))
            else:
                stream.send(json.dumps({"sample_rate": 8000}))
                stream.recv()
                for _ in range(500):
                    stream.send("flood")
            while True:
                stream.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0
    except InvalidStatus as refused:
        return refused.response.status_code


def attacks(port: int, file: Path, folder: Path) -> dict[str, tuple[Callable[[random.Random], int], set[int]]]:
    """Hostile requests by name, each with the statuses that are right."""
    sound = file.read_bytes()
    silence = folder / "silence.flac"
    with soundfile.SoundFile(silence, "w", 44100, 1, "PCM_16") as flac:
        for _ in range(6 * 60):
            flac.write(np.zeros(60 * 44100, np.int16))
    stated = silence.read_bytes()
    unstated = stated[:21] + bytes([stated[21] & 0xF0, 0, 0, 0, 0]) + stated[26:]
    print(f"{len(stated) / 1e6:.1f} MB of FLAC unpack to 6 h of silence")
    paths = ("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/api/../etc")

    def get(path: str) -> int:
        return raw(port, f"GET {path} HTTP/1.1", finish=False)

    return {
        "truncated": (lambda rng: post(port, "/api/tag", sound[: rng.randrange(1, len(sound) - 1000)])[0], {422}),
        "wrong type": (lambda rng: post(port, "/api/events", rng.randbytes(rng.randrange(1, 5000)))[0], {422}),
        "1 GB announced": (
            lambda _: raw(port, "POST /api/tag HTTP/1.1\r\nContent-Length: 1000000000", finish=False),
            {413},
        ),
        "6 h of silence": (lambda _: post(port, "/api/tag", stated)[0], {413}),
        "6 h, length not stated": (lambda _: post(port, "/api/tag", unstated)[0], {413}),
        "path tricks": (lambda rng: get(rng.choice(paths)), {404}),
        "a path as a model": (lambda _: post(port, "/api/tag?model=/etc/passwd", sound)[0], {400}),
        "a path as a file name": (
            lambda _: post(port, "/api/tag?name=../../etc/passwd", b"x")[0],
            {422},
        ),
        "slow body": (
            lambda _: raw(port, "POST /api/tag HTTP/1.1\r\nContent-Length: 9999", b"slow", finish=False),
            {408},
        ),
        "wrong token": (
            lambda rng: post(port, "/api/tag", sound, {"Authorization": f"Bearer {rng.random()}"})[0],
            {401},
        ),
        "another site": (lambda _: post(port, "/api/tag", sound, {"Origin": "https://evil.example"})[0], {403}),
        "no HTTP": (lambda rng: raw(port, rng.randbytes(50).hex()), {400}),
        "huge message": (lambda _: flood(port, 0), {1009, 503}),
        "flood of texts": (lambda _: flood(port, 1), {1008, 1013, 503}),
    }


def hostile(port: int, file: Path, n_requests: int, n_clients: int) -> None:
    """Prints how many hostile requests got the right status."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = attacks(port, file, Path(folder))
        names = list(kinds)
        wrong: Counter[tuple[str, int]] = Counter()

        def ask(number: int) -> bool:
            name = names[number % len(names)]
            # the expensive ones less often
            if name.startswith("6 h") and number // len(names) % 8:
                name = "truncated"
            task, right = kinds[name]
            status = task(random.Random(number))
            if status not in right:
                wrong[name, status] += 1
            return status in right

        begin = time.perf_counter()
        with ThreadPoolExecutor(n_clients) as pool:
            n_right = sum(pool.map(ask, range(n_requests)))
        seconds = time.perf_counter() - begin
    print(f"{n_right} of {n_requests} hostile requests of {len(names)} kinds got the right status, in {seconds:.0f} s")
    for (name, status), n in wrong.items():
        print(f"  wrong: {name}: {status}, {n} times")


def streams(port: int, files: list[Path]) -> None:
    """Prints whether streams in packets of random sizes give the events of the whole recordings, and the latency."""
    n_equal = n_events = 0
    delays = []
    for number, file in enumerate(files):
        rng = random.Random(number)
        rate = rng.choice((16000, 32000, 44100, 48000))
        samples = load_audio(file, rate).waveform
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "sound.wav")
            soundfile.write(path, samples, rate, subtype="FLOAT")
            whole = json.loads(post(port, "/api/events", path.read_bytes())[1])["events"]
        events = []
        with connect(f"ws://127.0.0.1:{port}/api/stream", additional_headers=ALLOWED, proxy=None) as stream:
            stream.send(json.dumps({"sample_rate": rate, "format": "float32"}))
            stream.recv()
            data, at = samples.tobytes(), 0
            while at < len(data):
                n = rng.randrange(1, 40_000)
                stream.send(data[at : at + n])
                at += n
            begin = time.perf_counter()
            stream.send('{"type": "finish"}')
            while (message := json.loads(stream.recv())).pop("type") != "finished":
                events.append(message)
            delays.append(time.perf_counter() - begin)
        n_events += len(whole)
        n_equal += len(events) == len(whole) and all(
            a["label"] == b["label"] and all(abs(a[key] - b[key]) < 1e-4 for key in ("onset", "offset", "score"))
            for a, b in zip(sorted(events, key=key_of), sorted(whole, key=key_of), strict=True)
        )
    print(
        f"{n_equal} of {len(files)} streams gave the {n_events} events of the whole recordings; the last events came "
        f"{np.median(delays):.3f} s after the last sample (median), {max(delays):.3f} s at most"
    )


def key_of(event: dict[str, object]) -> tuple[object, object]:
    """Key that orders events."""
    return event["onset"], event["label"]


def megabytes(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process, on Linux."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) / 1000


def main() -> None:
    """Starts a server and measures it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--hostile", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=50)
    options = parser.parse_args()
    files = find_audio(options.recordings)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder, "EARMARK_TOKEN": TOKEN}
        command = [
            sys.executable,
            "-m",
            "earmark",
            "serve",
            "--port",
            "0",
            "--upload-timeout",
            "2",
            "--max-duration",
            "600",
        ]
        server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            port = int(re.search(r":(\d+) ", server.stderr.readline())[1])  # type: ignore[index,union-attr]
            load(port, files[:20], options.clients, options.clients)  # warm
            before = megabytes(server)
            load(port, files[:20], options.requests, options.clients)
            print(f"memory {before:.0f} MB before, {megabytes(server):.0f} MB after")
            hostile(port, files[0], options.hostile, options.clients)
            left = [path for path in Path(folder).rglob("earmark-*/**/*") if path.is_file()]
            print(
                f"memory {megabytes(server):.0f} MB after hostile requests, {len(left)} files left, "
                f"{'running' if server.poll() is None else 'ended'}"
            )
            streams(port, files[: options.streams])
        finally:
            server.terminate()
            server.wait()
        print(
            f"{len(list(Path(folder).glob('earmark-*')))} files and folders left after SIGTERM, "
            f"exit status {server.returncode}"
        )


if __name__ == "__main__":
    main()
