"""A domain discriminator behind a gradient reversal, for the methods that align features by fooling it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emodna.model.config import Count, Weight
from emodna.model.losses.adversarial import domain_loss
from emodna.model.losses.reversal import reverse_gradient
from emodna.model.methods.aligning import Domains
from emodna.model.methods.parts.reversal import ReversalConfig
from emodna.model.networks.discriminator import Discriminator, DiscriminatorNorm
from emodna.model.reproducibility import seeded


@dataclass(frozen=True)
class AdversaryConfig(ReversalConfig):
    """Of the discriminator, and of the reversal before it."""

    domain_weight: Weight = 1.0
    """Of the discriminator's loss; 0 leaves it out."""
    discriminator_hidden: Count = 128
    """Units of its two hidden layers."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """`none`: dropout of one half in place of batch norm."""


class Adversary(nn.Module):
    """D: learns to tell source from target, while what it is given learns that it cannot.

    Parameters
    ----------
    inputs
        Width of what it is given.
    """

    def __init__(self, inputs: int, config: AdversaryConfig, seed: int) -> None:
        super().__init__()
        with seeded(seed, "discriminator"):
            self.discriminator = Discriminator(inputs, config.discriminator_hidden, config.discriminator_norm)
        self._seen: dict[str, Tensor] = {}

    def forward(self, given: Domains, reversal: Tensor, weights: Domains | None = None) -> Tensor:
        """BCE of D(GRL(given)), a scalar, not weighted.

        Parameters
        ----------
        given
            (n, inputs) and (m, inputs).
        reversal
            lambda, 0-d.
        weights
            How each utterance counts, (n,) and (m,); all alike by default.
        """
        n = len(given.source)
        logits = self.discriminator(reverse_gradient(torch.cat(given), reversal))
        source, target = logits[:n], logits[n:]
        self._seen = {
            "discriminator_accuracy": ((source > 0).float().mean() + (target <= 0).float().mean()) / 2,
            "reversal": reversal,
        }
        return domain_loss(source, target, *(weights or ()))

    def monitor(self) -> dict[str, Tensor]:
        """How often D is right, the domains counting alike (1/2: by chance; 1: nothing is aligned), and lambda."""
        return self._seen
