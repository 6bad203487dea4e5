"""The law that every pooling obeys: summarize segments, merge the states of two pieces, finalize the state."""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from earmark.errors import ConfigError

State = TypeVar("State")
Mask = Bool[Tensor, "batch segment"]
Segments = Float[Tensor, "batch segment channel"]
Clip = Float[Tensor, "batch feature"]
Attention = Float[Tensor, "batch head segment"]
Level = Literal["embedding", "instance"]


class Pooling(nn.Module, Generic[State]):
    """Pools the segments of each clip into one vector.

    A subclass defines `summarize`, `merge` and `finalize`. The merged states of two pieces are the state of the whole,
    so chunked, streamed and sharded results equal the result for the whole clip.

    At the embedding level the segments are those of the backbone, and the pooled clip is classified. At the instance
    level each segment is classified first: the channels of its segments are the logits of the labels, and the pooled
    clip is the logit of each label.

    Args:
        n_channels: Width of a segment.

    Raises:
        ConfigError: `n_channels` is less than 1.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that the constructor takes after `n_channels`."""
    level: ClassVar[Level] = "embedding"
    """Whether the pooled clip is classified (embedding) or the segments are, before they are pooled (instance)."""
    channels_per_label: ClassVar[int] = 1
    """Channels that an instance-level pooling needs from the classifier for each label."""
    is_ordered: ClassVar[bool] = False
    """Whether the order of the segments matters; `merge` then takes the earlier piece first."""
    n_features: int
    """Width of the pooled clip."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        if n_channels < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_channels}", "n_channels")
        self.n_channels = n_channels
        self.n_features = n_channels

    @classmethod
    def for_labels(cls, n_channels: int, n_labels: int, **settings: Any) -> "Pooling[Any]":
        """The pooling of a network whose segments have `n_channels`.

        Args:
            n_channels: Width of a segment before it is classified.
            n_labels: Number of labels.
            settings: The values of `settings`.
        """
        return cls(n_channels if cls.level == "embedding" else cls.channels_per_label * n_labels, **settings)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> State:
        """The state of these segments: all that `merge` and `finalize` need.

        Args:
            segments: The segments of each clip.
            mask: True = a real segment. The result is the same as without the other segments.

        Raises:
            ConfigError: A shape or a dtype is wrong, or a clip has no segment.
        """
        raise TypeError(f"{type(self).__name__} does not define summarize")

    def merge(self, left: State, right: State) -> State:
        """The state of two pieces together."""
        raise TypeError(f"{type(self).__name__} does not define merge")

    def finalize(self, state: State) -> Clip:
        """The pooled clip."""
        raise TypeError(f"{type(self).__name__} does not define finalize")

    def forward(self, segments: Segments, mask: Mask | None = None) -> Clip:
        """Pools whole clips: `finalize(summarize(segments, mask))`."""
        with torch.autocast(segments.device.type, enabled=False):
            return self.finalize(self.summarize(segments, mask))

    def attention(self, segments: Segments, mask: Mask | None = None) -> Attention | None:
        """Learned weights of the segments, summing to 1 per attention head; None: this pooling has no attention.

        At the instance level each label has a head of its own, in the order of the labels.
        """
        return None


def checked(segments: Segments, mask: Mask | None, n_channels: int) -> tuple[Tensor, Tensor | None]:
    """Segments in at least single precision, zero where masked, and the mask.

    Raises:
        ConfigError: A shape or a dtype is wrong, or a clip has no segment.
    """
    if segments.ndim != 3 or segments.shape[2] != n_channels or not segments.is_floating_point():
        raise ConfigError(
            f"segments: floats of shape (batch, segment, {n_channels} channels) were expected, not "
            f"{_described(segments)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != segments.shape[:2]):
        raise ConfigError(
            f"mask: booleans of shape {tuple(segments.shape[:2])}, True for a real segment, were expected, not "
            f"{_described(mask)}"
        )
    # an exported graph cannot raise; OnnxEngine checks the mask before it runs one
    is_exported = torch.compiler.is_exporting()
    if segments.shape[1] == 0 or (mask is not None and not is_exported and not bool(mask.any(1).all())):
        raise ConfigError("a bag without segments cannot be pooled: every clip of the batch needs a real segment")
    if segments.dtype in (torch.float16, torch.bfloat16):
        segments = segments.float()
    # masked values, NaN included, must not affect the result
    return (segments if mask is None else segments.masked_fill(~mask[..., None], 0.0)), mask


def segment_weights(
    segments: Segments, mask: Mask | None, n_channels: int, scores: Callable[[Tensor], Tensor]
) -> Attention:
    """Softmax of scores over the real segments of each clip, in at least single precision; 0 elsewhere.

    Args:
        segments: The segments of each clip.
        mask: True = a real segment.
        n_channels: Expected width of a segment.
        scores: Returns the logarithm of each weight before it is normalised, (batch, segment, head).

    Raises:
        ConfigError: As for `checked`.
    """
    with torch.autocast(segments.device.type, enabled=False):
        segments, mask = checked(segments, mask, n_channels)
        values = scores(segments)
        if mask is not None:
            values = values.masked_fill(~mask[..., None], -torch.inf)
        return values.softmax(1).transpose(1, 2)


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
