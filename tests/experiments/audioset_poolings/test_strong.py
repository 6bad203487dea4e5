"""Localisation on strongly labelled clips."""

import numpy as np
import pytest
import torch

from earmark.errors import DataError
from earmark.labels import LabelSet
from earmark.model.head import Head, HeadConfig
from experiments.audioset_poolings.clips import open_clips
from experiments.audioset_poolings.strong import localise, measures, perfect_frames, read_sources


def test_a_source_knows_its_own_classes_and_test_clips_alone(places):
    home, street = open_clips(places).sources
    assert list(home.classes) == ["Speech", "Talk"] and [len(own) for own in home.classes.values()] == [1, 2]
    assert list(street.classes) == ["Speech"] and len(street.ids) == 2
    # a clip of ten frames of 0.96 s ends at 9.6 s, one of five at 4.8 s, one of nine has no event
    assert [own[-1] for own in home.borders] == pytest.approx([9.6, 4.8, 8.64])
    assert [[(label, on, off) for label, on, off in own] for own in home.events] == [
        [(0, 0.0, 5.0), (1, 8.0, pytest.approx(9.6))],
        [(0, 0.1, 0.5), (1, 1.0, 1.5)],
        [],
    ]


def test_perfect_frames_are_better_than_turned_ones(places):
    home, _ = open_clips(places).sources
    best = perfect_frames(home)
    assert best["PSDS2"] > 0.5 and 0 <= best["PSDS1"] < best["PSDS2"]
    rng = np.random.default_rng(0)
    worse = measures(home, [rng.random((len(borders) - 1, 2)) for borders in home.borders])
    assert worse["PSDS2"] < best["PSDS2"]


def test_frames_are_scored_with_their_neighbours(places):
    clips = open_clips(places)
    torch.manual_seed(0)
    head = Head(HeadConfig(128, pooling="instance_mean", classifier_layers=1), LabelSet.audioset()).eval()
    figures = localise(head, clips.segments, clips.sources)
    assert set(figures) == {f"{name}-{window}" for name in ("PSDS1", "PSDS2", "F1") for window in (1, 3)}
    assert all(0 <= value <= 1 or np.isnan(value) for value in figures.values())


def test_strong_labels_of_other_clips_are_refused(places, tmp_path):
    clips = open_clips(places)
    (tmp_path / "strong.tsv").write_bytes((places.strong / "strong.tsv").read_bytes())
    (tmp_path / "strong_clips.tsv").write_text("video_id\tsource\nunknown\thome\n")
    with pytest.raises(DataError, match="none of the strongly labelled clips is among the 40 test clips"):
        read_sources(tmp_path, clips.segments, clips.test)
