"""`earmark evidence`."""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark import cli

Capture = pytest.CaptureFixture[str]


def test_evidence(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["evidence", str(recordings / "c.flac"), "/d", "--model", model]
    assert cli.main(words) == 0
    assert "1.6 - 2.0 s" in capfd.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["label"] == "dog"
    assert told["onsets"] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert len(told["weights"]) == 5
    assert np.shape(told["attention"]) == (2, 5)
