"""Regularizers on the features of one corpus: center loss (DIFL) and spectral norm (BSP).

.. [1] Y. Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016.
.. [2] X. Chen et al., "Transferability vs. discriminability: batch spectral penalization for adversarial domain
   adaptation", ICML 2019.
"""

import math

import torch
from torch import Tensor

from emodna.model.losses import widen


def center_loss(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Return half the mean squared distance of features to the center of their class ([1]_ sums in Eq. 2).

    Shapes: features (n, d), labels (n,) int64 from 0, centers (classes, d). The centers get a gradient too. In the
    paper they move towards the mean of their class with their own rate.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or centers.shape[1:] != features.shape[1:]:
        raise ValueError(
            "features, labels and centers must have shapes (n, d), (n,) and (classes, d), "
            f"got {tuple(features.shape)}, {tuple(labels.shape)} and {tuple(centers.shape)}"
        )
    features, centers = widen(features, centers)
    with torch.autocast(features.device.type, enabled=False):
        of_class = labels.unsqueeze(1) == torch.arange(len(centers), device=labels.device)  # (n, classes)
        # A product instead of indexing: its gradient is deterministic on every device.
        own = of_class.to(centers.dtype) @ centers  # (n, d)
        return (features - own).square().sum(1).mean() / 2


def squared_spectral_norm(features: Tensor) -> Tensor:
    """Return the squared largest singular value of features (n, d), n, d >= 1, a scalar [2]_.

    ``sigma_1^2`` is the maximum of ``|F v|^2`` over unit vectors ``v``. Its gradient equals that for a constant ``v``,
    ``2 sigma_1 u v^T``, so ``v`` is computed without gradient and no difference of singular values is a divisor. ``v``
    is a column of a high power of ``F^T F``, computed by repeated squaring, which has static shapes and always
    converges. torch's decompositions synchronise with the device, which a CUDA graph forbids.

    The value is exact to rounding even if the second singular value is close. If both are equal, the gradient is a
    subgradient. The gradient of a zero matrix is 0.
    """
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(f"features must have shape (n, d) with n, d >= 1, got {tuple(features.shape)}")
    (features,) = widen(features)
    with torch.autocast(features.device.type, enabled=False):
        return (features @ _find_top_direction(features.detach())).square().sum()


def _find_top_direction(matrix: Tensor) -> Tensor:
    """Return the right singular vector (d,) of the largest singular value of (n, d); zeros for a zero matrix."""
    limits = torch.finfo(matrix.dtype)
    matrix = matrix / matrix.abs().amax().clamp_min(limits.tiny)  # its squares stay in range
    power = matrix.T @ matrix  # (d, d)
    # (F^T F)^(2^k) leaves an error of order 2^-k in sigma_1^2 for the worst gap to the second singular value.
    for _ in range(round(-math.log2(limits.eps))):
        power = power / power.trace().clamp_min(limits.tiny)
        power = power @ power
    # Every column now points in the top direction; the one with the largest diagonal entry is long.
    column = power.index_select(1, power.diagonal().argmax(0, keepdim=True)).squeeze(1)
    length: Tensor = torch.linalg.vector_norm(column)
    return column / length.clamp_min(limits.tiny)
