"""What CDAN's discriminator is given in place of the features."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from emodna.model.config import Count
from emodna.model.errors import ConfigError
from emodna.model.losses.conditional import RandomisedMap, entropy_weights, multilinear_map
from emodna.model.methods.aligning import Domains
from emodna.model.methods.base import CLASSES
from emodna.model.reproducibility import seeded


@dataclass(frozen=True)
class ConditioningConfig:
    """Of the map of features and answers."""

    conditional_map: Literal["multilinear", "randomised"] = "multilinear"
    """The outer product, or a random projection of it, which pays off for wide features only."""
    randomised_dim: Count = 1024
    """What `conditional_map=randomised` projects to."""
    entropy_conditioning: bool = False
    """Whether utterances with certain answers count more."""

    def __post_init__(self) -> None:
        """Refuse settings that would change nothing.

        Raises
        ------
        ConfigError
            A width of a map that is not used.
        """
        default = type(self).__dataclass_fields__["randomised_dim"].default
        if self.conditional_map != "randomised" and self.randomised_dim != default:
            raise ConfigError(f"randomised_dim={self.randomised_dim}: only with conditional_map=randomised")


class Conditioning(nn.Module):
    """The map T(f, q) of features and answers q, constants to the gradient, and the weights of the utterances.

    Attributes
    ----------
    width
        Of the map.
    """

    def __init__(self, channels: int, config: ConditioningConfig, seed: int) -> None:
        super().__init__()
        self.entropy = config.entropy_conditioning
        self.width = CLASSES * channels
        self.map: RandomisedMap | None = None
        if config.conditional_map == "randomised":
            self.width = config.randomised_dim
            with seeded(seed, "randomised map"):
                self.map = RandomisedMap(channels, CLASSES, self.width)

    def forward(self, features: Domains, logits: Domains) -> tuple[Domains, Domains | None]:
        """T (n, width) and (m, width) of E and phi_e(E), and weights (n,) and (m,) if answers decide them."""
        answers = [each.softmax(1) for each in logits]
        joined = self.map or multilinear_map
        given = Domains(*(joined(f, q) for f, q in zip(features, answers, strict=True)))
        return given, Domains(*map(entropy_weights, answers)) if self.entropy else None
