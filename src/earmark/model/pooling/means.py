"""Means between the mean and the maximum: the log-sum-exp and the power mean."""

from typing import ClassVar, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.model.pooling.law import Clip, Mask, Pooling, Segments, checked

SMALLEST: Final = 1e-6
"""Least value of a channel under `PowerPooling`, as in the authors' code: a power of 0 or less has no mean."""


class LogSum(NamedTuple):
    """Logarithm of a sum over the segments, and their number."""

    log_sum: Float[Tensor, "batch channel"]
    log_count: Float[Tensor, "batch 1"]
    """Logarithm of the number of segments."""


class LogSumExpPooling(Pooling[LogSum]):
    """Smooth maximum of each channel: `log(1/N sum_t exp(r h_t)) / r`.

    Pinheiro & Collobert, CVPR 2015, "From Image-level to Pixel-level Labeling with Convolutional Networks", with a
    fixed `r`. A large `r` comes near the maximum, a small one near the mean.

    >>> pooled = LogSumExpPooling(1, sharpness=5.0)(torch.tensor([[[0.0], [1.0]]]))
    >>> round(pooled.item(), 3)
    0.863

    Args:
        n_channels: Width of a segment.
        sharpness: `r`, above 0.

    Raises:
        ConfigError: `sharpness` is not above 0.
    """

    settings: ClassVar[tuple[str, ...]] = ("sharpness",)

    def __init__(self, n_channels: int, sharpness: float = 5.0) -> None:
        super().__init__(n_channels)
        if not sharpness > 0:
            raise ConfigError(f"a number above 0 was expected, not {sharpness}", "sharpness")
        self.sharpness = sharpness

    def summarize(self, segments: Segments, mask: Mask | None = None) -> LogSum:
        segments, mask = checked(segments, mask, self.n_channels)
        return _log_sum(self.sharpness * segments, mask)

    def merge(self, left: LogSum, right: LogSum) -> LogSum:
        return _merge(left, right)

    def finalize(self, state: LogSum) -> Clip:
        return (state.log_sum - state.log_count) / self.sharpness


class PowerPooling(Pooling[LogSum]):
    """Power mean of each channel: `(1/N sum_t h_t^p)^(1/p)`, with one learned `p` for all channels.

    Generalised mean pooling (GeM) of Radenovic, Tolias & Chum, TPAMI 2019, "Fine-tuning CNN Image Retrieval with No
    Human Annotation", eq. 3. `p` starts at 3; 1 is the mean, and a large `p` comes near the maximum. It is meant for
    channels that are not negative, such as those after a ReLU: values below `SMALLEST` count as `SMALLEST`.

    >>> pooled = PowerPooling(1)(torch.tensor([[[0.0], [2.0]]]))
    >>> round(pooled.item(), 3)
    1.587
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.exponent = nn.Parameter(torch.tensor(3.0))

    def summarize(self, segments: Segments, mask: Mask | None = None) -> LogSum:
        segments, mask = checked(segments, mask, self.n_channels)
        return _log_sum(self.exponent * segments.clamp(min=SMALLEST).log(), mask)

    def merge(self, left: LogSum, right: LogSum) -> LogSum:
        return _merge(left, right)

    def finalize(self, state: LogSum) -> Clip:
        return ((state.log_sum - state.log_count) / self.exponent).exp()


def _log_sum(logarithms: Tensor, mask: Tensor | None) -> LogSum:
    if mask is None:
        mask = torch.ones_like(logarithms[..., 0], dtype=torch.bool)
    logarithms = logarithms.masked_fill(~mask[..., None], -torch.inf)
    return LogSum(logarithms.logsumexp(1), mask.sum(1, keepdim=True).to(logarithms.dtype).log())


def _merge(left: LogSum, right: LogSum) -> LogSum:
    return LogSum(torch.logaddexp(left.log_sum, right.log_sum), torch.logaddexp(left.log_count, right.log_count))
