"""CDAN: conditional domain-adversarial network, with and without entropy conditioning."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.errors import ConfigError
from emodna.model.methods.adversarial import Adversarial, AdversarialConfig
from emodna.model.methods.aligning import Domains
from emodna.model.methods.base import Settled
from emodna.model.methods.facts import RunFacts
from emodna.model.methods.parts.conditioning import Conditioning, ConditioningConfig


@dataclass(frozen=True)
class CdanConfig(AdversarialConfig, ConditioningConfig):
    """Of the discriminator, and of what it is given."""

    def __post_init__(self) -> None:
        """Refuse settings that would change nothing.

        Raises
        ------
        ConfigError
            A key of L_SCL without `--add scl`, or of a map that is not used.
        """
        AdversarialConfig.__post_init__(self)
        ConditioningConfig.__post_init__(self)


class Cdan(Adversarial):
    """L = CE(phi_e(E_S)) + BCE(D(GRL(E x q))), q = softmax(phi_e(E)) without gradient."""

    name = "cdan"
    summary = "as dann, the discriminator being given features times class probabilities"
    reference = "Long et al. 2018, NeurIPS, arXiv 1705.10667"
    defaults = CdanConfig()
    config: CdanConfig

    def __init__(self, dim: int, config: CdanConfig, seed: int) -> None:
        super().__init__(dim, config, seed)
        self.conditioning = Conditioning(config.channels, config, seed)
        self.adversary = self.discriminating(self.conditioning.width, seed)

    def transfer(self, features: Domains, logits: Domains, step: Tensor) -> dict[str, Tensor]:
        """The discriminator is given E x q; with entropy conditioning, rows of certain q count more."""
        given, weights = self.conditioning(features, logits)
        return self.domain(given, step, weights)


class CdanE(Cdan):
    """CDAN whose utterances count 1 + exp(-H(q)), normalised within each corpus."""

    name = "cdan+e"
    summary = "as cdan, utterances with certain answers counting more"
    defaults = CdanConfig(entropy_conditioning=True)

    @classmethod
    def settled(cls, config: CdanConfig, facts: RunFacts) -> Settled:
        """As it is.

        Raises
        ------
        ConfigError
            Entropy conditioning is switched off.
        """
        if not config.entropy_conditioning:
            raise ConfigError("--set entropy_conditioning=false: that is --method cdan")
        return super().settled(config, facts)
