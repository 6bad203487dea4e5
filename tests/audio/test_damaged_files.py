"""Thousands of damaged files: each is read whole, read with a note or refused in one line, and nothing is left."""

import pytest

from experiments.damaged_files import MAX_MEBIBYTES, read_all

N_FILES = 1500


@pytest.mark.filterwarnings("ignore")
def test_no_damaged_file_crashes_hangs_leaks_or_is_read_short_without_a_note() -> None:
    tally = read_all(N_FILES)
    assert not tally.failures
    assert tally.counts.total() == N_FILES
    outcomes = {
        outcome: sum(n for key, n in tally.counts.items() if key[2] == outcome) for outcome in ("whole", "noted")
    }
    # the test needs all outcomes often
    assert min(outcomes.values()) > N_FILES // 10
    assert sum(outcomes.values()) < N_FILES * 9 // 10
    assert tally.n_open == 0
    assert tally.mebibytes < MAX_MEBIBYTES
