"""Maximum mean discrepancy with several Gaussian kernels (MK-MMD, Eq. 10 of the paper).

.. [1] A. Gretton et al., "Optimal kernel choice for large-scale two-sample tests", NIPS 2012.
.. [2] M. Long et al., "Learning transferable features with deep adaptation networks", ICML 2015.
"""

from typing import Literal, Unpack

import torch
from torch import Tensor

from emodna.model.losses import check_choice
from emodna.model.losses.kernels import KernelOptions, count_square_rows, heuristic_kernel, joint_distances

Estimator = Literal["biased", "unbiased", "linear-ring", "linear-pairs"]
"""Estimator of the squared discrepancy from the kernel matrix: see `squared_mmd`."""


def squared_mmd(kernel: Tensor, n_source: int, *, estimator: Estimator = "biased") -> Tensor:
    """Estimate the squared MMD, a scalar, from the kernel matrix ``k`` (n, n) of the joint sample.

    The first `n_source` rows of the positive definite matrix are the source's.

    biased
        ``mean K_ss + mean K_tt - 2 mean K_st``, the V-statistic. Not negative except for rounding, at most 2 for
        kernels of at most 1, and 0 for identical sets.
    unbiased
        The same without the diagonals of ``K_ss`` and ``K_tt``, the U-statistic. If source and target have the same
        distribution, it is negative about as often as positive.
    linear-ring, linear-pairs
        Mean of ``k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(s_j, t_i)`` over ``j = i + 1 mod n``, or over the disjoint
        pairs ``(0, 1), (2, 3), ...`` without an odd last row (the estimator of [1]_). Depends on the order of the rows,
        has a higher variance, and needs as many source as target samples.
    """
    n = count_square_rows(kernel)
    if not 0 < n_source < n:
        raise ValueError(f"source and target need one sample or more each, got {n_source} and {n - n_source}")
    check_choice("estimator", estimator, Estimator)
    n_target = n - n_source
    with torch.autocast(kernel.device.type, enabled=False):
        if estimator == "biased":
            # Coordinates of mean(phi(source)) - mean(phi(target)). The result is the squared norm in the RKHS.
            shares = kernel.new_full((n_source,), 1 / n_source), kernel.new_full((n_target,), -1 / n_target)
            weights = torch.cat(shares)
            return weights @ kernel @ weights
        return (kernel * _make_pair_weights(kernel, n_source, n_target, estimator)).sum()


def mk_mmd(
    source: Tensor, target: Tensor, *, estimator: Estimator = "biased", **kernel: Unpack[KernelOptions]
) -> Tensor:
    """Return the corpus alignment loss ``d_k^2`` (Eq. 10), a scalar: the squared MK-MMD between two feature batches.

    The features are (n, d) and (m, d). n and m may differ unless the estimator is linear (see `squared_mmd`). The paper
    only requires kernel weights that sum to 1. The default is five Gaussians of equal weight with widths around the
    mean squared distance of the joint mini-batch. The code of [2]_ sums the same kernels, so its value is five times
    as large.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    >>> print(f"{mk_mmd(source, target).item():.6f}")
    0.915959
    """
    distances = joint_distances(source, target)
    return squared_mmd(heuristic_kernel(distances, **kernel), source.shape[0], estimator=estimator)


def _make_pair_weights(kernel: Tensor, n_source: int, n_target: int, estimator: Estimator) -> Tensor:
    """Return the weights (n, n) of the entries of the joint kernel matrix, for estimators that leave pairs out."""
    if min(n_source, n_target) < 2:
        raise ValueError(f"the {estimator} estimator needs two samples each, got {n_source} and {n_target}")
    if estimator == "unbiased":

        def within(size: int) -> Tensor:
            return (1 - torch.eye(size, dtype=kernel.dtype, device=kernel.device)) / (size * (size - 1))

        across = kernel.new_full((n_source, n_target), -1 / (n_source * n_target))
        return torch.cat((torch.cat((within(n_source), across), 1), torch.cat((across.T, within(n_target)), 1)))
    if n_source != n_target:
        raise ValueError(f"the {estimator} estimator needs equal numbers of samples, got {n_source} and {n_target}")
    following = torch.eye(n_source, dtype=kernel.dtype, device=kernel.device).roll(1, dims=1)  # 1 at (i, i + 1 mod n)
    if estimator == "linear-pairs":
        first = torch.arange(n_source, device=kernel.device)
        following = following * ((first % 2 == 0) & (first + 1 < n_source))[:, None]
    pairs = following / (n_source if estimator == "linear-ring" else n_source // 2)
    signs = 2 * torch.eye(2, dtype=kernel.dtype, device=kernel.device) - 1  # made on the device: a copy would wait
    return torch.kron(signs, pairs)
