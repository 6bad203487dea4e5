"""The clips and the digest of kill-and-resume."""

from pathlib import Path

import pytest

from earmark.errors import EarmarkError
from experiments.kill_and_resume import digest, make_clips, run


def test_clips_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_clips(tmp_path / name, 6)
    assert len([path for path in (tmp_path / "a").rglob("*") if path.is_file()]) == 6
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b" / "dog" / "00000.flac").write_bytes(b"")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(EarmarkError, match="`earmark tag` ended with status 2"):
        run(["tag"])
