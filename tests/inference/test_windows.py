"""Sliding windows against their definition, however the segments come."""

from typing import Any

import numpy as np
import pytest

import earmark.inference.windows as windows_module
from earmark.errors import ConfigError
from earmark.inference.windows import CONTEXT_MARGIN, SlidingWindows, sigmoid


def segments_of(means: list[float]) -> np.ndarray:
    return np.repeat(np.array(means, np.float32)[:, None], 2, axis=1)


def reference(means: list[float], duration: float, window: float, hop: float) -> list[float]:
    """First column of the logits by the definition, window by window, in exact tenths of a millisecond."""
    step, total, logits, onset = 4000, round(duration * 1e4), [], 0
    middles = [i * step + step / 2 for i in range(len(means))]
    while onset <= min(middles[-1], ((len(means) - 1) * step + total) / 2):
        inside = [m for m, middle in zip(means, middles, strict=True) if onset <= middle < onset + window * 1e4]
        logits.append(10 * float(np.mean(inside)))
        onset += round(hop * 1e4)
    return logits


@pytest.mark.parametrize("last", [1, 150, 200, 399, 400])
@pytest.mark.parametrize(
    ("window", "hop"), [(0.4, 0.4), (2.0, 0.4), (1.0, 0.1), (0.5, 0.7), (60.0, 3.0), (0.4, 0.2), (0.4, 5.0)]
)
def test_windows_equal_their_definition_however_segments_come(
    mean_engine: Any, window: float, hop: float, last: int
) -> None:
    means = np.random.default_rng(1).uniform(-0.5, 0.5, 13).astype(np.float32).tolist()
    duration = 12 * 0.4 + last / 1000
    expected = reference(means, duration, window, hop)
    for cuts in ([], [1], [5, 6], [4, 4, 9, 12]):
        windows = SlidingWindows(mean_engine(), window, hop)
        *pieces, rest = np.split(segments_of(means), cuts)
        logits = np.concatenate([*map(windows.push, pieces), windows.finish(rest, duration)])
        np.testing.assert_allclose(logits[:, 0], expected, atol=1e-5)
        assert windows.n_windows == len(expected)


@pytest.mark.parametrize("last", [1, 210, 400])
@pytest.mark.parametrize(("window", "hop", "context"), [(0.4, 0.4, 2.0), (0.8, 0.4, 2.5), (1.0, 0.3, 60.0)])
def test_a_context_limits_the_windows(mean_engine: Any, window: float, hop: float, context: float, last: int) -> None:
    means = np.random.default_rng(1).uniform(-0.5, 0.5, 13).astype(np.float32)
    duration = 12 * 0.4 + last / 1000
    expected = reference(means.tolist(), duration, window, hop)
    middles = (np.arange(13) + 0.5) * 0.4
    for k in range(len(expected)):
        middle = k * hop + window / 2
        inside = (middles >= middle - context / 2 - 1e-6) & (middles < middle + context / 2 - 1e-6)
        expected[k] = min(expected[k], 10 * means[inside].mean() - CONTEXT_MARGIN)
    for cuts in ([], [1], [4, 4, 9, 12]):
        windows = SlidingWindows(mean_engine(), window, hop, context=context)
        *pieces, rest = np.split(segments_of(means.tolist()), cuts)
        logits = np.concatenate([*map(windows.push, pieces), windows.finish(rest, duration)])
        np.testing.assert_allclose(logits[:, 0], expected, atol=1e-5)


def test_a_context_that_is_no_longer_than_the_window_changes_nothing(mean_engine: Any) -> None:
    segments = segments_of([0.1, -0.2, 0.3, 0.4])
    plain = SlidingWindows(mean_engine(), 0.8, 0.4).finish(segments, 1.6)
    np.testing.assert_array_equal(SlidingWindows(mean_engine(), 0.8, 0.4, context=0.8).finish(segments, 1.6), plain)
    with pytest.raises(ConfigError, match="context: at least 0 s"):
        SlidingWindows(mean_engine(), 0.8, 0.4, context=-1.0)


def test_a_window_is_given_as_soon_as_it_is_complete(mean_engine: Any) -> None:
    windows = SlidingWindows(mean_engine(), 0.8, 0.4)
    assert [len(windows.push(segments_of([0.1]))) for _ in range(4)] == [0, 1, 1, 1]
    windows = SlidingWindows(mean_engine(), 0.8, 0.4, context=1.6)
    assert [len(windows.push(segments_of([0.1]))) for _ in range(5)] == [0, 0, 1, 1, 1]


def test_pooled_segments_are_dropped(mean_engine: Any) -> None:
    windows = SlidingWindows(mean_engine(), 0.8, 0.4, context=2.0)
    for _ in range(50):
        windows.push(segments_of([0.1] * 20))
    assert sum(map(len, windows._segments)) < 10


def test_windows_are_classified_in_small_batches(mean_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    means = segments_of(np.random.default_rng(2).uniform(-0.5, 0.5, 50).tolist())
    engine = mean_engine()
    at_once = SlidingWindows(engine, 2.0, 0.4).finish(means, 20.0)
    assert engine.n_bags == [50]
    monkeypatch.setattr(windows_module, "VALUES_PER_CALL", 100)
    split = SlidingWindows(engine, 2.0, 0.4).finish(means, 20.0)
    np.testing.assert_allclose(split, at_once, rtol=1e-6)
    assert engine.n_bags[1:] == [10] * 5 and max(engine.n_values[1:]) <= 100


def test_windows_of_the_same_segments_are_classified_once(mean_engine: Any) -> None:
    engine = mean_engine()
    assert len(SlidingWindows(engine, 0.4, 0.01).finish(segments_of([0.1, 0.2, 0.3]), 1.2)) == 101
    assert sum(engine.n_bags) < 7


def test_a_window_of_one_segment_is_never_empty(mean_engine: Any) -> None:
    windows = SlidingWindows(mean_engine(), 0.4, 0.2000021)
    assert len(windows.finish(segments_of([0.1] * 500), 200.0)) == 999


def test_the_span_of_a_window(mean_engine: Any) -> None:
    windows = SlidingWindows(mean_engine(), 2.0, 1.0)
    windows.finish(segments_of([0.0] * 10), 4.0)
    assert [windows.span(k) for k in range(4)] == [(0, 5), (2, 7), (5, 10), (7, 10)]


def test_extreme_logits_are_scores() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(np.array([1e4, 0.0, -50.0, -1e4])), [1.0, 0.5, np.exp(-50), 0.0], rtol=1e-6)


def test_excessive_windows_are_refused(mean_engine: Any) -> None:
    for window, hop in ((1e20, 1.0), (1.0, 1e20)):
        with pytest.raises(ConfigError, match=r"at least .* was expected, up to 1e"):
            SlidingWindows(mean_engine(), window, hop)
