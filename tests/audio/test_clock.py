"""The clock of a sound track: pieces of sound with timestamps, and the silence before them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.audio.clock import LONGEST_GAP, TOLERANCE, TrackClock

RATE = 1000
PIECE = 40  # samples


def silences(starts: list[float | None], end: float | None = None) -> tuple[list[int], TrackClock]:
    """The number of silent samples before each piece that begins at these seconds."""
    clock = TrackClock(RATE, end)
    stamps = [None if start is None else round(start * RATE) for start in starts]
    following = [*stamps[1:], None]
    return [clock.add(stamps[i], PIECE, lambda i=i: following[i]) for i in range(len(stamps))], clock


def regular(n: int, start: float = 0.0) -> list[float]:
    return [start + i * PIECE / RATE for i in range(n)]


def test_sound_without_gaps_is_left_alone() -> None:
    inserted, clock = silences([*regular(50), None, None])
    assert not any(inserted) and clock.n_samples == 52 * PIECE and clock.notes() == []


def test_a_late_start_and_a_gap_are_filled() -> None:
    inserted, clock = silences([*regular(10, 3.0), *regular(10, 5.9)])
    assert [(i, n) for i, n in enumerate(inserted) if n] == [(0, 3000), (10, 2500)]
    assert clock.notes() == [
        "3.0 s of silence put in at the start, where its sound track begins late",
        "2.5 s of silence put in at 3.4 s, where its sound track has a gap",
    ]


def test_the_longest_of_several_gaps_is_noted() -> None:
    _, clock = silences([*regular(10), *regular(10, 1.4), *regular(10, 3.8), *regular(10, 4.5)])
    assert clock.notes() == ["3.3 s of silence put into 3 gaps of its sound track, the longest with 2.0 s at 1.8 s"]


@given(st.lists(st.floats(-TOLERANCE / 2, TOLERANCE / 2), min_size=2, max_size=200))
def test_jitter_puts_nothing_in(jitter: list[float]) -> None:
    inserted, _ = silences([time + off for time, off in zip(regular(len(jitter)), jitter, strict=True)])
    assert not any(inserted)


def test_a_slow_clock_is_followed_and_rounding_adds_no_error() -> None:
    # a sound card of 995 Hz: the clock gains 0.5 %
    starts = [time * 1.005 for time in regular(5000)]
    inserted, _ = silences(starts)
    positions = np.cumsum([n + PIECE for n in inserted]) - PIECE
    assert np.abs(positions / RATE - starts).max() <= TOLERANCE + 1 / RATE
    inserted, _ = silences([round(time * 1.0001, 3) for time in regular(3000)])
    assert sum(inserted) == pytest.approx(0.0001 * 3000 * PIECE, abs=TOLERANCE * RATE)


@pytest.mark.parametrize("wrong", [0.5, 80000.0, -0.3, -80000.0])
def test_a_single_wrong_timestamp_is_ignored(wrong: float) -> None:
    starts = regular(20)
    starts[7] += wrong
    inserted, clock = silences(starts)
    assert not any(inserted) and clock.notes() == []


def test_overlapping_packets_are_kept_and_noted() -> None:
    inserted, clock = silences([*regular(20), *regular(20, 0.4), *regular(20, 2.0)])
    # the sound is 0.4 s ahead of the clock until the gap takes that up
    assert [(i, n) for i, n in enumerate(inserted) if n] == [(40, 400)]
    assert any("step back by 0.40 s at 0.8 s; all samples are kept" in note for note in clock.notes())


@pytest.mark.parametrize("jump", [-0.8 - 2**33 / 90000, -5.0, LONGEST_GAP + 1, 90000.0])
def test_a_restarted_or_damaged_clock_is_not_followed(jump: float) -> None:
    later = 0.8 + jump
    inserted, clock = silences([*regular(20), *regular(20, later), *regular(20, later + 1.0)])
    assert [(i, n) for i, n in enumerate(inserted) if n] == [(40, 200)]
    (note, _) = clock.notes()[::-1]
    assert note.startswith(f"its timestamps jump by {jump:+.1f} s at 0.8 s, which is taken for a restarted or damaged")


def test_no_sound_begins_behind_the_end_of_the_file() -> None:
    inserted, clock = silences([*regular(20), *regular(20, 100.0)], end=10.0)
    assert not any(inserted) and "jump by +99.2 s at 0.8 s" in clock.notes()[0]
    assert sum(silences([*regular(20), *regular(20, 9.0)], end=10.0)[0]) == 8200
