"""Which clips the flags of a command choose."""

from pathlib import Path

import pytest

from earmark.cli.clips import select
from earmark.errors import DataError


def test_all_clips_unless_told_otherwise(clips: Path) -> None:
    chosen = select(f"folder:{clips}")
    assert len(chosen) == 12
    assert chosen.splits == ("test", "train")


def test_splits_and_labels_and_a_name_that_says_so(clips: Path) -> None:
    chosen = select(f"folder:{clips}", "train,test", " siren , bell")
    assert len(chosen) == 8
    assert chosen.labels.names == ("bell", "siren")
    assert chosen.name == f"{select(f'folder:{clips}').name} (split train,test; labels  siren , bell)"
    assert len(select(f"folder:{clips}", "test")) == 3


def test_esc10_stands_for_ten_labels(clips: Path) -> None:
    with pytest.raises(DataError, match="unknown label 'dog'"):
        select(f"folder:{clips}", labels="esc10")


@pytest.mark.parametrize(("splits", "labels", "message"), [(" ,", None, "split: names joined"), (None, "", "labels: ")])
def test_nothing_chosen(clips: Path, splits: str | None, labels: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        select(f"folder:{clips}", splits, labels)
