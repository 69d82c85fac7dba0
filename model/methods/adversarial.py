"""What the methods have in common that align features by a discriminator of the domains."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from emodna.model.methods.aligning import Aligning, AligningConfig, Domains
from emodna.model.methods.parts.adversary import Adversary, AdversaryConfig
from emodna.model.methods.parts.reversal import reversal_weight


@dataclass(frozen=True)
class AdversarialConfig(AligningConfig, AdversaryConfig):
    """Of the shared network, the discriminator and the reversal."""


class Adversarial(Aligning):
    """Cross-entropy on the source, and features in which a discriminator does not find the domain.

    A subclass says in its `transfer` by `domain` what the discriminator is given, and makes it in its constructor.
    """

    config: AdversarialConfig
    adversary: Adversary | None

    def discriminating(self, inputs: int, seed: int) -> Adversary | None:
        """A discriminator of this many values; None if its loss weighs nothing."""
        return Adversary(inputs, self.config, seed) if self.config.domain_weight else None

    def domain(self, given: Domains, step: Tensor, weights: Domains | None = None) -> dict[str, Tensor]:
        """BCE of D(GRL(given)), weighted: see `Adversary`."""
        if self.adversary is None:
            return {}
        reversal = reversal_weight(self.config, self.progress(step), step)
        return {"domain": self.config.domain_weight * self.adversary(given, reversal, weights)}

    def monitor(self) -> Mapping[str, Tensor]:
        """As for all aligning methods, and what there is to see of the discriminator."""
        return {**super().monitor(), **(self.adversary.monitor() if self.adversary else {})}
