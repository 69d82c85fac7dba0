"""Prototypes and the contrastive decoupling loss (Eq. 4 and 5 of the paper)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from emodna.model.losses import MIN_NORM, check_choice, check_positive, check_shapes, widen

Negative = Literal["same", "cross", "both"]
"""Negative of an emotion prototype: the corpus prototype of the same corpus, of the other one, or both."""

PrototypeMean = Literal["raw", "unit"]
"""Rows that a prototype averages: projections as they are, or scaled to length 1."""


def prototype(projections: Tensor, *, mean: PrototypeMean = "raw") -> Tensor:
    """Return the prototype (d,) of projections ``g(E)`` or ``g(C)`` (n, d): their mean, scaled to length 1 (Eq. 4).

    It is shorter than 1 only if the mean is shorter than `MIN_NORM`. With ``mean="unit"`` each projection is scaled to
    length 1 before averaging, so that all have the same weight.
    """
    is_valid = projections.ndim == 2 and len(projections) > 0
    check_shapes(is_valid, "projections must have shape (n, d) with n >= 1", projections)
    check_choice("mean", mean, PrototypeMean)
    (projections,) = widen(projections)
    if mean == "unit":
        projections = normalize(projections, dim=1, eps=MIN_NORM)
    return normalize(projections.mean(0), dim=0, eps=MIN_NORM)


def decoupling_loss(
    emotion_source: Tensor,
    emotion_target: Tensor,
    corpus_source: Tensor,
    corpus_target: Tensor,
    *,
    temperature: float,
    negative: Negative = "same",
    detach_corpus: bool = False,
) -> Tensor:
    """Return the contrastive decoupling loss ``L_decouple`` (Eq. 5) of the four prototypes, a scalar.

    Takes ``p_e^S``, ``p_e^T``, ``p_c^S``, ``p_c^T`` from `prototype`, shape ``(d,)``, and a positive ``tau_p``. The
    anchors are the two emotion prototypes. The positive of each is the other one. The paper does not print the index of
    the negative. By default (``same``) it is the corpus prototype of the anchor's corpus, which pushes emotion and
    corpus content of the same utterances apart. The negative logarithm of the ratio is then a softplus::

        1/2 sum over m in {S, T} of softplus((p_e^m . p_c^m - p_e^S . p_e^T) / temperature)

    With ``cross``, the negative is the corpus prototype of the other corpus, ``p_e^m . p_c^n``. With ``both``, the
    denominator of Eq. 5 holds both negatives and the positive. If all four prototypes are equal, the loss is ln 2, or
    ln 3 with both negatives. With ``detach_corpus``, the corpus prototypes are constants.
    """
    prototypes = (emotion_source, emotion_target, corpus_source, corpus_target)
    is_valid = all(p.ndim == 1 and p.shape == emotion_source.shape for p in prototypes)
    check_shapes(is_valid, "prototypes must all have the same shape (d,)", *prototypes)
    check_positive("temperature", temperature)
    check_choice("negative", negative, Negative)
    wide = widen(*prototypes)
    emotion, corpus = torch.stack(wide[:2]), torch.stack(wide[2:])  # (2, d) each
    if detach_corpus:
        corpus = corpus.detach()
    # Sums of products instead of matrix products, which autocast would compute in half precision.
    positive = (emotion[0] * emotion[1]).sum()  # p_e^S . p_e^T
    same = ((emotion * corpus).sum(1) - positive) / temperature  # (2,), p_e^m . p_c^m as negative
    if negative == "same":
        return softplus(same).mean()
    cross = ((emotion * corpus.flip(0)).sum(1) - positive) / temperature  # (2,), p_e^m . p_c^n
    if negative == "cross":
        return softplus(cross).mean()
    return softplus(torch.logaddexp(same, cross)).mean()
