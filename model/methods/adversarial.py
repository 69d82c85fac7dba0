"""Base of the methods with a domain discriminator, and the schedule of gradient reversal."""

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

_SCHEDULE_STEPS: Final = 10_000


@dataclass(frozen=True)
class ReversalConfig:
    """Settings of lambda, the weight of gradient reversal."""

    reversal_ceiling: Weight = 1.0
    """Final value of lambda."""
    reversal_schedule: Literal["share", "steps"] = "share"
    """Growth of lambda with the finished share of training, or with the step as in a training of 10 000 steps."""


def reversal_weight(config: ReversalConfig, progress: Tensor, step: Tensor) -> Tensor:
    """Return lambda, 0-d, at a step (from 0) and a finished share of training."""
    share = progress if config.reversal_schedule == "share" else step / _SCHEDULE_STEPS
    return config.reversal_ceiling * ganin_weight(share)


@dataclass(frozen=True)
class AdversaryConfig(ReversalConfig):
    """Settings of the domain discriminator and of the reversal in front of it."""

    domain_weight: Weight = 1.0
    """Weight of the discriminator's loss. With 0 there is no discriminator."""
    discriminator_hidden: Count = 128
    """Units of each of its two hidden layers."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """Normalisation in the discriminator. `none`: dropout of 0.5 instead of batch norm."""


@dataclass(frozen=True)
class AdversarialConfig(AlignmentConfig, AdversaryConfig):
    """Settings of the shared network, of the discriminator and of the reversal."""


class Adversary(nn.Module):
    """Domain discriminator D of `inputs` values behind a gradient reversal."""

    def __init__(self, inputs: int, config: AdversaryConfig, seed: int) -> None:
        super().__init__()
        with use_seed(seed, "discriminator"):
            self.discriminator = Discriminator(inputs, config.discriminator_hidden, config.discriminator_norm)
        self._monitored: dict[str, Tensor] = {}

    def forward(self, inputs: DomainPair, reversal: Tensor, weights: DomainPair | None = None) -> Tensor:
        """Return BCE(D(GRL(inputs))), a scalar, of (n, inputs) and (m, inputs) with weights (n,) and (m,)."""
        n = len(inputs.source)
        logits = self.discriminator(reverse_gradient(torch.cat(inputs), reversal))
        source, target = logits[:n], logits[n:]
        self._monitored = {
            "discriminator_accuracy": ((source > 0).float().mean() + (target <= 0).float().mean()) / 2,
            "reversal": reversal,
        }
        return domain_loss(source, target, *(weights or ()))

    def monitor(self) -> dict[str, Tensor]:
        """Return lambda and D's accuracy, the mean over the domains: 0.5 is chance, 1 means no alignment."""
        return self._monitored


class AdversarialMethod(AlignmentMethod):
    """Cross-entropy on the source, and features that hide the domain from a discriminator.

    A subclass sets `adversary` with `make_adversary` and calls `domain_losses` in its `transfer_losses`.
    """

    config: AdversarialConfig
    adversary: Adversary | None

    def make_adversary(self, inputs: int, seed: int) -> Adversary | None:
        """Make a discriminator of `inputs` values; None if `domain_weight` is 0."""
        return Adversary(inputs, self.config, seed) if self.config.domain_weight else None

    def domain_losses(self, inputs: DomainPair, step: Tensor, weights: DomainPair | None = None) -> dict[str, Tensor]:
        """Return the weighted loss of the discriminator: see `Adversary`. Empty without one."""
        if self.adversary is None:
            return {}
        reversal = reversal_weight(self.config, self.progress(step), step)
        return {"domain": self.config.domain_weight * self.adversary(inputs, reversal, weights)}

    def monitor(self) -> Mapping[str, Tensor]:
        """Return the values of every alignment method and those of the discriminator."""
        return {**super().monitor(), **(self.adversary.monitor() if self.adversary else {})}
