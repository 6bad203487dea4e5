"""The choice of detections."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from earmark.review.sampling import band_of, sample, shares


@given(st.dictionaries(st.integers(-1, 9), st.integers(1, 30), min_size=1), st.integers(0, 100))
def test_shares_are_as_even_as_the_bands_allow(sizes: dict[int, int], n: int) -> None:
    taken = shares(sizes, n)
    assert sum(taken.values()) == min(n, sum(sizes.values()))
    assert all(0 <= taken[band] <= sizes[band] for band in sizes)
    not_used_up = [taken[band] for band in sizes if taken[band] < sizes[band]]
    assert not not_used_up or max(taken.values()) - min(not_used_up) <= 1


@given(st.integers(0, 1000))
def test_a_score_is_in_the_band_that_its_decimals_name(thousandth: int) -> None:
    assert band_of(thousandth / 1000) == min(thousandth // 100, 9)


def test_the_choice_depends_on_the_label_and_the_seed_alone() -> None:
    labels = ["dog"] * 30 + ["fox"] * 30
    bands = [place % 3 for place in range(60)]
    chosen = sample(labels, bands, 6, seed=0)
    assert Counter((labels[i], bands[i]) for i in chosen) == {(x, b): 2 for x in ("dog", "fox") for b in range(3)}
    assert chosen == sorted(chosen) == sample(labels, bands, 6, seed=0)
    assert chosen != sample(labels, bands, 6, seed=1)
    assert sample(labels[:30], bands[:30], 6, seed=0) == chosen[:6], "other labels do not matter"
    assert sample(labels, bands, None, seed=0) == list(range(60))
