"""The head, segments to logits: a perceptron for each segment (optional), pooling and classifier."""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from earmark.errors import ConfigError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.model.backbones.layers import dropout
from earmark.model.head_settings import HeadSettings
from earmark.model.pooling import POOLINGS, Pooling
from earmark.storage.files import atomic_write

FORMAT: Final = 1
"""Format number of checkpoints; a reader refuses a higher one."""


@dataclass(frozen=True)
class HeadConfig(HeadSettings):
    """Architecture of a head; the defaults are the paper's, for segments of 512 channels."""

    n_channels: Annotated[int, Limit(at_least=1)] = 512
    """Width of the segments that come in."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.pooling not in POOLINGS:
            raise ConfigError(f"one of {', '.join(POOLINGS)} was expected, not {self.pooling!r}", "pooling")
        pooling = POOLINGS[self.pooling]
        if self.classifier_norm and pooling.level == "instance":
            raise ConfigError(
                f"false was expected for the pooling {self.pooling}, which pools scores, not true", "classifier_norm"
            )
        if self.pooled_layers > max(1, self.perceptron_layers):
            raise ConfigError(
                f"at most the {self.perceptron_layers} layers of the perceptron were expected, not {self.n_levels}",
                "n_levels",
            )
        if "n_heads" in pooling.settings and self.pooled_channels % self.n_heads:
            raise ConfigError(
                f"a divisor of the {self.pooled_channels} channels of a segment was expected, not {self.n_heads}",
                "n_heads",
            )

    @property
    def pooled_layers(self) -> int:
        """Layers of the perceptron that are pooled side by side."""
        return self.n_levels if "n_levels" in POOLINGS[self.pooling].settings else 1

    @property
    def pooled_channels(self) -> int:
        """Width of the segments that are pooled, or classified before they are pooled."""
        return self.pooled_layers * self.perceptron_width if self.perceptron_layers else self.n_channels


class Perceptron(nn.Module):
    """The same fully connected layers for each segment, with a ReLU after each.

    The result is the output of the last layer, or of the last `pooled_layers`, side by side.

    Batch norm counts real segments only, so that padding changes nothing.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.dropout, self.n_out = config.block_dropout, config.pooled_layers
        widths = [config.n_channels, *[config.perceptron_width] * config.perceptron_layers]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:] if config.perceptron_norm)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(
        self, segments: Float[Tensor, "batch segment n_in"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch segment n_out"]:
        outputs = []
        for number, layer in enumerate(self.layers):
            segments = layer(segments)
            if self.norms:
                segments = self._normalized(segments, mask, self.norms[number])
            segments = F.relu(segments)
            if self.training:
                segments = dropout(segments, self.dropout)
            outputs.append(segments)
        return segments if self.n_out == 1 else torch.cat(outputs[-self.n_out :], -1)

    def _normalized(self, segments: Tensor, mask: Tensor | None, norm: nn.Module) -> Tensor:
        if mask is None or not self.training:
            flat: Tensor = norm(segments.flatten(0, 1))
            return flat.unflatten(0, segments.shape[:2])
        normalized = torch.zeros_like(segments)
        normalized[mask] = norm(segments[mask])
        return normalized


class Affine(nn.Module):
    """`scale * logit + offset` of pooled scores: the identity until it is calibrated."""

    scale: Tensor
    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        return self.scale * logits + self.offset


class Stages(nn.Module):
    """The stages from segments to logits, which a `Head` has alone and a `Network` after its front end and backbone.

    Args:
        labels: The label of each logit.
    """

    config: Any
    """A `HeadConfig`, or the config of a network, which has the same settings and more."""
    perceptron: Perceptron | None
    pooling: Pooling[Any]
    classifier: nn.Sequential
    affine: Affine | None
    """Calibration of the pooled logits at the instance level; None where the classifier comes last."""

    def __init__(self, labels: LabelSet) -> None:
        super().__init__()
        self.labels = labels
        self.thresholds: tuple[float, ...] | None = None
        self.extra: dict[str, Any] = {}

    def _add_head(self, config: HeadConfig) -> None:
        """Makes the stages, with random weights."""
        self.perceptron = Perceptron(config) if config.perceptron_layers else None
        pooling, n_channels = POOLINGS[config.pooling], config.pooled_channels
        settings = {name: getattr(config, name) for name in pooling.settings}
        self.pooling = pooling.for_labels(n_channels, len(self.labels), **settings)
        if pooling.level == "instance":
            self.classifier = _classifier(config, n_channels, self.pooling.n_channels)
            self.affine = Affine()
        else:
            self.classifier = _classifier(config, self.pooling.n_features, len(self.labels))
            self.affine = None

    def classify(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each bag of segments: the cheap part, run for any subset. True in `mask` is a real segment."""
        clip = self.pool(segments, mask)
        logits: Tensor = self.classifier(clip) if self.affine is None else self.affine(clip)
        return logits.float()

    def pool(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch feature"]:
        """The pooled clip of each bag; the logits where the pooling is at the instance level."""
        clip: Tensor = self.pooling(self._pooled_segments(segments, mask), mask)
        return clip

    def attention(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch head segment"] | None:
        """Weights of the segments, summing to 1 per attention head; None: the pooling has no attention.

        At the instance level each label has a head of its own, in the order of the labels.
        """
        return self.pooling.attention(self._pooled_segments(segments, mask), mask)

    def _pooled_segments(self, segments: Tensor, mask: Tensor | None) -> Tensor:
        """The segments as the pooling takes them: channels, or logits at the instance level."""
        if self.perceptron is not None:
            segments = self.perceptron(segments, mask)
        return self.classifier(segments) if self.pooling.level == "instance" else segments

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def architecture(self) -> dict[str, Any]:
        """Description of the architecture in a checkpoint: the kind, `head` or `network`, and its config."""
        raise TypeError(f"{type(self).__name__} does not define its architecture")

    def save(self, path: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Writes the checkpoint: one self-describing `.safetensors` file, whole or not at all.

        Args:
            path: The file.
            extra: Facts to store with the weights (training data, seed, ...), plain JSON; `self.extra` when missing.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
        """
        about = {
            "format": FORMAT,
            **self.architecture,
            "labels": {"names": list(self.labels.names), "ids": list(self.labels.ids)},
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "extra": self.extra if extra is None else extra,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with atomic_write(path) as temporary:
            # from memory: the writers of safetensors raise their own errors on a full disk, not OSError
            temporary.write_bytes(as_safetensors(tensors, metadata={"earmark": json.dumps(about)}))


def _classifier(config: HeadConfig, n_in: int, n_out: int) -> nn.Sequential:
    norm = [nn.BatchNorm1d(n_in), nn.ReLU()] if config.classifier_norm else []
    n_hidden = (config.classifier_width or config.pooled_channels) if config.classifier_layers == 2 else n_in
    last = nn.Linear(n_hidden, n_out)
    layers: list[nn.Module] = [nn.Dropout(config.dropout), last]
    if config.classifier_layers == 2:
        hidden = nn.Linear(n_in, n_hidden)
        is_hardswish = config.classifier_activation == "hardswish"
        layers = [hidden, nn.Hardswish(), *layers] if is_hardswish else [layers[0], hidden, nn.ReLU(), last]
    for layer in [layer for layer in layers if isinstance(layer, nn.Linear)]:
        nn.init.xavier_uniform_(layer.get_parameter("weight"))
        nn.init.zeros_(layer.get_parameter("bias"))
    return nn.Sequential(*norm, *layers)


class Head(Stages):
    """Segments to logits, without the encoder that made the segments.

    Args:
        config: The architecture; weights are random.
        labels: The label of each logit.
    """

    def __init__(self, config: HeadConfig, labels: LabelSet) -> None:
        super().__init__(labels)
        self.config = config
        self._add_head(config)

    def forward(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each clip; True in `mask` is a real segment."""
        return self.classify(segments, mask)

    @property
    def architecture(self) -> dict[str, Any]:
        return {"head": asdict(self.config)}
