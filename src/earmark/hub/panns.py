"""Published PANNs weights of the paper's backbone: Cnn10 (Kong et al., 2020), as files ending in .pth.

That network is ours with frames of 10 ms, one frame more at the end of a clip, `max_mean` pooling, and average pooling
that drops a frame without a partner.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from earmark.errors import CheckpointError, ConfigError
from earmark.labels import LabelSet
from earmark.model.backbone import N_BLOCKS
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.network import Network, NetworkConfig

FRONTEND: Final = FrontendConfig(hop_length=320, last_frame=True)
CLIP_SECONDS: Final = 10.0
"""Of the clips of AudioSet, which it was trained on."""
_TOLERANCE: Final = 1e-4
"""Of the largest weight of a front end: rounding, and versions of what computed the file's."""
_NORM: Final = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_FIRST, _MEL, _LAST = "conv_block1.conv1.weight", "logmel_extractor.melW", "fc_audioset.weight"
_FOURIER: Final = tuple(f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))


def read_cnn10(path: Path | str) -> Network:
    """The network of a PANNs Cnn10 file, in evaluation mode, on the CPU; its scores are those of that network.

    Backbones of any width are read. Clips of fewer than 16 frames (0.15 s), which that network cannot take, are heard
    with silence after them, as its training did with short clips.

    Args:
        path: What `torch.save` wrote: a state dict, or a dictionary with one under `model`. Names may begin with
            `module.`. Nothing but tensors and plain values is read: a file can't run code.

    Raises:
        CheckpointError: The file is missing, damaged, of another network, or of another front end.
    """
    path = Path(path)
    state = _state_dict(path)
    names = _names()
    if missing := [name for name in names if name not in state and not name.endswith(_NORM[-1])]:
        raise _another(path, f"{len(missing)} of its tensors are not there, such as {missing[0]}")
    if unknown := sorted(set(state) - set(names) - {*_FOURIER, _MEL}):
        raise _another(path, f"it has {len(unknown)} tensors that Cnn10 has not, such as {unknown[0]}")
    labels = LabelSet.audioset()
    width, n_outputs = (next(iter(state[name].shape), 0) for name in (_FIRST, _LAST))
    if n_outputs != len(labels):
        raise CheckpointError(
            f"{path}: {len(labels)} outputs, the labels of AudioSet, were expected, not {n_outputs}, whose names the "
            "file does not tell"
        )
    try:
        network = Network(NetworkConfig(FRONTEND, width=width, partial_segments=False, pooling="max_mean"), labels)
        _check_frontend(path, network.frontend, state)
        network.load_state_dict(
            network.state_dict() | {ours: state[name] for name, ours in names.items() if name in state}
        )
    except (RuntimeError, ConfigError) as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise CheckpointError(f"{path}: its tensors do not fit together as those of a Cnn10 do ({reason})") from error
    network.extra = {"clip_duration": CLIP_SECONDS, "data": "AudioSet", "origin": "PANNs Cnn10 (Kong et al., 2020)"}
    return network.eval()


def _names() -> dict[str, str]:
    """That network's names of its tensors, the front end's aside, and ours."""
    names = {f"bn0.{part}": f"backbone.bn0.{part}" for part in _NORM}
    for block in range(N_BLOCKS):
        theirs, ours = f"conv_block{block + 1}", f"backbone.blocks.{block}"
        for number in (1, 2):
            names[f"{theirs}.conv{number}.weight"] = f"{ours}.conv{number}.weight"
            names |= {f"{theirs}.bn{number}.{part}": f"{ours}.bn{number}.{part}" for part in _NORM}
    for theirs, ours in (("fc1", "classifier.1"), ("fc_audioset", "classifier.3")):
        names |= {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    return names


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors by their names, without `module.` before them."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the Cnn10 weights of PANNs were expected")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler and zip reader raise
        raise CheckpointError(
            f"{path}: a file of PyTorch with nothing but tensors in it was expected; this one is damaged, or would run "
            f"code if it were read in full ({type(error).__name__}); get it anew from where it was published"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise _another(path, "it is no state dict")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.is_sparse or value.is_quantized:
            raise _another(path, f"{name} is no plain tensor")
    return state


def _another(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: a state dict of PANNs' Cnn10 was expected, of which earmark reads no other: {reason}"
    )


def _check_frontend(path: Path, frontend: LogMel, state: Mapping[str, Tensor]) -> None:
    """Refuses a file that hears in another way than `FRONTEND`, where it says how it hears."""
    expected = dict(zip(_FOURIER, _fourier(frontend), strict=True)) | {_MEL: frontend.filters.numpy()}
    for name, ours in expected.items():
        if name not in state:
            continue
        theirs, ours = state[name].detach().double().numpy().ravel(), ours.ravel()
        if theirs.shape != ours.shape or not np.abs(theirs - ours).max() <= _TOLERANCE * np.abs(ours).max():
            config = frontend.config
            raise CheckpointError(
                f"{path}: another front end ({name}) than that of the published Cnn10: {config.n_fft} samples a frame "
                f"at {config.sample_rate} Hz, {config.n_mels} mel bins from {config.f_min:g} to {config.f_max:g} Hz; "
                "only that one is read"
            )


def _fourier(frontend: LogMel) -> tuple[Float[np.ndarray, "frequency sample"], Float[np.ndarray, "frequency sample"]]:
    """Real and imaginary part of the windowed Fourier transform, as the convolutions of that network have it."""
    n_fft = frontend.config.n_fft
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft * (2 * np.pi / n_fft)
    window = frontend.window.double().numpy()
    return np.cos(turns) * window, -np.sin(turns) * window
