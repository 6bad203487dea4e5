"""The page and the steps of frozen-backbone."""

import json
from pathlib import Path

import pytest

from experiments import frozen_backbone
from experiments.__main__ import main
from experiments.frozen_backbone import HEADS, KEPT, SEEDS, page


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text())) == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_some_arguments_without_the_others_are_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["frozen-backbone", "ESC-50"]) == 2
    assert "BANK, WORK and MODEL were expected" in capfd.readouterr().err


def test_finished_steps_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all steps finished, the command writes figures and page without a model or recordings."""
    one_command = {"top1": 0.75, "mAP": 0.8, "seconds": 61.0, "cpu_seconds": 55.0, "commit": "a", "machine": "b"}
    (tmp_path / "one-command.json").write_text(json.dumps(one_command))
    for task in ("clips", "soundscapes"):
        folder = tmp_path / "mixed-10" / task
        folder.mkdir(parents=True)
        (folder / "encoded.json").write_text('{"seconds": 1.0}')
        for head, pooling in HEADS.items():
            for seed in SEEDS:
                figures = {"head": head, "seed": seed, "top1": None, "mAP": 0.5 + seed / 10, "seconds": 2.0}
                (folder / f"{pooling}-{seed}.json").write_text(json.dumps(figures))
    monkeypatch.setattr(frozen_backbone, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(frozen_backbone, "earmark", lambda *words, folder: None)
    monkeypatch.setattr(frozen_backbone, "open_data", lambda spec: Clips())
    assert main(["frozen-backbone", "ESC-50", str(tmp_path), "mn04.pt", "--n-mixed", "10"]) == 0
    written = (tmp_path / "kept.md").read_text()
    assert written.count("| linear layer on GMAP | - | 0.600 ± 0.100 | 2 |") == 2
    assert "7 clips train, 7 test" in written and "mn04.pt" in written
    assert "| 0.750 | 0.800 | 61 | 55 s |" in written and "| full, recipe esc50 |" in written


def test_the_one_command_is_measured_without_the_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(json.loads(KEPT.read_text()) | {"one_command": None}))
    one_command = {"top1": 0.75, "mAP": 0.8, "seconds": 61.0, "cpu_seconds": 55.0, "commit": "a", "machine": "b"}
    (tmp_path / "one-command.json").write_text(json.dumps(one_command))
    monkeypatch.setattr(frozen_backbone, "KEPT", kept)
    assert main(["frozen-backbone", "ESC-50", str(tmp_path), "mn04.pt", "--command-only"]) == 0
    assert json.loads(kept.read_text()) == json.loads(KEPT.read_text()) | {"one_command": one_command}


class Clips:
    """Seven clips."""

    def __len__(self) -> int:
        return 7

    def select(self, splits: tuple[str, ...]) -> "Clips":
        return self
