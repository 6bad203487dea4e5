"""Reader for the published weights of PANNs (Kong et al., 2020), in .pth files.

A PANN is our network with frames of 10 ms, one more frame at the end of a clip, `max_mean` pooling, and average pooling
that drops a last odd frame. Cnn10 has the paper's backbone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from earmark.errors import CheckpointError, ConfigError
from earmark.hub.torch_files import check_names, check_outputs
from earmark.labels import LabelSet
from earmark.model.backbones import BACKBONES
from earmark.model.backbones.resnet import STAGES
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.network import Network, NetworkConfig

FRONTEND: Final = FrontendConfig(hop_length=320, last_frame=True)
FRONTEND_16K: Final = FrontendConfig(sample_rate=16000, n_fft=512, hop_length=160, f_max=8000.0, last_frame=True)
CLIP_DURATION: Final = 10.0
"""Duration in seconds of the AudioSet clips used in training."""
CLASSIFIER: Final = "fc_audioset.weight"
"""Name of a tensor that all PANNs have."""
_PUBLISHED_WIDTH: Final = 64
_TOLERANCE: Final = 1e-4
"""Largest difference of front-end weights, relative to the largest weight: rounding and library versions."""
_HIDDEN, _MEL_FILTERS = "fc1.weight", "logmel_extractor.melW"
_FOURIER: Final = tuple(f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))


@dataclass(frozen=True)
class Family:
    """The networks of one definition, of any width."""

    name: str
    """Published name."""
    backbone: str
    """Key of `BACKBONES`."""
    sign: str
    """Name of a tensor that no family below in `FAMILIES` has."""
    first: str
    """Name of the first convolution's weights."""
    n_first: int
    """Channels of the first convolution in the published network."""
    published: Callable[[str], str]
    """The published name of a tensor of our backbone."""
    block_dropout: float = 0.2
    dropout: float = 0.5


def network_of(path: Path, state: Mapping[str, Tensor]) -> Network:
    """The network of a PANNs file, in evaluation mode, on the CPU, with the published network's scores.

    Backbones of any width are accepted. Clips of fewer frames than a segment, which PANNs refuse, are padded with
    silence, as in their training.

    Args:
        path: The file.
        state: Its tensors by name.

    Raises:
        CheckpointError: The file holds another network or another front end.
    """
    family = next((family for family in FAMILIES if family.sign in state), FAMILIES[-1])
    names = name_map(family)
    check_names(path, state, names, {*_FOURIER, _MEL_FILTERS})
    labels = LabelSet.audioset()
    n_first, n_hidden, n_outputs = (next(iter(state[name].shape), 0) for name in (family.first, _HIDDEN, CLASSIFIER))
    check_outputs(path, n_outputs, len(labels))
    try:
        width = n_first * _PUBLISHED_WIDTH // family.n_first
        n_channels = BACKBONES[family.backbone].channels_of(width)
        config = NetworkConfig(
            _frontend(path, state),
            backbone=family.backbone,
            width=width,
            partial_segments=False,
            pooling="max_mean",
            classifier_width=None if n_hidden == n_channels else n_hidden,
            block_dropout=family.block_dropout,
            dropout=family.dropout,
        )
        network = Network(config, labels)
        _check_frontend(path, family, network.frontend, state)
        found = {ours: state[name] for name, ours in names.items() if name in state}
        # our convolutions over time have a second axis, of one mel bin
        found = {ours: value[..., None] if value.ndim == 3 else value for ours, value in found.items()}
        network.load_state_dict(network.state_dict() | found)
    except (RuntimeError, ConfigError) as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise CheckpointError(f"{path}: its tensors do not have the shapes of {family.name} ({reason})") from error
    origin = f"PANNs {family.name} (Kong et al., 2020)"
    network.extra = {"clip_duration": CLIP_DURATION, "data": "AudioSet", "origin": origin}
    return network.eval()


def name_map(family: Family) -> dict[str, str]:
    """The published name of each tensor mapped to ours, without the front end."""
    with torch.device("meta"):
        backbone = BACKBONES[family.backbone](64, 1, 0.0, False)
    names = {family.published(name): f"backbone.{name}" for name in backbone.state_dict()}
    for published, ours in (("fc1", "classifier.1"), ("fc_audioset", "classifier.3")):
        names |= {f"{published}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    return names


def _of_cnn(name: str) -> str:
    return re.sub(r"^blocks\.(\d)", lambda found: f"conv_block{int(found[1]) + 1}", name)


def _of_wavegram(name: str) -> str:
    name = re.sub(r"^wave\.first\.(conv|norm)", lambda found: f"pre_{_short(found[1])}0", name)
    name = re.sub(
        r"^wave\.blocks\.(\d)\.conv(\d)\.(conv|norm)",
        lambda found: f"pre_block{int(found[1]) + 1}.{_short(found[3])}{found[2]}",
        name,
    )
    return _of_cnn(_pair(name, "wave.last", "pre_block4"))


def _of_resnet(name: str) -> str:
    if found := re.match(r"blocks\.(\d+)\.(conv\d|shortcut)\.(conv|norm)\.(.+)", name):
        number = int(found[1])
        ends = list(accumulate(STAGES))
        stage = next(stage for stage, end in enumerate(ends) if number < end)
        block = f"resnet.layer{stage + 1}.{number - ends[stage] + STAGES[stage]}"
        if found[2] == "shortcut":
            return f"{block}.downsample.{1 if found[3] == 'conv' else 2}.{found[4]}"
        return f"{block}.{_short(found[3])}{found[2][-1]}.{found[4]}"
    return _pair(_pair(name, "first", "conv_block1"), "last", "conv_block_after1")


def _short(part: str) -> str:
    return "bn" if part == "norm" else part


def _pair(name: str, ours: str, published: str) -> str:
    """The name of a tensor of two convolutions in a row."""
    pattern = rf"^{re.escape(ours)}\.(\d)\.(conv|norm)"
    return re.sub(pattern, lambda found: f"{published}.{_short(found[2])}{int(found[1]) + 1}", name)


def _of_mobilenet(name: str, block: str, places: Mapping[str, str], first_places: Mapping[str, str]) -> str:
    """The name in a list of layers.

    Args:
        name: Our name.
        block: Suffix of a block's name.
        places: Place of each layer in a block.
        first_places: Those of the first block.
    """
    if found := re.match(r"blocks\.(\d+)\.(\w+)\.(conv|norm)\.(.+)", name):
        place = (places if int(found[1]) else first_places)[f"{found[2]}.{found[3]}"]
        return f"features.{int(found[1]) + 1}{block}.{place}.{found[4]}"
    layers = {"first.conv": "0.0", "first.norm": "0.2", "last.conv": "18.0", "last.norm": "18.1"}
    return re.sub(r"^(first|last)\.(conv|norm)", lambda found: f"features.{layers[found[0]]}", name)


_PLACES: Final = {"depthwise.conv": "0", "depthwise.norm": "2", "project.conv": "4", "project.norm": "5"}
_PLACES_V2: Final = {
    "expand.conv": "0",
    "expand.norm": "1",
    "depthwise.conv": "3",
    "depthwise.norm": "5",
    "project.conv": "7",
    "project.norm": "8",
}


def _of_v1(name: str) -> str:
    return _of_mobilenet(name, "", _PLACES, _PLACES)


def _of_v2(name: str) -> str:
    return _of_mobilenet(name, ".conv", _PLACES_V2, _PLACES)


_BLOCK, _FEATURES = "conv_block1.conv1.weight", "features.0.0.weight"
FAMILIES: Final = (
    Family("Wavegram_Logmel_Cnn14", "wavegram", "pre_conv0.weight", _BLOCK, 64, _of_wavegram),
    Family("ResNet38", "resnet38", "resnet.layer1.0.conv1.weight", _BLOCK, 64, _of_resnet),
    Family("MobileNetV2", "mobilenetv2", "features.1.conv.0.weight", _FEATURES, 32, _of_v2, 0.0, 0.0),
    Family("MobileNetV1", "mobilenetv1", _FEATURES, _FEATURES, 32, _of_v1, 0.0),
    Family("Cnn14", "cnn14", "conv_block6.conv1.weight", _BLOCK, 64, _of_cnn),
    Family("Cnn10", "cnn", _BLOCK, _BLOCK, 64, _of_cnn),
)
"""The families; a file belongs to the first one whose sign it has."""


def _frontend(path: Path, state: Mapping[str, Tensor]) -> FrontendConfig:
    """The front end of a file, by its Fourier transform, or by its name where it has none."""
    fourier = state.get(_FOURIER[0])
    is_16k = "16k" in path.name if fourier is None else fourier.shape[-1:] == (FRONTEND_16K.n_fft,)
    return FRONTEND_16K if is_16k else FRONTEND


def _check_frontend(path: Path, family: Family, frontend: LogMel, state: Mapping[str, Tensor]) -> None:
    """Checks that the file's front end, if it has one, equals the network's."""
    expected = dict(zip(_FOURIER, _fourier_matrices(frontend), strict=True)) | {_MEL_FILTERS: frontend.filters.numpy()}
    for name, ours in expected.items():
        if name not in state:
            continue
        published, ours = state[name].detach().double().numpy().ravel(), ours.ravel()
        if published.shape != ours.shape or not np.abs(published - ours).max() <= _TOLERANCE * np.abs(ours).max():
            config = frontend.config
            raise CheckpointError(
                f"{path}: expected the front end of the published {family.name} ({config.n_fft} samples per frame at "
                f"{config.sample_rate} Hz, {config.n_mels} mel bins from {config.f_min:g} to {config.f_max:g} Hz); "
                f"{name} differs"
            )


def _fourier_matrices(
    frontend: LogMel,
) -> tuple[Float[np.ndarray, "frequency sample"], Float[np.ndarray, "frequency sample"]]:
    """Real and imaginary part of the windowed Fourier transform, as in PANNs' convolutions."""
    n_fft = frontend.config.n_fft
    angles = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft * (2 * np.pi / n_fft)
    window = frontend.window.double().numpy()
    return np.cos(angles) * window, -np.sin(angles) * window
