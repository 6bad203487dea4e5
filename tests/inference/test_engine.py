"""A recording encoded in chunks equals the recording encoded whole."""

from typing import Any

import numpy as np
import pytest

from earmark.inference.engine import CHUNK_SECONDS, ChunkedEncoder, Engine, encode_blocks


@pytest.fixture
def field_engine(mean_engine: type) -> type:
    class FieldEngine(mean_engine):  # type: ignore[misc]
        """A segment is the mean of the samples within `halo` segments, with mirrored ends: wrong edges change it."""

        samples_per_segment = 10
        sample_rate = 25

        def __init__(self) -> None:
            super().__init__()
            self.longest = 0

        def encode(self, waveform: np.ndarray) -> np.ndarray:
            self.longest = max(self.longest, len(waveform))
            n_segments = -(-len(waveform) // 10)
            padded = np.pad(waveform.astype(np.float64), 20, mode="symmetric" if len(waveform) > 20 else "edge")
            rows = [padded[i * 10 : i * 10 + 50].mean() for i in range(n_segments)]
            return np.array(rows, np.float32)[:, None]

    return FieldEngine


@pytest.mark.parametrize("n_segments", [1, 2, 3, 50])
@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 29, 30, 31, 40, 50, 51, 500, 507, 1000])
def test_chunks_give_the_segments_of_the_whole(field_engine: Any, n_samples: int, n_segments: int) -> None:
    engine = field_engine()
    waveform = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    whole = engine.encode(waveform)
    for n_block in (1, 7, 10, 64, 2000):
        engine.longest = 0
        encoder = ChunkedEncoder(engine, n_segments)
        blocks = [waveform[at : at + n_block] for at in range(0, n_samples, n_block)]
        pieces = [segments for block in blocks for segments in encoder.push(block)]
        np.testing.assert_allclose(np.concatenate([*pieces, encoder.finish()]), whole, atol=1e-6)
        assert encoder.n_samples == n_samples
        assert engine.longest <= (n_segments + 2 * engine.halo) * 10


def test_a_recording_without_samples_has_no_segments(field_engine: Any) -> None:
    encoder = ChunkedEncoder(field_engine(), 3)
    assert len(encoder.finish()) == 0


def test_blocks_of_any_size(field_engine: Any) -> None:
    engine = field_engine()
    waveform = np.random.default_rng(0).standard_normal(25 * 100).astype(np.float32)
    pieces = list(encode_blocks(engine, np.array_split(waveform, 7)))
    np.testing.assert_allclose(np.concatenate(pieces), field_engine().encode(waveform), atol=1e-6)
    assert engine.longest <= CHUNK_SECONDS * 25 + 4 * 10


def test_engines_implement_the_protocol(mean_engine: Any) -> None:
    from earmark.inference.torch_engine import TorchEngine
    from earmark.labels import LabelSet
    from earmark.model.network import Network, NetworkConfig

    assert isinstance(mean_engine(), Engine)
    assert isinstance(TorchEngine(Network(NetworkConfig(width=2), LabelSet(("a",)))), Engine)
