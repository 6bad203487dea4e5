"""The page of review-loop, and the script that takes the place of a person."""

import json

import numpy as np
import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.formats import FORMATS
from earmark.audio.recording import Audio, save_audio
from earmark.review.comparison import compare
from earmark.review.cutting import cut_clips
from experiments import review_loop
from experiments.review_loop import KEPT, by_truth, correct, overall, page, sounding

TRUTH = {"a.flac": [(1.0, 3.0, "dog"), (2.5, 6.0, "fox"), (8.0, 8.05, "owl")]}


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text(encoding="utf-8"))) == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_a_label_sounds_in_a_part_if_it_is_long_enough() -> None:
    assert sounding(TRUTH, "field/audio/a.flac", 2.0, 4.0) == ["fox", "dog"]
    assert sounding(TRUTH, "a.flac", 7.5, 9.0) == [] and sounding(TRUTH, "b.flac", 0.0, 9.0) == []


@pytest.fixture
def events(tmp_path):
    """Five events: two right ones, one with another label, one where nothing sounds, one beside a sound."""
    save_audio(tmp_path / "a.flac", Audio(np.full(10000, 0.1, np.float32), 1000))
    times = ((1.0, 2.0, "dog", 0.9), (4.0, 5.0, "fox", 0.8), (5.0, 6.0, "dog", 0.7), (9.0, 9.5, "dog", 0.6))
    own = tuple(Annotation(*values) for values in (*times, (3.2, 3.4, "dog", 0.4)))
    FORMATS["csv"].write(tmp_path / "events.csv", [FileEvents(str(tmp_path / "a.flac"), own)])
    return tmp_path / "events.csv"


def test_wrong_clips_are_moved_once(events, tmp_path) -> None:
    cut_clips(FORMATS["csv"].read(events), tmp_path / "clips")
    for _ in range(2):
        correct(tmp_path / "clips", TRUTH)
    verdicts = [(verdict.kind, verdict.labels) for verdict in compare(tmp_path / "clips").verdicts]
    right = ("confirmed", ("dog",))
    assert verdicts == [right, ("confirmed", ("fox",)), ("corrected", ("fox",)), ("noise", ()), right]


def test_figures_by_the_truth(events) -> None:
    assert by_truth(events, TRUTH) == {"n_events": 5, "n_right": 3, "n_sounds": 3, "n_found": 2}
    assert by_truth(events, TRUTH, {"dog": 0.95}) == {"n_events": 1, "n_right": 1, "n_sounds": 3, "n_found": 1}
    review = {"labels": [{"n_events": 10, "precision": 0.5}, {"n_events": 30, "precision": 1.0}]}
    assert overall(review) == 0.875


def test_each_split_of_the_bank_has_sounds_of_its_own(tmp_path) -> None:
    review_loop.write_bank(tmp_path, 4, 0)
    names = {split: {path.name for path in tmp_path.glob(f"{split}/*/*.flac")} for split in ("train", "valid", "test")}
    assert {split: len(own) for split, own in names.items()} == {"train": 20, "valid": 10, "test": 10}
    assert len(set().union(*names.values())) == 40
