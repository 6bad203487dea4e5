"""The page of first-run."""

import json
from pathlib import Path

import pytest

from experiments import first_run as module
from experiments.__main__ import main
from experiments.first_run import RUNS, collect, first_run, train_and_evaluate
from experiments.steps import RESULTS


def test_the_page_follows_from_the_kept_reports() -> None:
    assert module.page() == (RESULTS / "first-run.md").read_text(encoding="utf-8")


def test_every_run_is_trained_and_evaluated_and_a_started_one_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[list[str]]()
    monkeypatch.setattr(module, "earmark", lambda *words, folder: calls.append([str(word) for word in words]))
    started = tmp_path / "runs" / RUNS[0]
    started.mkdir(parents=True)
    (started / "run.json").touch()
    train_and_evaluate("esc50:ESC-50", tmp_path)
    trained = {words[words.index("--out") + 1]: words for words in calls if words[0] == "train"}
    assert set(trained) == {f"runs/{name}" for name in RUNS}
    assert [name for name, words in trained.items() if "--resume" in words] == [f"runs/{RUNS[0]}"]
    assert {words[words.index("--out") + 1] for words in calls if words[0] == "evaluate"} == {
        f"reports/{name}" for name in RUNS
    }


def test_reports_are_kept_without_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, name = tmp_path / "work", RUNS[0]
    for folder in (work / "reports" / name, work / "runs" / name):
        folder.mkdir(parents=True)
    (work / "reports" / name / "report.json").write_text(json.dumps({"model": str(work.resolve() / "runs")}))
    (work / "runs" / name / "metrics.csv").touch()
    (work / "runs" / name / "run.json").touch()
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept")
    collect(work)
    assert json.loads((tmp_path / "kept" / name / "report.json").read_text()) == {"model": "runs"}


def test_a_bank_without_a_work_folder_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["first-run", "ESC-50"]) == 2
    assert "both BANK and WORK were expected" in capfd.readouterr().err
    assert first_run.__doc__
