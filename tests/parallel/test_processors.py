"""Processors."""

import os

from earmark.parallel.processors import n_processors


def test_there_is_at_least_one_processor() -> None:
    assert 1 <= n_processors() <= (os.cpu_count() or 1)
