"""earmark: tag the sounds in a recording, learned from weak labels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earmark.audio.recording import Audio, load_audio
    from earmark.data import open_data
    from earmark.errors import AudioError, CheckpointError, ConfigError, DataError, EarmarkError
    from earmark.hub import load
    from earmark.inference.tagger import Tagger
    from earmark.labels import LabelSet

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EarmarkError",
    "LabelSet",
    "Tagger",
    "load",
    "load_audio",
    "open_data",
]

_HOMES = {
    "Audio": "audio.recording",
    "AudioError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "EarmarkError": "errors",
    "LabelSet": "labels",
    "Tagger": "inference.tagger",
    "load": "hub",
    "load_audio": "audio.recording",
    "open_data": "data",
}


def __getattr__(name: str) -> Any:
    # names arrive on first use, so that `import earmark` costs neither torch nor a decoder
    if name in _HOMES:
        return getattr(import_module(f"earmark.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'earmark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
