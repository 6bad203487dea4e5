"""Outcomes of damaged files."""

from pathlib import Path

from experiments.damage import DamagedFile, outcome, valid_files


def test_the_outcome_of_a_file(tmp_path: Path) -> None:
    wav = next(pair[0] for suffix, pair, _ in valid_files() if suffix == "wav")
    assert outcome(0, DamagedFile("wav", "none", wav, 1.0), tmp_path) == "whole"
    assert outcome(1, DamagedFile("wav", "none", wav, 3.0), tmp_path) == "short 1.00 s of 3.00 s"
    assert outcome(2, DamagedFile("wav", "cut", wav[:9000], 1.0), tmp_path) == "refused"
    assert outcome(3, DamagedFile("wav", "joined", wav + wav, 2.0), tmp_path) == "noted"
    assert not list(tmp_path.iterdir())
