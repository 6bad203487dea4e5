"""Messages over MQTT, received by a subscriber of a real broker."""

import json
import math
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from earmark.errors import ConfigError
from earmark.listening.listener import Message

BROKER = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
EVENT = Message("event", 12.5, 14.0, "Dog bark", 0.75)

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (extra live)")
from earmark.listening import home_assistant  # noqa: E402
from earmark.listening.home_assistant import Mqtt  # noqa: E402


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with other work may need long to deliver the last messages."""
    monkeypatch.setattr(home_assistant, "_SECONDS_TO_END", math.inf)


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def broker(port: int, folder: Path, wait_until: Callable[..., None]) -> Iterator[None]:
    """A broker that anyone may use."""
    if BROKER is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    (folder / "conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with subprocess.Popen([BROKER, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, process)
            yield
        finally:
            process.terminate()


@contextmanager
def subscribed(port: int, wait_until: Callable[..., None]) -> Iterator[list[tuple[str, str]]]:
    """Topics and texts that a subscriber of all topics receives."""
    received: list[tuple[str, str]] = []
    subscriber: Any = paho.Client(paho.CallbackAPIVersion.VERSION2)
    subscriber.on_message = lambda client, data, message: received.append((message.topic, message.payload.decode()))
    confirmed: list[object] = []
    subscriber.on_subscribe = lambda *words: confirmed.append(words)
    subscriber.connect("127.0.0.1", port)
    subscriber.subscribe("#", qos=1)
    subscriber.loop_start()
    wait_until(lambda: confirmed)
    try:
        yield received
    finally:
        subscriber.disconnect()
        subscriber.loop_stop()


def test_a_subscriber_gets_messages_states_and_descriptions(
    port: int, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
        with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "home/garden", ["rain"], [], pytest.fail)) as mqtt:
            mqtt.offer(Message("began", 12.5, label="Dog bark", score=0.5), {"Dog bark"})
            mqtt.offer(EVENT, set())
            wait_until(lambda: ("home/garden/dog_bark/state", "OFF") in received)
        wait_until(lambda: ("home/garden/status", "offline") in received)
    by_topic: dict[str, list[str]] = {}
    for topic, text in received:
        by_topic.setdefault(topic, []).append(text)
    assert by_topic["home/garden/status"] == ["online", "offline"]
    assert by_topic["home/garden/dog_bark/state"] == ["ON", "OFF"]
    assert [json.loads(text)["type"] for text in by_topic["home/garden/messages"]] == ["began", "event"]
    assert json.loads(by_topic["home/garden/dog_bark/event"][0]) == EVENT.to_json()
    described = json.loads(by_topic["homeassistant/binary_sensor/home_garden/dog_bark/config"][0])
    assert described["name"] == "Dog bark" and described["device_class"] == "sound"
    assert described["state_topic"] == "home/garden/dog_bark/state"
    assert described["availability_topic"] == "home/garden/status"
    assert "homeassistant/binary_sensor/home_garden/rain/config" in by_topic
    assert by_topic["home/garden/rain/state"] == ["OFF"], "a state of an earlier run may be ON still"


def test_labels_that_differ_in_a_blank_have_topics_apart(
    port: int, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    names = ["dog bark", "dog_bark", "rain"]
    slugs = home_assistant.slugs(names)
    assert slugs["rain"] == "rain" and len({*slugs.values()}) == 3
    with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
        with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", names, names, pytest.fail)) as mqtt:
            mqtt.offer(Message("began", 1.0, label="dog_bark", score=0.5), {"dog_bark"})
            wait_until(lambda: (f"garden/{slugs['dog_bark']}/state", "ON") in received)
        wait_until(lambda: ("garden/status", "offline") in received)
    assert (f"garden/{slugs['dog bark']}/state", "ON") not in received
    described = [json.loads(text) for topic, text in received if topic.endswith("/config")]
    assert len({text["unique_id"] for text in described}) == len(names)


def test_a_broker_that_has_forgotten_all_gets_it_again(
    port: int, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    lines: list[str] = []
    with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", ["Rain"], [], lines.append)) as mqtt:
        with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
            mqtt.offer(Message("began", 12.5, label="Dog bark", score=0.5), {"Dog bark"})
            wait_until(lambda: ("garden/dog_bark/state", "ON") in received)
        wait_until(lambda: lines and "the connection to the broker is lost" in lines[-1])
        with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
            wait_until(lambda: ("garden/dog_bark/state", "ON") in received)
            wait_until(lambda: ("garden/rain/state", "OFF") in received)
            topics = [topic for topic, _ in received]
            assert sum("/config" in topic for topic in topics) == 2
            assert "garden/messages" not in topics, "what has arrived is not sent twice"


def test_the_last_messages_wait_for_a_connection_that_is_being_made(
    port: int, tmp_path: Path, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ending = Event()
    publish, connect = Mqtt._publish, paho.Client._create_socket

    def noted(self: Mqtt, name: str, *words: Any, **options: Any) -> Any:
        sent = publish(self, name, *words, **options)
        if name == "status":
            is_ending.set()
        return sent

    monkeypatch.setattr(Mqtt, "_publish", noted)
    with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
        monkeypatch.setattr(paho.Client, "_create_socket", lambda self: is_ending.wait() and connect(self))
        with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", [], [], pytest.fail)) as mqtt:
            mqtt.offer(EVENT, set())
        assert is_ending.is_set()
        wait_until(lambda: ("garden/messages", json.dumps(EVENT.to_json())) in received)


def test_messages_from_before_and_during_the_connection_arrive_in_order(
    port: int, tmp_path: Path, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_connecting, go = Event(), Event()
    handle, create = paho.Client._handle_connack, paho.Client._create_socket

    def handled(self: Any) -> Any:
        if self._userdata is is_connecting:
            is_connecting.set()
            go.wait()
        return handle(self)

    with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
        monkeypatch.setattr(paho.Client, "_handle_connack", handled)
        first = Event()
        monkeypatch.setattr(paho.Client, "_create_socket", lambda self: first.wait() and create(self))
        with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", [], [], pytest.fail)) as mqtt:
            mqtt._client.user_data_set(is_connecting)
            mqtt.offer(Message("began", 12.5, label="Dog bark", score=0.5), {"Dog bark"})
            first.set()
            wait_until(is_connecting.is_set)
            mqtt.offer(EVENT, set())
            go.set()
            wait_until(lambda: ("garden/dog_bark/state", "OFF") in received)
        wait_until(lambda: ("garden/status", "offline") in received)
    assert [text for topic, text in received if topic == "garden/dog_bark/state"] == ["ON", "OFF"]
    assert [json.loads(text)["type"] for topic, text in received if topic == "garden/messages"] == ["began", "event"]


def test_a_broker_that_cannot_be_reached_is_reported_once(
    port: int, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paho.Client, "_reconnect_wait", lambda self: None)
    lines: list[str] = []
    attempts: list[object] = []
    with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", [], [], lines.append)) as mqtt:
        mqtt._client.on_pre_connect = lambda *words: attempts.append(words)
        wait_until(lambda: len(attempts) > 3)
    assert lines == ["mqtt: the broker cannot be reached; it is tried again"]


def test_states_that_a_full_queue_has_dropped_follow_when_there_is_room(
    port: int, tmp_path: Path, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_assistant, "_QUEUED", 10)
    lines: list[str] = []
    with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", [], [], lines.append)) as mqtt:
        mqtt.offer(Message("began", 12.5, label="Dog bark", score=0.5), {"Dog bark"})
        for _ in range(10):
            mqtt.offer(Message("began", 13.0, label="Rain", score=0.5), {"Dog bark", "Rain"})
        mqtt.offer(EVENT, {"Rain"})
        assert lines.count("mqtt: 10 messages wait already; new ones are dropped") == 1
        with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
            wait_until(lambda: ("garden/dog_bark/state", "OFF") in received)
            wait_until(lambda: ("garden/rain/state", "ON") in received)
            assert ("garden/dog_bark/state", "ON") not in received[received.index(("garden/dog_bark/state", "OFF")) :]
            assert any("rain/config" in topic for topic, _ in received)


def test_without_a_broker_nothing_waits() -> None:
    lines: list[str] = []
    with closing(Mqtt("mqtt://127.0.0.1:9", "earmark", [], [], lines.append)) as mqtt:
        mqtt.offer(EVENT, {"Dog bark"})
    assert lines == ["mqtt: the broker cannot be reached; it is tried again"]


@pytest.mark.parametrize(
    ("url", "topic", "words"),
    [
        ("http://broker", "earmark", "mqtt: an address"),
        ("mqtt://", "earmark", "mqtt: an address"),
        ("mqtt://broker..local", "earmark", "mqtt: an address"),
        ("mqtt://[::1", "earmark", "mqtt: an address"),
        ("mqtt://me:pa/ss@broker", "earmark", "mqtt: an address"),
        ("mqtt://broker", "a/#", "topic: a topic without"),
        ("mqtt://broker", "", "topic: a topic without"),
    ],
)
def test_invalid_addresses_and_topics_are_refused(url: str, topic: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Mqtt(url, topic, [], [], pytest.fail)


def test_slugs_differ_whatever_the_labels_are():
    names = ["dog bark", "dog_bark", "dog_bark_e929d0", "Dog bark"]
    assert len({*home_assistant.slugs(names).values()}) == len(names)


def test_more_labels_than_the_queue_holds_are_described_once_after_the_broker_has_forgotten_all(
    port: int, tmp_path: Path, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_assistant, "_QUEUED", 10)
    names = [f"label {number}" for number in range(8)]
    with closing(Mqtt(f"mqtt://127.0.0.1:{port}", "garden", names, names, lambda line: None)) as mqtt:
        with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
            wait_until(lambda: sum(topic.endswith("/state") for topic, _ in received) == len(names))
        for _ in range(15):
            mqtt.offer(EVENT, set())
        with broker(port, tmp_path, wait_until), subscribed(port, wait_until) as received:
            wait_until(lambda: len({topic for topic, _ in received if "/label_" in topic}) == 2 * len(names))
            wait_until(lambda: not mqtt._is_undelivered() and not mqtt._unknown)
            assert sum("/config" in topic for topic, _ in received) < 3 * len(names)
            assert ("garden/status", "online") in received
