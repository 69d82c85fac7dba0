"""Adversarial losses: gradient reversal and the objectives of discriminators.

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

from emodna.model.losses import check_shapes, widen

#: Label of an utterance without a known label.
UNKNOWN: Final = -1
#: Bound of the logits in `reward`, whose linear term has no lower bound.
MAX_LOGIT: Final = 10.0
#: Offset of the discriminator's output in the logarithm of `reward`.
LOG_OFFSET: Final = 1e-6


def reverse_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """Return features of any shape unchanged, and multiply their gradient by ``-weight`` (0-d, ``lambda`` in [1]_).

    Then the layers after it minimise a loss, and the layers before it maximise it.
    """
    reversed_: Tensor = _Reversal.apply(x, weight)  # type: ignore[no-untyped-call]
    return reversed_


def ganin_weight(progress: Tensor) -> Tensor:
    """Return ``2 / (1 + exp(-10 p)) - 1``, 0-d, for a finished share ``p`` of training: from 0 to almost 1 [1]_."""
    return 2 * torch.sigmoid(10 * progress) - 1


def domain_loss(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy of a domain discriminator, the mean of both domains' means [1]_.

    For equal numbers of samples it equals the mean over all, as in [2]_. At chance level it is ln 2.

    The logits, shapes ``(n,)`` and ``(m,)``, are positive for source. Positive weights of the same shapes weight the
    samples within their domain. They are detached. Only their ratios matter.
    """
    # -ln sigmoid(z) for the source, -ln(1 - sigmoid(z)) for the target, by softplus to keep saturated gradients.
    of_source = _average_softplus(-source, source_weights, "source")
    return (of_source + _average_softplus(target, target_weights, "target")) / 2


def known_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (n, classes) over known labels (n,), or 0 without any."""
    total = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp_min(1)


def reward(favoured: Tensor, other: Tensor, weight: float = 1.0) -> Tensor:
    """Return the objective that one discriminator of D2GAN maximises [3]_, a scalar.

    It is ``weight * E[log D(favoured)] - E[D(other)]`` with ``D = softplus(logit)``. Its range is about
    ``-10 * weight - 10`` to ``2.3 * weight``. Logits have any shape; beyond `MAX_LOGIT` they have no gradient. The
    positive `weight` is ``alpha`` or ``beta`` in [3]_. For densities p of the favoured samples and q of the others, the
    optimum is ``D = weight * p / q`` with the value ``weight * (KL(p || q) + log(weight) - 1)``.
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
    """Return J [3]_, a scalar, from the logits of D1, which favours the source, and D2, which favours the target.

    ``J = alpha E_s[log D1] - E_t[D1] - E_s[D2] + beta E_t[log D2]``. For ``alpha = beta = 1`` and indistinguishable
    corpora the optimum is D1 = D2 = 1 with J = -2.
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


def _average_softplus(logits: Tensor, weights: Tensor | None, domain: str) -> Tensor:
    """Return the weighted mean of ``ln(1 + e^z)`` over a domain, with logits z that are positive for the other one."""
    check_shapes(logits.ndim == 1 and len(logits) > 0, f"{domain} must have shape (n,) with n >= 1", logits)
    (logits,) = widen(logits)
    losses = F.softplus(logits)
    if weights is None:
        return losses.mean()
    check_shapes(weights.shape == losses.shape, f"{domain}_weights must have shape ({len(losses)},)", weights)
    weights = weights.detach().to(losses.dtype)
    return (losses * (weights / weights.sum())).sum()
