"""Losses of networks that work against each other: discriminators, and the gradient reversal before them.

.. [1] Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
.. [2] M. Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018.
.. [3] T. D. Nguyen et al., "Dual discriminator generative adversarial nets", NIPS 2017, arXiv 1709.03831.
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from emodna.model.losses import widen

UNKNOWN: Final = -1
"""Label of an utterance whose true one is unknown."""

MAX_LOGIT: Final = 10.0
"""Bound on the size of the logits in `reward`, whose linear term has no lower bound."""

LOG_OFFSET: Final = 1e-6
"""Added to a discriminator's output in `reward` before its logarithm is taken."""


def reverse_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """Pass features of any shape on as they are, and their gradient back times ``-weight``, 0-d: ``lambda`` in [1]_.

    The layers behind it minimise a loss that the layers before it maximise.
    """
    reversed_: Tensor = _Reversal.apply(x, weight)  # type: ignore[no-untyped-call]
    return reversed_


def ganin_weight(progress: Tensor) -> Tensor:
    """Return ``2 / (1 + exp(-10 p)) - 1`` of the finished share ``p`` of the training, 0-d: from 0 to almost 1 [1]_."""
    return 2 * torch.sigmoid(10 * progress) - 1


def domain_loss(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy of a domain discriminator, half of each domain's mean [1]_; ln 2 by chance.

    For as many source as target samples it is the mean over all of them, as in [2]_; with unequal numbers the domains
    still count alike. Source and target are logits (n,) and (m,), positive for source. Their sigmoid is never taken,
    for its logarithm has no gradient where it has saturated.

    The weights, (n,) and (m,), are those of each sample within its domain, positive; only their ratios matter, and they
    are constants to the gradient. By default all count alike.
    """
    # -ln sigmoid(z) where the domain is the source, -ln(1 - sigmoid(z)) where it is the target.
    return (
        _average_softplus(-source, source_weights, "source") + _average_softplus(target, target_weights, "target")
    ) / 2


def known_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (n, classes) whose label (n,) is not `UNKNOWN`; without any, 0."""
    total = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp_min(1)


def reward(favoured: Tensor, other: Tensor, weight: float = 1.0) -> Tensor:
    """Return the value, a scalar, that one discriminator of D2GAN maximises [3]_.

    It is ``weight * E[log D(favoured)] - E[D(other)]``, with ``D = softplus(logit)`` of logits of any shape, without
    gradient beyond `MAX_LOGIT`; the weight, positive, is ``alpha`` or ``beta`` in [3]_. The best discriminator is
    ``D = weight * p / q`` of the densities p of the favoured samples and q of the others, and its value
    ``weight * (KL(p || q) + log(weight) - 1)``: -1 for a weight of 1 and samples of one distribution. Whoever minimises
    the best value brings the two together. The value is between about ``-10 * weight - 10`` and ``2.3 * weight``.
    """
    of_favoured, of_other = (F.softplus(logits.clamp(-MAX_LOGIT, MAX_LOGIT)) for logits in widen(favoured, other))
    return weight * torch.log(of_favoured + LOG_OFFSET).mean() - of_other.mean()


def dual_reward(
    first_source: Tensor,
    first_target: Tensor,
    second_source: Tensor,
    second_target: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Return J [3]_, a scalar, of the logits of D1, which rewards the source, and of D2, which rewards the target.

    ``J = alpha E_s[log D1] - E_t[D1] - E_s[D2] + beta E_t[log D2]``: -2 where both are 1, which is their best where the
    corpora cannot be told apart and ``alpha = beta = 1``.
    """
    return reward(first_source, first_target, alpha) + reward(second_target, second_source, beta)


class _Reversal(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return -weight * gradient, None


def _average_softplus(wrong: Tensor, weights: Tensor | None, domain: str) -> Tensor:
    """Return the weighted mean over one domain of ``ln(1 + e^z)``, of logits for the other domain."""
    if wrong.ndim != 1 or len(wrong) == 0:
        raise ValueError(f"the {domain}'s logits must have shape (n,) with n >= 1, got {tuple(wrong.shape)}")
    (wrong,) = widen(wrong)
    losses = F.softplus(wrong)
    if weights is None:
        return losses.mean()
    if weights.shape != losses.shape:
        raise ValueError(f"the {domain} has {len(losses)} logits, but weights of shape {tuple(weights.shape)}")
    weights = weights.detach().to(losses.dtype)
    return (losses * (weights / weights.sum())).sum()
