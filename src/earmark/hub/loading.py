"""A name or a path -> a network, ready to tag."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from earmark.errors import CheckpointError, ConfigError
from earmark.inference.tagger import Tagger

if TYPE_CHECKING:
    from earmark.model.network import Network

DEFAULT_MODEL: Final = "earmark-esc50"
"""What is loaded when nobody says which model."""

_SHIPPED: Final = {"earmark-esc50": "earmark-esc50.safetensors"}
"""Models inside the package (`earmark/hub`, with a card each), by name."""
_PUBLISHED: Final[Mapping[str, Mapping[str, Any]]] = {
    # Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", CC BY 4.0
    "panns-cnn10": {
        "url": "https://zenodo.org/record/3987831/files/Cnn10_mAP%3D0.380.pth?download=1",
        "file": "Cnn10_mAP=0.380.pth",
        "n_bytes": 25_237_595,
        "md5": "bfb1f1f9968938fa8ef4012b8471f5f6",
    }
}
"""Models that others publish, by name: fields of `earmark.storage.download.Published`."""
_ADVICE: Final = (
    "give the path of a .safetensors checkpoint; `earmark train esc50:ESC-50 --out RUN` makes RUN/best.safetensors"
)


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    n_threads: int | None = None,
    precision: Literal["float32", "bf16"] = "float32",
) -> Tagger:
    """The tagger of a checkpoint, or of a model that earmark knows by name.

    Args:
        name_or_path: `earmark-esc50`, which is part of the package; or `panns-cnn10`, the 527 labels of AudioSet,
            whose published weights (CC BY 4.0) are fetched once into the user's cache folder, or `EARMARK_CACHE`; or
            the path of a `.safetensors` checkpoint, as training writes them, of an `.onnx` file, as `earmark export`
            does (it runs without PyTorch), or of a `.pth` file with weights of PANNs' Cnn10. A file of a model's name
            goes before the model.
        n_threads: Processors that each call of the network may use, all of them when missing. PyTorch has one such
            number for the whole process.
        precision: bf16 is faster where the processor has instructions for it, and changes scores in the third digit
            (results/precision.md). An `.onnx` file has its own precision inside.

    Raises:
        CheckpointError: There is no such model, it can't be fetched, or the file is not a checkpoint that this version
            can read.
        ConfigError: Another precision was asked of an `.onnx` file.
        ModuleNotFoundError: ONNX Runtime is not installed, which an `.onnx` file needs.
    """
    path = _checkpoint(os.fspath(name_or_path))
    if path.suffix == ".onnx":
        from earmark.inference.onnx_engine import OnnxEngine

        if precision != "float32":
            raise ConfigError(f"precision: {path} has its own inside; {precision} is for other checkpoints")
        return Tagger(OnnxEngine(path, n_threads=n_threads))
    # PyTorch takes seconds to import: a misspelt name is told at once
    from earmark.inference.torch_engine import TorchEngine

    return Tagger(TorchEngine(_network(path), n_threads, precision))


def load_network(name_or_path: str | os.PathLike[str]) -> "Network":
    """The network itself, in evaluation mode, for those who want more than tags.

    Raises:
        CheckpointError: As for `load`.
    """
    path = _checkpoint(os.fspath(name_or_path))
    if path.suffix == ".onnx":
        raise CheckpointError(
            f"{path}: an exported network only tags, it can't be trained, measured or exported; a .safetensors "
            "checkpoint was expected, such as the one that it was exported from"
        )
    return _network(path)


def find_checkpoint(name_or_path: str | os.PathLike[str]) -> Path:
    """The file that `load` would read; it is fetched where it has to be.

    Raises:
        CheckpointError: As for `load`.
    """
    return _checkpoint(os.fspath(name_or_path))


def _checkpoint(name: str) -> Path:
    """The file meant by `name`, or an error that says what would have been one."""
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.onnx"))
        hint = f"; did you mean {found[0]}?" if found else " without checkpoints in it"
        raise CheckpointError(f"{name}: a checkpoint file was expected, this is a folder{hint}")
    if path.is_file():
        return path
    if name in _SHIPPED:
        return Path(__file__).parent / _SHIPPED[name]
    if name in _PUBLISHED:
        from earmark.storage.download import Published, fetch

        return fetch(Published(**_PUBLISHED[name]))
    if path.suffix in (".safetensors", ".onnx", ".pth") or len(path.parts) > 1:
        raise CheckpointError(f"{name}: no such file; {_ADVICE}")
    raise CheckpointError(
        f"there is no model called {name!r}; this version has {', '.join((*_SHIPPED, *_PUBLISHED))}; {_ADVICE}"
    )


def _network(path: Path) -> "Network":
    if path.suffix == ".pth":
        from earmark.hub.panns import read_cnn10

        return read_cnn10(path)
    from earmark.model.network import Network

    return Network.load(path)
