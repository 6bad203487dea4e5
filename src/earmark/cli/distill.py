"""`earmark distill`: a student that learns the scores of other taggers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter

from earmark.cli.flags import AsJson, LabelSeparator, Quiet, Split, split_words
from earmark.cli.screen import progress, say, write_json
from earmark.cli.selection import select
from earmark.cli.train import CONFIG_HELP, is_first_process
from earmark.data.recordings import read_recordings
from earmark.errors import ConfigError, Limit, counted
from earmark.training import TrainConfig
from earmark.training.choices import Topic

if TYPE_CHECKING:
    from earmark.data.clips import Dataset
    from earmark.training.agreement import Agreement
    from earmark.training.teacher import TeacherConfig

_DEFAULTS: Final = TrainConfig()
_DATA: Final = "A folder of recordings, or clips as `earmark train` takes them, such as csv:FILE or folder:DIR."
REQUEST: Final = ("teacher", "data", "label_weight", "split", "valid", "valid_split", "label_separator")
"""Flags that select teacher and clips; `run.json` keeps them beside the settings."""


def distill(
    teacher: str | None = None,
    data: Annotated[str | None, Parameter(help=_DATA)] = None,
    *,
    out: Path,
    label_weight: Annotated[float, Limit(at_least=0, at_most=1), Topic.DATA] = 0.0,
    split: Annotated[Split, Topic.DATA] = None,
    valid: Annotated[str | None, Topic.DATA] = None,
    valid_split: Annotated[str | None, Topic.DATA] = None,
    label_separator: Annotated[LabelSeparator, Topic.DATA] = None,
    threshold: Annotated[float, Limit(above=0, below=1), Topic.DATA] = 0.5,
    config: Annotated[Path | None, Parameter(help=CONFIG_HELP)] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[TrainConfig, Parameter(name="*", negative_iterable="")] = _DEFAULTS,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a student on the scores of other taggers, on clips with or without labels.

    Args:
        teacher: Models whose mean scores are learned, joined by commas: names or files (`earmark models`).
        out: Folder of the run; must be new or empty without --resume.
        label_weight: Weight of the true labels in the targets of labelled clips; the teacher's scores have the rest.
        valid: Held-out data to measure the agreement on, given like DATA.
        valid_split: Splits of --valid, or else of DATA, to hold out, joined by commas.
        threshold: Score of the teacher from which a label of a held-out clip counts as true.
        resume: Continue the run in --out with its settings and data.
    """
    if (teacher is None or data is None) and resume:
        raise ConfigError(f"{out}: no run to resume there (no run.json); start one without --resume")
    if teacher is None or data is None:
        raise CycloptsError("TEACHER or DATA is missing, as in: earmark distill mn04 folder:DIR; or a --config")
    values = (teacher, data, label_weight, split, valid, valid_split, label_separator)
    clips = _select(data, split, label_weight, label_separator)
    held_out = None
    if valid is not None or valid_split is not None:
        held_out = _select(valid or data, valid_split, label_weight, label_separator)
    from earmark.training import train as run_training
    from earmark.training.teacher import TeacherConfig

    taught, is_first = TeacherConfig(split_words(teacher), label_weight), is_first_process(settings)
    quiet = quiet or not is_first
    request = dict(zip(REQUEST, values, strict=True))
    result = run_training(
        settings, clips, out, held_out, resume=resume, progress=not quiet, request=request, teacher=taught
    )
    if not is_first:
        return
    found = None if held_out is None else _agreement(result.best, held_out, taught, out, threshold, settings, quiet)
    if json:
        facts = {"best": str(result.best), "last": str(result.last), "best_epoch": result.best_epoch.to_json()}
        write_json(facts | ({} if found is None else {"agreement": found.to_json()}))
        return
    say(f"{result.best}  (epoch {result.best_epoch.epoch} of {len(result.history)})")
    if found is not None:
        say(
            f"agreement on {counted(found.n_clips, 'held-out clip')}: mAP {found.mAP:.3f} over the "
            f"{counted(found.n_labels, 'label')} that the teacher scores {threshold:g} or more; "
            f"mean absolute difference {found.mean_absolute_difference:.4f}"
        )


def _select(data: str, splits: str | None, label_weight: float, label_separator: str | None) -> "Dataset":
    """The clips in given splits; tables and plain folders need no labels where labels have no weight."""
    source, colon, path = data.partition(":")
    is_table = source == "csv" and bool(path)
    if label_weight > 0 or not (is_table or (not colon and Path(data).is_dir())):
        return select(data, splits, label_separator=label_separator)
    clips = read_recordings(path if is_table else data)
    return clips if splits is None else clips.select(splits=split_words(splits))


def _agreement(
    student: Path,
    held_out: "Dataset",
    teacher: "TeacherConfig",
    out: Path,
    threshold: float,
    settings: TrainConfig,
    quiet: bool,
) -> "Agreement":
    """The agreement of the student with its teacher; `agreement.json` in the run's folder keeps it."""
    from earmark.inference.torch_engine import torch_device
    from earmark.model.network import Network
    from earmark.storage.json_files import write_json as write_file
    from earmark.training.agreement import agreement
    from earmark.training.folder import RunFolder
    from earmark.training.teacher import Teacher

    with progress("scoring held-out clips", quiet) as show:
        found = agreement(
            Network.load(student),
            held_out,
            Teacher(teacher, settings.device),
            RunFolder(out).teacher / "validation.jsonl",
            threshold=threshold,
            n_readers=settings.n_readers,
            device=str(torch_device(settings.device)),
            progress=show,
        )
    write_file(out / "agreement.json", found.to_json())
    return found
