"""Gaussian kernels on features, and their widths.

.. [1] M. Long et al., "Learning transferable features with deep adaptation networks", ICML 2015.
"""

import math
from typing import Literal, TypedDict

import torch
from torch import Tensor

from emodna.model.losses import check_choice, widen

Bandwidth = Literal["mean", "mean-with-diagonal", "median"]
"""Center of the kernel widths: a statistic of the squared distances within the joint sample."""

KernelReduction = Literal["mean", "sum"]
"""Weights of the kernels: 1/m each, as the paper's condition on their sum asks, or 1 each, as in most code."""

MIN_WIDTH = 1e-6
"""Smallest kernel width: collapsed features have a mean squared distance of 0, by which nothing can be divided."""


class KernelOptions(TypedDict, total=False):
    """Options of a kernel on features; a key that is left out has the default of `heuristic_kernel`."""

    kernels: int
    """Number of Gaussians, odd."""
    reduction: KernelReduction
    bandwidth: Bandwidth
    """See `heuristic_widths`."""
    width_ratio: float
    """Ratio of neighbouring widths."""


def heuristic_kernel(
    distances: Tensor,
    *,
    kernels: int = 5,
    reduction: KernelReduction = "mean",
    bandwidth: Bandwidth = "mean",
    width_ratio: float = 2.0,
) -> Tensor:
    """Return the kernel matrix (n, n) of Gaussians, as `KernelOptions` say, of the squared distances (n, n)."""
    widths = heuristic_widths(distances, kernels, bandwidth=bandwidth, ratio=width_ratio)
    return gaussian_kernel(distances, widths, reduction=reduction)


def joint_distances(source: Tensor, target: Tensor) -> Tensor:
    """Return the squared distances (n + m, n + m) within the joint sample of features (n, d) and (m, d), n, m >= 1."""
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"source and target must have shapes (n, d) and (m, d), got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    if source.shape[0] == 0 or target.shape[0] == 0:
        raise ValueError(f"source and target need one sample or more each, got {source.shape[0]} and {target.shape[0]}")
    joint = torch.cat((source, target))  # (n + m, d)
    return squared_distances(joint, joint)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared Euclidean distances ``|x_i - y_j|^2`` (n, m) of features (n, d), n >= 1, and (m, d).

    They are never negative. The squares of features of norm 1e19 and more leave the range of float32.
    """
    x, y = widen(x, y)
    with torch.autocast(x.device.type, enabled=False):
        # |x|^2 + |y|^2 - 2 x.y loses all digits where the features lie far from the origin, so move them there first.
        # Distances do not depend on the origin, so neither does the gradient: it may be detached.
        origin = x[:1].detach()
        x, y = x - origin, y - origin
        distances = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T  # (n, m)
        return distances.clamp_min(0)  # rounding


def heuristic_widths(
    distances: Tensor, kernels: int = 5, *, bandwidth: Bandwidth = "mean", ratio: float = 2.0
) -> Tensor:
    """Return widths ``typical * ratio^k``, ``k = -(kernels // 2) .. kernels // 2``, around a typical squared distance.

    They increase, are at least `MIN_WIDTH`, have the shape ``(kernels,)`` and are detached, as the discrepancy could
    otherwise be reduced by widening the kernels.

    Parameters
    ----------
    distances
        Squared distances within one sample, shape ``(n, n)``, ``n >= 2``; the diagonal is taken to be zero.
    kernels
        Number of widths, odd.
    bandwidth
        Typical distance: the ``mean`` over the ``n (n - 1)`` entries off the diagonal; ``mean-with-diagonal``, over all
        ``n^2``; or the ``median`` off the diagonal, the mean of the middle two. DAN [1]_ has 33 widths of ratio
        ``sqrt(2)`` around a median.
    ratio
        Ratio of neighbouring widths, above 1.
    """
    n = count_square_rows(distances)
    if n < 2:
        raise ValueError("the typical distance needs two samples or more, got 1")
    if kernels < 1 or kernels % 2 == 0:
        raise ValueError(f"kernels must be odd and positive, got {kernels}")
    if not ratio > 1:
        raise ValueError(f"ratio must be above 1, got {ratio}")
    check_choice("bandwidth", bandwidth, Bandwidth)
    distances = distances.detach()
    if bandwidth == "median":
        above = distances[*torch.triu_indices(n, n, offset=1, device=distances.device)].sort().values  # (n(n-1)/2,)
        typical = above[(len(above) - 1) // 2].lerp(above[len(above) // 2], 0.5)
    else:
        counted = n * (n - 1) if bandwidth == "mean" else n * n
        typical = (distances / counted).sum()  # divided first, as the sum leaves float32 long before the mean
    half = kernels // 2
    exponents = torch.arange(-half, half + 1, dtype=distances.dtype, device=distances.device)
    widths = typical * (exponents * math.log2(ratio)).exp2()
    # Of many kernels, or a large ratio, some widths may be out of range; and where all features are one, 0 * inf.
    return widths.nan_to_num(nan=MIN_WIDTH).clamp_min(MIN_WIDTH)


def gaussian_kernel(distances: Tensor, widths: Tensor, *, reduction: KernelReduction = "mean") -> Tensor:
    """Return the kernel matrix ``1/m sum_u exp(-|x_i - x_j|^2 / b_u)`` (n, n), without ``1/m`` for ``sum``.

    The squared distances within one sample are (n, n), the positive widths ``b_u`` (m,).
    """
    count_square_rows(distances)
    if widths.ndim != 1 or widths.shape[0] == 0:
        raise ValueError(f"widths must have shape (m,) with m >= 1, got {tuple(widths.shape)}")
    check_choice("reduction", reduction, KernelReduction)
    with torch.autocast(distances.device.type, enabled=False):
        kernels = torch.exp(-distances / widths[:, None, None])  # (m, n, n)
        return kernels.mean(0) if reduction == "mean" else kernels.sum(0)


def count_square_rows(matrix: Tensor) -> int:
    """Return the number of rows of a filled square matrix."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(f"distances and kernels must have shape (n, n) with n >= 1, got {tuple(matrix.shape)}")
    return matrix.shape[0]
