"""A microphone, with a fake sound card."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from earmark.audio.microphone import _QUEUED, Microphone
from earmark.errors import AudioError

QUIET = SimpleNamespace(input_overflow=False)


class Card(ModuleType):
    """A fake of the part of sounddevice that is used."""

    class PortAudioError(Exception):
        pass

    def __init__(self, fault: str | None = None) -> None:
        super().__init__("sounddevice")
        self.fault = fault
        self.opened: list[Any] = []

    def query_devices(self, device: object, kind: str) -> dict[str, float]:
        if device == "nothing":
            raise ValueError("No input device matching 'nothing'")
        return {"default_samplerate": 44100.0}

    def InputStream(self, **options: Any) -> Any:
        def start() -> None:
            if self.fault is not None:
                raise self.PortAudioError(self.fault)

        stream = SimpleNamespace(options=options, is_closed=False, start=start)
        stream.close = lambda: setattr(stream, "is_closed", True)
        self.opened.append(stream)
        return stream


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_its_blocks_are_read_in_order(card: Card) -> None:
    microphone = Microphone("2", n_channels=2)
    (stream,) = card.opened
    assert (microphone.sample_rate, microphone.n_channels) == (44100, 2)
    assert (stream.options["device"], stream.options["channels"], stream.options["blocksize"]) == (2, 2, 4410)
    block = np.arange(8, dtype=np.float32).reshape(4, 2)
    stream.options["callback"](block, 4, None, QUIET)
    stream.options["callback"](block + 8, 4, None, QUIET)
    block[:] = 0  # the device uses its memory again
    assert microphone.read().tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert microphone.read()[0, 0] == 8
    microphone.close()
    assert stream.is_closed


def test_a_device_that_cannot_start_is_closed(card: Card) -> None:
    card.fault = "Device\nunavailable"
    with pytest.raises(AudioError, match=r"microphone usb: cannot be used \(Device unavailable\)"):
        Microphone("usb", 48000)
    assert [stream.is_closed for stream in card.opened] == [True]


def test_an_unknown_device_is_an_error(card: Card) -> None:
    with pytest.raises(AudioError, match=r"nothing: cannot be used .*python -m sounddevice"):
        Microphone("nothing")


@pytest.mark.parametrize("how", ["card", "queue"])
def test_lost_samples_are_an_error(card: Card, how: str) -> None:
    microphone = Microphone()
    take = card.opened[0].options["callback"]
    for _ in range(1 if how == "card" else _QUEUED + 1):
        take(np.zeros((4, 1), np.float32), 4, None, SimpleNamespace(input_overflow=how == "card"))
    with pytest.raises(AudioError, match="samples were lost"):
        microphone.read()


def test_a_device_that_falls_silent_is_lost(card: Card) -> None:
    with pytest.raises(AudioError, match="gives no sound any more"):
        Microphone(timeout=0.01).read()


def test_without_portaudio_the_error_names_the_package(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(AudioError, match="libportaudio2"):
        Microphone()
