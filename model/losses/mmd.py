"""Maximum mean discrepancy with several Gaussian kernels (MK-MMD), Eq. 10 of the paper.

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
    """Estimate the squared MMD, a scalar, from the kernel matrix ``k`` of the joint sample.

    The matrix (n, n) is positive definite, its first `n_source` rows are the source's.

    biased
        ``mean K_ss + mean K_tt - 2 mean K_st``, the V-statistic: never negative (but for rounding), at most 2 for a
        kernel of at most 1, 0 for identical sets, and the number of source and target samples may differ.
    unbiased
        the same without the diagonals of ``K_ss`` and ``K_tt``, the U-statistic. It is negative about as often as
        positive where source and target agree. The constant that some code adds to prevent that has no gradient.
    linear-ring, linear-pairs
        the mean of ``k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(s_j, t_i)`` over ``j = i + 1 mod n``, or over
        the disjoint pairs ``(0, 1), (2, 3), ...`` of which an odd last row has no part (the estimator of [1]_).
        It depends on the order of the rows, varies more, and needs as many source as target samples.
    """
    n = count_square_rows(kernel)
    if not 0 < n_source < n:
        raise ValueError(f"source and target need one sample or more each, got {n_source} and {n - n_source}")
    check_choice("estimator", estimator, Estimator)
    n_target = n - n_source
    with torch.autocast(kernel.device.type, enabled=False):
        if estimator == "biased":
            # The coordinates of mean(phi(source)) - mean(phi(target)), whose squared norm in the RKHS is the result.
            weights = torch.cat(
                (kernel.new_full((n_source,), 1 / n_source), kernel.new_full((n_target,), -1 / n_target))
            )
            return weights @ kernel @ weights
        return (kernel * _make_pair_weights(kernel, n_source, n_target, estimator)).sum()


def mk_mmd(
    source: Tensor, target: Tensor, *, estimator: Estimator = "biased", **kernel: Unpack[KernelOptions]
) -> Tensor:
    """Return the corpus alignment loss ``d_k^2``, Eq. 10, a scalar: squared MK-MMD between mini-batches of features.

    The features are (n, d) and (m, d); m may differ from n unless the estimator, see `squared_mmd`, is linear.
    The paper leaves the kernels open but for weights that sum to 1. By default there are five Gaussians of equal
    weight, of widths around the mean squared distance in the joint mini-batch (the five widths of the code of [2]_,
    which sums the kernels and so yields five times this value), and the estimator is the biased one.

    Examples
    --------
    >>> source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    >>> print(f"{mk_mmd(source, target).item():.6f}")
    0.915959
    """
    distances = joint_distances(source, target)
    return squared_mmd(heuristic_kernel(distances, **kernel), source.shape[0], estimator=estimator)


def _make_pair_weights(kernel: Tensor, n_source: int, n_target: int, estimator: Estimator) -> Tensor:
    """Return the weight (n, n) of each entry of the joint kernel matrix in an estimator that leaves pairs out."""
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
    signs = 2 * torch.eye(2, dtype=kernel.dtype, device=kernel.device) - 1  # made there: a copy would wait
    return torch.kron(signs, pairs)
