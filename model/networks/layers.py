"""Faster versions of torch's layers for CPUs, with channels-last memory layout.

Shapes stay (batch, channels, time), but the channels of a time step are adjacent in memory. In that layout oneDNN's
convolutions and torch's loops are fast; torch's one-dimensional layers do not use it. Each layer accepts any layout and
returns this one. Parameters and their names are those of the base class, and values are equal to rounding. On other
devices, and in compilers and exporters, the layer calls the base class.
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Dropout uses 16 random bits per element, so its probability is a multiple of 2^-16.
_LEVELS: Final = 1 << 16
#: Pooled positions that `convolve_and_pool` processes at once: 1 MB with 64 filters.
_CHUNK: Final = 1024
#: Side of the window of one pooled position: two by two kernels of size three.
_WINDOW: Final = 4


class Conv1d(nn.Conv1d):
    """Convolution with zero padding: (batch, inputs, time) -> (batch, outputs, time)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of (batch, inputs, time)."""
        if not _is_fast_path(x):
            return super().forward(x)
        flat = {"stride": (1, *self.stride), "padding": (0, *self.padding), "dilation": (1, *self.dilation)}
        x, weight = _to_channels_last(x), self.weight.unsqueeze(2)
        convolved: Tensor = F.conv2d(x, weight, self.bias, groups=self.groups, **flat)
        return convolved.squeeze(2)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (batch, channels, time)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of (batch, channels, time)."""
        return super().forward(_to_channels_last(x)).squeeze(2) if _is_fast_path(x) else super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim != 4:  # channels last
            super()._check_input_dim(input)


class MaxPool1d(nn.MaxPool1d):
    """Max pooling of (batch, channels, time), fast for windows of 2 without overlap."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (batch, channels, time // kernel_size)."""
        is_general = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode) != (2, 2, 0, 1, False)
        if is_general or not _is_fast_path(x):
            return super().forward(x)  # type: ignore[no-any-return]
        pooled: Tensor = _MaxOfTwo.apply(_to_channels_last(x).squeeze(2))  # type: ignore[no-untyped-call]
        return pooled


class Dropout(nn.Dropout):
    """Dropout of (batch, channels, time) with a probability rounded to a multiple of 2^-16."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of (batch, channels, time)."""
        if not (self.training and 0 < self.p < 1 and _is_fast_path(x)):
            return super().forward(x)
        x = _to_channels_last(x).squeeze(2)
        return x * _draw_dropout_mask(x, self.p)


def pad_past(x: Tensor, steps: int) -> Tensor:
    """Pad zeros before the first time step: (batch, channels, time) -> (batch, channels, steps + time)."""
    return F.pad(_to_channels_last(x), (steps, 0)).squeeze(2) if _is_fast_path(x) else F.pad(x, (steps, 0))


def convolve_and_pool(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return a convolution without padding, then ELU, then mean pooling over two by two positions.

    With one input channel the output is much larger than the input, and each pass over the output takes longer than the
    convolution. So a CPU processes chunks that fit into its cache.

    Shapes: x (batch, inputs, h, w) with h, w >= 4, weight (outputs, inputs, 3, 3), bias (outputs,), result
    (batch, outputs, (h - 2) // 2, (w - 2) // 2), on a CPU channels last in memory.
    """
    on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_cpu and x.shape[1] == 1 and not x.requires_grad:
        pooled: Tensor = _SingleChannelConvolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return pooled
    if on_cpu:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
    return F.avg_pool2d(F.elu(F.conv2d(x, weight, bias)), 2)


def _is_fast_path(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.ndim == 3 and not torch.compiler.is_compiling()


def _to_channels_last(x: Tensor) -> Tensor:
    """Return (batch, channels, time) as channels-last (batch, channels, 1, time), without a copy if possible."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


class _MaxOfTwo(torch.autograd.Function):
    """Maximum of each pair of time steps: (batch, channels, time) -> (batch, channels, time // 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        steps = x.shape[2] // 2 * 2  # an odd last step is dropped
        first, second = x[..., 0:steps:2], x[..., 1:steps:2]
        ctx.shape = x.shape
        ctx.save_for_backward(second - first)
        return torch.maximum(first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (lead,) = ctx.saved_tensors
        batch, channels, time = ctx.shape
        steps = time // 2 * 2
        to_second = torch.ops.aten.threshold_backward(gradient, lead, 0)  # the first gets it if both are equal
        of_input = gradient.new_empty(batch, time, channels).transpose(1, 2)
        of_input[..., 0:steps:2] = gradient - to_second
        of_input[..., 1:steps:2] = to_second
        of_input[..., steps:] = 0
        return of_input


def _draw_dropout_mask(x: Tensor, p: float) -> Tensor:
    """Return a mask of 0 and 1 / (1 - p) for (batch, channels, time), four elements per 64-bit draw."""
    batch, channels, time = x.shape
    dropped = min(max(round(p * _LEVELS), 1), _LEVELS - 1)  # number of 16-bit integers that mean 0
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lowest = dropped - _LEVELS // 2  # smallest integer that means 1
    kept = draws.view(torch.int16)[: x.numel()].clamp_(lowest - 1, lowest).sub_(lowest - 1)  # 0 or 1
    mask = kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
    return mask.view(batch, time, channels).transpose(1, 2)


class _SingleChannelConvolution(torch.autograd.Function):
    """`convolve_and_pool` of (batch, 1, h, w) by matrix products.

    A row holds the 4 by 4 window of one pooled position. The product holds its four convolved values per output.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        outputs = len(weight)
        windows = x[:, 0].unfold(1, _WINDOW, 2).unfold(2, _WINDOW, 2)  # (batch, height, width, 4, 4)
        batch, height, width = windows.shape[:3]
        rows = windows.reshape(-1, _WINDOW**2)
        kernels = weight.new_zeros(_WINDOW, _WINDOW, 2, 2, outputs)
        for part in _view_kernels(kernels):
            part.copy_(weight[:, 0].permute(1, 2, 0))
        kernels, biases = kernels.view(_WINDOW**2, -1), bias.repeat(4)
        pooled = x.new_empty(len(rows), outputs)
        # exp(min(x, 0)), the derivative of ELU(x) = max(x, 0) + exp(min(x, 0)) - 1.
        slopes = x.new_empty(len(rows), 4 * outputs)
        for chunk, slope, mean in zip(*_split_rows(rows, slopes, pooled), strict=True):
            convolved = torch.addmm(biases, chunk, kernels)
            torch.clamp_max(convolved, 0, out=slope).exp_()
            torch.sum(convolved.clamp_min_(0).add_(slope).view(-1, 4, outputs), 1, out=mean).mul_(0.25).sub_(1)
        ctx.save_for_backward(rows, slopes)
        return pooled.view(batch, height, width, outputs).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        rows, slopes = ctx.saved_tensors
        outputs = gradient.shape[1]
        gradient = gradient.permute(0, 2, 3, 1).reshape(-1, 1, outputs) * 0.25
        of_kernels = gradient.new_zeros(_WINDOW**2, 4 * outputs)
        of_bias = gradient.new_zeros(4 * outputs)
        for chunk, slope, of_chunk in zip(*_split_rows(rows, slopes, gradient), strict=True):
            of_convolved = (slope.view(-1, 4, outputs) * of_chunk).flatten(1)
            of_kernels.addmm_(chunk.T, of_convolved)
            of_bias += of_convolved.sum(0)
        of_weight = gradient.new_zeros(3, 3, outputs)
        for part in _view_kernels(of_kernels.view(_WINDOW, _WINDOW, 2, 2, outputs)):
            of_weight += part
        return None, of_weight.permute(2, 0, 1).unsqueeze(1), of_bias.view(4, outputs).sum(0)


def _view_kernels(kernels: Tensor) -> list[Tensor]:
    """Return views of the four kernels (3, 3, outputs) in (4, 4, 2, 2, outputs), one for each position of a pool."""
    return [kernels[down : down + 3, right : right + 3, down, right] for down in (0, 1) for right in (0, 1)]


def _split_rows(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [torch.split(each, _CHUNK) for each in tensors]
