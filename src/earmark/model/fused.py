"""Batch norm in training, ReLU and average pooling of the CPU in as few passes over memory as there can be.

These three are bound by memory: PyTorch's own operators, one after the other, go over a block's activations about
twice as often as the kernels here. Importing this module needs numba and a PyTorch whose threads are GNU OpenMP's
(on Linux they are); `earmark.model.backbone` does without where they are missing, with the same results to rounding.
"""

import ctypes
import os
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 16
"""Rows that are added up in the activations' own precision before they go into double precision."""
_SAMPLED = 61
"""One row in so many is looked at for a first guess of the means."""

Array = NDArray[Any]
# a row is all channels of all mel bins of one frame: long enough for the loops below to run in vectors. NaN must
# pass the ReLU, as in PyTorch, or no one would see a loss that is none: hence `<=`, which is false for it
_kernel = njit(nogil=True, cache=True, error_model="numpy")
_inlined = njit(inline="always", error_model="numpy")

_Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _openmp() -> ctypes.CDLL:
    """The GNU OpenMP that PyTorch has loaded, and no other."""
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except (OSError, AttributeError) as error:
        raise ImportError("fused needs a PyTorch that runs on GNU OpenMP; earmark trains without") from error


_OPENMP = _openmp()


def fits(x: Tensor) -> bool:
    """Whether the kernels take it: single or double precision on the CPU, channels last, more than one value each."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]
    )


def statistics(
    x: Float[Tensor, "batch channel frame mel"],
) -> tuple[Float[Tensor, " channel"], Float[Tensor, " channel"]]:
    """Mean and (biased) variance of each channel, in double precision."""
    rows, n_channels = _rows(x), x.shape[1]
    rows = rows.reshape(-1, rows.shape[2])
    # deviations from a guess lose nothing where the mean is large beside the spread, as squares of x itself would
    guess = torch.from_numpy(rows[::_SAMPLED]).reshape(-1, n_channels).mean(0, dtype=torch.float64).to(x.dtype)
    sums = _in_parts(_deviations, len(rows), (rows, _tile(guess, x)))
    first, second = _per_channel(sums, n_channels) / (x.numel() // n_channels)
    return guess + first, (second - first.square()).clamp(min=0)


def rectified(
    x: Float[Tensor, "batch channel frame mel"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    mean: Float[Tensor, " channel"],
    deviation: Float[Tensor, " channel"],
    pool: int,
) -> Float[Tensor, "batch channel pooled_frame pooled_mel"]:
    """Batch norm with the batch's own statistics, ReLU and `pool` x `pool` average pooling, `pool` being 1 or 2.

    Args:
        x: What `fits` accepts.
        weight: Of batch norm, like `bias`.
        bias: Added after the weight.
        mean: Of `statistics(x)`; its gradient is accounted for in that of `x`.
        deviation: The root of the variance, epsilon included; likewise.
        pool: 2 averages two by two; the last of an odd number is averaged with what there is.
    """
    result: Tensor = _Rectified.apply(x, weight, bias, mean, deviation, pool)  # type: ignore[no-untyped-call]
    return result


class _Rectified(torch.autograd.Function):
    """Keeps `x` alone: where ReLU was at 0 is computed again, which costs less than to write and read it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor, pool: int
    ) -> Tensor:
        scale = weight.double() / deviation
        shift = bias.double() - mean * scale
        ctx.save_for_backward(x, scale, shift, mean, deviation)
        ctx.pool = pool
        n_clips, n_channels, height, width = x.shape
        y = torch.empty(
            (n_clips, n_channels, -(-height // pool), -(-width // pool)),
            dtype=x.dtype,
            memory_format=torch.channels_last,
        )
        out = _rows(y)
        arguments = (_rows(x), _tile(scale, x), _tile(shift, x), n_channels, pool, out)
        _in_parts(_activate, out.shape[0] * out.shape[1], arguments)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, deviation = ctx.saved_tensors
        n_channels = x.shape[1]
        rows, above = _rows(x), _rows(gradient.contiguous(memory_format=torch.channels_last))
        n_rows = above.shape[0] * above.shape[1]
        affine = _tile(scale, x), _tile(shift, x)
        sums = _in_parts(_gradient_sums, n_rows, (rows, above, *affine, _tile(mean, x), n_channels, ctx.pool))
        of_bias, of_weight = _per_channel(sums, n_channels)
        of_weight /= deviation
        of_x = None
        if ctx.needs_input_grad[0]:
            # the mean and the deviation move with x: what they take away is a straight line in x
            n_values = x.numel() // n_channels
            slope = -scale * of_weight / deviation / n_values
            offset = -scale * of_bias / n_values - slope * mean
            of_x = torch.empty_like(x, memory_format=torch.channels_last)
            line = _tile(slope, x), _tile(offset, x)
            _in_parts(_input_gradient, n_rows, (rows, above, *affine, *line, n_channels, ctx.pool, _rows(of_x)))
        return of_x, of_weight.to(x.dtype), of_bias.to(x.dtype), None, None, None


def _rows(x: Tensor) -> Array:
    """(batch, channel, height, width), channels last -> (batch, height, width * channel), the same memory."""
    n_clips, n_channels, height, width = x.shape
    return x.detach().permute(0, 2, 3, 1).numpy().reshape(n_clips, height, width * n_channels)


def _tile(values: Tensor, x: Tensor) -> Array:
    """One value a channel -> one for each element of a row of `x`, as precise as that."""
    return values.detach().to(x.dtype).repeat(x.shape[3]).numpy()


def _per_channel(sums: Array, n_channels: int) -> Tensor:
    """(2, element of a row) -> (2, channel)."""
    return torch.from_numpy(sums).reshape(2, -1, n_channels).sum(1)


def _in_parts(kernel: Callable[..., None], n_rows: int, arguments: tuple[Any, ...]) -> Array:
    """Runs `kernel(*arguments, first, last, sums)` over `n_rows`, in as many threads as PyTorch has; adds the sums up.

    Borders are multiples of `ROWS`, so that the number of threads changes no partial sum.
    """
    n_blocks = -(-n_rows // ROWS)
    n_parts = min(torch.get_num_threads(), n_blocks)
    borders = [min(n_blocks * part // n_parts * ROWS, n_rows) for part in range(n_parts + 1)]
    sums = np.zeros((n_parts, 2, arguments[0].shape[-1]))
    parts = list(zip(borders[:-1], borders[1:], sums, strict=True))
    _in_threads(lambda part: kernel(*arguments, *parts[part]), n_parts)
    return sums.sum(0)


def _in_threads(task: Callable[[int], None], n_tasks: int) -> None:
    """Runs `task(0)`, `task(1)`, ... at once, in the threads that PyTorch's own operators run in.

    Those wait busily for the next operator: threads of our own, numba's too, would have to share processors with them.
    """
    if n_tasks == 1:
        task(0)
        return
    numbers = iter(range(n_tasks))
    errors: list[BaseException] = []

    def work(_: int | None) -> None:
        try:
            # OpenMP may give fewer threads than it was asked for
            for number in numbers:
                task(number)
        except BaseException as error:  # an interrupt too: ctypes would swallow it
            errors.append(error)

    _OPENMP.GOMP_parallel(_Work(work), None, ctypes.c_uint(n_tasks), ctypes.c_uint(0))
    if errors:
        raise errors[0]


@_kernel
@no_type_check
def _deviations(x: Array, guess: Array, first: int, last: int, sums: Array) -> None:
    """Adds up the deviations from `guess` and their squares."""
    a, b = np.zeros_like(guess), np.zeros_like(guess)
    for i in range(first, last):
        _add_deviations(x[i], guess, a, b)
        if i % ROWS == ROWS - 1 or i == last - 1:
            _flush(a, b, sums)


@_inlined
@no_type_check
def _add_deviations(row: Array, guess: Array, a: Array, b: Array) -> None:
    for j in range(row.size):
        d = row[j] - guess[j]
        a[j] += d
        b[j] += d * d


@_kernel
@no_type_check
def _flush(a: Array, b: Array, sums: Array) -> None:
    sums[0] += a
    sums[1] += b
    a[:] = 0
    b[:] = 0


@_kernel
@no_type_check
def _activate(
    x: Array, scale: Array, shift: Array, n_channels: int, pool: int, out: Array, first: int, last: int, _: Array
) -> None:
    """`out` = the pooled ReLU of `x * scale + shift`; `first` and `last` count rows of `out`."""
    both = np.zeros(out.shape[2] * pool, x.dtype)
    for i in range(first, last):
        clip, h = i // out.shape[1], i % out.shape[1]
        if pool == 1:
            _rectify(x[clip, h], scale, shift, out[clip, h])
        elif 2 * h + 1 == x.shape[1]:
            _rectify(x[clip, 2 * h], scale, shift, both)
            _average(both, 1, x.shape[2] // n_channels, n_channels, out[clip, h])
        else:
            _rectify_two(x[clip, 2 * h], x[clip, 2 * h + 1], scale, shift, both)
            _average(both, 2, x.shape[2] // n_channels, n_channels, out[clip, h])


@_inlined
@no_type_check
def _rectify(row: Array, scale: Array, shift: Array, out: Array) -> None:
    zero = row.dtype.type(0)
    for j in range(row.size):
        v = row[j] * scale[j] + shift[j]
        out[j] = zero if v <= zero else v


@_inlined
@no_type_check
def _rectify_two(row: Array, other: Array, scale: Array, shift: Array, out: Array) -> None:
    """`out` = the sum of two rows."""
    zero = row.dtype.type(0)
    for j in range(row.size):
        v, w = row[j] * scale[j] + shift[j], other[j] * scale[j] + shift[j]
        out[j] = (zero if v <= zero else v) + (zero if w <= zero else w)


@_inlined
@no_type_check
def _average(both: Array, n_rows: int, width: int, n_channels: int, out: Array) -> None:
    for w in range(out.size // n_channels):
        share = both.dtype.type(1 / (n_rows * min(2, width - 2 * w)))
        for c in range(n_channels):
            # beyond an odd width there are zeros
            total = both[2 * w * n_channels + c] + both[(2 * w + 1) * n_channels + c]
            out[w * n_channels + c] = total * share


@_inlined
@no_type_check
def _spread(gradient: Array, n_rows: int, width: int, n_channels: int, both: Array) -> None:
    """The gradient of `_average`."""
    for w in range(gradient.size // n_channels):
        share = both.dtype.type(1 / (n_rows * min(2, width - 2 * w)))
        for c in range(n_channels):
            g = gradient[w * n_channels + c] * share
            both[2 * w * n_channels + c] = g
            both[(2 * w + 1) * n_channels + c] = g


@_kernel
@no_type_check
def _gradient_sums(
    x: Array,
    gradient: Array,
    scale: Array,
    shift: Array,
    mean: Array,
    n_channels: int,
    pool: int,
    first: int,
    last: int,
    sums: Array,
) -> None:
    """Adds up the gradient below the ReLU, and that times `x - mean`."""
    both = np.zeros(gradient.shape[2] * pool, x.dtype)
    a, b = np.zeros_like(scale), np.zeros_like(scale)
    for i in range(first, last):
        clip, h = i // gradient.shape[1], i % gradient.shape[1]
        if pool == 1:
            _add_gradients(x[clip, h], gradient[clip, h], scale, shift, mean, a, b)
        else:
            n = min(2, x.shape[1] - 2 * h)
            _spread(gradient[clip, h], n, x.shape[2] // n_channels, n_channels, both)
            for k in range(n):
                _add_gradients(x[clip, 2 * h + k], both, scale, shift, mean, a, b)
        if i % ROWS == ROWS - 1 or i == last - 1:
            _flush(a, b, sums)


@_inlined
@no_type_check
def _add_gradients(row: Array, gradient: Array, scale: Array, shift: Array, mean: Array, a: Array, b: Array) -> None:
    zero = row.dtype.type(0)
    for j in range(row.size):
        g = zero if row[j] * scale[j] + shift[j] <= zero else gradient[j]
        a[j] += g
        b[j] += g * (row[j] - mean[j])


@_kernel
@no_type_check
def _input_gradient(
    x: Array,
    gradient: Array,
    scale: Array,
    shift: Array,
    slope: Array,
    offset: Array,
    n_channels: int,
    pool: int,
    out: Array,
    first: int,
    last: int,
    _: Array,
) -> None:
    """`out` = the gradient below the ReLU times `scale`, plus `x * slope + offset`."""
    both = np.zeros(gradient.shape[2] * pool, x.dtype)
    for i in range(first, last):
        clip, h = i // gradient.shape[1], i % gradient.shape[1]
        if pool == 1:
            _pass_back(x[clip, h], gradient[clip, h], scale, shift, slope, offset, out[clip, h])
        else:
            n = min(2, x.shape[1] - 2 * h)
            _spread(gradient[clip, h], n, x.shape[2] // n_channels, n_channels, both)
            for k in range(2 * h, 2 * h + n):
                _pass_back(x[clip, k], both, scale, shift, slope, offset, out[clip, k])


@_inlined
@no_type_check
def _pass_back(
    row: Array, gradient: Array, scale: Array, shift: Array, slope: Array, offset: Array, out: Array
) -> None:
    zero = row.dtype.type(0)
    for j in range(row.size):
        g = zero if row[j] * scale[j] + shift[j] <= zero else gradient[j]
        out[j] = scale[j] * g + (row[j] * slope[j] + offset[j])
