"""The parts of a bank share no source, and soundscapes are rendered once."""

from collections import Counter
from dataclasses import replace

import pytest

from earmark.data.clips import Clip, Dataset, check_disjoint, sources
from earmark.data.synthetic import SyntheticSound, synthetic_bank
from earmark.errors import DataError
from earmark.labels import LabelSet
from experiments.table1.soundscapes import PARTS, hold_out, open_part, part_folder, read_truth, render_part, unrendered


def grouped(*rows):
    """A bank of clips given as (label, group)."""
    clips = tuple(
        Clip(f"clip-{number}", (label,), SyntheticSound("bell", (number,)), group=group)
        for number, (label, group) in enumerate(rows)
    )
    return Dataset("grouped", LabelSet(tuple(sorted({label for label, _ in rows}))), clips)


def test_about_a_sixth_of_each_label_is_held_out_by_source():
    bank = grouped(*((label, f"{label}{number // 2}") for label in "abc" for number in range(24)))
    train, valid = hold_out(bank)
    check_disjoint(train, valid)
    assert {clip.id for clip in train} | {clip.id for clip in valid} == {clip.id for clip in bank}
    assert Counter(clip.labels for clip in valid) == {("a",): 4, ("b",): 4, ("c",): 4}


def test_the_choice_does_not_depend_on_the_order_of_the_bank():
    bank = synthetic_bank(n_per_label=12)
    parts = hold_out(bank)
    turned = hold_out(replace(bank, clips=bank.clips[::-1]))
    assert [part.fingerprint() for part in parts] == [part.fingerprint() for part in turned]


def test_a_large_source_stays_in_training():
    bank = grouped(*[("a", "large")] * 20, *[("a", f"small{i}") for i in range(4)])
    train, valid = hold_out(bank)
    assert "large" in {clip.group for clip in train}
    assert len(valid) == 4


def test_two_sources_are_enough_and_the_smaller_one_is_held_out():
    train, valid = hold_out(grouped(*[("a", "x")] * 5, *[("a", "y")] * 4))
    assert ({clip.group for clip in train}, {clip.group for clip in valid}) == ({"x"}, {"y"})


def test_sources_of_several_labels_stay_together():
    rows = [(label, f"shared{number}") for number in range(8) for label in "ab"]
    train, valid = hold_out(grouped(*rows))
    check_disjoint(train, valid)
    assert Counter(clip.labels for clip in valid) == {("a",): 1, ("b",): 1}


def test_banks_that_cannot_be_split_are_reported():
    with pytest.raises(DataError, match="'a': sounds of two sources were expected"):
        hold_out(grouped(("a", "x"), ("a", "x"), ("b", "y"), ("b", "z")))
    with pytest.raises(DataError, match="share sources with those of other labels too often"):
        hold_out(grouped(("a", "x"), ("a", "y"), ("b", "x"), ("b", "z"), ("c", "y"), ("c", "z")))


def test_soundscapes_are_rendered_once_and_share_no_source(planned, out):
    plan, bank = planned(("sparse", "dense"))
    assert list(unrendered(plan, out)) == [(d, part) for d in ("sparse", "dense") for part in PARTS]
    for part in PARTS:
        render_part(plan, bank, out, "sparse", part)
    assert list(unrendered(plan, out)) == [("dense", part) for part in PARTS]
    parts = {part: open_part(plan, out, "sparse", part) for part in PARTS}
    assert {part: len(clips) for part, clips in parts.items()} == {"train": 12, "valid": 6, "test": 16}
    check_disjoint(parts["train"], parts["valid"])
    tested = set().union(*map(sources, parts["test"]))
    assert tested <= set().union(*(sources(clip) for clip in bank.select(splits=["5"])))
    assert tested.isdisjoint(set().union(*map(sources, parts["train"])))
    assert parts["train"].labels.names == ("bell", "buzz", "hiss", "siren", "whistle")
    assert str(out) not in parts["train"].name
    assert all(e.offset - e.onset <= 1.0 + 1e-6 for e in read_truth(part_folder(out, "sparse", "test")))


def test_difficulties_and_parts_have_seeds_of_their_own(planned, out):
    plan, bank = planned(("sparse", "dense"), n_test=6)
    for difficulty in plan.difficulties:
        render_part(plan, bank, out, difficulty, "test")
    ids = [open_part(plan, out, difficulty, "test").clip_ids_sha256() for difficulty in plan.difficulties]
    assert ids[0] != ids[1]


def test_another_number_of_soundscapes_is_reported(planned, out):
    plan, bank = planned()
    render_part(plan, bank, out, "sparse", "valid")
    more, _ = planned(n_valid=7)
    with pytest.raises(DataError, match="7 soundscapes were expected, 6 are there"):
        open_part(more, out, "sparse", "valid")
