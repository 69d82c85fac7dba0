"""Prototypes and the contrastive decoupling loss, Eq. 4 and 5 of the paper."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from emodna.model.losses import check_choice, check_positive, widen

Negative = Literal["same", "cross", "both"]
"""Corpus prototype that is the negative of an emotion prototype: of its own corpus, the other one, or both."""

PrototypeMean = Literal["raw", "unit"]
"""Rows that a prototype averages: projections as they are, or each scaled to length 1."""

MIN_NORM = 1e-6
"""Norm below which a mean projection is divided by this constant instead of its norm."""


def prototype(projections: Tensor, *, mean: PrototypeMean = "raw") -> Tensor:
    """Return the prototype (d,) of one corpus and one kind of feature, Eq. 4: the mean projection, scaled to length 1.

    It is shorter than 1 only if the mean is shorter than `MIN_NORM`. The projections ``g(E)`` or ``g(C)`` are (n, d).
    With a mean of ``raw`` they are averaged as they are, and only the mean is normalised; with ``unit`` each is
    normalised too, so that long ones count no more than short ones.
    """
    if projections.ndim != 2 or projections.shape[0] == 0:
        raise ValueError(f"projections must have shape (n, d) with n >= 1, got {tuple(projections.shape)}")
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
    """Return the contrastive decoupling loss ``L_decouple``, Eq. 5, a scalar, of the four prototypes.

    Anchors are the two emotion prototypes. The positive of each is the emotion prototype of the other corpus. Eq. 5 has
    lost the index of the negative in print; by default it is the corpus prototype of the anchor's own corpus, so that
    the emotion and corpus content of the same utterances are pushed apart. The negative logarithm of the ratio is then
    a softplus::

        1/2 sum over m in {S, T} of softplus((p_e^m . p_c^m - p_e^S . p_e^T) / temperature)

    If all four are equal it is ln 2, with both negatives ln 3.

    Parameters
    ----------
    emotion_source, emotion_target, corpus_source, corpus_target
        ``p_e^S``, ``p_e^T``, ``p_c^S``, ``p_c^T`` from `prototype`, shape ``(d,)``.
    temperature
        ``tau_p``, positive.
    negative
        ``same``: as above; ``cross``: the corpus prototype of the other corpus, ``p_e^m . p_c^n``; ``both``: both
        stand in the denominator of Eq. 5 beside the positive.
    detach_corpus
        Make the corpus prototypes constants to the gradient, so that the emotion side alone gives way.
    """
    prototypes = (emotion_source, emotion_target, corpus_source, corpus_target)
    if any(p.ndim != 1 or p.shape != emotion_source.shape for p in prototypes):
        raise ValueError(f"prototypes must all have the same shape (d,), got {[tuple(p.shape) for p in prototypes]}")
    check_positive("temperature", temperature)
    check_choice("negative", negative, Negative)
    wide = widen(*prototypes)
    emotion, corpus = torch.stack(wide[:2]), torch.stack(wide[2:])  # (2, d) each
    if detach_corpus:
        corpus = corpus.detach()
    # Sums of products instead of matrix products, which autocast would take to half precision.
    positive = (emotion[0] * emotion[1]).sum()  # p_e^S . p_e^T
    same = ((emotion * corpus).sum(1) - positive) / temperature  # (2,), p_e^m . p_c^m in the place of the negative
    if negative == "same":
        return softplus(same).mean()
    cross = ((emotion * corpus.flip(0)).sum(1) - positive) / temperature  # (2,), p_e^m . p_c^n
    if negative == "cross":
        return softplus(cross).mean()
    return softplus(torch.logaddexp(same, cross)).mean()
