"""Only one process at a time uses a folder."""

import sys

import pytest

from earmark.errors import ConfigError
from experiments.lock import alone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")


def test_only_one_process_works_in_a_folder(tmp_path):
    with (
        alone(tmp_path),
        pytest.raises(ConfigError, match="another process is at work on this table"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass
