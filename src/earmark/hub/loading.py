"""Loading of models by name or path."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from earmark.errors import CheckpointError, ConfigError
from earmark.hub import hugging_face
from earmark.hub.published import PUBLISHED, SHIPPED
from earmark.inference.engine import check_device_name, check_overlap
from earmark.inference.tagger import Tagger
from earmark.storage.files import in_either_form

if TYPE_CHECKING:
    from earmark.inference.onnx_engine import OnnxEngine
    from earmark.inference.torch_engine import TorchEngine
    from earmark.model.head import Head
    from earmark.model.network import Network

DEFAULT_MODEL: Final = "earmark-esc50"
EngineName = Literal["auto", "onnx", "torch"]

_TORCH: Final = (".pth", ".pt")
"""Suffixes of PyTorch files, as other projects publish them."""
_ON_HUB: Final[Mapping[EngineName, Sequence[str]]] = {
    "auto": (hugging_face.EXPORTED, hugging_face.CHECKPOINT),
    "onnx": (hugging_face.EXPORTED,),
    "torch": (hugging_face.CHECKPOINT,),
}
"""Files of a model on the Hub that each engine runs, the first choice first."""
_FILES: Final = {
    "auto": "a .safetensors checkpoint or an .onnx file",
    "torch": "a .safetensors checkpoint",
    "onnx": "an .onnx file",
}
"""Model files that each engine reads."""


def load(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    n_threads: int | None = None,
    precision: Literal["float32", "bf16"] = "float32",
    engine: EngineName = "auto",
    overlap: float | None = None,
    device: str = "auto",
) -> Tagger:
    """The tagger of a model, given by name or by the path of a checkpoint.

    Args:
        name_or_path: `earmark-esc50`, which is in the package; a published model such as `mn10` or `panns-cnn10`
            (`earmark models` lists them), which has the 527 labels of AudioSet and is downloaded once into the cache
            folder (`EARMARK_CACHE`); or the path of a `.safetensors` checkpoint, an exported `.onnx` file (runs without
            PyTorch), or a PyTorch file of a published model. A file with the name of a model takes precedence.
        n_threads: Number of threads per call of the network; None means all processors. PyTorch has one such setting
            for the whole process.
        precision: bf16 is faster on processors that support it, and changes scores in the third digit
            (results/precision.md). It needs PyTorch: an `.onnx` file has a fixed precision.
        engine: `onnx` is ONNX Runtime, `torch` is PyTorch. `auto` takes ONNX Runtime in float32 for `earmark-esc50`,
            `.onnx` files and models on the Hub that have one, and PyTorch for everything else.
        overlap: Overlap of neighbouring windows, as a share of a window from 0 to below 1, for networks that encode a
            recording in windows: with squeeze-and-excitation, as in `mn10`, a segment depends on the whole window.
        device: cpu, cuda, cuda:N, mps (Apple) or auto, the best that the engine has. Where ONNX Runtime lacks the named
            device, the engine `auto` is PyTorch. Scores equal those of the CPU to 0.001.

    Raises:
        CheckpointError: The model is unknown, cannot be downloaded, or is no checkpoint that this version can read.
        ConfigError: The file does not run in this engine, in this precision or on this device.
        ModuleNotFoundError: PyTorch, which a checkpoint needs, is not installed (`pip install 'earmark[train]'`), or
            huggingface_hub, which the Hub needs (`pip install 'earmark[hub]'`).
    """
    engine = choose_engine(name_or_path, precision, engine, device)
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
        return _tagger(OnnxEngine(path, n_threads, device), overlap)
    if engine == "onnx":
        raise _needs_export(path)
    # imported late: tagging with an .onnx file works without PyTorch
    from earmark.inference.torch_engine import TorchEngine, torch_device

    network = _read_network(path).to(torch_device(device))
    return _tagger(TorchEngine(network, n_threads, precision), overlap)


def choose_engine(
    name_or_path: str | os.PathLike[str],
    precision: str = "float32",
    engine: EngineName = "auto",
    device: str = "auto",
) -> EngineName:
    """The engine whose file `load` opens: PyTorch if `auto` cannot be ONNX Runtime with these settings, else as given.

    Args:
        name_or_path: This and the other arguments are those of `load`.

    Raises:
        ConfigError: There is no such device.
    """
    check_device_name(device)
    needs_torch = precision != "float32" or not _has_onnx_device(device)
    if engine == "auto" and needs_torch and not os.fspath(name_or_path).endswith(".onnx"):
        return "torch"
    return engine


def _has_onnx_device(device: str) -> bool:
    if device in ("auto", "cpu"):
        return True
    from earmark.inference.onnx_engine import has_device

    return has_device(device)


def _tagger(engine: "OnnxEngine | TorchEngine", overlap: float | None) -> Tagger:
    if overlap is not None:
        check_overlap(overlap)
        if engine.halo is not None:
            raise ConfigError(
                "none was expected: this model does not encode recordings in windows; each segment depends on "
                f"{engine.halo} segments on either side",
                "overlap",
            )
        engine.overlap = overlap
    return Tagger(engine)


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
    if path.suffix in _TORCH:
        return _read_network(path)
    from earmark.model.network import load_stages

    return load_stages(path)


def find_checkpoint(name_or_path: str | os.PathLike[str], engine: EngineName = "auto") -> Path:
    """The path of the file that `load` reads for this engine; downloads it if necessary.

    Raises:
        CheckpointError: As for `load`.
        ConfigError: The engine is `onnx`, and the published model has no `.onnx` file.
    """
    name = os.fspath(name_or_path)
    if (address := hugging_face.address_of(name)) is not None:
        return hugging_face.fetch(address, _ON_HUB[engine])
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors")) or sorted(path.glob("*.onnx"))
        hint = f"did you mean {found[0]}?" if found else "it holds no checkpoints"
        raise CheckpointError(f"{name}: expected a checkpoint file, got a folder; {hint}")
    if (path := in_either_form(path)).is_file():
        return path
    if name in SHIPPED:
        shipped = Path(__file__).with_name(f"{name}.safetensors" if engine == "torch" else f"{name}.onnx")
        if not shipped.is_file():
            raise CheckpointError(
                f"{name}: its checkpoint is not in the installed package, only its .onnx file; the source distribution "
                f"has src/earmark/hub/{shipped.name}: give the path of that file"
            )
        return shipped
    if (published := PUBLISHED.get(name)) is not None and published.file is not None:
        if engine == "onnx":
            raise _needs_export(name)
        import torch  # noqa: F401  # a missing PyTorch is an error before the download, not after it

        from earmark.storage.download import fetch

        return fetch(published.file)
    if path.suffix in (".safetensors", ".onnx", *_TORCH) or len(path.parts) > 1:
        raise CheckpointError(f"{name}: no such file; {_advice(engine)}")
    known = ", ".join((*SHIPPED, *PUBLISHED))
    raise CheckpointError(f"unknown model {name!r}; this version has {known}; {_advice(engine)}")


def _advice(engine: EngineName) -> str:
    files = f"give the path of {_FILES[engine]}, or hf://OWNER/NAME"
    if engine == "onnx":
        return f"{files}; `earmark export MODEL OUT.onnx` writes one"
    return f"{files}; `earmark train esc50:ESC-50 --out RUN` writes RUN/best.safetensors"


def _needs_export(model: Path | str) -> ConfigError:
    return ConfigError(
        f"{model}: ONNX Runtime needs an .onnx file; `earmark export {model} OUT.onnx` writes it", "engine"
    )


def _find_trainable(name_or_path: str | os.PathLike[str]) -> Path:
    path = find_checkpoint(name_or_path, "torch")
    if path.suffix == ".onnx":
        raise CheckpointError(
            f"{path}: expected a .safetensors checkpoint; an exported network only tags, so give the checkpoint from "
            "which it was exported"
        )
    return path


def _read_network(path: Path) -> "Network":
    if path.suffix in _TORCH:
        from earmark.hub.torch_files import read_network

        return read_network(path)
    from earmark.model.network import Network

    return Network.load(path)
