"""Reader for the published weights of EfficientAT's mn networks (Schmid et al., 2023), in .pt files.

An mn is our network with the backbone `mn`, frames of 10 ms, 128 mel bins of Kaldi's scale, mean pooling, and a
classifier with hardswish.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor

from earmark.errors import CheckpointError
from earmark.hub.torch_files import check_names, check_outputs, wrong_network
from earmark.labels import LabelSet
from earmark.model.backbones.mn import Mn, hidden_width
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

FRONTEND: Final = FrontendConfig(
    hop_length=320,
    n_mels=128,
    window_length=800,
    symmetric_window=True,
    preemphasis=0.97,
    f_min=0.0,
    f_max=15000.0,
    mel_scale="kaldi",
    power_offset=1e-5,
)
CLIP_DURATION: Final = 10.0
"""Duration in seconds of the AudioSet clips used in training."""
FIRST: Final = "features.0.0.weight"
"""Name of the first tensor."""
_HIDDEN: Final = "classifier.2.weight"
_DROPOUT: Final = 0.2
_WIDTHS: Final = (40, 50, 100, 200, 400, 10, 20, 300)
"""Published widths in percent."""
_OTHER_FRONTEND: Final = re.compile(r"_(hop|mels)_\d+")
"""Part of the names of files that have the same tensors and need another front end."""
_NORM_TENSORS: Final = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def network_of(path: Path, state: Mapping[str, Tensor]) -> Network:
    """The network of an EfficientAT file, in evaluation mode, on the CPU, with the published network's scores.

    Args:
        path: The file.
        state: Its tensors by name.

    Raises:
        CheckpointError: The file holds another network or another front end.
    """
    if found := _OTHER_FRONTEND.search(path.name):
        raise CheckpointError(
            f"{path}: expected a network with frames of 10 ms and 128 mel bins, the file's name says {found[0]!r}"
        )
    width, labels = _width(path, state), LabelSet.audioset()
    names = _name_map(Mn(width=width))
    check_names(path, state, names, set())
    check_outputs(path, next(iter(state["classifier.5.weight"].shape), 0), len(labels))
    config = NetworkConfig(
        FRONTEND,
        backbone="mn",
        width=width,
        pooling="mean",
        classifier_activation="hardswish",
        classifier_width=hidden_width(width),
        block_dropout=0.0,
        dropout=_DROPOUT,
    )
    network = Network(config, labels)
    # published kernels are (mel, frame), ours (frame, mel)
    weights = {names[name]: value.transpose(2, 3) if value.ndim == 4 else value for name, value in state.items()}
    try:
        network.load_state_dict(network.state_dict() | weights)
    except RuntimeError as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise CheckpointError(f"{path}: its tensors do not have the shapes of an mn ({reason})") from error
    origin = f"EfficientAT mn{width // 10:02} (Schmid et al., 2023)"
    network.extra = {"clip_duration": CLIP_DURATION, "data": "AudioSet", "origin": origin}
    return network.eval()


def _width(path: Path, state: Mapping[str, Tensor]) -> int:
    """The width in percent, by the shape of the classifier."""
    shape = tuple(state[_HIDDEN].shape) if _HIDDEN in state else None
    for width in _WIDTHS:
        if shape in (None, (hidden_width(width), Mn.channels_of(width))):
            return width
    published = ", ".join(f"mn{width // 10:02}" for width in sorted(_WIDTHS))
    raise wrong_network(path, f"its width is none of those of {published}")


def _name_map(backbone: Mn) -> dict[str, str]:
    """The published name of each tensor mapped to ours."""
    names = _convolution("features.0", "backbone.first") | _convolution("features.16", "backbone.last")
    for number, block in enumerate(backbone.blocks):
        part = 0
        for name in ("expand", "depthwise", "squeeze", "project"):
            if getattr(block, name) is None:
                continue
            published, ours = f"features.{number + 1}.block.{part}", f"backbone.blocks.{number}.{name}"
            part += 1
            if name != "squeeze":
                names |= _convolution(published, ours)
                continue
            for layer in ("fc1", "fc2"):
                names |= _linear(f"{published}.conc_se_layers.0.{layer}", f"{ours}.{layer}")
    return names | _linear("classifier.2", "classifier.0") | _linear("classifier.5", "classifier.3")


def _convolution(published: str, ours: str) -> dict[str, str]:
    names = {f"{published}.0.weight": f"{ours}.conv.weight"}
    return names | {f"{published}.1.{part}": f"{ours}.norm.{part}" for part in _NORM_TENSORS}


def _linear(published: str, ours: str) -> dict[str, str]:
    return {f"{published}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
