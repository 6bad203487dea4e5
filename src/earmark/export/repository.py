"""A model as a folder for the Hugging Face Hub: its weights and its card."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from earmark import hub
from earmark.errors import ConfigError
from earmark.hub.hugging_face import CHECKPOINT, EXPORTED, check_repository
from earmark.hub.model_card import card, figures_of, licence_of
from earmark.inference.onnx_engine import OnnxEngine
from earmark.inference.tagger import Tagger
from earmark.storage.files import atomic_write, leftovers

CARD: Final = "README.md"
"""Name of the card."""

_Written = tuple[Tagger, Mapping[str, Any], Mapping[str, Any]]
"""A tagger with the facts and the settings of its file."""


def write_repository(
    model: str,
    folder: Path,
    repository: str,
    *,
    licence: str | None = None,
    report: Mapping[str, Any] | None = None,
    onnx: bool = False,
) -> list[str]:
    """Writes the files of a repository and returns their names: the card and the weights, as `hub.load` finds them.

    Args:
        model: Name or path of the model. An `.onnx` file is copied; other models become a checkpoint.
        folder: New or empty, or written by this function before.
        repository: OWNER/NAME, for the card.
        licence: The licence of the weights as the Hub spells it; known for models by name.
        report: `report.json` of `earmark evaluate`, for the figures on the card.
        onnx: Export the checkpoint too.

    Raises:
        CheckpointError: The model cannot be read.
        ConfigError: The folder holds other files, or a setting is invalid.
        DataError: The report is another file.
        ModuleNotFoundError: A package that the model or the export needs is not installed.
    """
    check_repository(repository)
    is_exported = model.endswith(".onnx")
    # an unknown model is an error before a missing licence
    path = hub.find_checkpoint(model, "auto" if is_exported else "torch")
    licence = licence_of(model, licence)
    if report is not None:
        figures_of(report)  # fails before the export
    known = (CARD, CHECKPOINT, EXPORTED)
    dead = leftovers(folder) if folder.is_dir() else []
    if folder.is_dir() and set(folder.iterdir()) - {folder / name for name in known} - set(dead):
        raise ConfigError(f"{folder}: a new folder was expected, or one with {', '.join(known)} only", "out")
    names = [EXPORTED] if is_exported else [CHECKPOINT, *([EXPORTED] if onnx else [])]
    tagger, facts, network = _copy(path, folder) if is_exported else _save(path, folder, onnx)
    extras = "hub" if EXPORTED in names else "hub,train"
    text = card(tagger, repository, licence, extras, facts, network, report)
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    for earlier in (*dead, *(folder / name for name in (CHECKPOINT, EXPORTED) if name not in names)):
        earlier.unlink(missing_ok=True)
    return [CARD, *names]


def _copy(path: Path, folder: Path) -> _Written:
    engine = OnnxEngine(path)
    with atomic_write(folder / EXPORTED) as temporary:
        shutil.copyfile(path, temporary)
    return Tagger(engine), engine.extra, engine.config


def _save(path: Path, folder: Path, onnx: bool) -> _Written:
    network = hub.load_network(path)
    # imported late: pushing an .onnx file works without PyTorch
    from earmark.inference.torch_engine import TorchEngine

    network.save(folder / CHECKPOINT)
    if onnx:
        from earmark.export.onnx_file import export

        export(network, folder / EXPORTED)
    return Tagger(TorchEngine(network)), network.extra, network.config.to_json()
