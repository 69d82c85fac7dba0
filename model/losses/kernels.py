"""Gaussian kernels on features and their widths.

.. [1] M. Long et al., "Learning transferable features with deep adaptation networks", ICML 2015.
"""

import math
from typing import Literal, TypedDict

import torch
from torch import Tensor

from emodna.model.losses import check_choice, check_shapes, widen

Bandwidth = Literal["mean", "mean-with-diagonal", "median"]
"""Middle kernel width: a statistic of the squared distances within the joint sample."""

KernelReduction = Literal["mean", "sum"]
"""Reduction over kernels: the mean (weights sum to 1, as in the paper) or the sum (as in most code)."""

#: Smallest kernel width. Collapsed features would give a width of 0.
MIN_WIDTH = 1e-6


class KernelOptions(TypedDict, total=False):
    """Options of `heuristic_kernel`, all optional."""

    kernels: int
    reduction: KernelReduction
    bandwidth: Bandwidth
    width_ratio: float


def heuristic_kernel(
    distances: Tensor,
    *,
    kernels: int = 5,
    reduction: KernelReduction = "mean",
    bandwidth: Bandwidth = "mean",
    width_ratio: float = 2.0,
) -> Tensor:
    """Return the kernel matrix (n, n) of squared distances (n, n), with widths from `heuristic_widths`."""
    widths = heuristic_widths(distances, kernels, bandwidth=bandwidth, ratio=width_ratio)
    return gaussian_kernel(distances, widths, reduction=reduction)


def joint_distances(source: Tensor, target: Tensor) -> Tensor:
    """Return the squared distances (n + m, n + m) within the joint sample of features (n, d) and (m, d)."""
    is_valid = source.ndim == target.ndim == 2 and source.shape[1] == target.shape[1]
    check_shapes(is_valid, "source and target must have shapes (n, d) and (m, d)", source, target)
    check_shapes(min(len(source), len(target)) > 0, "source and target need one sample or more each", source, target)
    joint = torch.cat((source, target))  # (n + m, d)
    return squared_distances(joint, joint)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared Euclidean distances ``|x_i - y_j|^2`` (n, m) of features (n, d) and (m, d), n >= 1.

    They are never negative. Norms from 1e19 on overflow float32.
    """
    x, y = widen(x, y)
    with torch.autocast(x.device.type, enabled=False):
        # |x|^2 + |y|^2 - 2 x.y loses all digits far from the origin, so move the features there first. Distances and
        # gradients do not depend on the origin, so it may be detached.
        origin = x[:1].detach()
        x, y = x - origin, y - origin
        distances = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T  # (n, m)
        return distances.clamp_min(0)  # rounding can make them negative


def heuristic_widths(
    distances: Tensor, kernels: int = 5, *, bandwidth: Bandwidth = "mean", ratio: float = 2.0
) -> Tensor:
    """Return widths ``middle * ratio^k``, ``k = -(kernels // 2) .. kernels // 2``, shape ``(kernels,)``.

    ``kernels`` is odd. The ratio of neighbouring widths is above 1. ``distances`` are the squared distances within one
    sample, shape ``(n, n)``, ``n >= 2``, with a zero diagonal. Their statistic ``bandwidth`` is the middle width: the
    ``mean`` over the ``n (n - 1)`` entries off the diagonal, over all ``n^2`` entries (``mean-with-diagonal``), or the
    ``median`` off the diagonal. DAN [1]_ uses 33 widths of ratio ``sqrt(2)`` around the median.

    The widths increase and are at least `MIN_WIDTH`. They are detached, otherwise wider kernels would reduce the loss.
    """
    n = count_square_rows(distances)
    if n < 2:
        raise ValueError("distances must be of at least two samples, got 1")
    if kernels < 1 or kernels % 2 == 0:
        raise ValueError(f"kernels must be odd and positive, got {kernels}")
    if not ratio > 1:
        raise ValueError(f"ratio must be above 1, got {ratio}")
    check_choice("bandwidth", bandwidth, Bandwidth)
    distances = distances.detach()
    if bandwidth == "median":
        above = distances[*torch.triu_indices(n, n, offset=1, device=distances.device)].sort().values  # (n(n-1)/2,)
        middle = above[(len(above) - 1) // 2].lerp(above[len(above) // 2], 0.5)
    else:
        count = n * (n - 1) if bandwidth == "mean" else n * n
        middle = (distances / count).sum()  # divide first: the sum overflows float32 long before the mean
    half = kernels // 2
    exponents = torch.arange(-half, half + 1, dtype=distances.dtype, device=distances.device)
    widths = middle * (exponents * math.log2(ratio)).exp2()
    # With many kernels or a large ratio, widths may overflow; with equal features, 0 * inf is NaN.
    return widths.nan_to_num(nan=MIN_WIDTH).clamp_min(MIN_WIDTH)


def gaussian_kernel(distances: Tensor, widths: Tensor, *, reduction: KernelReduction = "mean") -> Tensor:
    """Return the kernel matrix ``1/m sum_u exp(-|x_i - x_j|^2 / b_u)`` (n, n), without ``1/m`` for ``sum``.

    Takes the squared distances (n, n) within one sample and the positive widths ``b_u`` (m,).
    """
    count_square_rows(distances)
    check_shapes(widths.ndim == 1 and len(widths) > 0, "widths must have shape (m,) with m >= 1", widths)
    check_choice("reduction", reduction, KernelReduction)
    with torch.autocast(distances.device.type, enabled=False):
        kernels = torch.exp(-distances / widths[:, None, None])  # (m, n, n)
        return kernels.mean(0) if reduction == "mean" else kernels.sum(0)


def count_square_rows(matrix: Tensor) -> int:
    """Return the number of rows of a square matrix. Raise a ValueError if it is not square, or is empty."""
    is_valid = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
    check_shapes(is_valid, "distances and kernels must have shape (n, n) with n >= 1", matrix)
    return len(matrix)
