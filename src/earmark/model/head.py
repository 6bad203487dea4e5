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
from earmark.model.backbone import dropout
from earmark.model.pooling import POOLINGS, Pooling
from earmark.storage.files import atomic_write

FORMAT: Final = 1
"""Format number of checkpoints; a reader refuses a higher one."""


@dataclass(frozen=True)
class HeadConfig:
    """Architecture of a head; the defaults are the paper's, for segments of 512 channels."""

    n_channels: Annotated[int, Limit(at_least=1)] = 512
    """Width of the segments that come in."""
    perceptron_layers: Annotated[int, Limit(at_least=0)] = 0
    """Layers of the perceptron before the pooling; 0 is no perceptron."""
    perceptron_width: Annotated[int, Limit(at_least=1)] = 512
    """Width of each of these layers."""
    perceptron_norm: bool = False
    """Whether each of these layers has batch norm before its ReLU."""
    block_dropout: Annotated[float, Limit(at_least=0, below=1)] = 0.0
    """Dropout after each of these layers."""
    pooling: str = "gmap"
    """Name of the pooling, a key of `POOLINGS`."""
    n_heads: Annotated[int, Limit(at_least=1)] = 4
    """Number of GMAP's attention heads; other poolings ignore it."""
    gate: bool = True
    """Whether GMAP has its gate (eq. 11)."""
    deviation: bool = True
    """Whether GMAP pools deviations in addition to means (eq. 10)."""
    dropout: Annotated[float, Limit(at_least=0, below=1)] = 0.5
    """Dropout before the classifier."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.pooling not in POOLINGS:
            raise ConfigError(f"one of {', '.join(POOLINGS)} was expected, not {self.pooling!r}", "pooling")
        if "n_heads" in POOLINGS[self.pooling].settings and self.pooled_channels % self.n_heads:
            raise ConfigError(
                f"a divisor of the {self.pooled_channels} channels of a segment was expected, not {self.n_heads}",
                "n_heads",
            )

    @property
    def pooled_channels(self) -> int:
        """Width of the segments that are pooled."""
        return self.perceptron_width if self.perceptron_layers else self.n_channels


class Perceptron(nn.Module):
    """The same fully connected layers for each segment, with a ReLU after each.

    Batch norm counts real segments only, so that padding changes nothing.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.dropout = config.block_dropout
        widths = [config.n_channels, *[config.perceptron_width] * config.perceptron_layers]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:] if config.perceptron_norm)
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(
        self, segments: Float[Tensor, "batch segment n_in"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch segment n_out"]:
        for number, layer in enumerate(self.layers):
            segments = layer(segments)
            if self.norms:
                segments = self._normalized(segments, mask, self.norms[number])
            segments = F.relu(segments)
            if self.training:
                segments = dropout(segments, self.dropout)
        return segments

    def _normalized(self, segments: Tensor, mask: Tensor | None, norm: nn.Module) -> Tensor:
        if mask is None or not self.training:
            flat: Tensor = norm(segments.flatten(0, 1))
            return flat.unflatten(0, segments.shape[:2])
        normalized = torch.zeros_like(segments)
        normalized[mask] = norm(segments[mask])
        return normalized


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

    def __init__(self, labels: LabelSet) -> None:
        super().__init__()
        self.labels = labels
        self.thresholds: tuple[float, ...] | None = None
        self.extra: dict[str, Any] = {}

    def _add_head(self, config: HeadConfig) -> None:
        """Makes the stages, with random weights."""
        self.perceptron = Perceptron(config) if config.perceptron_layers else None
        pooling, n_channels = POOLINGS[config.pooling], config.pooled_channels
        self.pooling = pooling(n_channels, **{name: getattr(config, name) for name in pooling.settings})
        hidden, last = nn.Linear(self.pooling.n_features, n_channels), nn.Linear(n_channels, len(self.labels))
        for layer in (hidden, last):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), hidden, nn.ReLU(), last)

    def classify(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each bag of segments: the cheap part, run for any subset. True in `mask` is a real segment."""
        logits: Tensor = self.classifier(self.pool(segments, mask))
        return logits.float()

    def pool(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch feature"]:
        """The pooled clip of each bag."""
        clip: Tensor = self.pooling(self._pooled_segments(segments, mask), mask)
        return clip

    def attention(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch head segment"] | None:
        """Weights of the segments, summing to 1 per attention head; None: the pooling has no attention."""
        return self.pooling.attention(self._pooled_segments(segments, mask), mask)

    def _pooled_segments(self, segments: Tensor, mask: Tensor | None) -> Tensor:
        return segments if self.perceptron is None else self.perceptron(segments, mask)

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
