"""`earmark train`: weakly labelled clips to a tagger."""

import json as jsonlib
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.config import Dict

from earmark.cli.clips import rate_of, select
from earmark.cli.screen import AsJson, Quiet, note, say, show_warnings, write_json
from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError
from earmark.training import TrainConfig
from earmark.training.recipes import RECIPES
from earmark.training.settings import Topic

_DEFAULTS: Final = TrainConfig()
_REQUEST: Final = ("data", "split", "valid", "valid_split", "labels")
"""The flags that say which clips to take; they are kept in `run.json` beside the settings."""
_CONFIG: Final = f"A recipe ({', '.join(RECIPES)}), a run.json to repeat, or a JSON or TOML file; flags override it."


def train(
    data: str | None = None,
    *,
    out: Path,
    split: Annotated[str | None, Topic.DATA] = None,
    valid: Annotated[str | None, Topic.DATA] = None,
    valid_split: Annotated[str | None, Topic.DATA] = None,
    labels: Annotated[str | None, Topic.DATA] = None,
    config: Annotated[Path | None, Parameter(help=_CONFIG)] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[TrainConfig, Parameter(name="*", negative_iterable="")] = _DEFAULTS,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a tagger on weakly labelled clips.

    Args:
        data: csv:FILE, folder:DIR, parquet:GLOB, audioset:DIR, fsd50k:DIR, esc50:DIR, soundscapes:DIR or clips:FILE.
        out: Folder of the run, new or empty unless --resume.
        split: Train on these splits of DATA, joined by commas; on all of it when not given.
        valid: Validate after each epoch on this, named as DATA is.
        valid_split: Validate on these splits of --valid, or of DATA.
        labels: Learn these labels only, names or ids joined by commas; or esc10.
        resume: Go on with the run in --out, with its settings and data.
        json: Print a JSON summary.
        quiet: Nothing but errors on standard error.
    """
    if data is None and resume:
        hint = "on a further machine give DATA and the settings of the first" if "NODE_RANK" in os.environ else ""
        raise ConfigError(f"{out}: no run to resume there (no run.json); {hint or 'start it without --resume'}")
    if data is None:
        raise CycloptsError("DATA is missing, such as folder:DIR; or a --config with it")
    # where torchrun has started this command several times, one of them speaks
    is_first = os.environ.get("RANK", os.environ.get("NODE_RANK", "0") if settings.num_nodes > 1 else "0") == "0"
    if not is_first:
        quiet = True
        show_warnings(quiet)
    request = dict(zip(_REQUEST, (data, split, valid, valid_split, labels), strict=True))
    held_out = None
    try:
        clips = select(data, split, labels)
        if valid is not None or valid_split is not None:
            held_out = select(valid or data, valid_split, labels)
    except DataError as error:
        record = out / "run.json" if resume else config
        raise DataError(f"{error}{_hint_of_folder(record, data, valid)}") from error
    _tell_of_clips(clips, split, None if settings.init else settings.sample_rate, quiet)
    from earmark.training import train as run_training

    result = run_training(settings, clips, out, held_out, resume=resume, progress=not quiet, request=request)
    if not is_first:
        return
    best = result.best_epoch
    if json:
        figures = {name: value if math.isfinite(value or 0) else None for name, value in asdict(best).items()}
        write_json({"best": str(result.best), "last": str(result.last), "best_epoch": figures})
        return
    score = "" if best.valid_mAP is None else f", mAP {best.valid_mAP:.3f} on the validation clips"
    say(f"{result.best}  (epoch {best.epoch} of {len(result.history)}{score})")


def _hint_of_folder(record: Path | None, *specs: str | None) -> str:
    """What to add to an error about data that a file names, when they may lie where the run was started."""
    paths = [Path(spec.partition(":")[2]) for spec in specs if spec is not None]
    if record is None or all(path.exists() or path.is_absolute() for path in paths):
        return ""
    # run.json holds no absolute paths: it may be published
    return f"; {record} names its data as seen from the folder where that run was started: start this one there too"


def _tell_of_clips(clips: Dataset, split: str | None, sample_rate: int | None, quiet: bool) -> None:
    """Says so when no split was chosen, and when the recordings hold nothing in the upper part of what is heard.

    The rate is judged by a few; that of a checkpoint, None, cannot be chosen.
    """
    if split is None and len(clips.splits) > 1:
        note(f"note: trained on the clips of all splits ({', '.join(clips.splits)}); --split chooses some", quiet)
    if sample_rate is None or quiet:
        return
    rate = rate_of(clips)
    if rate is not None and rate < sample_rate:
        note(
            f"note: the recordings are at {rate} Hz, the network listens at {sample_rate} Hz and would learn that "
            f"nothing sounds above {rate // 2} Hz; --sample-rate 16000 may fit them better",
            quiet,
        )


def fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Has the file of --config, or the run of --resume, stand in for flags that were not given.

    Raises:
        ConfigError: The file has settings that there are not, or is no JSON or TOML.
        OSError: The file cannot be read.
    """
    given = {name: [token.value for token in arguments.get(f"--{name}").tokens] for name in ("config", "out", "data")}
    path = Path(given["config"][-1]) if given["config"] else None
    if path is None and arguments.get("--resume").tokens and given["out"]:
        path = Path(given["out"][-1]) / "run.json"
        if not path.is_file():
            return  # that there is no run to resume is told later
    if path is None:
        return
    settings, request = _read(path)
    if given["data"]:
        request = {}  # a file's splits and labels mean its own data
    values = {name: value for name, value in {**settings, **request}.items() if value is not None}
    Dict(data=values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the request of a recipe, a `run.json`, or of a file that holds them side by side."""
    if str(path) in RECIPES and not path.exists():
        return asdict(RECIPES[str(path)].config), {}
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        raise ConfigError(f"{path}: no such file, and no recipe either; there are {', '.join(RECIPES)}")
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else jsonlib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: neither a run.json nor a JSON or TOML file of settings ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: settings by name were expected, not a {type(content).__name__}")
    if isinstance(content.get("config"), dict):
        settings, request = content["config"], content.get("request") or {}
    else:
        settings = {name: value for name, value in content.items() if name not in _REQUEST}
        request = {name: value for name, value in content.items() if name in _REQUEST}
    _check(path, settings, request)
    return settings, request


def _check(path: Path, settings: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    try:
        TrainConfig.from_json({**asdict(_DEFAULTS), **settings})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for name, value in request.items():
        if name not in _REQUEST or not (value is None or isinstance(value, str)):
            raise ConfigError(f"{path}: {name}={value!r} is no description of data; there are {', '.join(_REQUEST)}")
