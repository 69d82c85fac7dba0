"""Maximum mean discrepancy with several Gaussian kernels (MK-MMD), Eq. 10 of the paper.

References
----------
.. [1] A. Gretton et al., "Optimal kernel choice for large-scale two-sample tests", NIPS 2012.
.. [2] M. Long et al., "Learning transferable features with deep adaptation networks", ICML 2015.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from emodna.model.losses.options import require_option

Bandwidth = Literal["mean", "mean-with-diagonal", "median"]
"""What the kernel widths lie around: a statistic of the squared distances within the joint sample."""

Estimator = Literal["biased", "unbiased", "linear-ring", "linear-pairs"]
"""How the squared discrepancy is estimated from the kernel matrix."""

KernelReduction = Literal["mean", "sum"]
"""Weights of the kernels: 1/m each, as the paper's condition on their sum asks, or 1 each, as in most code."""

MIN_WIDTH = 1e-6
"""Smallest kernel width: collapsed features have a mean squared distance of 0, by which nothing can be divided."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of two matrices, in at least float32.

    Parameters
    ----------
    x
        Features, shape ``(n, d)``, ``n >= 1``.
    y
        Features, shape ``(m, d)``.

    Returns
    -------
    Tensor
        ``|x_i - y_j|^2``, shape ``(n, m)``, never negative. The squares of features of norm
        1e19 and more leave the range of float32.

    Raises
    ------
    ValueError
        If ``x`` or ``y`` is not a matrix, their widths differ, or ``x`` has no row.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[0] == 0:
        raise ValueError(f"expected shapes (n, d) and (m, d) with n >= 1, got {tuple(x.shape)} and {tuple(y.shape)}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        # |x|^2 + |y|^2 - 2 x.y loses all digits where the features lie far from the origin, so move them there first.
        # Distances do not depend on the origin, so neither does the gradient: it may be detached.
        origin = x[:1].detach().to(dtype)
        x, y = x.to(dtype) - origin, y.to(dtype) - origin
        distances = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T  # (n, m)
        return distances.clamp_min(0)  # rounding


def heuristic_widths(
    distances: Tensor, kernels: int = 5, *, bandwidth: Bandwidth = "mean", ratio: float = 2.0
) -> Tensor:
    """Kernel widths ``typical * ratio^k``, ``k = -(kernels // 2) .. kernels // 2``, around a typical squared distance.

    Parameters
    ----------
    distances
        Squared distances within one sample, shape ``(n, n)``, ``n >= 2``; the diagonal is taken to be zero.
    kernels
        Number of widths, odd.
    bandwidth
        What is typical: the ``mean`` over the ``n (n - 1)`` entries off the diagonal; ``mean-with-diagonal``, over all
        ``n^2``; or the ``median`` off the diagonal, the mean of the middle two. DAN [2]_ has 33 widths of ratio
        ``sqrt(2)`` around a median.
    ratio
        Of neighbouring widths, above 1.

    Returns
    -------
    Tensor
        Increasing widths of at least `MIN_WIDTH`, shape ``(kernels,)``; detached, as the discrepancy could otherwise
        be reduced by widening the kernels.

    Raises
    ------
    ValueError
        If ``distances`` is not square with two rows or more, ``kernels`` is not odd and positive, ``bandwidth`` is
        unknown, or ``ratio`` is not above 1.
    """
    n = _rows_of_square(distances)
    if n < 2:
        raise ValueError("the typical distance needs two samples or more, got 1")
    if kernels < 1 or kernels % 2 == 0:
        raise ValueError(f"kernels must be odd and positive, got {kernels}")
    if not ratio > 1:
        raise ValueError(f"ratio must be above 1, got {ratio}")
    require_option("bandwidth", bandwidth, Bandwidth)
    distances = distances.detach()
    if bandwidth == "median":
        above = distances[*torch.triu_indices(n, n, offset=1, device=distances.device)].sort().values  # (n(n-1)/2,)
        typical = above[(len(above) - 1) // 2].lerp(above[len(above) // 2], 0.5)
    else:
        counted = n * (n - 1) if bandwidth == "mean" else n * n
        typical = (distances / counted).sum()  # divided first, as the sum leaves float32 long before the mean
    half = kernels // 2
    exponents = torch.arange(-half, half + 1, dtype=distances.dtype, device=distances.device)
    return (typical * (exponents * math.log2(ratio)).exp2()).clamp_min(MIN_WIDTH)


def gaussian_mmd(
    distances: Tensor,
    n_source: int,
    widths: Tensor,
    *,
    estimator: Estimator = "biased",
    reduction: KernelReduction = "mean",
) -> Tensor:
    """Estimate the squared MMD from the distances within the joint sample, for kernels of given widths.

    With ``k(x, y) = 1/m sum_u exp(-|x - y|^2 / b_u)`` (without ``1/m`` if ``reduction`` is ``sum``) it is

    biased
        ``mean K_ss + mean K_tt - 2 mean K_st``, the V-statistic: never negative (but for rounding), 0 for identical
        sets, and the number of source and target samples may differ.
    unbiased
        the same without the diagonals of ``K_ss`` and ``K_tt``, the U-statistic. It is negative about as often as
        positive where source and target agree. The constant that some code adds to prevent that has no gradient.
    linear-ring, linear-pairs
        the mean of ``k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(s_j, t_i)`` over ``j = i + 1 mod n``, or over
        the disjoint pairs ``(0, 1), (2, 3), ...`` of which an odd last row has no part (the estimator of [1]_).
        It depends on the order of the rows, varies more, and needs as many source as target samples.

    Parameters
    ----------
    distances
        Squared distances of the joint sample, shape ``(n, n)``, source rows first.
    n_source
        Number of source rows, ``0 < n_source < n``.
    widths
        Positive widths ``b_u``, shape ``(m,)``.

    Returns
    -------
    Tensor
        Squared discrepancy, a scalar; if biased and averaged over the kernels, in [0, 2].

    Raises
    ------
    ValueError
        If ``distances`` is not square, one of the two samples is too small for the estimator or their sizes differ
        though it needs them equal, ``widths`` is not a filled vector, or an option is unknown.
    """
    n = _rows_of_square(distances)
    if not 0 < n_source < n:
        raise ValueError(f"source and target need one sample or more each, got {n_source} and {n - n_source}")
    if widths.ndim != 1 or widths.shape[0] == 0:
        raise ValueError(f"widths must have shape (m,) with m >= 1, got {tuple(widths.shape)}")
    require_option("estimator", estimator, Estimator)
    require_option("reduction", reduction, KernelReduction)
    n_target = n - n_source
    with torch.autocast(distances.device.type, enabled=False):
        kernels = torch.exp(-distances / widths[:, None, None])  # (m, n, n)
        kernel = kernels.mean(0) if reduction == "mean" else kernels.sum(0)  # (n, n)
        if estimator == "biased":
            # The coordinates of mean(phi(source)) - mean(phi(target)), whose squared norm in the RKHS is the result.
            weights = torch.cat(
                (kernel.new_full((n_source,), 1 / n_source), kernel.new_full((n_target,), -1 / n_target))
            )
            return weights @ kernel @ weights
        return (kernel * _pair_weights(kernel, n_source, n_target, estimator)).sum()


def mk_mmd(
    source: Tensor,
    target: Tensor,
    *,
    kernels: int = 5,
    estimator: Estimator = "biased",
    reduction: KernelReduction = "mean",
    bandwidth: Bandwidth = "mean",
    width_ratio: float = 2.0,
) -> Tensor:
    """Explicit corpus alignment loss ``d_k^2``, Eq. 10: squared MK-MMD between two mini-batches of features.

    The paper leaves the kernels open but for weights that sum to 1. By default there are ``kernels`` Gaussians of equal
    weight, of widths around the mean squared distance in the joint mini-batch (the five widths of the code of [2]_,
    which sums the kernels and so yields five times this value), and the estimator is the biased one.

    Parameters
    ----------
    source
        Source features, shape ``(n, d)``.
    target
        Target features, shape ``(m, d)``; ``m`` may differ from ``n`` unless the estimator is linear.
    kernels, bandwidth, width_ratio
        Number of Gaussian kernels, odd, and their widths: see `heuristic_widths`.
    estimator, reduction
        See `gaussian_mmd`.

    Returns
    -------
    Tensor
        Squared discrepancy, a scalar of at least float32.

    Raises
    ------
    ValueError
        If the features are not matrices of one width with a row or more each, or as `heuristic_widths` and
        `gaussian_mmd` do.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    >>> print(f"{mk_mmd(source, target).item():.6f}")
    0.915959
    """
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"source and target must have shapes (n, d) and (m, d), got {tuple(source.shape)} and {tuple(target.shape)}"
        )
    if source.shape[0] == 0 or target.shape[0] == 0:
        raise ValueError(f"source and target need one sample or more each, got {source.shape[0]} and {target.shape[0]}")
    joint = torch.cat((source, target))  # (n + m, d)
    distances = squared_distances(joint, joint)
    widths = heuristic_widths(distances, kernels, bandwidth=bandwidth, ratio=width_ratio)
    return gaussian_mmd(distances, source.shape[0], widths, estimator=estimator, reduction=reduction)


def _pair_weights(kernel: Tensor, n_source: int, n_target: int, estimator: Estimator) -> Tensor:
    """Weight of each entry of the joint kernel matrix in an estimator that leaves pairs out: like it, (n, n)."""
    if min(n_source, n_target) < 2:
        raise ValueError(f"the {estimator} estimator needs two samples or more each, got {n_source} and {n_target}")
    if estimator == "unbiased":

        def within(size: int) -> Tensor:
            return (1 - torch.eye(size, dtype=kernel.dtype, device=kernel.device)) / (size * (size - 1))

        across = kernel.new_full((n_source, n_target), -1 / (n_source * n_target))
        return torch.cat((torch.cat((within(n_source), across), 1), torch.cat((across.T, within(n_target)), 1)))
    if n_source != n_target:
        raise ValueError(
            f"the {estimator} estimator needs as many source as target samples, got {n_source} and {n_target}"
        )
    following = torch.eye(n_source, dtype=kernel.dtype, device=kernel.device).roll(1, dims=1)  # 1 at (i, i + 1 mod n)
    if estimator == "linear-pairs":
        first = torch.arange(n_source, device=kernel.device)
        following = following * ((first % 2 == 0) & (first + 1 < n_source))[:, None]
    pairs = following / (n_source if estimator == "linear-ring" else n_source // 2)
    signs = torch.tensor([[1, -1], [-1, 1]], dtype=kernel.dtype, device=kernel.device)
    return torch.kron(signs, pairs)


def _rows_of_square(distances: Tensor) -> int:
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or distances.shape[0] == 0:
        raise ValueError(f"distances must have shape (n, n) with n >= 1, got {tuple(distances.shape)}")
    return distances.shape[0]
