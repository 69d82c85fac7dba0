"""CDAN: conditional domain-adversarial network, with and without entropy conditioning."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from emodna.model.config import Count
from emodna.model.errors import ConfigError
from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.methods.adversarial import AdversarialConfig, AdversarialMethod
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.base import CLASSES, DataSummary, ResolvedConfig
from emodna.model.reproducibility import use_seed


@dataclass(frozen=True)
class ConditioningConfig:
    """Settings of the map of features and answers."""

    conditional_map: Literal["multilinear", "randomised"] = "multilinear"
    """The outer product, or a random projection of it, which pays off for wide features only."""
    randomised_dim: Count = 1024
    """Width of the projection of `conditional_map=randomised`."""
    entropy_conditioning: bool = False
    """Let utterances with certain answers count more."""

    def __post_init__(self) -> None:
        """Refuse a width of a map that is not used, with a `ConfigError`."""
        default = type(self).__dataclass_fields__["randomised_dim"].default
        if self.conditional_map != "randomised" and self.randomised_dim != default:
            raise ConfigError(f"randomised_dim={self.randomised_dim}: only with conditional_map=randomised")


@dataclass(frozen=True)
class CdanConfig(AdversarialConfig, ConditioningConfig):
    """Settings of the discriminator, and of the map that it is given."""

    def __post_init__(self) -> None:
        """Refuse settings that would change nothing, with a `ConfigError`."""
        AdversarialConfig.__post_init__(self)
        ConditioningConfig.__post_init__(self)


class Conditioning(nn.Module):
    """The map T(f, q) of features and answers q, constants to the gradient, and the weights of the utterances."""

    def __init__(self, channels: int, config: ConditioningConfig, seed: int) -> None:
        super().__init__()
        self.entropy = config.entropy_conditioning
        self.width = CLASSES * channels
        self.map: RandomisedMap | None = None
        if config.conditional_map == "randomised":
            self.width = config.randomised_dim
            with use_seed(seed, "randomised map"):
                self.map = RandomisedMap(channels, CLASSES, self.width)

    def forward(self, features: DomainPair, logits: DomainPair) -> tuple[DomainPair, DomainPair | None]:
        """Return T (n, width) and (m, width) of E and phi_e(E), and weights (n,) and (m,) if answers decide them."""
        answers = [each.softmax(1) for each in logits]
        joined = self.map or multilinear_map
        given = DomainPair(*(joined(f, q) for f, q in zip(features, answers, strict=True)))
        return given, DomainPair(*map(entropy_weights, answers)) if self.entropy else None


class Cdan(AdversarialMethod):
    """L = CE(phi_e(E_S)) + BCE(D(GRL(E x q))), q = softmax(phi_e(E)) without gradient."""

    name = "cdan"
    summary = "as dann, the discriminator being given features times class probabilities"
    reference = "Long et al. 2018, NeurIPS, arXiv 1705.10667"
    defaults = CdanConfig()
    config: CdanConfig

    def __init__(self, dim: int, config: CdanConfig, seed: int) -> None:
        super().__init__(dim, config, seed)
        self.conditioning = Conditioning(config.channels, config, seed)
        self.adversary = self.make_adversary(self.conditioning.width, seed)

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Give E x q to the discriminator; with entropy conditioning, rows of certain q count more."""
        given, weights = self.conditioning(features, logits)
        return self.domain_losses(given, step, weights)


class CdanE(Cdan):
    """CDAN whose utterances count 1 + exp(-H(q)), normalised within each corpus."""

    name = "cdan+e"
    summary = "as cdan, utterances with certain answers counting more"
    defaults = CdanConfig(entropy_conditioning=True)

    @classmethod
    def resolve_config(cls, config: CdanConfig, facts: DataSummary) -> ResolvedConfig:
        """Refuse entropy conditioning that is switched off, with a `ConfigError`."""
        if not config.entropy_conditioning:
            raise ConfigError("--set entropy_conditioning=false: that is --method cdan")
        return super().resolve_config(config, facts)
