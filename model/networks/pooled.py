"""Convolution, ELU and mean pool in one, for little memory traffic on a CPU.

A convolution of one channel into many writes far more than it reads, and each further pass over what it wrote takes
longer than the convolution: on a CPU such a one is done a piece at a time that stays in the cache.
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Pooled places that are worked on at a time: with 64 filters, 1 MB.
_PIECE: Final = 1024
#: Side of what one pooled place sees: two by two kernels of three.
_WINDOW: Final = 4


def pooled_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean over two by two places of the ELU of a convolution without padding.

    Parameters
    ----------
    x
        (batch, inputs, h, w), h and w at least 4.
    weight, bias
        (outputs, inputs, 3, 3) and (outputs,).

    Returns
    -------
    Tensor
        (batch, outputs, (h - 2) // 2, (w - 2) // 2), on a CPU channels last in memory.
    """
    on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_cpu and x.shape[1] == 1 and not x.requires_grad:
        pooled: Tensor = _OneChannel.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return pooled
    if on_cpu:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
    return F.avg_pool2d(F.elu(F.conv2d(x, weight, bias)), 2)


class _OneChannel(torch.autograd.Function):
    """`pooled_convolution` of (batch, 1, h, w), as products of matrices.

    A row is what one pooled place sees, 4 by 4 values; the product has its four convolved values for every output.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        outputs = len(weight)
        windows = x[:, 0].unfold(1, _WINDOW, 2).unfold(2, _WINDOW, 2)  # (batch, height, width, 4, 4)
        batch, height, width = windows.shape[:3]
        rows = windows.reshape(-1, _WINDOW**2)
        kernels = weight.new_zeros(_WINDOW, _WINDOW, 2, 2, outputs)
        for part in _parts(kernels):
            part.copy_(weight[:, 0].permute(1, 2, 0))
        kernels, biases = kernels.view(_WINDOW**2, -1), bias.repeat(4)
        pooled = x.new_empty(len(rows), outputs)
        # exp(min(x, 0)): ELU(x) is max(x, 0) + this - 1, and this is its derivative.
        slopes = x.new_empty(len(rows), 4 * outputs)
        for piece, slope, mean in zip(*_pieces(rows, slopes, pooled), strict=True):
            convolved = torch.addmm(biases, piece, kernels)
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
        for piece, slope, each in zip(*_pieces(rows, slopes, gradient), strict=True):
            of_convolved = (slope.view(-1, 4, outputs) * each).flatten(1)
            of_kernels.addmm_(piece.T, of_convolved)
            of_bias += of_convolved.sum(0)
        of_weight = gradient.new_zeros(3, 3, outputs)
        for part in _parts(of_kernels.view(_WINDOW, _WINDOW, 2, 2, outputs)):
            of_weight += part
        return None, of_weight.permute(2, 0, 1).unsqueeze(1), of_bias.view(4, outputs).sum(0)


def _parts(kernels: Tensor) -> list[Tensor]:
    """The four kernels (3, 3, outputs) within (4, 4, 2, 2, outputs), one for each place that a pool takes in."""
    return [kernels[down : down + 3, right : right + 3, down, right] for down in (0, 1) for right in (0, 1)]


def _pieces(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each in pieces along its first dimension."""
    return [torch.split(each, _PIECE) for each in tensors]
