"""Recordings whose detections are cut out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.audio.recording import Audio, save_audio

RATE = 8000


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of 10 s, whose samples rise so that each moment is different, and a damaged one."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate(("a.wav", "b/a.wav")):
        ramp = np.linspace(-0.9, 0.9, 10 * RATE, dtype=np.float32) * (1 - 0.5 * number)
        save_audio(folder / name, Audio(ramp, RATE))
    (folder / "broken.wav").write_bytes((folder / "a.wav").read_bytes()[:30])
    return folder


@pytest.fixture
def detected(recordings: Path) -> Callable[..., list[FileEvents]]:
    """Events of a second each of the first recording, as (label, score), and more recordings with one event each."""

    def made(*events: tuple[str, float | None], more: tuple[str, ...] = ()) -> list[FileEvents]:
        own = tuple(Annotation(n * 0.5, n * 0.5 + 1.0, label, score) for n, (label, score) in enumerate(events))
        others = [FileEvents(str(recordings / name), (Annotation(2.0, 3.0, "dog", 0.5),)) for name in more]
        return [FileEvents(str(recordings / "a.wav"), own), *others]

    return made
