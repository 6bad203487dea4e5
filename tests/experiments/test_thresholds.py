"""Shrinkages of thresholds, compared on halves of the clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.evaluation.calibration import fit
from earmark.evaluation.report import LabelFigures, Report
from earmark.labels import LabelSet
from experiments.__main__ import main
from experiments.free_audio import Recording
from experiments.thresholds import FIGURES, SHRINKAGES, Scored, compare, count_tags, fits, halves, page, part

LABELS = LabelSet(("dog", "rain", "siren"))


def reported(n_clips: int, seed: int, share: float = 0.4) -> Report:
    rng, nan = np.random.default_rng(seed), float("nan")
    target = rng.random((n_clips, 3)) < share
    scores = (1 / (1 + np.exp(2 - 2 * target - rng.standard_normal(target.shape)))).astype(np.float32)
    figures = tuple(LabelFigures(name, int(n), nan, nan) for name, n in zip(LABELS, target.sum(0), strict=True))
    ids = tuple(f"{seed}-{i}" for i in range(n_clips))
    return Report("m", "made up", nan, nan, nan, (nan, nan), None, figures, ids, scores, target)


@pytest.fixture(scope="module")
def scored() -> Scored:
    groups = np.array([f"g{i // 2}" for i in range(60)])
    return Scored(LABELS, reported(60, 0), groups, reported(80, 1), reported(30, 2, 0.0), reported(30, 3, 0.0))


def test_clips_of_a_group_are_in_the_same_half(scored: Scored) -> None:
    place = {f"0-{i}": f"g{i // 2}" for i in range(60)}
    for known, other in halves(scored):
        assert {place[x] for x in known[0].ids}.isdisjoint(place[x] for x in other[0].ids)
        assert sorted((*known[0].ids, *other[0].ids)) == sorted(scored.clips.ids)
        assert sorted((*known[1].ids, *other[1].ids)) == sorted(scored.soundscapes.ids)


def test_the_figures_of_tags_equal_those_of_the_calibration(scored: Scored) -> None:
    found = fit([scored.clips], LABELS)
    figures = count_tags(found, scored.clips, scored.clips, scored.other_nothing)
    assert figures["F1"] == pytest.approx(found.after.f1_micro) == figures["soundscapes"]
    assert figures["mean_F1"] == pytest.approx(found.after.f1_macro)
    logits = found.scale * np.log(scored.other_nothing.scores / (1 - scored.other_nothing.scores)) + found.offset
    tags = 1 / (1 + np.exp(-logits)) >= found.thresholds
    assert figures["false_tags"] == pytest.approx(tags.sum(1).mean())
    assert figures["F1"] == pytest.approx(2 / (1 / figures["precision"] + 1 / figures["recall"]))


def test_the_table_has_a_row_for_each_shrinkage(scored: Scored) -> None:
    rows = compare(scored)
    assert [row["shrinkage"] for row in rows] == list(SHRINKAGES)
    assert all(row[name] > 0 for row in rows for name in FIGURES)
    first, last = rows[0], rows[-1]
    assert first["F1"] != last["F1"] and first["false_tags"] != last["false_tags"]
    each = []
    for known, other in halves(scored):
        pooled = fit([*known, scored.known_nothing], LABELS)
        alike = replace(pooled, thresholds=(pooled.pooled_threshold,) * 3)
        each.append(count_tags(alike, *other, scored.other_nothing))
    for name in FIGURES:
        assert last[name] == pytest.approx(np.mean([row[name] for row in each])), name
    text = page({"commit": "0123456789", "models": {"three-folds": rows}})
    assert "## three-folds" in text and "| all labels alike | 0." in text


def test_a_part_keeps_scores_with_their_clips() -> None:
    report, rows = reported(4, 0), np.array([True, False, False, True])
    half = part(report, rows)
    assert half.ids == ("0-0", "0-3")
    np.testing.assert_array_equal(half.scores, report.scores[[0, 3]])


@pytest.mark.parametrize(
    ("split", "licence", "is_used"),
    [
        ("test", "CC BY-SA 4.0", True),
        ("valid", "CC BY-SA 4.0", False),
        ("valid", "CC BY 3.0", True),
        ("train", "CC0", False),
    ],
)
def test_share_alike_recordings_are_measured_but_no_threshold_is_fitted_to_them(
    split: str, licence: str, is_used: bool
) -> None:
    assert fits(Recording(Path("a.wav"), "s", licence, "music", "g", split, "music")) == is_used


def test_a_folder_alone_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["thresholds", str(tmp_path)]) == 2
    assert "BANK, AUDIO, WORK and MODELS were expected" in capfd.readouterr().err
