"""What a domain discriminator minimises, and what lies before a gradient reversal maximises.

References
----------
.. [1] Y. Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
.. [2] M. Long et al., "Conditional adversarial domain adaptation", NeurIPS 2018.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus


def domain_loss(
    source: Tensor, target: Tensor, source_weights: Tensor | None = None, target_weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of a domain discriminator, half of each domain's mean [1]_; ln 2 by chance.

    Of as many source as target samples it is the mean over all of them, as in [2]_; of unequal numbers the domains
    still count alike.

    Parameters
    ----------
    source, target
        Logits, shapes ``(n,)`` and ``(m,)``, ``n, m >= 1``: positive for source. Their sigmoid is never taken, for its
        logarithm has no gradient where it has saturated.
    source_weights, target_weights
        How each sample counts within its domain, positive, shapes ``(n,)`` and ``(m,)``; only their ratios matter,
        and they are constants to the gradient. By default all count alike.

    Returns
    -------
    Tensor
        A scalar of at least float32.

    Raises
    ------
    ValueError
        If logits or weights are not vectors, empty, or not of one length within a domain.
    """
    # -ln sigmoid(z) where the domain is the source, -ln(1 - sigmoid(z)) where it is the target.
    return (_mean(-source, source_weights, "source") + _mean(target, target_weights, "target")) / 2


def _mean(wrong: Tensor, weights: Tensor | None, domain: str) -> Tensor:
    """Weighted mean over one domain of ``ln(1 + e^z)``, of logits for the other domain."""
    if wrong.ndim != 1 or len(wrong) == 0:
        raise ValueError(f"the {domain}'s logits must have shape (n,) with n >= 1, got {tuple(wrong.shape)}")
    losses = softplus(wrong.to(torch.promote_types(wrong.dtype, torch.float32)))
    if weights is None:
        return losses.mean()
    if weights.shape != losses.shape:
        raise ValueError(f"the {domain} has {len(losses)} logits, but weights of shape {tuple(weights.shape)}")
    weights = weights.detach().to(losses.dtype)
    return (losses * (weights / weights.sum())).sum()
