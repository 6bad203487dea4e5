"""`earmark train`: a tagger from weakly labelled clips."""

import json as jsonlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.config import Dict

from earmark.cli.flags import AsJson, Data, Labels, LabelSeparator, Quiet, Split
from earmark.cli.screen import note, say, show_warnings, write_json
from earmark.cli.selection import ClipsOfEvents, check_annotated, rate_below, select
from earmark.data.clips import Dataset
from earmark.data.event_clips import EventClips
from earmark.data.union import unite
from earmark.errors import ConfigError, DataError
from earmark.training import TrainConfig
from earmark.training.choices import Topic
from earmark.training.recipes import RECIPES

if TYPE_CHECKING:
    from earmark.training.training_run import TrainResult

_DEFAULTS: Final = TrainConfig()
_CLIPS: Final = EventClips()
_RULES: Final = tuple(entry.name for entry in fields(EventClips))
_REQUEST: Final = ("data", "add", "split", "valid", "valid_split", "labels", "label_separator", *_RULES)
"""Flags that select the clips; `run.json` keeps them beside the settings."""
CONFIG_HELP: Final = (
    f"Settings: a recipe ({', '.join(RECIPES)}), a run.json or another JSON or TOML file; flags override them."
)


def train(
    data: Data | None = None,
    *,
    out: Path,
    add: Annotated[list[str] | None, Topic.DATA] = None,
    split: Annotated[Split, Topic.DATA] = None,
    valid: Annotated[str | None, Topic.DATA] = None,
    valid_split: Annotated[str | None, Topic.DATA] = None,
    labels: Annotated[Labels, Topic.DATA] = None,
    label_separator: Annotated[LabelSeparator, Topic.DATA] = None,
    event_clips: ClipsOfEvents = _CLIPS,
    config: Annotated[Path | None, Parameter(help=CONFIG_HELP)] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[TrainConfig, Parameter(name="*", negative_iterable="")] = _DEFAULTS,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a tagger on weakly labelled clips.

    Args:
        out: Folder of the run; must be new or empty without --resume.
        add: More training clips, given like DATA, once for each set; a label that a set lacks is unknown in its clips.
        valid: Data to validate on after each epoch, given like DATA.
        valid_split: Splits of --valid, or else of DATA, to validate on, joined by commas.
        resume: Continue the run in --out with its settings and data.
    """
    if data is None and resume:
        hint = "give DATA and the settings of the first machine" if "NODE_RANK" in os.environ else ""
        raise ConfigError(f"{out}: no run to resume there (no run.json); {hint or 'start one without --resume'}")
    if data is None:
        raise CycloptsError("DATA is missing, such as folder:DIR; or a --config with it")
    is_first = is_first_process(settings)
    quiet = quiet or not is_first
    check_annotated(event_clips, data, valid, *(add or ()))
    settings = replace(settings, allow_unlabelled=settings.allow_unlabelled or event_clips.negatives > 0)
    request = _request((data, add, split, valid, valid_split, labels, label_separator), event_clips)
    held_out = None
    try:
        choose = partial(select, labels=labels, label_separator=label_separator, event_clips=event_clips)
        more = partial(select, label_separator=label_separator, event_clips=event_clips)
        clips = unite([choose(data, split), *map(more, add or ())])
        if valid is not None or valid_split is not None:
            held_out = choose(valid or data, valid_split)
    except DataError as error:
        if hint := _hint_of_folder(out / "run.json" if resume else config, data, valid, *(add or ())):
            raise DataError(f"{error}{hint}") from error
        raise
    _note_unusual_clips(clips, split, None if settings.init else settings.sample_rate, quiet)
    from earmark.training import train as run_training

    result = run_training(settings, clips, out, held_out, resume=resume, progress=not quiet, request=request)
    if not is_first:
        return
    _print(result, json)


def _print(result: "TrainResult", json: bool) -> None:
    best = result.best_epoch
    if json:
        write_json({"best": str(result.best), "last": str(result.last), "best_epoch": best.to_json()})
        return
    score = "" if best.valid_mAP is None else f", mAP {best.valid_mAP:.3f} on the validation clips"
    say(f"{result.best}  (epoch {best.epoch} of {len(result.history)}{score})")


def is_first_process(settings: TrainConfig) -> bool:
    """Whether this process prints: where torchrun has started several, only the first one does, warnings too."""
    is_first = os.environ.get("RANK", os.environ.get("NODE_RANK", "0") if settings.num_nodes > 1 else "0") == "0"
    if not is_first:
        show_warnings(quiet=True)
    return is_first


def _request(selection: Sequence[str | list[str] | None], event_clips: EventClips) -> dict[str, Any]:
    """How the clips were selected, with the rules for clips of annotations that are not the defaults."""
    rules = {name: value for name, value in asdict(event_clips).items() if value != getattr(_CLIPS, name)}
    return {**dict(zip(_REQUEST, selection, strict=False)), **rules}


def _hint_of_folder(record: Path | None, *specs: str | None) -> str:
    """Advice for missing data of a run or a file of settings, whose relative paths may start elsewhere; or empty."""
    paths = [Path(spec.partition(":")[2]) for spec in specs if spec is not None]
    # a recipe is no file
    if record is None or not record.is_file() or all(path.exists() or path.is_absolute() for path in paths):
        return ""
    # run.json may be published and so holds no absolute paths
    return f"; the paths in {record} are relative to the folder where that run was started: start this one there too"


def _note_unusual_clips(clips: Dataset, split: str | None, sample_rate: int | None, quiet: bool) -> None:
    """Prints a note if no split was chosen, or if some recordings have a lower sample rate than the network."""
    if split is None and len(clips.splits) > 1:
        note(f"note: all splits are used for training ({', '.join(clips.splits)}); --split selects some", quiet)
    if sample_rate is not None and not quiet and (rate := rate_below(sample_rate, clips)):
        note(
            f"note: the recordings have a sample rate of {rate} Hz, the network of {sample_rate} Hz; it would learn "
            f"that there is no sound above {rate // 2} Hz; --sample-rate 16000 may suit them better",
            quiet,
        )


def fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Takes flags that were not given from the file of --config or from the run of --resume.

    Raises:
        ConfigError: The file has unknown or invalid settings, or is neither JSON nor TOML.
        OSError: The file cannot be read.
    """
    given = {name: [token.value for token in arguments.get(f"--{name}").tokens] for name in ("config", "out", "data")}
    path = Path(given["config"][-1]) if given["config"] else None
    if path is None and arguments.get("--resume").tokens and given["out"]:
        path = Path(given["out"][-1]) / "run.json"
        if not path.is_file():
            return  # the missing run is reported later
    if path is None:
        return
    names = _request_names(commands)
    settings, request = _read(path, names)
    # splits and labels of a file belong to the data of that file, even those that only another command has
    replaced = set(_REQUEST) if given["data"] else set()
    request = {name: value for name, value in request.items() if value is not None and name not in replaced - {*names}}
    _check(path, settings, request, names)
    request = {name: value for name, value in request.items() if name not in replaced}
    values = {name: value for name, value in {**settings, **request}.items() if value is not None}
    Dict(data=values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _request_names(commands: tuple[str, ...]) -> tuple[str, ...]:
    """The flags of the command that are kept beside the settings."""
    if commands[-1:] == ("distill",):
        from earmark.cli.distill import REQUEST

        return REQUEST
    return _REQUEST


def _read(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and request of a recipe, a `run.json`, or a file that holds both side by side."""
    if str(path) in RECIPES and not path.exists():
        return asdict(RECIPES[str(path)].config), {}
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        raise ConfigError(
            f"{path}: a file or one of the recipes {', '.join(RECIPES)} was expected; there is no such file"
        )
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else jsonlib.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{path}: a run.json or another JSON or TOML file of settings was expected ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: settings by name were expected, not a {type(content).__name__}")
    if isinstance(content.get("config"), dict):
        settings, request = content["config"], content.get("request") or {}
        if not isinstance(request, dict):
            raise ConfigError(f"{path}: data by name were expected in request, not {request!r}")
    else:
        settings = {name: value for name, value in content.items() if name not in names}
        request = {name: value for name, value in content.items() if name in names}
    return settings, request


def _check(path: Path, settings: Mapping[str, Any], request: Mapping[str, Any], names: tuple[str, ...]) -> None:
    try:
        TrainConfig.from_json(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for name, value in request.items():
        if name == "teacher" and name not in names:
            raise ConfigError(f"{path}: the settings of a distillation; `earmark distill --config` takes them")
        is_number = name in (*_RULES, "label_weight") and isinstance(value, int | float)
        texts = value if name == "add" and isinstance(value, list) else [value]
        is_text = all(text is None or isinstance(text, str) for text in texts)
        if name not in names or not (is_text or is_number):
            raise ConfigError(
                f"{path}: the names {', '.join(names)} and texts were expected to select data, not {name}={value!r}"
            )
