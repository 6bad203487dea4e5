"""Loading of models by name or path."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from earmark.errors import CheckpointError, ConfigError
from earmark.inference.tagger import Tagger
from earmark.storage.files import in_either_form

if TYPE_CHECKING:
    from earmark.model.head import Head
    from earmark.model.network import Network

DEFAULT_MODEL: Final = "earmark-esc50"
EngineName = Literal["auto", "onnx", "torch"]

_SHIPPED: Final = ("earmark-esc50",)
"""Models in the package, each as an exported `.onnx` file and as a checkpoint, with a card in `earmark/hub`."""
_PUBLISHED: Final[Mapping[str, Mapping[str, Any]]] = {
    # Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", CC BY 4.0
    "panns-cnn10": {
        "url": "https://zenodo.org/record/3987831/files/Cnn10_mAP%3D0.380.pth?download=1",
        "name": "Cnn10_mAP=0.380.pth",
        "n_bytes": 25_237_595,
        "md5": "bfb1f1f9968938fa8ef4012b8471f5f6",
    }
}
"""Models published by others, by name: fields of `earmark.storage.download.PublishedFile`."""
_ADVICE: Final = (
    "give the path of a .safetensors checkpoint; `earmark train esc50:ESC-50 --out RUN` writes RUN/best.safetensors"
)


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    n_threads: int | None = None,
    precision: Literal["float32", "bf16"] = "float32",
    engine: EngineName = "auto",
) -> Tagger:
    """The tagger of a model, given by name or by the path of a checkpoint.

    Args:
        name_or_path: `earmark-esc50`, which is in the package; `panns-cnn10`, which has the 527 labels of AudioSet and
            is downloaded once (CC BY 4.0) into the cache folder (`EARMARK_CACHE`); or the path of a `.safetensors`
            checkpoint, an exported `.onnx` file (runs without PyTorch), or a `.pth` file with weights of PANNs' Cnn10.
            A file with the name of a model takes precedence.
        n_threads: Number of threads per call of the network; None means all processors. PyTorch has one such setting
            for the whole process.
        precision: bf16 is faster on processors that support it, and changes scores in the third digit
            (results/precision.md). It needs PyTorch: an `.onnx` file has a fixed precision.
        engine: `onnx` is ONNX Runtime, `torch` is PyTorch. `auto` takes ONNX Runtime for `earmark-esc50` in float32 and
            for `.onnx` files, and PyTorch for everything else.

    Raises:
        CheckpointError: The model is unknown, cannot be downloaded, or is no checkpoint that this version can read.
        ConfigError: The file does not run in this engine, or not in this precision.
        ModuleNotFoundError: PyTorch, which a checkpoint needs, is not installed: `pip install 'earmark[train]'`.
    """
    if precision != "float32" and engine == "auto":
        engine = "torch"
    if engine == "torch":
        import earmark.inference.torch_engine  # noqa: F401 (a missing PyTorch is named before a missing file)
    path = find_checkpoint(name_or_path, engine)
    if path.suffix == ".onnx":
        from earmark.inference.onnx_engine import OnnxEngine

        if precision != "float32":
            raise ConfigError(
                f"{path}: the precision of an exported network is fixed; {precision} needs its checkpoint", "precision"
            )
        if engine == "torch":
            raise ConfigError(
                f"{path}: an exported network runs in ONNX Runtime only; torch needs its checkpoint", "engine"
            )
        return Tagger(OnnxEngine(path, n_threads=n_threads))
    if engine == "onnx":
        raise ConfigError(
            f"{path}: ONNX Runtime needs an .onnx file; `earmark export {path} OUT.onnx` writes it", "engine"
        )
    # imported late: tagging with an .onnx file works without PyTorch
    from earmark.inference.torch_engine import TorchEngine

    return Tagger(TorchEngine(_read_network(path), n_threads, precision))


def load_network(name_or_path: str | os.PathLike[str]) -> "Network":
    """The network of a model, in evaluation mode.

    Raises:
        CheckpointError: As for `load`.
    """
    return _read_network(_find_trainable(name_or_path))


def load_stages(name_or_path: str | os.PathLike[str]) -> "Head | Network":
    """The network of a model, or the head of a checkpoint that has only a head, in evaluation mode.

    Raises:
        CheckpointError: As for `load`.
    """
    path = _find_trainable(name_or_path)
    if path.suffix == ".pth":
        return _read_network(path)
    from earmark.model.network import load_stages

    return load_stages(path)


def find_checkpoint(name_or_path: str | os.PathLike[str], engine: EngineName = "auto") -> Path:
    """The path of the file that `load` reads for this engine; downloads it if necessary.

    Raises:
        CheckpointError: As for `load`.
    """
    name = os.fspath(name_or_path)
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.onnx"))
        hint = f"did you mean {found[0]}?" if found else "it holds no checkpoints"
        raise CheckpointError(f"{name}: expected a checkpoint file, got a folder; {hint}")
    if (path := in_either_form(path)).is_file():
        return path
    if name in _SHIPPED:
        shipped = Path(__file__).with_name(f"{name}.safetensors" if engine == "torch" else f"{name}.onnx")
        if not shipped.is_file():
            raise CheckpointError(
                f"{name}: its checkpoint is not in the installed package, only its .onnx file; the source distribution "
                f"has src/earmark/hub/{shipped.name}: give the path of that file"
            )
        return shipped
    if name in _PUBLISHED:
        import torch  # noqa: F401  # a missing PyTorch is an error before the download, not after it

        from earmark.storage.download import PublishedFile, fetch

        return fetch(PublishedFile(**_PUBLISHED[name]))
    if path.suffix in (".safetensors", ".onnx", ".pth") or len(path.parts) > 1:
        raise CheckpointError(f"{name}: no such file; {_ADVICE}")
    raise CheckpointError(f"unknown model {name!r}; this version has {', '.join((*_SHIPPED, *_PUBLISHED))}; {_ADVICE}")


def _find_trainable(name_or_path: str | os.PathLike[str]) -> Path:
    path = find_checkpoint(name_or_path, "torch")
    if path.suffix == ".onnx":
        raise CheckpointError(
            f"{path}: expected a .safetensors checkpoint; an exported network only tags, so give the checkpoint from "
            "which it was exported"
        )
    return path


def _read_network(path: Path) -> "Network":
    if path.suffix == ".pth":
        from earmark.hub.panns import read_cnn10

        return read_cnn10(path)
    from earmark.model.network import Network

    return Network.load(path)
