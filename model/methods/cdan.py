"""CDAN: conditional domain-adversarial network, without and with entropy conditioning."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emodna.model.config import Count
from emodna.model.errors import ConfigError
from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.methods.adversarial import AdversarialConfig, AdversarialMethod
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.base import DataSummary, ResolvedConfig, check_unused
from emodna.model.reproducibility import use_seed
from emodna.pipeline.errors import Remedy


@dataclass(frozen=True)
class ConditioningConfig:
    """Settings of the map of features and class probabilities."""

    conditional_map: Literal["multilinear", "randomised"] = "multilinear"
    """Outer product, or a random projection of it for wide features."""
    randomised_dim: Count = 1024
    """Width of the random projection."""
    entropy_conditioning: bool = False
    """True to give utterances with confident predictions more weight."""

    def __post_init__(self) -> None:
        """Raise a ConfigError if the width is changed without a random projection."""
        if self.conditional_map != "randomised":
            unused = [type(self).__dataclass_fields__["randomised_dim"]]
            check_unused(self, unused, Remedy("it needs {conditional_map=randomised}"))


@dataclass(frozen=True)
class CdanConfig(AdversarialConfig, ConditioningConfig):
    """Settings of the discriminator and of its input."""

    def __post_init__(self) -> None:
        """Raise a ConfigError if a setting has no effect."""
        AdversarialConfig.__post_init__(self)
        ConditioningConfig.__post_init__(self)


class Conditioning(nn.Module):
    """The map T(f, q) of features and detached class probabilities q, and the weights of the utterances."""

    def __init__(self, channels: int, config: ConditioningConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        self.entropy = config.entropy_conditioning
        self.width = classes * channels
        self.map: RandomisedMap | None = None
        if config.conditional_map == "randomised":
            self.width = config.randomised_dim
            with use_seed(seed, "randomised map"):
                self.map = RandomisedMap(channels, classes, self.width)

    def forward(self, features: DomainPair, logits: DomainPair) -> tuple[DomainPair, DomainPair | None]:
        """Return T (n, width) and (m, width) of E and phi_e(E), and the weights (n,) and (m,) if there are any."""
        probabilities = [each.softmax(1) for each in logits]
        join = self.map or multilinear_map
        inputs = DomainPair(*(join(f, q) for f, q in zip(features, probabilities, strict=True)))
        return inputs, DomainPair(*map(entropy_weights, probabilities)) if self.entropy else None


class Cdan(AdversarialMethod):
    """L = CE(phi_e(E_S)) + BCE(D(GRL(E x q))) with the detached q = softmax(phi_e(E))."""

    name = "cdan"
    summary = "as dann, with a discriminator of features times class probabilities"
    reference = "Long et al. 2018, NeurIPS, arXiv 1705.10667"
    defaults = CdanConfig()
    config: CdanConfig

    def __init__(self, dim: int, config: CdanConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        self.conditioning = Conditioning(config.channels, config, seed, classes)
        self.adversary = self.make_adversary(self.conditioning.width, seed)

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Return the loss of the discriminator on E x q."""
        inputs, weights = self.conditioning(features, logits)
        return self.domain_losses(inputs, step, weights)


class CdanE(Cdan):
    """CDAN with utterances weighted by 1 + exp(-H(q)), normalised within each corpus."""

    name = "cdan+e"
    summary = "as cdan, with more weight on utterances with confident predictions"
    defaults = CdanConfig(entropy_conditioning=True)

    @classmethod
    def resolve_config(cls, config: CdanConfig, data: DataSummary) -> ResolvedConfig:
        """Raise a ConfigError if entropy conditioning is off."""
        if not config.entropy_conditioning:
            problem, remedy = "cdan+e is CDAN with entropy conditioning", Remedy("choose {method=cdan}")
            raise ConfigError(problem, field="entropy_conditioning", value="false", remedy=remedy)
        return super().resolve_config(config, data)
