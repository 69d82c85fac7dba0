"""Supervised contrastive loss, Eq. 8 and 9 of the paper.

.. [1] P. Khosla et al., "Supervised contrastive learning", NeurIPS 2020.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emodna.model.losses import MIN_NORM, check_choice, check_positive, check_shapes, widen

Reduction = Literal["mean", "sum"]
"""Reduction over utterances: the mean, or the sum as in the paper."""


def supervised_contrastive(
    z: Tensor,
    labels: Tensor,
    selected: Tensor,
    *,
    temperature: float,
    anchors: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the contrastive class alignment loss ``L_SCL`` (Eq. 9) of the selected rows of a mini-batch, a scalar.

    With ``s_ij = z_i . z_j / temperature`` of normalised projections, the loss of anchor ``i`` is the mean of
    ``-(s_ij - logsumexp_{k != i} s_ik)`` over its positives ``j`` (``j != i``, same label). Anchors without positives
    are ignored. Without any anchor, the loss and its gradient are 0.

    Parameters
    ----------
    z
        Projections ``g(h)`` before normalisation, shape ``(n, d)``.
    labels
        Labels or pseudo-labels, integers, shape ``(n,)``. Those of unselected rows are ignored.
    selected
        Mask of the rows to use as anchors, positives and contrast, bool, shape ``(n,)``.
    temperature
        ``tau_s``, positive.
    anchors
        Mask of possible anchors, bool, shape ``(n,)``. Other selected rows remain positives and contrast. By default
        every selected row is an anchor.
    reduction
        ``mean`` or ``sum`` over the anchors. The paper uses a sum.
    """
    is_valid = z.ndim == 2 and labels.shape == selected.shape == z.shape[:1]
    check_shapes(is_valid, "z, labels and selected must have shapes (n, d), (n,) and (n,)", z, labels, selected)
    if selected.dtype != torch.bool:
        raise ValueError(f"selected must be a bool mask, got {selected.dtype}")
    if anchors is not None and (anchors.shape != selected.shape or anchors.dtype != torch.bool):
        raise ValueError(f"anchors must be a bool mask of shape (n,), got {anchors.dtype} {tuple(anchors.shape)}")
    check_positive("temperature", temperature)
    check_choice("reduction", reduction, Reduction)
    contrast = selected[:, None] & selected & ~torch.eye(len(z), dtype=torch.bool, device=z.device)  # (n, n)
    positive = contrast & (labels[:, None] == labels)  # (n, n)
    if anchors is not None:
        positive = positive & anchors[:, None]
    n_positives = positive.sum(1)  # (n,)
    with torch.autocast(z.device.type, enabled=False):
        (z,) = widen(z)
        z = normalize(z, dim=1, eps=MIN_NORM)
        similarity = z @ z.T / temperature  # (n, n)
        # Masked entries get the lowest finite number, so that their exponential is 0. With -inf a row without contrast
        # would not be finite. The diagonal must be masked before logsumexp: at temperature 0.01 it exceeds the rest by
        # up to 200, so every other exponential would underflow.
        lowest = torch.finfo(similarity.dtype).min
        log_total = similarity.masked_fill(~contrast, lowest).logsumexp(1, keepdim=True)  # (n, 1)
        log_ratio = torch.where(positive, similarity - log_total, 0)  # (n, n)
        per_anchor = -log_ratio.sum(1) / n_positives.clamp_min(1)  # (n,), 0 without positives
        if reduction == "sum":
            return per_anchor.sum()
        return per_anchor.sum() / (n_positives > 0).sum().clamp_min(1)
