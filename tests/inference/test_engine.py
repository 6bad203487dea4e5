"""A recording encoded in chunks equals the recording encoded whole."""

from typing import Any

import numpy as np
import pytest

from earmark.errors import ConfigError
from earmark.inference.engine import (
    CHUNK_SECONDS,
    ChunkedEncoder,
    Engine,
    WindowedEncoder,
    encode_blocks,
    encode_clips,
)


@pytest.fixture
def field_engine(mean_engine: type) -> type:
    class FieldEngine(mean_engine):  # type: ignore[misc]
        """A segment is the mean of the samples within `halo` segments, with mirrored ends: wrong edges change it."""

        samples_per_segment = 10
        sample_rate = 25

        def __init__(self) -> None:
            super().__init__()
            self.longest = 0
            self.n_chunks: list[int] = []

        def encode(self, waveforms: np.ndarray) -> np.ndarray:
            self.longest = max(self.longest, waveforms.shape[1])
            self.n_chunks.append(len(waveforms))
            return np.stack([self.of(waveform) for waveform in waveforms])

        def of(self, waveform: np.ndarray) -> np.ndarray:
            n_segments = -(-len(waveform) // 10)
            padded = np.pad(waveform.astype(np.float64), 20, mode="symmetric" if len(waveform) > 20 else "edge")
            rows = [padded[i * 10 : i * 10 + 50].mean() for i in range(n_segments)]
            return np.array(rows, np.float32)[:, None]

    return FieldEngine


@pytest.fixture
def context_engine(mean_engine: type) -> type:
    class ContextEngine(mean_engine):  # type: ignore[misc]
        """A segment is the mean of its samples, and beside it the mean of all samples that are encoded with it."""

        samples_per_segment = 10
        sample_rate = 25
        halo = None

        def __init__(self, overlap: float, clip_duration: float | None = 6.2) -> None:
            super().__init__(clip_duration=clip_duration)
            self.overlap = overlap
            self.lengths: list[int] = []
            self.n_chunks: list[int] = []

        def encode(self, waveforms: np.ndarray) -> np.ndarray:
            self.n_chunks.append(len(waveforms))
            return np.stack([self.of(waveform) for waveform in waveforms])

        def of(self, waveform: np.ndarray) -> np.ndarray:
            self.lengths.append(len(waveform))
            means = [waveform[i : i + 10].mean() for i in range(0, len(waveform), 10)]
            return np.array([[mean, waveform.mean()] for mean in means], np.float32)

    return ContextEngine


# windows of 155 samples hold 15 whole segments; the next starts `hop` later, and `margin` at either end do not count
@pytest.mark.parametrize(
    ("overlap", "hop", "margin"), [(0.0, 15, 0), (0.2, 12, 1), (0.5, 8, 3), (0.8, 3, 6), (0.99, 1, 7)]
)
@pytest.mark.parametrize("n_samples", [1, 10, 150, 155, 156, 160, 231, 235, 236, 310, 315, 1000, 1234])
def test_of_each_window_the_middle_counts(
    context_engine: Any, overlap: float, hop: int, margin: int, n_samples: int
) -> None:
    waveform = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    expected = np.zeros((-(-n_samples // 10), 2), np.float32)
    start, counts_from = 0, 0
    while n_samples > 10 * start + 155:
        expected[counts_from:] = context_engine(overlap).of(waveform[10 * start :][:155])[0]
        counts_from, start = start + margin + hop, start + hop
    last = max(0, -(-(n_samples - 155) // 10))
    expected[counts_from:] = context_engine(overlap).of(waveform[10 * last :])[0]
    expected[:, 0] = context_engine(overlap).of(waveform)[:, 0]
    for n_block in (1, 7, 100, 2000):
        engine = context_engine(overlap)
        blocks = [waveform[at : at + n_block] for at in range(0, n_samples, n_block)]
        np.testing.assert_allclose(np.concatenate(list(encode_blocks(engine, blocks))), expected, atol=1e-6)
        assert max(engine.lengths) <= 155


def test_windows_keep_a_bounded_number_of_samples_and_return_segments_in_time(context_engine: Any) -> None:
    encoder, n_out = WindowedEncoder(context_engine(0.5)), 0
    for _ in range(500):
        n_out += sum(len(segments) for segments in encoder.push(np.zeros(7, np.float32)))
        assert len(encoder._waiting) <= 2 * 155 + 7
        # a segment has ended when the next has begun
        assert encoder.n_samples // 10 - n_out <= encoder.delay
    assert n_out + len(encoder.finish()) == 350


def test_without_a_known_duration_windows_are_as_long_as_the_clips_of_audioset(context_engine: Any) -> None:
    engine = context_engine(0.5, None)
    list(encode_blocks(engine, [np.zeros(3000, np.float32)]))
    assert set(engine.lengths) == {250}


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_an_overlap_is_a_share_of_a_window(context_engine: Any, overlap: float) -> None:
    with pytest.raises(ConfigError, match="overlap: a share of a window from 0 to below 1 was expected, not"):
        WindowedEncoder(context_engine(overlap))


@pytest.mark.parametrize("n_segments", [1, 2, 3, 50])
@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 29, 30, 31, 40, 50, 51, 500, 507, 1000])
def test_chunks_give_the_segments_of_the_whole(field_engine: Any, n_samples: int, n_segments: int) -> None:
    engine = field_engine()
    waveform = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    whole = engine.of(waveform)
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
    np.testing.assert_allclose(np.concatenate(pieces), field_engine().of(waveform), atol=1e-6)
    assert engine.longest <= CHUNK_SECONDS * 25 + 4 * 10


def test_engines_implement_the_protocol(mean_engine: Any) -> None:
    from earmark.inference.torch_engine import TorchEngine
    from earmark.labels import LabelSet
    from earmark.model.network import Network, NetworkConfig

    assert isinstance(mean_engine(), Engine)
    assert isinstance(TorchEngine(Network(NetworkConfig(width=2), LabelSet(("a",)))), Engine)


@pytest.mark.parametrize("n_samples", [50, 1000, 1003])
@pytest.mark.parametrize("n_chunks", [2, 3, 100])
def test_batches_of_chunks_give_the_segments_of_the_whole(field_engine: Any, n_samples: int, n_chunks: int) -> None:
    engine = field_engine()
    waveform = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    for n_block in (7, 64, 2000):
        engine.n_chunks.clear()
        encoder, n_out = ChunkedEncoder(engine, 3, n_chunks), 0
        pieces = []
        for at in range(0, n_samples, n_block):
            pieces += encoder.push(waveform[at : at + n_block])
            n_out = sum(map(len, pieces))
            assert encoder.n_samples // 10 - n_out <= encoder.delay + 1
        np.testing.assert_allclose(np.concatenate([*pieces, encoder.finish()]), engine.of(waveform), atol=1e-6)
        # the first chunk has no left halo and the last its own length; those between share calls
        assert max(engine.n_chunks) == (1 if n_samples == 50 else min(n_chunks, 31))


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("n_samples", [100, 155, 160, 1000, 1234])
def test_batches_of_windows_give_the_same_segments(context_engine: Any, overlap: float, n_samples: int) -> None:
    waveform = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    single, batched = context_engine(overlap), context_engine(overlap)
    batched.batch_size = 3
    expected = np.concatenate(list(encode_blocks(single, [waveform])))
    blocks = np.array_split(waveform, 9)
    np.testing.assert_array_equal(np.concatenate(list(encode_blocks(batched, blocks))), expected)
    assert n_samples < 1000 or max(batched.n_chunks) == 3
    encoder, n_out = WindowedEncoder(context_engine(overlap), 3), 0
    for block in blocks:
        n_out += sum(len(segments) for segments in encoder.push(block))
        assert encoder.n_samples // 10 - n_out <= encoder.delay


def test_clips_of_one_length_share_calls(field_engine: Any, context_engine: Any) -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype(np.float32) for n in (100, 100, 100, 30, 100, 100, 1100, 5)]
    for engine, longest in ((field_engine(), 1000), (context_engine(0.5), 155)):
        engine.batch_size = 2
        alone = [np.concatenate(list(encode_blocks(engine, [clip]))) for clip in clips]
        engine.n_chunks.clear()
        for segments, expected in zip(encode_clips(engine, clips), alone, strict=True):
            np.testing.assert_allclose(segments, expected, atol=1e-6)
        assert engine.n_chunks[:4] == [2, 1, 1, 2]
        assert len(clips[6]) > longest, "encoded in chunks"
