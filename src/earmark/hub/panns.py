"""Reader for the published weights of PANNs' Cnn10 (Kong et al., 2020), the paper's backbone, in .pth files.

Cnn10 is our network with frames of 10 ms, one more frame at the end of a clip, `max_mean` pooling, and average pooling
that drops a last odd frame.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from earmark.errors import CheckpointError, ConfigError
from earmark.hub.torch_files import check_names, check_outputs
from earmark.labels import LabelSet
from earmark.model.backbones.cnn import N_BLOCKS
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.network import Network, NetworkConfig

FRONTEND: Final = FrontendConfig(hop_length=320, last_frame=True)
CLIP_DURATION: Final = 10.0
"""Duration in seconds of the AudioSet clips used in training."""
_TOLERANCE: Final = 1e-4
"""Largest difference of front-end weights, relative to the largest weight: rounding and library versions."""
_NORM_TENSORS: Final = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_FIRST_CONVOLUTION, _MEL_FILTERS, _CLASSIFIER = (
    "conv_block1.conv1.weight",
    "logmel_extractor.melW",
    "fc_audioset.weight",
)
_FOURIER: Final = tuple(f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))


def network_of(path: Path, state: Mapping[str, Tensor]) -> Network:
    """The network of a PANNs Cnn10 file, in evaluation mode, on the CPU, with the published network's scores.

    Backbones of any width are accepted. Clips of fewer than 16 frames (0.15 s), which Cnn10 itself refuses, are padded
    with silence, as in its training.

    Args:
        path: The file.
        state: Its tensors by name.

    Raises:
        CheckpointError: The file holds another network or another front end.
    """
    names = _name_map()
    check_names(path, state, names, {*_FOURIER, _MEL_FILTERS})
    labels = LabelSet.audioset()
    width, n_outputs = (next(iter(state[name].shape), 0) for name in (_FIRST_CONVOLUTION, _CLASSIFIER))
    check_outputs(path, n_outputs, len(labels))
    try:
        network = Network(NetworkConfig(FRONTEND, width=width, partial_segments=False, pooling="max_mean"), labels)
        _check_frontend(path, network.frontend, state)
        network.load_state_dict(
            network.state_dict() | {ours: state[name] for name, ours in names.items() if name in state}
        )
    except (RuntimeError, ConfigError) as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise CheckpointError(f"{path}: its tensors do not have the shapes of Cnn10 ({reason})") from error
    network.extra = {"clip_duration": CLIP_DURATION, "data": "AudioSet", "origin": "PANNs Cnn10 (Kong et al., 2020)"}
    return network.eval()


def _name_map() -> dict[str, str]:
    """The published name of each tensor mapped to ours, without the front end."""
    names = {f"bn0.{part}": f"backbone.bn0.{part}" for part in _NORM_TENSORS}
    for block in range(N_BLOCKS):
        published, ours = f"conv_block{block + 1}", f"backbone.blocks.{block}"
        for number in (1, 2):
            names[f"{published}.conv{number}.weight"] = f"{ours}.conv{number}.weight"
            names |= {f"{published}.bn{number}.{part}": f"{ours}.bn{number}.{part}" for part in _NORM_TENSORS}
    for published, ours in (("fc1", "classifier.1"), ("fc_audioset", "classifier.3")):
        names |= {f"{published}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    return names


def _check_frontend(path: Path, frontend: LogMel, state: Mapping[str, Tensor]) -> None:
    """Checks that the file's front end, if it has one, equals `FRONTEND`."""
    expected = dict(zip(_FOURIER, _fourier_matrices(frontend), strict=True)) | {_MEL_FILTERS: frontend.filters.numpy()}
    for name, ours in expected.items():
        if name not in state:
            continue
        published, ours = state[name].detach().double().numpy().ravel(), ours.ravel()
        if published.shape != ours.shape or not np.abs(published - ours).max() <= _TOLERANCE * np.abs(ours).max():
            config = frontend.config
            raise CheckpointError(
                f"{path}: expected the front end of the published Cnn10 ({config.n_fft} samples per frame at "
                f"{config.sample_rate} Hz, {config.n_mels} mel bins from {config.f_min:g} to {config.f_max:g} Hz); "
                f"{name} differs"
            )


def _fourier_matrices(
    frontend: LogMel,
) -> tuple[Float[np.ndarray, "frequency sample"], Float[np.ndarray, "frequency sample"]]:
    """Real and imaginary part of the windowed Fourier transform, as in Cnn10's convolutions."""
    n_fft = frontend.config.n_fft
    angles = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft * (2 * np.pi / n_fft)
    window = frontend.window.double().numpy()
    return np.cos(angles) * window, -np.sin(angles) * window
