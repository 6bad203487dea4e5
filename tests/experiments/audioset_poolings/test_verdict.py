"""The verdict in words and the tables, from made-up runs."""

from experiments.audioset_poolings.cells import CELLS, OTHERS, TABLE1
from experiments.audioset_poolings.pages import readme, search_page
from experiments.audioset_poolings.verdict import verdict

CLIPS = {
    "train": {"name": "train", "n_clips": 100},
    "test": {"name": "test", "n_clips": 150},
    "n_labels": 6,
    "sources": [],
}


def words(results):
    poolings = results.family("gmap", (*TABLE1, *OTHERS))
    parts = results.family("gmap", [cell for cell in CELLS if cell.startswith("gmap-")])
    return " ".join(verdict(results, poolings, parts).split())


def test_a_clear_lead_is_said_and_a_chance_one_is_not(results_of):
    cells = {"gmap": (2.0, 4), "mean": (0.3, 4), "attentive_stats": (2.0, 4), "gmap-no-gate": (1.9, 4)}
    text = words(results_of(cells))
    assert "GMAP is better than mean; it does not clearly differ from attentive stats." in text
    assert "Changing its parts one at a time (p at most 0.05 after Holm's correction for 1 comparison)" in text
    assert "Not measured yet: max, max + mean, attention, stats" in text
    assert "Some cells have only 4 of the 5 to 10 seeds" in text
    assert "GMAP costs 1.00 times the parameters" in text


def test_one_seed_makes_nothing_clear(results_of):
    text = words(results_of({"gmap": (3.0, 1), "mean": (0.1, 1)}))
    assert "GMAP does not clearly differ from mean." in text and "With one seed no difference counts as clear." in text


def test_a_worse_gmap_is_said(results_of):
    text = words(results_of({"gmap": (0.3, 4), "mean": (2.0, 4), "max": (0.1, 4)}))
    assert text.startswith("- **GMAP is number 2 of 3 poolings: mAP 0.") and "behind mean (0." in text
    assert "it is worse than mean" in text
    assert "Of the 3 pairs of the paper's Table 1, 1 have the paper's order here; in the opposite order:" in text


def test_the_page_of_some_runs_says_what_is_missing(results_of, line_of):
    results = results_of({"gmap": (2.0, 2), "mean": (1.0, 1)})
    text = readme(results, [], CLIPS)
    assert "| power | embedding |  | missing | missing | missing | 0 |" in text
    assert ", clips only" in text, "one pair says nothing about seeds"
    assert "| `yu-2018` | 0.360, 0.970, 2.660 | missing |" in text
    searched = [line_of("mean", mAP=0.2, stage="search", variant=name) for name in ("slow", "fast")]
    assert "| mean | **0.2000** |" in search_page(searched) and "No run is finished yet." in search_page(searched)
