"""Writes results/esc50-head.md and .json: the head of earmark-esc50, trained further with speech and music.

The backbone stays as the recipe `esc50` trained it. It encodes ESC-50's clips, soundscapes from them, and
recordings of speech and music, which have none of its labels. Pooling and classifier are trained further on these
segments. The figures are those of a model that was trained on folds 1 to 3. Then the head of a model of folds 1, 2, 3
and 5 is trained further on those folds. Its calibration is copied from the model of folds 1 to 3.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import open_data
from earmark.evaluation.report import evaluate
from earmark.storage.json_files import write_json
from experiments.decoders import NOT_TRIMMED, measure_defaults
from experiments.degraded import measures
from experiments.event_decoder import SHORT
from experiments.free_audio import NOTHING, Recording, false_tags, nothing_rows, read_index, write_clips
from experiments.scenes import encode, known_thresholds, mix, soundscape_rows
from experiments.steps import RESULTS, commit, earmark, resume

KEPT: Final = RESULTS / "esc50-head.json"
FIGURES: Final = ("1", "2", "3")
"""Folds of the training whose model is measured."""
SHIPPED: Final = ("1", "2", "3", "5")
"""Folds of the training whose model ships."""
SOUNDSCAPES: Final = {"sparse5": (6, "0.3", "1", 300), "dense5": (5, "1", "4", 300), "mixed5": (7, "0.3", "4", 600)}
"""Seed, shortest and longest event, and number of the soundscapes of fold 5."""
SETTINGS: Final[Mapping[str, Any]] = {
    "balanced": False,
    "n_clips_seen": 40_000,
    "learning_rate": 1e-3,
    "dropout": 0.1,
}
"""Settings of the head's training that differ from their defaults."""
N_CROPS: Final = 2
"""Crops of each clip that the head is trained on."""
AS_TRAINED: Final = "as trained"
THRESHOLDS: Final = "thresholds alone"
FURTHER: Final = "head trained further, without speech and music"
WITH_NOTHING: Final = "head trained further, with speech and music"
_FILES: Final = {AS_TRAINED: "as-trained", THRESHOLDS: "thresholds", FURTHER: "further", WITH_NOTHING: "nothing"}
"""Part of a calibrated model's file name, by variant."""


def esc50_head(
    bank: Path | None = None,
    audio: Path | None = None,
    model: Path | None = None,
    shipped: Path | None = None,
    work: Path | None = None,
    *,
    n_seeds: int = 2,
) -> None:
    """Train the head of the shipped model further, with speech and music that have none of its labels.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        model: Model of the recipe esc50, trained on folds 1 to 3.
        shipped: Model of the same recipe, trained on folds 1, 2, 3 and 5; with its head trained further, it ships.
        work: Folder for tables, soundscapes, runs and models.
        n_seeds: Runs of each training of a head.
    """
    given = (bank, audio, model, shipped, work)
    if bank is not None and audio is not None and model is not None and shipped is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        steps = HeadSteps(bank.resolve(), read_index(audio.resolve()), str(model.resolve()), work.resolve())
        write_json(KEPT, steps.figures(range(n_seeds)))
        steps.ship(str(shipped.resolve()))
    elif any(value is not None for value in given):
        raise CycloptsError(
            "BANK, AUDIO, MODEL, SHIPPED and WORK were expected, or none of them to write the page again"
        )
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


@dataclass(frozen=True)
class HeadSteps:
    """The steps; each command resumes an interrupted earlier call and skips a finished one."""

    bank: Path
    recordings: list[Recording]
    model: str
    work: Path
    n_variants: int = 0
    """Variants of each clip, under other recording conditions, that the head also learns from."""

    def figures(
        self, seeds: Sequence[int], variants: Sequence[str] = (AS_TRAINED, THRESHOLDS, FURTHER, WITH_NOTHING)
    ) -> dict[str, Any]:
        """The figures of each variant on fold 5."""
        self._tables(FIGURES)
        for name, (seed, shortest, longest, n_clips) in SOUNDSCAPES.items():
            self._soundscapes(name, "5", n_clips, seed, shortest, longest)
        rows = [self._measured(name, self.model, seeds[0]) for name in variants if name in (AS_TRAINED, THRESHOLDS)]
        for seed in seeds:
            for name in (name for name in variants if name in (FURTHER, WITH_NOTHING)):
                head = self._head(self.model, FIGURES, seed, with_nothing=name == WITH_NOTHING)
                rows.append(self._measured(name, head, seed, also_degraded=seed == seeds[0]))
        free = (row for row in self.recordings if "SA" not in row.licence)
        examples = [row for row in free if row.kind in NOTHING and row.split == "train"]
        kinds = Counter(row.kind for row in examples)
        sources = sorted({f"{row.source} ({row.licence})" for row in examples})
        facts = {"commit": commit(), "clips seen by the model": hub.load_network(self.model).extra["clips_seen"]}
        settings = {**SETTINGS, "encoded_crops": N_CROPS}
        return {**facts, "settings": settings, "trained on": kinds, "sources": sources, "rows": rows}

    def ship(self, model: str, seed: int = 0) -> None:
        """Trains the head of the model that ships; WORK receives earmark-esc50.safetensors and .onnx."""
        self._tables(SHIPPED)
        head = self._head(model, SHIPPED, seed, with_nothing=True)
        like = _calibrated(WITH_NOTHING, seed)
        earmark("calibrate", head, "--like", like, "--out", "earmark-esc50.safetensors", folder=self.work)
        earmark("export", "earmark-esc50.safetensors", "earmark-esc50.onnx", "--float16", folder=self.work)

    def _soundscapes(self, name: str, splits: str, n_clips: int, seed: int, shortest: str, longest: str) -> None:
        lengths = ("--event-duration", shortest, longest, "--sample-rate", 16000)
        mixed = ("--split", splits, "--n-clips", n_clips, "--seed", seed, *lengths)
        earmark("soundscapes", f"esc50:{self.bank}", name, *mixed, folder=self.work)

    def _tables(self, folds: tuple[str, ...]) -> None:
        """Writes tables: soundscapes alone, with training recordings of speech and music, and with all of them."""
        mixed = self.work / f"mixed{''.join(folds)}"
        self._soundscapes(mixed.name, ",".join(folds), 600, 3, "0.3", "4")
        # with soundscapes every table has all labels; `--split 5` leaves them out of the held-out clips
        scapes = list(soundscape_rows(mixed))
        # a share-alike licence would pass to the model
        nothing = list(nothing_rows(row for row in self.recordings if "SA" not in row.licence))
        train = [row for row in nothing if row[2] == "train"]
        for kind, rows in (("further", scapes), ("nothing", [*scapes, *train]), ("held-out", [*scapes, *nothing])):
            write_clips(rows, self.work / self._table(folds, kind))

    def _table(self, folds: tuple[str, ...], kind: str) -> str:
        return f"{kind}{''.join(folds)}.csv"

    def _head(self, model: str, folds: tuple[str, ...], seed: int, *, with_nothing: bool) -> str:
        """The model after its head's further training; an interrupted training is resumed, a finished one reused.

        Its windows stay those of the backbone's clips (5 s), although the head also learns from longer soundscapes.
        """
        kind = "nothing" if with_nothing else "further"
        out = f"head{''.join(folds)}-{kind}-{seed}"
        write_json(self.work / f"{out}.json", {**SETTINGS, "seed": seed})
        data = (f"esc50:{self.bank}", "--split", ",".join(folds), "--add", f"csv:{self._table(folds, kind)}")
        words = ("--init", model, "--freeze", "backbone", "--encoded-crops", N_CROPS, "--allow-unlabelled")
        more = ("--n-variants", self.n_variants) if self.n_variants else ()
        flags = ("--out", out, "--config", f"{out}.json", *more, *resume(self.work / out))
        earmark("train", *data, *words, *flags, folder=self.work)
        network = hub.load_network(self.work / out / "last.safetensors")
        network.extra["clip_duration"] = hub.load_network(model).extra["clip_duration"]
        network.save(self.work / f"{out}.safetensors")
        return f"{out}.safetensors"

    def _measured(self, variant: str, model: str, seed: int, *, also_degraded: bool = True) -> dict[str, Any]:
        """Calibrates a model on fold 5 and, except `AS_TRAINED`, on held-out speech and music; measures it."""
        out = _calibrated(variant, seed)
        held_out = () if variant == AS_TRAINED else (f"csv:{self._table(FIGURES, 'held-out')}",)
        known = (f"esc50:{self.bank}", "soundscapes:mixed5", *held_out, "--split", 5)
        earmark("calibrate", model, *known, "--out", out, folder=self.work)
        network = hub.load_network(self.work / out)
        clips = open_data(f"esc50:{self.bank}").select(splits=("5",))
        report = evaluate(network, clips)
        row: dict[str, Any] = {"variant": variant, "seed": seed, "top1": report.top1, "mAP": report.mAP}
        row["shrinkage"] = network.extra["calibration"]["shrinkage"]
        row |= tags_right(report.scores, report.target, np.asarray(network.thresholds))
        for name in ("sparse5", "dense5"):
            row[name] = evaluate(network, open_data(f"soundscapes:{self.work / name}")).mAP
        row["events"] = self._events(out)
        row["false_tags"] = false_tags(hub.load(self.work / out), self.recordings)
        if also_degraded and variant in (AS_TRAINED, WITH_NOTHING):
            row["degraded"] = measures(str(self.work / out), clips, 0)
        return row

    def _events(self, model: str) -> dict[str, float]:
        """Figures of the events that `earmark timeline` finds by default on soundscapes of one or two events."""
        folder = mix(self.bank, self.work, "events5", 5, *SHORT, "--n-clips", 150, "--seed", 25)
        scenes = encode(str(self.work / model), folder, self.work)
        found = measure_defaults(scenes, known_thresholds(scenes.tagger))
        return {name: value for name, value in asdict(found).items() if isinstance(value, int | float)}


def _calibrated(variant: str, seed: int) -> str:
    return f"calibrated-{_FILES[variant]}-{seed}.safetensors"


def tags_right(scores: np.ndarray, target: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """Precision and recall of the tags at the thresholds, all labels together.

    >>> tags_right(np.array([[0.9, 0.8], [0.1, 0.2]]), np.array([[1, 0], [0, 1]]) > 0, np.array([0.5, 0.5]))
    {'precision': 0.5, 'recall': 0.5}
    """
    is_tag = scores >= thresholds
    n_right = int((is_tag & target).sum())
    return {
        "precision": n_right / max(1, int(is_tag.sum())),
        "recall": n_right / max(1, int(target.sum())),
    }


def page(found: Mapping[str, Any]) -> str:
    """The page about the head."""
    rows = found["rows"]
    seeds = sorted({row["seed"] for row in rows if row["variant"] == WITH_NOTHING})
    n_clips = {kind: own["n"] for kind, own in rows[0]["false_tags"].items()}
    text = "# The head of earmark-esc50, trained further with speech and music as negatives\n\nWritten by `python -m "
    text += f"experiments esc50-head`, commit {found['commit']}. The model was trained on folds 1 to 3 by the recipe "
    text += (
        f"`esc50`, with {found['clips seen by the model']:,} clips seen. Its backbone stays as it is. Thresholds were "
    )
    text += "fitted to clips and soundscapes of fold 5 and, except in the first row, to held-out speech and music. "
    text += "Precision and recall of the tags are on the same clips of fold 5 and therefore optimistic. False tags a "
    text += "recording are those at the model's own thresholds, on other held-out recordings: "
    text += " and ".join(f"{n} of {kind}" for kind, n in n_clips.items())
    text += f". Rows of a further training: means of seeds {', '.join(map(str, seeds))}, lowest and highest in "
    text += "brackets. Both seeds start from the same head; they differ in crops, order and dropout.\n\n"
    text += "| | top-1 | mAP | precision | recall | sparse | dense "
    text += "".join(f"| false tags: {kind} " for kind in n_clips) + "|\n"
    text += "|---|---|---|---|---|---|---" + "|---" * len(n_clips) + "|\n"
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        values = [[row[key] for row in own] for key in ("top1", "mAP", "precision", "recall", "sparse5", "dense5")]
        values += [[row["false_tags"][kind]["tags"] for row in own] for kind in n_clips]
        text += f"| {variant} | {' | '.join(map(spread, values))} |\n"
    text += "\nSparse and dense: mAP on 300 soundscapes of fold 5 each.\n\n## Events\n\nBy the defaults of "
    text += "`earmark timeline`, on 150 soundscapes of 10 s with one or two events of fold 5; errors in seconds, as in "
    text += "[decoder of events](event-decoder.md)."
    text += "" if all(row["events"].get("is_trimmed") for row in rows) else f" These events {NOT_TRIMMED}."
    text += "\n\n"
    text += "| | F1 of 0.1 s cells | event F1 | onset error | offset error | events found | true |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row["events"] for row in rows if row["variant"] == variant]
        cells = [spread([one[name] for one in own]) for name in ("F1", "event_F1", "onset", "offset")]
        n_found = fmean(one["n_detected"] for one in own)
        text += f"| {variant} | {' | '.join(cells)} | {n_found:.0f} | {own[0]['n_events']} |\n"
    text += "\n## Top-1 on degraded clips of fold 5\n\n"
    shown = {variant: next(row for row in rows if row["variant"] == variant) for variant in (AS_TRAINED, WITH_NOTHING)}
    text += f"| | {' | '.join(shown)} |\n|---|---|---|\n"
    for name in rows[0]["degraded"]:
        text += f"| {name} | {' | '.join(format(row['degraded'][name]['top1'], '.3f') for row in shown.values())} |\n"
    text += "\nDegraded clips: seed 0. Negatives in training: "
    text += " and ".join(f"{n} of {kind}" for kind, n in found["trained on"].items())
    text += f", from {', '.join(found['sources'])}.\n"
    return text


def spread(values: Sequence[float]) -> str:
    """The mean of several runs, with the lowest and the highest in brackets.

    >>> spread([0.5, 0.75])
    '0.625 (0.500 to 0.750)'
    """
    text = f"{fmean(values):.3f}"
    return f"{text} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else text
