"""Regularizers on the features of one corpus: center loss (DIFL) and spectral norm (BSP).

.. [1] Y. Wen et al., "A discriminative feature learning approach for deep face recognition", ECCV 2016.
.. [2] X. Chen et al., "Transferability vs. discriminability: batch spectral penalization for adversarial domain
   adaptation", ICML 2019.
"""

import math

import torch
from torch import Tensor

from emodna.model.losses import check_shapes, widen


def center_loss(features: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Return half the mean squared distance of features to the center of their class (Eq. 2 of [1]_ has the sum).

    Shapes: features (n, d), labels (n,) int64 from 0, centers (classes, d). The centers get a gradient too. In the
    paper they have their own learning rate.
    """
    is_valid = features.ndim == 2 and labels.shape == features.shape[:1] and centers.shape[1:] == features.shape[1:]
    requirement = "features, labels and centers must have shapes (n, d), (n,) and (classes, d)"
    check_shapes(is_valid, requirement, features, labels, centers)
    features, centers = widen(features, centers)
    with torch.autocast(features.device.type, enabled=False):
        of_class = labels.unsqueeze(1) == torch.arange(len(centers), device=labels.device)  # (n, classes)
        # A product instead of indexing: its gradient is deterministic on every device.
        own = of_class.to(centers.dtype) @ centers  # (n, d)
        return (features - own).square().sum(1).mean() / 2


def squared_spectral_norm(features: Tensor) -> Tensor:
    """Return the squared largest singular value of features (n, d), n, d >= 1, a scalar [2]_.

    ``sigma_1^2`` is the maximum of ``|F v|^2`` over unit vectors ``v``. Its gradient, ``2 sigma_1 u v^T``, is
    the same for a constant ``v``. So ``v`` is computed without gradient, and no difference of singular values is a
    divisor. ``v`` is a column of a high power of ``F^T F``, computed by repeated squaring, which has static shapes and
    always converges. torch's decompositions synchronise with the device, which a CUDA graph forbids.

    The value is exact to rounding even if the second singular value is close. If both are equal, the gradient is a
    subgradient. The gradient of a zero matrix is 0.
    """
    is_valid = features.ndim == 2 and features.numel() > 0
    check_shapes(is_valid, "features must have shape (n, d) with n, d >= 1", features)
    (features,) = widen(features)
    with torch.autocast(features.device.type, enabled=False):
        return (features @ _find_top_direction(features.detach())).square().sum()


def _find_top_direction(matrix: Tensor) -> Tensor:
    """Return the right singular vector (d,) of the largest singular value of (n, d); zeros for a zero matrix."""
    limits = torch.finfo(matrix.dtype)
    matrix = matrix / matrix.abs().amax().clamp_min(limits.tiny)  # its squares stay in range
    power = matrix.T @ matrix  # (d, d)
    # After k squarings, the error of sigma_1^2 is of order 2^-k for the worst gap to the second singular value.
    for _ in range(round(-math.log2(limits.eps))):
        power = power / power.trace().clamp_min(limits.tiny)
        power = power @ power
    # Every column now has the top direction. The column with the largest diagonal entry is not short.
    column = power.index_select(1, power.diagonal().argmax(0, keepdim=True)).squeeze(1)
    length: Tensor = torch.linalg.vector_norm(column)
    return column / length.clamp_min(limits.tiny)
