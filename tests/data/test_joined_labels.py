"""Several labels in one text."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data
from earmark.data.joined_labels import join_labels, likely_separator, split_cell, split_labels
from earmark.errors import ConfigError, DataError, EarmarkWarning
from earmark.labels import LabelSet


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("dog; rain ;dog;", ("dog", "rain")),
        ("dog\train", ("dog", "rain")),
        ("", ()),
        ("[]", ()),
        ("['dog', 'rain']", ("dog", "rain")),
        ("['dog' 'rain']", ("dog", "rain")),  # as NumPy prints it
        ('["dog", "it\'s"]', ("dog", "it's")),
        ("('dog',)", ("dog",)),
        ("{'dog'}", ("dog",)),
        (r"['it\'s']", ("it's",)),
        ("[dog, rain]", ("dog", "rain")),
        ("dog\nrain", ("dog", "rain")),  # a cell of several lines
        ("dog, rain", ("dog, rain",)),
        ("[bold]rain", ("[bold]rain",)),
        ("(dog)", ("(dog)",)),
    ],
)
def test_labels_of_a_cell(cell: str, labels: tuple[str, ...]) -> None:
    assert split_cell(cell) == labels


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("dog", "rain", "dog,rain"), (",", ["dog,rain"])),
        (("Dog", "dog | rain"), ("|", ["dog | rain"])),
        (("dog;rain", "rain"), (";", ["dog;rain"])),
        (("dog", "rain", "dog&rain"), ("&", ["dog&rain"])),
        (("dog", "dog/rain"), None),
        (("dog|rain", "rain|wind", "dog|wind"), ("|", ["dog|rain", "rain|wind", "dog|wind"])),
        (("animal/dog", "animal/cat", "music/rock", "music/pop"), None),
        (("Boat, Water vehicle", "Chirp, tweet", "Ship"), None),
        (("sea_waves", "R&B"), None),
        ((",", "dog,"), None),
    ],
)
def test_likely_separators(names: tuple[str, ...], found: object) -> None:
    assert likely_separator(names) == found


def test_published_label_sets_join_no_labels() -> None:
    assert likely_separator(LabelSet.audioset().names) is None
    assert likely_separator(LabelSet.esc50().names) is None


@pytest.fixture
def clips(tmp_path: Path) -> str:
    for k, label in enumerate(("dog", "rain", "dog, rain")):
        save_audio(tmp_path / "clips" / label / "1.wav", Audio(np.full(160, k / 9, np.float32), 16000))
    return f"folder:{tmp_path / 'clips'}"


def test_likely_joined_labels_are_reported_with_the_setting_that_splits_them(clips: str) -> None:
    with pytest.warns(EarmarkWarning, match="'dog, rain' may be several labels joined by ','") as told:
        assert open_data(clips).labels.names == ("dog", "dog, rain", "rain")
    assert str(told[0].message).endswith("(label_separator=',')")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = open_data(clips, label_separator=",")
    assert split.labels.names == ("dog", "rain")
    assert {clip.id: clip.labels for clip in split}["dog, rain/1.wav"] == ("dog", "rain")


def test_invalid_separators_are_refused(clips: str) -> None:
    with pytest.raises(ConfigError, match="label_separator: one or more characters were expected"):
        open_data(clips, label_separator="")
    dataset = open_data(clips, label_separator=",")
    with pytest.raises(DataError, match="its labels have ids, so none of them is joined"):
        split_labels(replace(dataset, labels=LabelSet(("dog", "rain"), ("/d", "/r"))), ",")


@pytest.mark.parametrize("labels", [(), ("dog",), ("dog", "rain"), ("a;b", "c"), ("[bell]",), ("(x", "it's"), ("{",)])
def test_joined_labels_come_back(labels):
    assert split_cell(join_labels(labels)) == labels
