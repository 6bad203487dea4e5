"""Recordings and runs of the experiment that kills `earmark detect`."""

from pathlib import Path

import pytest

from earmark.annotations.start_times import StartTimes
from earmark.audio.recording import probe
from earmark.errors import AudioError, EarmarkError
from experiments.detect_and_resume import make_recordings, run


def test_recordings_are_stamped_and_the_damaged_ones_lie_among_them(tmp_path: Path) -> None:
    make_recordings(tmp_path, 6, 2)
    files = sorted(tmp_path.rglob("*.wav"))
    assert len(files) == 8 and all(StartTimes().of(str(path)) is not None for path in files)
    readable = []
    for path in files:
        try:
            readable.append(1 <= (probe(path).duration or 0) <= 4)
        except AudioError:
            readable.append(False)
    assert readable == [True, True, True, False, True, False, True, True]


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(EarmarkError, match="`earmark detect --no-such-flag` ended with status 2"):
        run(["detect", "--no-such-flag"])
