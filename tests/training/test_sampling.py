import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.errors import ConfigError, DataError
from earmark.training.sampling import balanced_order, block_order, shuffled_order

TARGET = np.zeros((12, 4), np.float32)
TARGET[:9, 0] = 1  # a frequent label
TARGET[9:11, 1] = 1  # a rare one
TARGET[[0, 11], 2] = 1  # one that shares a clip with the first
# label 3 has no clip


def by_label(target):
    return [np.flatnonzero(column) for column in target.T]


def rng(seed=0):
    return np.random.default_rng(seed)


@given(n_clips=st.integers(1, 30), n_draws=st.integers(0, 100), seed=st.integers(0, 5))
def test_every_clip_comes_once_before_any_comes_again(n_clips, n_draws, seed):
    order = shuffled_order(n_clips, n_draws, rng(seed))
    counts = np.bincount(order, minlength=n_clips)
    assert len(order) == n_draws and len(counts) == n_clips
    assert counts.max() - counts.min() <= 1


def test_each_pass_has_its_own_order():
    order = shuffled_order(50, 100, rng())
    assert not np.array_equal(order[:50], order[50:])
    assert not np.array_equal(order[:50], np.arange(50))


@given(n_draws=st.integers(1, 60), seed=st.integers(0, 5))
def test_labels_take_turns(n_draws, seed):
    order = balanced_order(by_label(TARGET), n_draws, rng(seed))
    # clips 1-8 have only the frequent label, 9-10 only the rare one: about a third of the draws each
    rare = np.isin(order, [9, 10]).sum()
    assert n_draws // 3 <= rare <= -(-n_draws // 3)
    assert set(order) <= set(range(12))


def test_a_label_gives_its_clips_in_turn():
    order = balanced_order(by_label(TARGET), 36, rng())
    counts = np.bincount(order, minlength=12)
    assert counts[9] == counts[10] == 6
    assert counts[1:9].min() >= 1  # 12 draws of the frequent label's 9 clips
    assert counts[11] == 6


def test_clips_without_a_label_are_never_drawn():
    target = TARGET.copy()
    target[5] = 0
    assert 5 not in balanced_order(by_label(target), 200, rng())


def test_orders_follow_from_the_generator():
    for draw in (
        lambda r: balanced_order(by_label(TARGET), 50, r),
        lambda r: shuffled_order(12, 50, r),
        lambda r: block_order(50, 7, 3, r),
    ):
        assert np.array_equal(draw(rng(1)), draw(rng(1)))
        assert not np.array_equal(draw(rng(1)), draw(rng(2)))


def test_drawing_from_nothing_is_refused():
    with pytest.raises(DataError, match="no clip of the training set has a label"):
        balanced_order([np.empty(0, np.int64)] * 2, 5, rng())
    with pytest.raises(DataError, match="the training set is empty"):
        shuffled_order(0, 5, rng())
    with pytest.raises(DataError, match="the training set is empty"):
        block_order(0, 5, 1, rng())


@given(n_clips=st.integers(1, 200), block=st.integers(1, 40), n_mixed=st.integers(1, 9), seed=st.integers(0, 5))
def test_blocks_are_shuffled_a_few_at_a_time_and_no_clip_is_lost(n_clips, block, n_mixed, seed):
    order = block_order(n_clips, block, n_mixed, rng(seed))
    assert sorted(order) == list(range(n_clips))
    # a block is opened once: those that are mixed come to their end before any other begins
    blocks = order // block
    is_open, left = set(), np.bincount(blocks)
    for number in blocks.tolist():
        is_open.add(number)
        assert len(is_open) <= n_mixed
        left[number] -= 1
        if len(is_open) == n_mixed and not any(left[other] for other in is_open):
            is_open.clear()


def test_blocks_are_read_in_random_order_and_each_from_start_to_end():
    order = block_order(400, 10, 4, rng())
    assert not np.array_equal(np.unique(order[:40] // 10), np.arange(4))
    assert set(order[:4] % 10) == {0} and set(order[4:8] % 10) == {1}
    for number in range(40):
        assert order[order // 10 == number].tolist() == list(range(10 * number, 10 * number + 10))
    assert block_order(400, 400, 1, rng()).tolist() == list(range(400))


@pytest.mark.parametrize("words", [{"block": 0, "n_blocks_mixed": 1}, {"block": 1, "n_blocks_mixed": 0}])
def test_blocks_without_clips_are_refused(words):
    with pytest.raises(ConfigError, match="1 or more was expected, not 0"):
        block_order(3, **words, rng=rng())
