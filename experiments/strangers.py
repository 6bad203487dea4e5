"""Writes results/strangers.md and .json: first tags on recordings from other projects, labelled by their names."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.audio.recording import load_audio
from earmark.inference.tagger import Tagger
from earmark.labels import LabelSet
from earmark.storage.json_files import write_json
from experiments.esc50_labels import in_esc50
from experiments.free_audio import Recording, false_tags, read_index
from experiments.steps import RESULTS, commit

KEPT: Final = RESULTS / "strangers.json"
FEWEST: Final = 3
"""Least number of recordings of a label in the mean over labels."""
NAMES: Final[Mapping[str, str]] = {
    "dog": "dog; dog bark; puppy bark; village / dogbark",
    "rooster": "rooster; village / rooster",
    "cow": "cow moo",
    "sheep": "sheep; sheep baa; lamb",
    "cat": "cat meow",
    "frog": "frog",
    "crow": "crow caw",
    "pig": "pig squeal",
    "crickets": "outside / crickets",
    "chirping_birds": "bird; birds in a park; birds outside; birdsinapark; chirping; robin bird song; tropical bird",
    "insects": "bee; bumble bee",
    "rain": "rain; ambient rain; rain heavy; environment weather / heavyrain; environment weather / indoors rain; "
    "environment weather / weather rainstorm; environment weather / weather rainstorm inside; "
    "environment weather night / night rain",
    "thunderstorm": "thunder; weather / thunder; environment weather / thunder far; "
    "environment weather / thunder near; environment weather / thunderstorm",
    "wind": "outside / wind; outside / desert wind",
    "sea_waves": "waves; waves small",
    "crackling_fire": "fireplace; crackling",
    "footsteps": "footsteps grass; footsteps gravel; footsteps long; footsteps metal; plmove / walk dirt; "
    "plmove / walk t gravel; plmove / walk t rock floor; plmove walk grass / walk grass; "
    "plmove walk metal / walk metal; plmove walk t floor / walk t floor; "
    "plmove walk t grass long / walk t grass long; walking; walking in dirt; walking on wood",
    "laughing": "laughter; laughing crowd",
    "clapping": "applause; clap",
    "door_wood_knock": "door knock",
    "door_wood_creaks": "creaky door; door creak",
    "glass_breaking": "glass break; smash / smash glass; smash success glass / smash success glass; "
    "smash success glass / smash success glass reinforced",
    "helicopter": "helicopter",
    "chainsaw": "chainsaw; lumber mill chainsaw",
    "siren": "police siren; ambient policesiren; environment ambient / police siren",
    "car_horn": "car horn; modern car horn; vehicle horn",
    "engine": "engine noise; car engine; boat engine; car motor; vehicle motor idle; "
    "engine start combustion / engine start combustion; engine start v8 / engine start v; "
    "engine working external combustion / engine working external combustion; "
    "engine working external v8 / engine working external v; "
    "engine working internal combustion / engine working internal combustion; "
    "engine working internal v8 / engine working internal v",
    "train": "train; subwaytrain b line; underground train; train whistle; train whistle 1; train whistle 2; "
    "train whistle 3; train whistle depart",
    "church_bells": "church bells; environment ambient / church bells; outside churchbells",
    "airplane": "airplane prop; jet flyby; early jet take off; modern jet take off; propeller plane start",
    "fireworks": "fireworks; fireworks pop",
    "clock_tick": "clock tick",
    "vacuum_cleaner": "vacuum; vacuum rev",
    "can_opening": "can opening",
    "pouring_water": "beer pour; pouring soda",
    "toilet_flush": "flush",
    "hand_saw": "tool / hacksaw",
}
"""Names of recordings that say which of ESC-50's sounds they are."""
GROUPS: Final = {"all": ("train", "valid", "test"), "held out": ("valid", "test")}


def strangers(audio: Path | None = None, models: list[str] | None = None) -> None:
    """Count right first tags on recordings of other projects.

    Args:
        audio: Folder of freely licensed recordings with their index.csv.
        models: Names or paths of models with the labels of ESC-50 or of AudioSet; the page calls each by its file's
            name.
    """
    if audio is not None and models:
        recordings = read_index(audio)
        known = known_recordings(recordings)
        taggers = {Path(model).stem: hub.load(model) for model in models}
        found = {name: first_tags(tagger, known) for name, tagger in taggers.items()}
        others = {name: false_tags(own, recordings) for name, own in taggers.items() if own.thresholds is not None}
        write_json(KEPT, {"commit": commit(), "models": found, "false_tags": others})
    elif audio is not None or models:
        raise CycloptsError("AUDIO and MODELS were expected, or neither to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def known_recordings(recordings: Sequence[Recording]) -> list[tuple[Recording, str]]:
    """The recordings whose names are in `NAMES`, with their labels of ESC-50."""
    labels = {name: label for label, names in NAMES.items() for name in names.split("; ")}
    return [(row, labels[row.label]) for row in recordings if row.label in labels]


def first_tags(tagger: Tagger, recordings: Sequence[tuple[Recording, str]]) -> dict[str, dict[str, dict[str, float]]]:
    """Number of recordings and share of right first tags of each label, for each group of `GROUPS`.

    Scores of AudioSet's labels are taken as scores of ESC-50's as in `IN_AUDIOSET`.
    """
    classes, rights = LabelSet.esc50(), defaultdict(list)
    for row, label in recordings:
        scores = tagger.score(load_audio(row.path, tagger.sample_rate)).scores
        if set(tagger.labels.names) >= set(classes.names):
            ranked = scores[[tagger.labels.index(name) for name in classes.names]]
        else:
            ranked = in_esc50(scores, tagger.labels)
        is_right = classes.names[int(np.argmax(ranked))] == label
        for group, splits in GROUPS.items():
            if row.split in splits:
                rights[group, label].append(is_right)
    return {
        group: {
            label: {"n": len(own), "right": fmean(own)} for (its, label), own in sorted(rights.items()) if its == group
        }
        for group in GROUPS
    }


def page(found: Mapping[str, Any]) -> str:
    """The page: means, then each label."""
    models = found["models"]
    text = "# First tags on recordings of other projects\n\nWritten by `python -m experiments strangers`, commit "
    text += (
        f"{found['commit']}. The recordings are freely licensed: sounds from games, sounds of instruments, and field "
    )
    text += (
        "recordings. Their names say what they are; nobody listened to all of them. A cell is the share of recordings "
    )
    text += (
        "whose first tag among ESC-50's labels is right. For networks with AudioSet's labels, the nearest labels of "
    )
    text += (
        "AudioSet stand for each label of ESC-50. Held-out recordings are of groups that were in no training of this "
    )
    text += "project, with or without labels.\n\n| model | recordings | mean over labels | share of all "
    text += "| held-out recordings | mean over labels | share of all |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for name, groups in models.items():
        cells = [f"{count(own)} | {mean_over_labels(own):.3f} | {over_all(own):.3f}" for own in groups.values()]
        text += f"| {name} | {' | '.join(cells)} |\n"
    if "earmark-esc50-before" in models:
        text += "\nearmark-esc50-before: the shipped model before its training on short soundscapes.\n"
    for name, kinds in found.get("false_tags", {}).items():
        shown = " and ".join(f"{own['tags']:.2f} on {own['n']:.0f} of {kind}" for kind, own in kinds.items())
        text += f"\nFalse tags a recording of {name}, at its own thresholds, on held-out recordings: {shown}.\n"
    text += f"\nThe mean over labels takes only labels with {FEWEST} recordings or more.\n\n| label | recordings |"
    text += "".join(f" {name} |" for name in models) + "\n|---|---" + "|---" * len(models) + "|\n"
    for label, row in next(iter(models.values()))["all"].items():
        shares = " | ".join(f"{groups['all'][label]['right']:.2f}" for groups in models.values())
        text += f"| {label} | {row['n']} | {shares} |\n"
    return text


def mean_over_labels(rows: Mapping[str, Mapping[str, float]]) -> float:
    """Mean share of the labels with enough recordings; nan if there is none."""
    enough = [row["right"] for row in rows.values() if row["n"] >= FEWEST]
    return fmean(enough) if enough else float("nan")


def count(rows: Mapping[str, Mapping[str, float]]) -> int:
    """Number of recordings."""
    return round(sum(row["n"] for row in rows.values()))


def over_all(rows: Mapping[str, Mapping[str, float]]) -> float:
    """Share of all recordings together."""
    return sum(row["n"] * row["right"] for row in rows.values()) / max(1, count(rows))
