import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes, render_soundscapes
from earmark.data.synthetic import synthetic_bank
from earmark.errors import DataError
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.storage.locks import alone
from experiments import localisation
from experiments.localisation import localise, read_localisation, table, write_table
from experiments.table1.lines import Line, append_line
from experiments.table1.plan import Run
from experiments.table1.profiles import PROFILES

LABELS = ("beeps", "buzz", "hiss")


@pytest.fixture
def line(line_of: Callable[..., Line]) -> Callable[..., Line]:
    """The line of a run of the small profile."""

    def of(run: Run, mAP: float = 0.5) -> Line:
        config = PROFILES["small"].config(run.cell, run.seed).to_json()
        about = {"profile": "small", "config": config, "bank": "esc50:bank", "n_labels": 10}
        return line_of(*run, mAP=mAP, n_clips_seen=16000, n_test_clips=1000, test_ids_sha256="d" * 64, **about)

    return of


def save(out: Path, run: Run, torch_seed: int = 0) -> None:
    torch.manual_seed(torch_seed)
    config = NetworkConfig(FrontendConfig.at_16k(), width=2, pooling=run.cell)
    Network(config, LabelSet(LABELS)).save(run.folder(out) / "best.safetensors")


def found(run: Run, **figures: Any) -> dict[str, Any]:
    """A line of localisation.jsonl."""
    pointing = {"n_clips": 9, "chance": 0.1, "evidence": 0.2}
    return {**run._asdict(), "PSDS1": 0.3, "PSDS2": 0.4, "F1": 0.6, "pointing": pointing} | {
        "test_ids_sha256": "d" * 64,
        **figures,
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for part, split, seed in (("valid", "train", 0), ("test", "test", 1)):
        config = SoundscapeConfig(
            duration=2.0, sample_rate=16000, event_duration=(0.3, 1.0), n_events=(1, 2), seed=seed
        )
        bank = synthetic_bank(4).select(splits=[split], labels=LABELS)
        render_soundscapes(mix_soundscapes(bank, config, 6), folder / "sparse" / part, jobs=1)
    return folder


@pytest.fixture
def out(rendered: Path, tmp_path: Path, line: Callable[..., Line]) -> Path:
    (tmp_path / "data").symlink_to(rendered)
    for run in (Run("sparse", "mean", 0), Run("sparse", "gmap", 0)):
        append_line(tmp_path / "runs.jsonl", line(run))
        save(tmp_path, run)
    return tmp_path


# localise


def test_every_run_gets_a_line_once(out: Path) -> None:
    printed: list[tuple[str, int, int]] = []
    first = localise(out, lambda *values: printed.append(values))
    assert [(each["cell"], each["seed"]) for each in first.lines] == [("mean", 0), ("gmap", 0)]
    assert not first.missing
    assert printed[0] == ("sparse mean seed 0", 1, 12)
    assert printed[-1] == ("sparse gmap seed 0", 12, 12)
    text = (out / "localisation.jsonl").read_text()
    assert [json.loads(row) for row in text.splitlines()] == list(first.lines)
    assert localise(out).lines == ()
    assert (out / "localisation.jsonl").read_text() == text


def test_an_interrupted_localisation_resumes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, n_calls = localisation.measure, 0

    def stopped(*arguments: Any, **settings: Any) -> dict[str, Any]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **settings)

    monkeypatch.setattr(localisation, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        localise(out)
    assert [each["cell"] for each in read_localisation(out / "localisation.jsonl")] == ["mean"]
    assert [each["cell"] for each in localise(out).lines] == ["gmap"]
    assert n_calls == 3
    assert [each["cell"] for each in read_localisation(out / "localisation.jsonl")] == ["mean", "gmap"]


def test_a_run_without_checkpoint_is_named_and_skipped(out: Path) -> None:
    (Run("sparse", "mean", 0).folder(out) / "best.safetensors").unlink()
    result = localise(out)
    assert [each["cell"] for each in result.lines] == ["gmap"]
    assert result.missing == (Run("sparse", "mean", 0),)


def test_a_changed_checkpoint_is_measured_again(out: Path) -> None:
    before = localise(out).lines[1]
    save(out, Run("sparse", "gmap", 0), torch_seed=1)
    (after,) = localise(out).lines
    assert after["checkpoint_sha256"] != before["checkpoint_sha256"]
    kept = read_localisation(out / "localisation.jsonl")
    assert [each["checkpoint_sha256"] for each in kept][1] == after["checkpoint_sha256"]
    assert len(kept) == 2


def test_localise_refuses_invalid_folders(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    for function in (localise, write_table):
        with pytest.raises(DataError, match="finished runs were expected, there is none"):
            function(empty)
    for damaged in ("{", '{"cell": "gmap"}', "3"):
        (out / "localisation.jsonl").write_text(damaged + "\n")
        with pytest.raises(DataError, match=r"localisation\.jsonl, line 1: damaged"):
            localise(out)


# table


def rows(page: str) -> list[list[str]]:
    cells = [
        [cell.strip() for cell in text.strip("|").split("|")] for text in page.splitlines() if text.startswith("|")
    ]
    return [row for row in cells if not set(row[0]) <= {"-"}]


def test_the_table_has_mean_spread_and_what_is_missing(line: Callable[..., Line]) -> None:
    runs = [Run("sparse", "gmap", seed) for seed in range(3)] + [Run("sparse", "max", 0), Run("sparse", "mean", 0)]
    heads = {"n_clips": 9, "chance": 0.1, "evidence": 0.2, "attention": 0.5, "heads": [0.7, 0.1]}
    heads |= {"best": {"head": 0, "accuracy": 0.7}, "worst": {"head": 1, "accuracy": 0.1}}
    lines = [
        found(runs[0], PSDS1=0.2, pointing=heads),
        found(runs[1], PSDS1=0.4, pointing=heads),
        found(runs[3]),
        found(Run("dense", "max", 0)),  # of a run that is not in runs.jsonl
    ]
    page = table([line(run, mAP=0.5 + run.seed / 10) for run in runs], lines)
    head, *body = rows(page)
    by_cell = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    # in the order of Table 1, not of the lines
    assert list(by_cell) == ["max", "mean", "gmap"]
    gmap = by_cell["gmap"]
    assert gmap["mAP"] == "0.550 ± 0.071"
    assert gmap["PSDS1"] == "0.300 ± 0.141"
    assert (gmap["pointing: attention"], gmap["best head"], gmap["worst head"]) == (
        "0.500 ± 0.000",
        "0.700 ± 0.000",
        "0.100 ± 0.000",
    )
    assert gmap["seeds"] == "2 of 3"
    assert by_cell["max"]["F1"] == "0.600"
    assert (by_cell["max"]["pointing: attention"], by_cell["max"]["evidence"], by_cell["max"]["chance"]) == (
        "-",
        "0.200",
        "0.100",
    )
    assert set(list(by_cell["mean"].values())[1:-1]) == {"missing"}
    assert by_cell["mean"]["seeds"] == "0 of 1"
    assert "dense" not in page
    for fact in (
        "profile: small",
        "backbone width: 16",
        "10 of esc50:bank",
        "16000 clips seen a run",
        "seeds: 0, 1, 2",
    ):
        assert fact in page


def test_measures_of_other_soundscapes_are_left_out(line: Callable[..., Line]) -> None:
    run = Run("sparse", "gmap", 0)
    (_, row) = rows(table([line(run)], [found(run, test_ids_sha256="e" * 64)]))
    assert row[-1] == "0 of 1" and row[1] == "missing"


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_localise_refuses_a_table_in_use(out: Path) -> None:
    with alone(out), pytest.raises(DataError, match="another process is at work there"):
        localise(out)


def test_a_table_for_each_difficulty(line: Callable[..., Line]) -> None:
    runs = [Run("dense", "gmap", 0), Run("sparse", "gmap", 0), Run("sparse", "gmap-heads-8", 0)]
    page = table([line(run) for run in runs], [found(run) for run in runs])
    assert page.index("## sparse: events of 0.3 to 1 s") < page.index("## dense: events of 1 to 4 s")
    assert [row[0] for row in rows(page)] == ["pooling", "gmap", "gmap-heads-8", "pooling", "gmap"]


def test_the_table_is_written_from_the_lines_alone(out: Path) -> None:
    localise(out)
    for run in ("mean", "gmap"):
        (out / "runs" / "sparse" / run / "0" / "best.safetensors").unlink()
    path = write_table(out)
    assert path == out / "localisation.md"
    assert [row[0] for row in rows(path.read_text())] == ["pooling", "mean", "gmap"]
    again = path.read_text()
    assert write_table(out).read_text() == again
