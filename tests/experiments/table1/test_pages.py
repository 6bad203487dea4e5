"""Pages that follow from lines and scores alone."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from earmark.data.clips import ids_sha256
from earmark.errors import DataError
from earmark.evaluation.metrics import average_precision, label_mean
from experiments.table1.lines import append_line
from experiments.table1.pages import ablations_page, comparisons, read_scores, table1_page
from experiments.table1.profiles import POOLING_CELLS

N_RESAMPLES = 200
IDS_SHA256 = hashlib.sha256("\n".join(f"clip-{clip:02d}" for clip in range(60)).encode()).hexdigest()
QUALITIES = {"gmap": 2.0, "attention": 1.9, "attentive_stats": 1.9, "max": 0.5, "mean": 0.4, "max_mean": 0.6}


@pytest.fixture
def lines(out, line_of):
    """Makes finished runs of a difficulty; the quality of a cell sets how good its scores are."""

    def made(qualities, seeds=(0, 1), difficulty="sparse", with_scores=True):
        target = np.random.default_rng(3).random((60, 3)) < 0.3
        found = []
        for number, (cell, quality) in enumerate(qualities.items()):
            for seed in seeds:
                noise = np.random.default_rng((number, seed)).standard_normal(target.shape)
                scores = (quality * target + noise).astype(np.float32)
                mAP = label_mean(average_precision(target, scores))
                line = line_of(difficulty, cell, seed, mAP=mAP, test_ids_sha256=IDS_SHA256)
                if with_scores:
                    order = np.random.default_rng((number, seed, 1)).permutation(60)  # clips may come in any order
                    ids = np.array([f"clip-{clip:02d}" for clip in order])
                    path = line.run.scores(out)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.savez_compressed(path, ids=ids, scores=scores[order], target=target[order])
                append_line(out / "runs.jsonl", line)
                found.append(line)
        return found

    return made


def page_of(out, lines):
    return table1_page(lines, comparisons(out, lines, N_RESAMPLES))


def row(page, name):
    return next(
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith(f"| {name} |")
    )


def test_a_row_holds_mean_spread_and_comparison(out, lines):
    found = lines(QUALITIES)
    page = page_of(out, found)
    values = [line.mAP for line in found if line.cell == "max"]
    _, printed, mAP, mAUC, d_prime, n_seeds, difference, p, n_parameters = row(page, "max")
    assert (printed, n_seeds, n_parameters) == ("0.396", "2", "1,234")
    assert mAP == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert (mAUC, d_prime) == ("0.750 ± 0.000", "0.954 ± 0.000")
    expected = np.mean([line.mAP for line in found if line.cell == "gmap"]) - np.mean(values)
    assert difference.startswith(f"{expected:+.3f} [+0.")
    assert p == "< 0.0001" or 0 <= float(p) < 0.2
    assert row(page, "GMAP (4 heads)")[-3:] == ["", "", "1,234"]
    assert page == page_of(out, found), "the same lines give the same page"


def test_the_header_lists_the_settings(out, lines):
    page = page_of(out, lines(QUALITIES))
    for text in (
        "| profile | tiny |",
        "| backbone width | 2 |",
        "| labels | 5 of csv:bank.csv |",
        "| training soundscapes | 12 |",
        "| budget | 16 clips seen a run |",
        "| test soundscapes | 40 sparse |",
        "| seeds | 0, 1 |",
        "| commit | `0123456789` |",
        "| machine | abacus, float32, 2 runs at a time |",
        "| command | `python -m experiments table1` |",
    ):
        assert text in page
    assert "## sparse" in page and "## dense" not in page


def test_missing_runs_are_shown_as_missing(out, lines):
    page = page_of(out, lines({"gmap": 2.0, "max": 0.5}))
    assert row(page, "mean") == ["mean", "0.394", "missing", "missing", "missing", "0", "", "", "missing"]
    assert "(missing: attention, attentive stats, max + mean, mean)" in page.replace(
        "missing: mean, max + mean, attention, attentive stats", "missing: attention, attentive stats, max + mean, mean"
    )
    assert table1_page([], lambda difficulty, cell: None).count("No run is finished yet") == 1


def test_the_sentence_when_gmap_is_first(out, lines):
    page = page_of(out, lines(QUALITIES, seeds=(0, 1, 2)))
    assert "On these 40 sparse soundscapes GMAP is first (mAP 0." in page
    assert "GMAP is better than max + mean, max, mean;" in page
    assert "the difference may be chance for " in page


def test_the_sentence_when_gmap_is_not_first(out, lines):
    page = page_of(out, lines({**QUALITIES, "gmap": 0.5, "max": 3.0}, seeds=(0, 1, 2)))
    assert "GMAP is number " in page and "max is first (" in page
    assert "GMAP is worse than max, " in page


def test_the_sentence_admits_one_seed_and_too_few_poolings(out, lines):
    found = lines({"gmap": 2.0, "max": 0.5}, seeds=(0,))
    assert "one seed only" in page_of(out, found)
    assert ", clips only" in row(page_of(out, found), "max")[6]
    assert "too few poolings are measured yet" in page_of(out, found[:1])
    assert row(page_of(out, found), "max")[2] == f"{found[1].mAP:.3f}", "one seed has no spread"


def test_clips_are_paired_in_any_order(out, lines, line_of):
    found = lines({"gmap": 2.0})
    for seed in (0, 1):
        twin = line_of("sparse", "max", seed, test_ids_sha256=IDS_SHA256)
        with np.load(twin.run._replace(cell="gmap").scores(out)) as arrays:
            np.savez(twin.run.scores(out), **{name: arrays[name][::-1] for name in ("ids", "scores", "target")})
        found.append(twin)
    comparison = comparisons(out, found, N_RESAMPLES)("sparse", "max")
    assert comparison.interval == pytest.approx((0, 0), abs=1e-12)


def test_seeds_that_both_have_are_compared(out, lines):
    found = lines({"gmap": 2.0}, seeds=(0, 1, 2)) + lines({"max": 0.5}, seeds=(1, 2, 3))
    comparison = comparisons(out, found, N_RESAMPLES)("sparse", "max")
    assert comparison.n_seeds == 2


def test_without_scores_there_is_a_table_but_no_comparison(out, lines):
    page = page_of(out, lines(QUALITIES, with_scores=False))
    assert row(page, "max")[-3:] == ["", "", "1,234"]
    assert "There are no scores to compare" in page


def test_figures_that_are_not_finite_are_reported(out, line_of):
    page = table1_page([line_of("dense", "gmap", 0, d_prime=None)], lambda difficulty, cell: None)
    assert row(page, "GMAP (4 heads)")[4] == "not finite"


def test_runs_measured_on_different_clips_are_refused(out, line_of):
    found = [line_of("sparse", "gmap", 0), line_of("sparse", "max", 0, test_ids_sha256="beef" * 16)]
    with pytest.raises(DataError, match="the sparse runs were measured on different clips"):
        comparisons(out, found)


def test_scores_of_other_clips_and_other_targets_are_refused(out, lines, line_of):
    found = lines({"gmap": 2.0, "max": 0.5}, seeds=(0,))
    path = found[1].run.scores(out)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "target": ~arrays["target"]})
    with pytest.raises(DataError, match="one target was expected in the scores of sparse gmap seed 0 and sparse max"):
        comparisons(out, found, N_RESAMPLES)("sparse", "max")
    np.savez(path, **{**arrays, "ids": np.char.add(arrays["ids"], "x")})
    with pytest.raises(DataError, match="scores of the test clips of sparse max seed 0 were expected"):
        comparisons(out, found, N_RESAMPLES)("sparse", "max")


def test_ids_with_undecodable_bytes_are_matched(out, lines):
    found = lines({"gmap": 2.0, "max": 0.5}, seeds=(0,))
    ids = ["a\udcff.wav", *(f"clip-{clip:02d}" for clip in range(59))]
    for line in found:
        with np.load(line.run.scores(out)) as file:
            arrays = dict(file)
        names = np.array(ids)[np.argsort(np.argsort(arrays["ids"]))]
        np.savez(line.run.scores(out), **{**arrays, "ids": names})
    known = [replace(line, test_ids_sha256=ids_sha256(ids)) for line in found]
    assert comparisons(out, known, N_RESAMPLES)("sparse", "max") is not None


def test_the_sentence_names_the_recordings(out, lines):
    found = lines(QUALITIES)
    page = table1_page(found, comparisons(out, found, N_RESAMPLES), {"sparse": "7 recordings of fold 5"})
    assert "On these 7 recordings of fold 5, mixed into 40 sparse soundscapes, GMAP is" in page


def test_damaged_scores_are_reported(out):
    out.mkdir()
    path = out / "scores.npz"
    np.savez(path, ids=np.array(["a"]), scores=np.ones((1, 2)))
    whole = path.read_bytes()
    for content in (b"no scores", b"", whole[:-40], whole):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"scores\.npz: ids, scores and target of a run were expected"):
            read_scores(path)


def test_ablations_change_one_thing_each(out, lines, line_of):
    found = [*lines({"gmap": 2.0, "gmap-heads-1": 1.0, "gmap-no-gate": 1.0}), line_of("dense", "gmap", 0)]
    page = ablations_page(found, comparisons(out, found, N_RESAMPLES))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if " yes " in line]
    assert [cells[:3] for cells in rows] == [
        ["1", "yes", "yes"],
        ["2", "yes", "yes"],
        ["4", "yes", "yes"],
        ["8", "yes", "yes"],
        ["16", "yes", "yes"],
        ["4", "no", "yes"],
        ["4", "yes", "no"],
    ]
    assert rows[0][-1] == "1000.0 ms" and rows[0][6] == "2" and rows[0][7].startswith("+0.")
    assert rows[1][3:] == ["missing"] * 3 + ["0", "", "", "missing", "missing"]
    assert "A step is 4 clips" in page and "40 sparse" in page and "dense" not in page


def test_every_pooling_has_the_papers_figure(out, lines):
    page = page_of(out, lines(QUALITIES))
    printed = [line.split("|")[2].strip() for line in page.splitlines() if line.count("|") == 10][2:]
    assert len(printed) == len(POOLING_CELLS)
    assert printed == ["0.396", "0.394", "0.397", "0.404", "0.406", "0.417"]
