"""DANN: domain-adversarial neural network."""

from torch import Tensor

from emodna.model.methods.adversarial import AdversarialConfig, AdversarialMethod
from emodna.model.methods.alignment import DomainPair


class Dann(AdversarialMethod):
    """L = CE(phi_e(E_S)) + BCE(D(GRL(E)))."""

    name = "dann"
    summary = "features that hide the corpus from a discriminator behind a gradient reversal"
    reference = "Ganin et al. 2016, JMLR, arXiv 1505.07818"
    defaults = AdversarialConfig()

    def __init__(self, dim: int, config: AdversarialConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        self.adversary = self.make_adversary(config.channels, seed)

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the loss of the discriminator on E."""
        return self.domain_losses(features, step)
