"""Messages over MQTT, with the descriptions by which Home Assistant finds them. Only this module imports paho."""

import hashlib
import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from earmark.errors import ConfigError
from earmark.listening.listener import Message

_QUEUED: Final = 1000
"""Maximum messages that wait here, and as many again that paho has sent without an answer."""
_SECONDS_TO_END: Final = 5.0
_SLICE: Final = 0.02
"""Seconds between two looks at whether the last message has been delivered."""
_QUEUE_IS_FULL: Final = 15
"""paho's code for a message that it has dropped."""
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Mqtt:
    """Publishes messages to a broker; reconnects by itself and never blocks.

    `TOPIC/messages` has every message, `TOPIC/status` online or offline, `TOPIC/LABEL/state` ON while the label sounds,
    and `TOPIC/LABEL/event` its latest event. A label is described to Home Assistant as a binary sensor when it first
    sounds.

    Args:
        url: The broker, as `mqtt://USER:PASSWORD@HOST:PORT`, or mqtts for TLS.
        topic: Prefix of the topics.
        labels: Labels that are described at the start.
        names: All labels that may sound; labels with the same topic get different suffixes.
        report: Takes a line about trouble with the broker.

    Raises:
        ConfigError: The URL or the topic is invalid.
        ModuleNotFoundError: paho-mqtt is not installed.
    """

    def __init__(
        self, url: str, topic: str, labels: Iterable[str], names: Iterable[str], report: Callable[[str], object]
    ) -> None:
        host, port, address = _parts(url)
        if not topic.strip("/") or re.search(r"[+#\0]", topic):
            raise ConfigError(f"a topic without + and # was expected, not {topic!r}", "topic")
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self._topic, self._report = topic.strip("/"), report
        self._slugs = slugs(names)
        self._described: set[str] = set()
        self._unknown = set(labels)  # to be described and shown, for the broker may not know them or their states
        self._sounding: set[str] = set()
        self._shown: set[str] = set()  # labels whose published state is ON; a full queue drops changes of state
        self._lock, self._sends = Lock(), Lock()
        # while it connects, paho sends new messages ahead of older ones; so they wait here until it is ready
        self._waiting: deque[tuple[str, str, bool]] = deque()
        self._is_ready = False  # connected, and what paho still had is sent
        self._is_full = self._is_lost = self._was_connected = self._is_announced = False
        self._latest: int | None = None  # id of the last message that paho took
        self._delivered: int | None = None  # id of the last message that the broker has confirmed
        self._client: Any = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(_QUEUED)
        self._client.will_set(f"{self._topic}/status", "offline", qos=1, retain=True)
        if address.username:
            self._client.username_pw_set(unquote(address.username), unquote(address.password or "") or None)
        if address.scheme == "mqtts":
            self._client.tls_set()
        self._client.on_connect = self._connected
        self._client.on_connect_fail = lambda client, userdata: self._lose("the broker cannot be reached")
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        self._show()
        self._client.connect_async(host, port)
        self._client.loop_start()

    def offer(self, message: Message, sounding: set[str]) -> None:
        """Publishes a message, and the state of each label that has begun or ended since.

        Args:
            message: The message.
            sounding: The labels that sound now.
        """
        text = json.dumps(message.to_json())
        with self._lock:
            self._sounding = set(sounding)
            self._publish("messages", text)
            if message.type == "event" and message.label is not None:
                self._describe(message.label)
                self._publish(f"{self._slug(message.label)}/event", text, retain=True)
            self._show()

    def _show(self) -> None:
        """Publishes the states that have changed or are unknown; a state that the queue drops is tried again later."""
        for label in sorted((self._sounding ^ self._shown) | self._unknown):
            self._describe(label)
            state = "ON" if label in self._sounding else "OFF"
            if self._publish(f"{self._slug(label)}/state", state, retain=True):
                self._shown = self._shown - {label} | self._sounding & {label}
                self._unknown.discard(label)

    def close(self) -> None:
        """Publishes OFF for each label that sounds and the status offline, then disconnects."""
        with self._lock:
            self._sounding = set()
            self._show()
            if not self._publish("status", "offline", retain=True):
                self._waiting.append((f"{self._topic}/status", "offline", True))  # however many wait
        until = time.monotonic() + _SECONDS_TO_END
        # a connection that is being made delivers what waits
        while self._is_undelivered() and not self._is_lost and time.monotonic() < until:
            time.sleep(_SLICE)
        self._client.disconnect()
        self._client.loop_stop()

    def _is_undelivered(self) -> bool:
        return bool(self._waiting) or self._delivered != self._latest

    def _connected(self, client: Any, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            self._lose(f"the broker refuses the connection ({reason})")
            return
        self._is_lost = False
        if self._was_connected:  # a broker that has been started again may have forgotten all
            self._unknown, self._described = self._unknown | self._described, set()
        self._was_connected = True
        self._announce()

    def _announce(self) -> None:
        """Publishes the status online; if paho has no room, the next delivery tries it again."""
        sent = self._client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
        self._is_announced = sent.rc != _QUEUE_IS_FULL

    def _disconnected(self, client: Any, userdata: object, flags: object, reason: Any, properties: object) -> None:
        self._is_ready = False
        if reason.is_failure:
            self._lose(f"the connection to the broker is lost ({reason})")

    def _lose(self, what: str) -> None:
        """Reports a failure, once until the broker is reached again."""
        if not self._is_lost:
            self._report(f"mqtt: {what}; it is tried again")
        self._is_lost = True

    def _published(self, client: Any, userdata: object, mid: int, reason: Any, properties: object) -> None:
        """Notes the delivery; sends what waits, and the states that a full queue has dropped, now that it has room."""
        self._delivered, self._is_ready = mid, True
        if not self._is_announced:
            self._announce()
        self._send_waiting()
        # never waits: this thread holds a lock of paho, for which the other thread waits while it publishes
        if self._lock.acquire(blocking=False):
            try:
                self._show()
            finally:
                self._lock.release()

    def _slug(self, label: str) -> str:
        return self._slugs.get(label) or slug(label)

    def _publish(self, name: str, text: str, *, retain: bool = False) -> bool:
        return self._send(f"{self._topic}/{name}", text, retain)

    def _send(self, topic: str, text: str, retain: bool) -> bool:
        """Sends a message after those that wait; False if too many wait, and it is dropped."""
        self._send_waiting()
        is_full = len(self._waiting) >= _QUEUED
        if is_full and not self._is_full:
            self._report(f"mqtt: {_QUEUED} messages wait already; new ones are dropped")
        self._is_full = is_full
        if not is_full:
            self._waiting.append((topic, text, retain))
            self._send_waiting()
        return not is_full

    def _send_waiting(self) -> None:
        """Sends what waits, in order. Returns at once while the other thread sends; that thread sends the rest."""
        while self._is_ready and self._waiting and self._sends.acquire(blocking=False):
            try:
                while self._is_ready and self._waiting:
                    topic, text, retain = self._waiting[0]
                    sent = self._client.publish(topic, text, qos=1, retain=retain)
                    if sent.rc == _QUEUE_IS_FULL:
                        return  # the next delivery makes room
                    self._latest = sent.mid
                    self._waiting.popleft()
            finally:
                self._sends.release()

    def _describe(self, label: str) -> None:
        """Describes a label to Home Assistant, once."""
        if label in self._described:
            return
        node, name = slug(self._topic), self._slug(label)
        described = {
            "name": label,
            "unique_id": f"{node}_{name}",
            "device_class": "sound",
            "state_topic": f"{self._topic}/{name}/state",
            "json_attributes_topic": f"{self._topic}/{name}/event",
            "availability_topic": f"{self._topic}/status",
            "device": {"identifiers": [node], "name": self._topic, "model": "earmark", "manufacturer": "earmark"},
            "origin": {"name": "earmark"},
        }
        topic = f"homeassistant/binary_sensor/{node}/{name}/config"
        if self._send(topic, json.dumps(described), retain=True):
            self._described.add(label)


def _parts(url: str) -> tuple[str, int, SplitResult]:
    """Host and port of a broker, and the whole address.

    Raises:
        ConfigError: It is no address of a broker.
    """
    try:
        address = urlsplit(url)
        port = address.port or _PORTS[address.scheme]
        host = (address.hostname or "").encode("idna").decode()
        if host:
            return host, port, address
    except (KeyError, ValueError):
        pass  # their texts may hold a part of the password
    example = "mqtt://HOST or mqtts://USER:PASSWORD@HOST"
    raise ConfigError(f"an address such as {example} was expected (a password with / as %2F, # as %23)", "mqtt")


def slug(text: str) -> str:
    """The text in characters that topics and ids may have.

    >>> slug("Male speech, man speaking"), slug("home/garden")
    ('male_speech_man_speaking', 'home_garden')
    >>> slug("Gänse"), slug("犬")  # other letters are replaced, and a part of a hash keeps the names apart
    ('g_nse_48b05d', '1e82f9')
    """
    found = re.sub(r"[^a-z0-9-]+", "_", text.lower()).strip("_")
    return found if text.isascii() and found else _with_hash(found, text)


def slugs(texts: Iterable[str]) -> dict[str, str]:
    """The slug of each text; texts with the same slug get different suffixes, parts of their hashes.

    >>> slugs(["dog bark", "dog_bark", "Rain"])
    {'dog bark': 'dog_bark_e929d0', 'dog_bark': 'dog_bark_b17abb', 'Rain': 'rain'}
    """
    found = {text: slug(text) for text in texts}
    while repeated := {one for one, count in Counter(found.values()).items() if count > 1}:
        found = {text: _with_hash(one, text) if one in repeated else one for text, one in found.items()}
    return found


def _with_hash(found: str, text: str) -> str:
    part = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{found}_{part}" if found else part
