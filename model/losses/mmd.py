"""Maximum mean discrepancy with several Gaussian kernels (MK-MMD), Eq. 10 of the paper.

References
----------
.. [1] A. Gretton et al., "Optimal kernel choice for large-scale two-sample tests", NIPS 2012.
.. [2] M. Long et al., "Learning transferable features with deep adaptation networks", ICML 2015.
"""

import torch
from torch import Tensor

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


def mean_heuristic_widths(distances: Tensor, kernels: int = 5) -> Tensor:
    """Kernel widths ``mean * 2^k``, ``k = -(kernels // 2) .. kernels // 2``, around the mean squared distance.

    Parameters
    ----------
    distances
        Squared distances within one sample, shape ``(n, n)``, ``n >= 2``. The mean is over the ``n (n - 1)`` entries
        off the diagonal, which is taken to be zero.
    kernels
        Number of widths, odd.

    Returns
    -------
    Tensor
        Increasing widths of at least `MIN_WIDTH`, shape ``(kernels,)``; detached, as the discrepancy could otherwise
        be reduced by widening the kernels.

    Raises
    ------
    ValueError
        If ``distances`` is not square with two rows or more, or ``kernels`` is not odd and positive.
    """
    n = _rows_of_square(distances)
    if n < 2:
        raise ValueError("the mean distance needs two samples or more, got 1")
    if kernels < 1 or kernels % 2 == 0:
        raise ValueError(f"kernels must be odd and positive, got {kernels}")
    mean = (distances.detach() / (n * (n - 1))).sum()  # divided first, as the sum leaves float32 long before the mean
    half = kernels // 2
    exponents = torch.arange(-half, half + 1, dtype=distances.dtype, device=distances.device)
    return (mean * exponents.exp2()).clamp_min(MIN_WIDTH)


def gaussian_mmd(distances: Tensor, n_source: int, widths: Tensor) -> Tensor:
    """Biased squared MMD from the distances within the joint sample, for kernels of given widths.

    With ``k(x, y) = 1/m sum_u exp(-|x - y|^2 / b_u)`` this is ``mean K_ss + mean K_tt - 2 mean K_st``, the V-statistic.
    Unlike the unbiased U-statistic it is never negative (but for rounding) and 0 for identical sets; the number of
    source and target samples may differ.

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
        Squared discrepancy, a scalar in [0, 2].

    Raises
    ------
    ValueError
        If ``distances`` is not square, one of the two samples is empty, or ``widths`` is not a filled vector.
    """
    n = _rows_of_square(distances)
    if not 0 < n_source < n:
        raise ValueError(f"source and target need one sample or more each, got {n_source} and {n - n_source}")
    if widths.ndim != 1 or widths.shape[0] == 0:
        raise ValueError(f"widths must have shape (m,) with m >= 1, got {tuple(widths.shape)}")
    n_target = n - n_source
    with torch.autocast(distances.device.type, enabled=False):
        kernel = torch.exp(-distances / widths[:, None, None]).mean(0)  # (m, n, n) -> (n, n)
        # The coordinates of mean(phi(source)) - mean(phi(target)), whose squared norm in the RKHS is the discrepancy.
        weights = torch.cat((kernel.new_full((n_source,), 1 / n_source), kernel.new_full((n_target,), -1 / n_target)))
        return weights @ kernel @ weights


def mk_mmd(source: Tensor, target: Tensor, *, kernels: int = 5) -> Tensor:
    """Explicit corpus alignment loss ``d_k^2``, Eq. 10: squared MK-MMD between two mini-batches of features.

    The paper leaves the kernels open but for weights that sum to 1. Here there are ``kernels`` Gaussians of equal
    weight, of widths around the mean squared distance in the joint mini-batch (the five widths of the code of [2]_,
    which sums the kernels and so yields five times this value).

    Parameters
    ----------
    source
        Source features, shape ``(n, d)``.
    target
        Target features, shape ``(m, d)``; ``m`` may differ from ``n``.
    kernels
        Number of Gaussian kernels, odd.

    Returns
    -------
    Tensor
        Squared discrepancy, a scalar in [0, 2] of at least float32.

    Raises
    ------
    ValueError
        If the features are not matrices of one width with a row or more each, or ``kernels`` is not odd and positive.

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
    return gaussian_mmd(distances, source.shape[0], mean_heuristic_widths(distances, kernels))


def _rows_of_square(distances: Tensor) -> int:
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or distances.shape[0] == 0:
        raise ValueError(f"distances must have shape (n, n) with n >= 1, got {tuple(distances.shape)}")
    return distances.shape[0]
