"""Recordings, a tagger that needs no network, and jobs."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark.bulk.job import Job, Settings
from earmark.bulk.parts import read_input
from earmark.inference.tagger import Scores, Tagger
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

RATE = 16000
LABELS = LabelSet(("dog", "rain"), ("/d", "/r"))


class Loudness(Tagger):
    """Scores the first label by the loudest sample; fails if it is louder than full scale."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    sample_rate = RATE

    def score(self, audio, track=None):
        recording = earmark.load_audio(audio, RATE) if isinstance(audio, Path) else audio
        self.sources.append(str(audio) if isinstance(audio, Path) else "bytes")
        peak = float(np.abs(recording.waveform).max())
        if peak > 1:
            raise RuntimeError("the network\nfell over")
        return Scores(recording.duration, np.array([peak, 0.0]), LABELS, None)

    def score_and_embed(self, audio, track=None):
        return self.score(audio, track=track), np.full(3, 0.5, np.float32)


@pytest.fixture(scope="session")
def loudness() -> type[Loudness]:
    """The tagger's class."""
    return Loudness


def _wav(peak: float, seconds: float = 0.5) -> bytes:
    stream = io.BytesIO()
    import soundfile

    samples = np.zeros(int(seconds * RATE), np.float32)
    samples[0] = peak
    soundfile.write(stream, samples, RATE, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@pytest.fixture(scope="session")
def wav():
    """A WAV file as bytes."""
    return _wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, the last in a sub-folder, a damaged one, and files that are not recordings."""
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "c.wav", "sub/d.wav"), 1):
        (path / name).write_bytes(_wav(number / 4))
    (path / "b.wav").write_bytes(_wav(0.5)[:200])
    (path / ".hidden.wav").write_bytes(_wav(0.5))
    (path / "notes.txt").write_text("no recording")
    return path


def _rows(place: Path) -> list[dict]:
    from pyarrow import parquet

    return parquet.read_table(place).to_pylist()


@pytest.fixture(scope="session")
def rows():
    """The rows of a Parquet file."""
    return _rows


def _a_job(source: Path | str, settings: Settings | None = None, rows_per_part: int = 2) -> Job:
    return Job(read_input(str(source), rows_per_part), "m", "0" * 64, settings or Settings(), rows_per_part)


@pytest.fixture(scope="session")
def a_job():
    """A job without a model."""
    return _a_job


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return str(path)
