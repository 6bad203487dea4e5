"""Runs that several files compare with."""

from dataclasses import replace

import pytest

from tests.training.tones import TWO_EPOCHS, run, state_of


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The final state of an undisturbed run of SMALL."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return state_of(out)


@pytest.fixture(scope="session")
def usual(tmp_path_factory):
    """The averaged weights that TWO_EPOCHS ends with, by its cache."""
    weights = {}
    for cache in ("log_mel", "none"):
        out = tmp_path_factory.mktemp(f"usual-{cache}")
        run(out, replace(TWO_EPOCHS, cache=cache))
        weights[cache] = state_of(out)["averaged"]
    return weights
