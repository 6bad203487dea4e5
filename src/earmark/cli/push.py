"""`earmark push`: a model with its card, to the Hugging Face Hub."""

import json as jsonlib
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import CycloptsError, Parameter

from earmark.cli.flags import FOLDER, AsJson, Quiet
from earmark.cli.screen import note, say, write_json
from earmark.errors import DataError
from earmark.export.repository import write_repository


def push(
    model: str,
    repository: str,
    /,
    *,
    licence: Annotated[str | None, Parameter(name=["--licence", "--license"])] = None,
    report: Path | None = None,
    onnx: Annotated[bool, Parameter(negative="")] = False,
    private: Annotated[bool, Parameter(negative="")] = False,
    revision: str | None = None,
    out: Annotated[Path | None, FOLDER] = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Upload a model with its card to the Hugging Face Hub.

    Args:
        model: A .safetensors checkpoint, an exported .onnx file, weights of a published model, or a name.
        repository: OWNER/NAME on the Hub; made if it does not exist.
        licence: Licence of the weights as the Hub spells it, such as cc-by-4.0; known for models by name.
        report: report.json of `earmark evaluate`, whose figures the card shows.
        onnx: Also export the checkpoint, so that the model runs without PyTorch; needs the extra export.
        private: Only you and your organisation can see the repository.
        revision: Branch to upload to, made if it does not exist; by default the main one.
        out: Write the files into this folder and upload nothing.
    """
    if onnx and model.endswith(".onnx"):
        raise CycloptsError("--onnx exports a checkpoint, and MODEL is an exported file already; leave it out")
    if out is not None and (private or revision is not None):
        raise CycloptsError("--private and --revision are for uploads; leave them out with --out")
    figures = None if report is None else _read(report)
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(TemporaryDirectory(prefix="earmark-")))
        names = write_repository(model, folder, repository, licence=licence, report=figures, onnx=onnx)
        note(f"{', '.join(names)}: {sum((folder / name).stat().st_size for name in names) / 1e6:.1f} MB", quiet)
        place = str(folder) if out is not None else _upload(folder, repository, revision, private)
    if json:
        write_json({"model": model, "repository": repository, "files": names, "place": place})
    else:
        say(place)


def _upload(folder: Path, repository: str, revision: str | None, private: bool) -> str:
    from earmark.hub.hugging_face import upload

    return upload(folder, repository, revision=revision, private=private)


def _read(report: Path) -> dict[str, Any]:
    try:
        values = jsonlib.loads(report.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{report}: report.json of `earmark evaluate` was expected, this is no JSON ({error})"
        ) from error
    return values if isinstance(values, dict) else {}
