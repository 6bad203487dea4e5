"""`earmark thresholds`."""

from pathlib import Path

import pytest

import earmark
from earmark import cli

Capture = pytest.CaptureFixture[str]


def test_the_thresholds_of_a_model_are_written_and_taken_by_other_commands(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    assert cli.main(["thresholds", model]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == ["label,threshold", "dog,0.5", "[bold]rain[/bold],0.5", '"Male speech, man speaking",0.5']
    network = earmark.hub.load_network(model)
    network.thresholds = (0.25, 1.0, 0.0)
    network.save(tmp_path / "m.safetensors")
    table = tmp_path / "t.csv"
    assert cli.main(["thresholds", str(tmp_path / "m.safetensors"), "--out", str(table)]) == 0
    assert table.read_text().splitlines()[1:] == ["dog,0.25", "[bold]rain[/bold],1", '"Male speech, man speaking",0']
    words = [str(recordings / "c.flac"), "--model", model]
    for command, field in (("tag", "tags"), ("timeline", "events")):
        assert cli.main([command, *words, "--threshold", str(table), "--json"]) == 0
        printed = capfd.readouterr().out
        assert "dog" in printed.partition(field)[2] and "bold" not in printed.partition(field)[2]


def test_the_model_is_not_overwritten(model: str, capfd: Capture) -> None:
    before = Path(model).read_bytes()
    assert cli.main(["thresholds", model, "--out", model]) == 2
    assert "itself, which would be lost" in capfd.readouterr().err
    assert Path(model).read_bytes() == before
