"""Live sound over the WebSocket: equal to the offline result; floods and wrong messages are refused."""

import io
import json
import socket
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from earmark.inference.tagger import Tagger

RATE = 1000
STREAM = "ws://localhost/api/stream"
UNHURRIED = {"open_timeout": 600, "ping_interval": None}


def talk(socket, data, rng, start, most=4000):
    """The messages that a stream answers with, sent in packets of random sizes."""
    socket.send_text(json.dumps(start))
    answers = [json.loads(socket.receive_text())]
    assert answers[0]["type"] == "ready", answers
    at = 0
    while at < len(data):
        n = int(rng.integers(1, most))
        socket.send_bytes(data[at : at + n])
        at += n
    socket.send_text('{"type": "finish"}')
    while answers[-1]["type"] != "finished":
        answers.append(json.loads(socket.receive_text()))
    return answers


@pytest.mark.parametrize("form", ["float32", "int16"])
def test_events_equal_those_of_the_whole_recording(client, tone, mean_engine, form):
    tagger = Tagger(mean_engine())
    n_events = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        samples = tone(float(rng.uniform(0.5, 30)))
        samples = samples if form == "float32" else np.rint(samples * 32767).astype(np.int16)
        rules = {"threshold": 0.7, "max_gap": 0.5, "min_duration": 0.3}
        with client.websocket_connect(STREAM) as stream:
            start = {"sample_rate": RATE, "format": form, "window": 0.8, **rules}
            ready, *events, finished = talk(stream, samples.tobytes(), rng, start)
        assert (ready["window"], ready["latency"]) == (0.8, tagger.stream(RATE, window=0.8).latency + 0.5)
        assert finished["duration"] == round(len(samples) / RATE, 6)
        whole = client.post("/api/events", params={"window": 0.8, **rules}, content=wav(samples)).json()["events"]
        by_onset = sorted(events, key=lambda event: (event["onset"], event["label"]))
        assert [{key: event[key] for key in ("label", "onset", "offset", "score")} for event in by_onset] == sorted(
            whole, key=lambda event: (event["onset"], event["label"])
        )
        n_events += len(events)
    assert n_events > 5


def wav(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16" if samples.dtype == np.int16 else "FLOAT")
    return file.getvalue()


def test_channels_are_averaged(client, tone):
    samples = tone(5.0)
    both = np.stack([samples, np.zeros_like(samples)], axis=1)
    with client.websocket_connect(STREAM) as stream:
        talk_of_two = talk(stream, both.tobytes(), np.random.default_rng(0), settings(n_channels=2))
    with client.websocket_connect(STREAM) as stream:
        assert talk(stream, (samples / 2).tobytes(), np.random.default_rng(1), settings()) == talk_of_two


def settings(**more):
    return {"sample_rate": RATE, "format": "float32", **more}


def test_scores_of_the_moment_come_on_request(client, tone):
    with client.websocket_connect(STREAM) as stream:
        answers = talk(stream, tone(5.0).tobytes(), np.random.default_rng(0), settings(scores=2))
    scores = [answer for answer in answers if answer["type"] == "scores"]
    assert scores and all(len(answer["scores"]) <= 2 for answer in scores)


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("hello", "a JSON object with the settings was expected first"),
        ("[]", "a JSON object"),
        ("[" * 100_000, "a JSON object with the settings was expected first"),
        ("{}", "sample_rate: a value was expected"),
        ('{"sample_rate": 8000, "window": 1e6}', "window: above 0 and at most 3600"),
        ('{"sample_rate": 1e9}', "sample_rate: a whole number"),
        ('{"sample_rate": 99}', "sample_rate: from 1000"),
        ('{"sample_rate": 8000, "format": "mp3"}', "format: one of int16, float32"),
        ('{"sample_rate": 8000, "n_channels": 999}', "n_channels: from 1 to 16"),
        ('{"sample_rate": 8000, "scores": -1}', "scores: at least 0"),
        ('{"sample_rate": 8000, "colour": 1}', "colour: one of the parameters"),
        ('{"sample_rate": 8000, "threshold": {"cat": 0.5}}', "cat"),
        ('{"sample_rate": 8000, "model": "../x"}', "model: one of mean"),
    ],
)
def test_invalid_settings_are_refused(client, first, words):
    with client.websocket_connect(STREAM) as stream:
        stream.send_text(first)
        assert words in json.loads(stream.receive_text())["error"]
        with pytest.raises(WebSocketDisconnect) as closed:
            stream.receive_text()
    assert closed.value.code == 1008


@pytest.mark.parametrize("message", ["text", "{}", "[" * 100_000, b"\0\0\xc0\x7f"])
def test_messages_that_are_no_samples_are_refused(client, message):
    with client.websocket_connect(STREAM) as stream:
        stream.send_text(json.dumps(settings()))
        stream.receive_text()
        (stream.send_text if isinstance(message, str) else stream.send_bytes)(message)
        stream.send_text('{"type": "finish"}')
        assert json.loads(stream.receive_text())["type"] == "error"
        with pytest.raises(WebSocketDisconnect) as closed:
            stream.receive_text()
    assert closed.value.code == 1008


def test_the_token_is_a_header_or_in_the_first_message(open_client):
    client = open_client(token="secret")
    with client.websocket_connect(STREAM, headers={"Authorization": "Bearer secret"}) as stream:
        stream.send_text(json.dumps(settings()))
        assert json.loads(stream.receive_text())["type"] == "ready"
    for token, kind in (("secret", "ready"), ("wrong", "error"), (None, "error")):
        with client.websocket_connect(STREAM) as stream:
            stream.send_text(json.dumps(settings(token=token)))
            assert json.loads(stream.receive_text())["type"] == kind
    for headers in ({"Authorization": "Bearer wrong"}, {"Origin": "https://evil.example"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(STREAM, headers=headers):
            pass


def test_more_streams_than_allowed_are_refused(open_client):
    client = open_client(streams=1)
    with client.websocket_connect(STREAM) as first:
        first.send_text(json.dumps(settings()))
        first.receive_text()
        with client.websocket_connect(STREAM) as second:
            assert "no more than 1 open streams" in json.loads(second.receive_text())["error"]
            with pytest.raises(WebSocketDisconnect) as closed:
                second.receive_text()
        assert closed.value.code == 1013


def test_a_silent_stream_is_closed(open_client):
    with open_client(stream_timeout=0.3).websocket_connect(STREAM) as stream:
        stream.send_text(json.dumps(settings()))
        # on a busy machine it may be closed before it is ready
        while "error" not in (answer := json.loads(stream.receive_text())):
            pass
    assert "no samples for 0.3 s" in answer["error"]


def test_a_client_without_the_token_takes_no_stream(open_client):
    client = open_client(token="secret", streams=1, connections=2)
    with client.websocket_connect(STREAM), client.websocket_connect(STREAM) as second:
        second.send_text(json.dumps(settings(token="secret")))
        assert json.loads(second.receive_text())["type"] == "ready"
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(STREAM):
            pass
        assert denied.value.status_code == 503 and "no more than 2 connections" in denied.value.json()["error"]


def test_a_client_that_reads_nothing_loses_its_stream(serve, wait_until):
    server = serve()
    measures = server.app.state.server.measures
    loud = (np.arange(100_000) // 400 % 2 - 0.5).astype(np.float32).tobytes()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect((server.host, server.port))
        options = {"sock": raw, "max_queue": 1, "compression": None, "close_timeout": 0.1, **UNHURRIED}
        with connect(f"ws://{server.address}/api/stream", **options) as stream:
            stream.send(json.dumps(settings(threshold=0.6, window=0.4, context=0)))
            stream.recv()
            assert b"earmark_streams 1.0" in measures.text()
            # only now, for a busy machine may need long to get here
            object.__setattr__(server.app.state.server.settings, "stream_timeout", 1.0)
            with suppress(ConnectionClosed, TimeoutError):
                raw.settimeout(5.0)
                while b"earmark_streams 1.0" in measures.text():
                    stream.send(loud)
            wait_until(lambda: b"earmark_streams 0.0" in measures.text())


def test_a_failing_network_is_an_error_and_logged(open_client, mean_engine, caplog):
    class Broken(mean_engine):
        def encode(self, waveform):
            raise RuntimeError("boom")

    with open_client(Broken()).websocket_connect(STREAM) as stream:
        stream.send_text(json.dumps(settings()))
        stream.receive_text()
        stream.send_bytes(bytes(40_000))
        assert json.loads(stream.receive_text()) == {"type": "error", "error": "the server failed; its log says why"}
        with pytest.raises(WebSocketDisconnect) as closed:
            stream.receive_text()
    assert closed.value.code == 1011 and "boom" in caplog.text


def test_a_flood_is_slowed_down_and_huge_messages_are_refused(serve):
    server = serve(streams=2)
    with connect(f"ws://{server.address}/api/stream", **UNHURRIED) as stream:
        stream.send(json.dumps(settings()))
        stream.recv()
        for _ in range(3000):
            stream.send(b"\0" * 40)
        stream.send('{"type": "finish"}')
        while (answer := json.loads(stream.recv()))["type"] != "finished":
            pass
        assert answer["duration"] == 30.0
    with connect(f"ws://{server.address}/api/stream", **UNHURRIED) as stream, pytest.raises(ConnectionClosed) as closed:
        stream.send(b"\0" * (2 << 20))
        stream.recv()
    assert closed.value.rcvd.code == 1009
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{server.address}/api/stream", origin="https://evil.example")
    assert refused.value.response.status_code == 403


def test_a_client_that_vanishes_leaves_no_stream(serve, wait_until):
    server = serve()
    measures = server.app.state.server.measures
    with connect(f"ws://{server.address}/api/stream", **UNHURRIED) as stream:
        stream.send(json.dumps(settings()))
        stream.recv()
        assert b"earmark_streams 1.0" in measures.text()
        stream.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: b"earmark_streams 0.0" in measures.text())


def test_a_short_stream_may_be_silent(client):
    with client.websocket_connect(STREAM) as stream:
        assert talk(stream, b"", np.random.default_rng(0), settings())[-1]["duration"] == 0
