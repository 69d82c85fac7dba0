"""Base of the methods that align features by a discriminator of the domains, and the schedule of gradient reversal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from emodna.model.config import Count, Weight
from emodna.model.losses.adversarial import domain_loss, ganin_weight, reverse_gradient
from emodna.model.methods.alignment import AlignmentConfig, AlignmentMethod, DomainPair
from emodna.model.networks.discriminators import Discriminator, DiscriminatorNorm
from emodna.model.reproducibility import use_seed

#: Steps after which a schedule in absolute steps is where one in shares is after the whole training.
_STEPS: Final = 10_000


@dataclass(frozen=True)
class ReversalConfig:
    """Settings of lambda, by which a gradient is reversed."""

    reversal_ceiling: Weight = 1.0
    """Value that lambda grows to."""
    reversal_schedule: Literal["share", "steps"] = "share"
    """Growth with the share of the training that is behind, or as if there were 10 000 steps."""


def reversal_weight(config: ReversalConfig, progress: Tensor, step: Tensor) -> Tensor:
    """Return lambda, 0-d, of a step from 0 and of the share of the training that is behind it."""
    behind = progress if config.reversal_schedule == "share" else step / _STEPS
    return config.reversal_ceiling * ganin_weight(behind)


@dataclass(frozen=True)
class AdversaryConfig(ReversalConfig):
    """Settings of the discriminator, and of the reversal before it."""

    domain_weight: Weight = 1.0
    """Of the discriminator's loss; 0 leaves it out."""
    discriminator_hidden: Count = 128
    """Units of its two hidden layers."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """`none`: dropout of one half in place of batch norm."""


@dataclass(frozen=True)
class AdversarialConfig(AlignmentConfig, AdversaryConfig):
    """Settings of the shared network, the discriminator and the reversal."""


class Adversary(nn.Module):
    """D: learns to tell source from target by `inputs` values, while these learn to hide it."""

    def __init__(self, inputs: int, config: AdversaryConfig, seed: int) -> None:
        super().__init__()
        with use_seed(seed, "discriminator"):
            self.discriminator = Discriminator(inputs, config.discriminator_hidden, config.discriminator_norm)
        self._monitored: dict[str, Tensor] = {}

    def forward(self, given: DomainPair, reversal: Tensor, weights: DomainPair | None = None) -> Tensor:
        """Return the BCE of D(GRL(given)), of rows (n, inputs) and (m, inputs), lambda (0-d), weights (n,) and (m,)."""
        n = len(given.source)
        logits = self.discriminator(reverse_gradient(torch.cat(given), reversal))
        source, target = logits[:n], logits[n:]
        self._monitored = {
            "discriminator_accuracy": ((source > 0).float().mean() + (target <= 0).float().mean()) / 2,
            "reversal": reversal,
        }
        return domain_loss(source, target, *(weights or ()))

    def monitor(self) -> dict[str, Tensor]:
        """Return D's accuracy, the domains counting alike (1/2: by chance; 1: nothing is aligned), and lambda."""
        return self._monitored


class AdversarialMethod(AlignmentMethod):
    """Cross-entropy on the source, and features in which a discriminator does not find the domain.

    A subclass makes `adversary` by `make_adversary` in its constructor, and calls `domain_losses` in its `transfer_losses`.
    """

    config: AdversarialConfig
    adversary: Adversary | None

    def make_adversary(self, inputs: int, seed: int) -> Adversary | None:
        """Make a discriminator of this many values; None if its loss weighs nothing."""
        return Adversary(inputs, self.config, seed) if self.config.domain_weight else None

    def domain_losses(self, given: DomainPair, step: Tensor, weights: DomainPair | None = None) -> dict[str, Tensor]:
        """Return the BCE of D(GRL(given)), weighted: see `Adversary`."""
        if self.adversary is None:
            return {}
        reversal = reversal_weight(self.config, self.progress(step), step)
        return {"domain": self.config.domain_weight * self.adversary(given, reversal, weights)}

    def monitor(self) -> Mapping[str, Tensor]:
        """Return the values of all aligning methods, and those of the discriminator."""
        return {**super().monitor(), **(self.adversary.monitor() if self.adversary else {})}
