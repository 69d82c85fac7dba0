"""DANN: domain-adversarial neural network."""

from torch import Tensor

from emodna.model.methods.adversarial import Adversarial, AdversarialConfig
from emodna.model.methods.aligning import Domains


class Dann(Adversarial):
    """L = CE(phi_e(E_S)) + BCE(D(GRL(E)))."""

    name = "dann"
    summary = "features in which a discriminator behind a gradient reversal does not find the corpus"
    reference = "Ganin et al. 2016, JMLR, arXiv 1505.07818"
    defaults = AdversarialConfig()

    def __init__(self, dim: int, config: AdversarialConfig, seed: int) -> None:
        super().__init__(dim, config, seed)
        self.adversary = self.discriminating(config.channels, seed)

    def transfer(self, features: Domains, logits: Domains, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Give E to the discriminator."""
        return self.domain(features, step)
