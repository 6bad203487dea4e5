"""Writes results/esc50-student.md and .json: the network of earmark-esc50, trained with a teacher.

The teacher is a head with ESC-50's labels on a frozen published network. It was also trained on recordings of speech
and music, which have none of these labels. Its student starts from a model of the recipe `esc50`. It learns from the
same clips, from freely licensed recordings of other sounds, and from a variant of each of them under other recording
conditions. Another student has the teacher from the start; it also learns from short soundscapes. Each network also
gets a head by the steps of `esc50-head`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from cyclopts import CycloptsError

from earmark.data import open_data
from earmark.errors import ConfigError
from earmark.storage.files import sha256_of
from earmark.storage.json_files import write_json
from experiments.decoders import NOT_TRIMMED
from experiments.esc50_head import AS_TRAINED, FIGURES, SHIPPED, THRESHOLDS, WITH_NOTHING, HeadSteps, spread
from experiments.free_audio import NOTHING, Recording, read_index, write_clips
from experiments.scenes import mix, path_of, soundscape_rows
from experiments.steps import RESULTS, check_inputs, earmark, resume

KEPT: Final = RESULTS / "esc50-student.json"
RECIPE: Final = ("--config", "esc50", "--balanced")
"""Settings of the trainings with a teacher."""
N_VARIANTS: Final = {"student": 1, "taught": 1, "longer": 2, "shipped": 1}
"""Variants of each clip that each network learns from."""
FURTHER: Final = ("--learning-rate", 0.001)
"""Further settings of trainings that start from a trained network."""
N_CLIPS_SEEN: Final = {"student": 120_000, "taught": 320_000, "longer": 300_000, "shipped": 240_000}
"""Clips that each network sees in its training with a teacher."""
SHORT_SOUNDSCAPES: Final = ("--duration", 2.5, "--n-events", 1, 2, "--event-duration", 0.3, 2, "--n-clips", 400)
"""Settings of soundscapes; most training crops (1.25 to 5 s) hold a whole one."""
LABEL_WEIGHT: Final = 0.5
"""Weight of the true labels in the student's targets."""
N_CROPS: Final = 2
"""Crops of each clip that the head of the teacher is trained on."""
SHARE_OF_NOTHING: Final = 3
"""Step between the recordings of speech and music that the student learns from."""
NAMES: Final = {
    "before": "recipe esc50",
    "student": "trained further with a teacher",
    "taught": "with a teacher from the start",
    "longer": "with a teacher from the start, trained further",
    "teacher": "the teacher",
}
"""The measured networks, by the words for `--only`."""


def esc50_student(
    bank: Path | None = None,
    audio: Path | None = None,
    teacher: Path | None = None,
    model: Path | None = None,
    work: Path | None = None,
    *,
    shipped: Path | None = None,
    taught: Path | None = None,
    seed: int = 0,
    only: str | None = None,
    ship: Literal["before", "taught"] | None = None,
) -> None:
    """Train the network of earmark-esc50 with a published network as teacher.

    The page keeps the figures of other seeds.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        teacher: Published network with AudioSet's labels, such as mn04_as_mAP_432.pt.
        model: Model of the recipe esc50, trained on folds 1 to 3 with the same seed.
        work: Folder for tables, soundscapes, runs and models of this seed.
        shipped: Model trained on folds 1, 2, 3 and 5. It is trained further, also with soundscapes, and then ships.
        taught: Network "with a teacher from the start" of this seed, in place of its training; `longer` starts from it.
        seed: Seed of the trainings.
        only: Train and measure one network alone: `before`, `student`, `taught`, `longer` or `teacher`; `shipped` is
            trained and not measured. So two processes can share the work.
        ship: Network that ships after its head was trained further: `before` is SHIPPED itself, `taught` is SHIPPED
            trained further with a teacher. The calibration is that of the measured network of this name.
    """
    given = (bank, audio, teacher, model, work)
    _check_flags(only, ship, shipped)
    if bank is not None and audio is not None and teacher is not None and model is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        check_inputs(work, teacher=teacher, model=model, shipped=shipped, taught=taught)
        steps = _Steps(
            bank.resolve(),
            read_index(audio.resolve()),
            teacher.resolve(),
            model.resolve(),
            work.resolve(),
            None if shipped is None else shipped.resolve(),
            None if taught is None else taught.resolve(),
            seed,
        )
        if only == "shipped":
            steps.network("shipped")
            return
        if only is not None:
            steps.figures(only)
            return
        _keep(steps.all_figures())
        if shipped is not None:
            steps.ship(ship or "taught")
    elif any(value is not None for value in (*given, shipped, taught, only)):
        raise CycloptsError(
            "BANK, AUDIO, TEACHER, MODEL and WORK were expected, or none of them to write the page again"
        )
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def _check_flags(only: str | None, ship: str | None, shipped: Path | None) -> None:
    """Refuses an unknown network, and flags about the model that ships without that model."""
    if only is not None and only not in (*NAMES, "shipped"):
        raise CycloptsError(f"one of {', '.join(NAMES)}, shipped was expected for --only, not {only}")
    if only == "shipped" and shipped is None:
        raise CycloptsError("--only shipped expects --shipped, the model to train further")
    if ship is not None and shipped is None:
        raise CycloptsError("--ship expects --shipped, a model of folds 1, 2, 3 and 5")


def _keep(found: Mapping[str, Any]) -> None:
    """Adds the figures of a seed to those that are kept, in place of earlier ones of this seed."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else []
    others = [run for run in kept if run["seed"] != found["seed"]]
    write_json(KEPT, sorted([*others, found], key=lambda run: run["seed"]))


@dataclass(frozen=True)
class _Steps:
    """The steps; each command resumes an interrupted earlier call and skips a finished one."""

    bank: Path
    recordings: list[Recording]
    teacher: Path
    model: Path
    work: Path
    shipped: Path | None = None
    taught: Path | None = None
    seed: int = 0

    def all_figures(self) -> dict[str, Any]:
        """The figures of all networks on fold 5, and the student's other sources."""
        networks = {name: self.figures(name) for name in NAMES}
        facts = {name: networks["student"].pop(name) for name in ("n_others", "sources")}
        return {"seed": self.seed, "teacher": self.teacher.name, **facts, "networks": networks}

    def figures(self, name: str) -> dict[str, Any]:
        """The figures of one network on fold 5, as it was trained and with its head trained further; kept in WORK."""
        is_given = name == "taught" and self.taught is not None
        kept = self.work / f"{name}{'-' + sha256_of(self.network(name))[:12] if is_given else ''}-figures.json"
        if not kept.exists():
            variants = (AS_TRAINED, THRESHOLDS if name == "teacher" else WITH_NOTHING)
            sources = Counter(f"{row.source} ({row.licence})" for row in self._others())
            facts = {"n_others": sources.total(), "sources": sorted(sources)} if name == "student" else {}
            write_json(kept, {**self._heads(name).figures((self.seed,), variants), **facts, "seed": self.seed})
        found: dict[str, Any] = json.loads(kept.read_text())
        if (seed := found.pop("seed", self.seed)) != self.seed:
            raise ConfigError(f"{kept}: figures of seed {self.seed} were expected, not of {seed}; take another folder")
        return found

    def ship(self, name: str) -> None:
        """Trains the head of the network that ships; its folder receives earmark-esc50.safetensors and .onnx."""
        self._heads(name).ship(str(self.shipped if name == "before" else self.network("shipped")), self.seed)

    def network(self, name: str) -> Path:
        """The model of a network, after its training."""
        folds = SHIPPED if name == "shipped" else FIGURES
        if name == "before":
            return self.model
        if name == "taught" and self.taught is not None:
            return self.taught
        if name == "teacher":
            return self.work / self._head_of_teacher(folds)
        out = self.work / name
        starts = {"student": self.model, "shipped": self.shipped}
        start = self.network("taught") if name == "longer" else starts.get(name)
        further = () if name == "taught" else ("--init", start, *FURTHER)
        budget = ("--n-variants", N_VARIANTS[name], "--n-clips-seen", N_CLIPS_SEEN[name], "--seed", self.seed)
        head, table = self._head_of_teacher(folds), self._clips_of_student(folds, with_soundscapes=name != "student")
        words = (head, f"csv:{table}", "--split", "train", "--label-weight", LABEL_WEIGHT)
        earmark("distill", *words, *RECIPE, *further, *budget, "--out", out, *resume(out), folder=self.work)
        return out / "last.safetensors"

    def _head_of_teacher(self, folds: tuple[str, ...]) -> str:
        """The published network with a head for ESC-50's labels."""
        name = "".join(folds)
        nothing = [(row.path, "", "train", row.group) for row in self._nothing()]
        rows = [*self._labelled(folds), *nothing]
        write_clips(rows, self.work / f"taught{name}.csv")
        out = self.work / f"teacher{name}"
        words = ("--init", self.teacher, "--freeze", "backbone", "--encoded-crops", N_CROPS, "--allow-unlabelled")
        flags = ("--no-balanced", "--seed", self.seed, "--out", out, *resume(out))
        earmark("train", f"csv:taught{name}.csv", "--split", "train", *words, *flags, folder=self.work)
        return f"teacher{name}/last.safetensors"

    def _clips_of_student(self, folds: tuple[str, ...], *, with_soundscapes: bool) -> str:
        """Writes the table of the student's clips; only ESC-50's and soundscapes of them have labels."""
        recordings = (*self._others(), *self._nothing()[::SHARE_OF_NOTHING])
        unlabelled = [(row.path, "", "train", row.group) for row in recordings]
        table = f"student{''.join(folds)}.csv"
        if with_soundscapes:
            table = f"taught{''.join(folds)}-student.csv"
            words = ("--seed", 4, "--sample-rate", 16000, *SHORT_SOUNDSCAPES)
            folder = mix(self.bank, self.work, f"excerpts{''.join(folds)}", ",".join(folds), *words)
            unlabelled += soundscape_rows(folder)
        path = self.work / table
        before = path.read_bytes() if path.exists() else None
        write_clips([*self._labelled(folds), *unlabelled], path)
        if before is not None and before != path.read_bytes():
            path.write_bytes(before)
            raise ConfigError(f"{path}: lists other clips than this call would train on; take another folder", "work")
        return table

    def _labelled(self, folds: tuple[str, ...]) -> list[tuple[Path, str, str, str]]:
        clips = open_data(f"esc50:{self.bank}").select(splits=folds)
        return [(path_of(clip), ";".join(clip.labels), "train", f"esc50 {clip.group}") for clip in clips]

    def _nothing(self) -> list[Recording]:
        return [row for row in self._free() if row.kind in NOTHING]

    def _others(self) -> list[Recording]:
        return [row for row in self._free() if row.kind not in NOTHING]

    def _free(self) -> list[Recording]:
        """The recordings to learn from; a share-alike licence would pass to the model."""
        return [row for row in self.recordings if row.split == "train" and "SA" not in row.licence]

    def _heads(self, name: str) -> HeadSteps:
        work = self.work / f"{name}-head"
        work.mkdir(exist_ok=True)
        return HeadSteps(self.bank, self.recordings, str(self.network(name)), work, n_variants=1)


def page(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page about the student: means over seeds, with the lowest and the highest."""
    rows = defaultdict[tuple[str, str], list[Any]](list)
    for run in runs:
        for name, own in run["networks"].items():
            for row in own["rows"]:
                rows[name, row["variant"]].append(row)
    text = _introduction(runs)
    n_clips = {kind: own["n"] for kind, own in next(iter(rows.values()))[0]["false_tags"].items()}
    text += "\n\n| network | head | top-1 | mAP | precision | recall | sparse | dense "
    text += "".join(f"| false tags: {kind} " for kind in n_clips) + "|\n|---|---" + "|---" * (6 + len(n_clips)) + "|\n"
    for (name, variant), own in rows.items():
        values = [[row[key] for row in own] for key in ("top1", "mAP", "precision", "recall", "sparse5", "dense5")]
        values += [[row["false_tags"][kind]["tags"] for row in own] for kind in n_clips]
        text += f"| {NAMES[name]} | {variant} | {' | '.join(map(spread, values))} |\n"
    text += "\nSparse and dense: mAP on 300 soundscapes of fold 5 each.\n\n## Events\n\nBy the defaults of `earmark "
    text += "timeline`, on 150 soundscapes of 10 s with one or two events of fold 5; errors in seconds, as in [decoder "
    text += (
        "of events](event-decoder.md). The thresholds were fitted to clips and other soundscapes of fold 5. The column "
    )
    text += '"events found" has one count for each seed.\n\n'
    text += "| network | head | F1 of 0.1 s cells | event F1 | onset error | offset error | events found | true |\n"
    text += "|---|---|---|---|---|---|---|---|\n"
    is_old = False
    for (name, variant), own in rows.items():
        events = [row["events"] for row in own if row["events"].get("is_trimmed")] or [row["events"] for row in own]
        mark = "" if events[0].get("is_trimmed") else " *"
        is_old |= bool(mark)
        cells = [spread([one[key] for one in events]) for key in ("F1", "event_F1", "onset", "offset")]
        n_found = "; ".join(str(one["n_detected"]) for one in events)
        text += f"| {NAMES[name]}{mark} | {variant} | {' | '.join(cells)} | {n_found} | {events[0]['n_events']} |\n"
    text += (
        f"\n\\* These events {NOT_TRIMMED}. Their networks are not kept. Other rows have only seeds measured since.\n"
        if is_old
        else ""
    )
    shown = {key: [row["degraded"] for row in own] for key, own in rows.items() if "degraded" in own[0]}
    text += "\n## Top-1 on degraded clips of fold 5\n\n"
    text += "| |" + "".join(f" {NAMES[name]}, {variant} |" for name, variant in shown) + "\n"
    text += "|---" * (1 + len(shown)) + "|\n"
    for change in next(iter(shown.values()))[0]:
        cells = [spread([row[change]["top1"] for row in own]) for own in shown.values()]
        text += f"| {change} | {' | '.join(cells)} |\n"
    text += f"\nOther sounds came from {', '.join(runs[0]['sources'])}.\n\nCommits: "
    text += "; ".join(
        f"seed {run['seed']}, {NAMES[name]} {own['commit']}" for run in runs for name, own in run["networks"].items()
    )
    return text + ".\n"


def _introduction(runs: Sequence[Mapping[str, Any]]) -> str:
    """The first part of the page: the networks and the measures."""
    run = runs[0]
    networks, student = run["networks"], run["networks"]["student"]
    n_clips = {kind: own["n"] for kind, own in student["rows"][0]["false_tags"].items()}
    text = "# The network of earmark-esc50, trained with a teacher\n\nWritten by `python -m experiments "
    text += "esc50-student`. All networks were trained on folds 1 to 3 of ESC-50.\n\n"
    text += f"- {NAMES['before']}: {networks['before']['clips seen by the model']:,} clips seen.\n"
    text += f"- {NAMES['student']}: {student['clips seen by the model']:,} more. The targets are "
    text += f"{LABEL_WEIGHT:g} of the true labels and the rest of the teacher's scores. The clips are ESC-50's, "
    text += f"{run['n_others']:,} freely licensed recordings of other sounds, one in {SHARE_OF_NOTHING} of those of "
    text += "speech and music, and a variant of each under other recording conditions.\n"
    if taught := next((own["networks"]["taught"] for own in runs if "taught" in own["networks"]), None):
        text += f"- {NAMES['taught']}: {taught['clips seen by the model']:,} clips seen, from random weights. It also "
        text += (
            f"learned from {SHORT_SOUNDSCAPES[-1]} soundscapes of {SHORT_SOUNDSCAPES[1]} s and a variant of each. A "
        )
        text += (
            "soundscape has one or two sounds of 0.3 to 2 s from ESC-50's clips. With seed 0, its head trained further "
        )
        text += (
            "and calibrated, it is [three-folds.safetensors](esc50-student/three-folds.safetensors) (CC BY-NC 3.0), "
        )
        text += "for repeating figures.\n"
    if longer := next((own["networks"]["longer"] for own in runs if "longer" in own["networks"]), None):
        text += f"- {NAMES['longer']}: {longer['clips seen by the model']:,} more than the network above, with "
        text += f"{N_VARIANTS['longer']} variants of each clip. It started from three-folds.safetensors. With its head "
        text += "trained further and calibrated, it is "
        text += "[trained-further.safetensors](esc50-student/trained-further.safetensors) (CC BY-NC 3.0).\n"
    text += f"- {NAMES['teacher']}: {run['teacher']} with a head for ESC-50's labels.\n\n"
    text += (
        "A head trained further also learned from soundscapes, from recordings of speech and music, which have none "
    )
    text += (
        "of the labels, and from a variant of each clip ([the steps](esc50-head.md)). Its thresholds were fitted to "
    )
    text += (
        "fold 5 and to held-out speech and music, like those of the last row. The thresholds of the other rows were "
    )
    text += (
        "fitted to fold 5 alone. Precision and recall are on the same clips of fold 5 and therefore optimistic. False "
    )
    text += "tags a recording are those at the model's own thresholds, on other held-out recordings: "
    return (
        text
        + " and ".join(f"{n} of {kind}" for kind, n in n_clips.items())
        + f". {_about_thresholds(runs)}{_about_seeds(runs)}"
    )


def _about_thresholds(runs: Sequence[Mapping[str, Any]]) -> str:
    """The sentence about networks whose thresholds were not shrunk; empty without any."""
    own = {
        f'"{NAMES[name]}"'
        for run in runs
        for name, each in run["networks"].items()
        if any("shrinkage" not in row for row in each["rows"])
    }
    if not own:
        return ""
    return (
        f"In the rows of {', '.join(sorted(own))} each label has the threshold of its best F1. The other "
        "rows have [shrunk thresholds](thresholds.md), which lowers their false tags. "
    )


def _about_seeds(runs: Sequence[Mapping[str, Any]]) -> str:
    """The sentences about the seeds of the figures."""
    if not runs[1:]:
        return "All figures are of one seed."
    seeds = ", ".join(str(run["seed"]) for run in runs)
    text = f"Figures are means over the seeds {seeds}, with the lowest and the highest in brackets."
    for name in NAMES:
        own = [str(run["seed"]) for run in runs if name in run["networks"]]
        text += f' "{NAMES[name]}" was trained with seed {", ".join(own)} alone.' if len(own) < len(runs) else ""
    return text
