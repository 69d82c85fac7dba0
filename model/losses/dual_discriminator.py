"""The game of two discriminators that reward opposite sides, J of D2GAN.

References
----------
.. [1] T. D. Nguyen et al., "Dual discriminator generative adversarial nets", NIPS 2017, arXiv 1709.03831.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

MAX_LOGIT = 10.0
"""A discriminator's logits are clipped to plus and minus this: the linear term of `reward` has no lower bound."""

LOG_OFFSET = 1e-6
"""Is added to a discriminator's output before its logarithm is taken."""


def reward(favoured: Tensor, other: Tensor, weight: float = 1.0) -> Tensor:
    """What one discriminator maximises: ``weight * E[log D(favoured)] - E[D(other)]``, with ``D = softplus(logit)``.

    Its best is ``D = weight * p / q`` of the densities p of the favoured samples and q of the others. The value there
    is ``weight * (KL(p || q) + log(weight) - 1)``: -1 for a weight of 1 and samples of one distribution. Whoever
    minimises the best value brings the two together.

    Parameters
    ----------
    favoured, other
        Logits of any shape, one value or more each. Beyond `MAX_LOGIT` they have no gradient.
    weight
        Positive; ``alpha`` or ``beta`` in [1]_.

    Returns
    -------
    Tensor
        A scalar of at least float32, between about ``-10 * weight - 10`` and ``2.3 * weight``.
    """
    of_favoured, of_other = (_positive(logits) for logits in (favoured, other))
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
    """J [1]_: the first discriminator rewards the source, the second the target.

    ``J = alpha E_s[log D1] - E_t[D1] - E_s[D2] + beta E_t[log D2]``: -2 where both are 1, which is their best where the
    corpora cannot be told apart and ``alpha = beta = 1``.

    Parameters
    ----------
    first_source, first_target, second_source, second_target
        Logits of D1 and D2 for samples of the source and of the target.

    Returns
    -------
    Tensor
        A scalar of at least float32.
    """
    return reward(first_source, first_target, alpha) + reward(second_target, second_source, beta)


def _positive(logits: Tensor) -> Tensor:
    """D, above 0, of logits of any shape."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return softplus(wide.clamp(-MAX_LOGIT, MAX_LOGIT))
