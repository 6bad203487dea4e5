"""A folder is one process's at a time."""

import sys

import pytest

from earmark.errors import ConfigError
from experiments.lock import alone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")


def test_one_at_a_time(tmp_path):
    with (
        alone(tmp_path),
        pytest.raises(ConfigError, match="another process is at work on this table"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass
