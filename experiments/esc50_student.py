"""Writes results/esc50-student.md and .json: the network of earmark-esc50, trained further with a teacher.

The teacher is a head with ESC-50's labels on a frozen published network. Recordings of speech and music taught it that
they have none of these labels. Its student starts from a model of the recipe `esc50`. It learns from the same clips,
from freely licensed recordings of other sounds, and from a variant of each of them under other recording conditions.
A control is trained further with the true labels alone. Then each network gets a head by the steps of `esc50-head`.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cyclopts import CycloptsError

from earmark.data import open_data
from earmark.storage.json_files import write_json
from experiments.esc50_head import AS_TRAINED, FIGURES, SHIPPED, WITH_NOTHING, HeadSteps
from experiments.free_audio import NOTHING, Recording, read_index, write_clips
from experiments.scenes import path_of
from experiments.steps import RESULTS, earmark, resume

KEPT: Final = RESULTS / "esc50-student.json"
RECIPE: Final[tuple[object, ...]] = ("--config", "esc50", "--n-clips-seen", 120_000, "--learning-rate", 1e-3)
"""Settings of both further trainings."""
STUDENT: Final[tuple[object, ...]] = ("--balanced", "--n-variants", 1)
"""Further settings of the student."""
LABEL_WEIGHT: Final = 0.5
"""Weight of the true labels in the student's targets."""
N_CROPS: Final = 2
"""Crops of each clip that the head of the teacher is trained on."""
SHARE_OF_NOTHING: Final = 3
"""The student has one of so many recordings of speech and music."""
BEFORE: Final = "recipe esc50"
CONTROL: Final = "trained further with labels alone"
DISTILLED: Final = "trained further with a teacher"
TRAININGS: Final = ("student", "control", "shipped")


def esc50_student(
    bank: Path | None = None,
    audio: Path | None = None,
    teacher: Path | None = None,
    model: Path | None = None,
    shipped: Path | None = None,
    work: Path | None = None,
    *,
    only: str | None = None,
) -> None:
    """Train the network of earmark-esc50 further, with a published network as teacher.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        teacher: Published network with AudioSet's labels, such as mn04_as_mAP_432.pt.
        model: Model of the recipe esc50, trained on folds 1 to 3.
        shipped: Model of the same recipe, trained on folds 1, 2, 3 and 5.
        work: Folder for tables, soundscapes, runs and models.
        only: Do one training, `student`, `control` or `shipped`, and stop; two processes can share the work that way.
    """
    given = (bank, audio, teacher, model, shipped, work)
    if only is not None and only not in TRAININGS:
        raise CycloptsError(f"one of {', '.join(TRAININGS)} was expected for --only, not {only}")
    if (
        bank is not None
        and audio is not None
        and teacher is not None
        and model is not None
        and shipped is not None
        and work is not None
    ):
        work.mkdir(parents=True, exist_ok=True)
        # a share-alike licence would pass to the model
        recordings = [row for row in read_index(audio.resolve()) if "SA" not in row.licence]
        steps = _Steps(
            bank.resolve(), recordings, teacher.resolve(), model.resolve(), shipped.resolve(), work.resolve()
        )
        if only is not None:
            steps.train(only)
            return
        write_json(KEPT, steps.figures())
        steps.ship()
    elif any(value is not None for value in given):
        raise CycloptsError(
            "BANK, AUDIO, TEACHER, MODEL, SHIPPED and WORK were expected, or none of them to write the page again"
        )
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


@dataclass(frozen=True)
class _Steps:
    """The steps; each command resumes an interrupted earlier call and skips a finished one."""

    bank: Path
    recordings: list[Recording]
    teacher: Path
    model: Path
    shipped: Path
    work: Path

    def figures(self) -> dict[str, Any]:
        """The figures of each network on fold 5, as it was trained and with the head that ships."""
        found: dict[str, Any] = {"teacher": self.teacher.name, "networks": {}}
        for name, path in ((BEFORE, self.model), (CONTROL, self.train("control")), (DISTILLED, self.train("student"))):
            found["networks"][name] = self._heads(name, path).figures((0,), (AS_TRAINED, WITH_NOTHING))
        others = [row for row in self.recordings if row.split == "train" and row.kind not in NOTHING]
        found["others"] = len(others)
        found["sources"] = dict(sorted(Counter(f"{row.source} ({row.licence})" for row in others).items()))
        return found

    def ship(self) -> None:
        """Trains the head of the student that ships; WORK receives earmark-esc50.safetensors and .onnx."""
        self._heads(DISTILLED, self.train("student")).ship(str(self.train("shipped")))

    def train(self, which: str) -> Path:
        """The student or the control of folds 1 to 3, or the student that ships, after its training."""
        folds, start = (SHIPPED, self.shipped) if which == "shipped" else (FIGURES, self.model)
        out = self.work / which
        flags = ("--init", start, *RECIPE, "--out", out, *resume(out))
        if which == "control":
            earmark("train", f"esc50:{self.bank}", "--split", ",".join(folds), *flags, folder=self.work)
        else:
            head, table = self._head_of_teacher(folds), self._clips_of_student(folds)
            words = (head, f"csv:{table}", "--split", "train", "--label-weight", LABEL_WEIGHT, *STUDENT)
            earmark("distill", *words, *flags, folder=self.work)
        return out / "last.safetensors"

    def _head_of_teacher(self, folds: tuple[str, ...]) -> str:
        """The published network with a head for ESC-50's labels."""
        name = "".join(folds)
        nothing = [(row.path, "", "train", row.group) for row in self._nothing()]
        rows = [*self._labelled(folds), *nothing]
        write_clips(rows, self.work / f"taught{name}.csv")
        out = self.work / f"teacher{name}"
        words = ("--init", self.teacher, "--freeze", "backbone", "--encoded-crops", N_CROPS, "--allow-unlabelled")
        flags = ("--no-balanced", "--out", out, *resume(out))
        earmark("train", f"csv:taught{name}.csv", "--split", "train", *words, *flags, folder=self.work)
        return f"teacher{name}/last.safetensors"

    def _clips_of_student(self, folds: tuple[str, ...]) -> str:
        """Writes the table of the student's clips: all but ESC-50's without labels."""
        nothing = self._nothing()[::SHARE_OF_NOTHING]
        others = [row for row in self.recordings if row.split == "train" and row.kind not in NOTHING]
        unlabelled = [(row.path, "", "train", row.group) for row in (*others, *nothing)]
        table = f"student{''.join(folds)}.csv"
        write_clips([*self._labelled(folds), *unlabelled], self.work / table)
        return table

    def _labelled(self, folds: tuple[str, ...]) -> list[tuple[Path, str, str, str]]:
        clips = open_data(f"esc50:{self.bank}").select(splits=folds)
        return [(path_of(clip), ";".join(clip.labels), "train", f"esc50 {clip.group}") for clip in clips]

    def _nothing(self) -> list[Recording]:
        return [row for row in self.recordings if row.split == "train" and row.kind in NOTHING]

    def _heads(self, name: str, model: Path) -> HeadSteps:
        work = self.work / name.replace(" ", "-")
        work.mkdir(exist_ok=True)
        return HeadSteps(self.bank, self.recordings, str(model), work)


def page(found: Mapping[str, Any]) -> str:
    """The page about the student."""
    raise NotImplementedError
