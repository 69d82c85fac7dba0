"""BSP: batch spectral penalisation of an adversarial method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.losses.regularizers import squared_spectral_norm
from emodna.model.methods.adversarial import AdversarialConfig, AdversarialMethod
from emodna.model.methods.alignment import DomainPair
from emodna.model.methods.cdan import CdanE, Conditioning


@dataclass(frozen=True)
class BspConfig(AdversarialConfig):
    """Settings of the adversarial method and of the penalty."""

    base: Literal["dann", "cdan+e"] = "dann"
    """Method that the penalty is added to. For `cdan+e` the authors use `spectral_weight=1e-4`."""
    spectral_weight: Weight = 2e-4


class Bsp(AdversarialMethod):
    """L = L_base + w (sigma_1(E_S)^2 + sigma_1(E_T)^2) with the feature matrices E of a mini-batch."""

    name = "bsp"
    summary = "as dann, with a penalty on the largest singular value of each corpus's features"
    reference = "Chen et al. 2019, ICML, PMLR 97:1081-1090"
    defaults = BspConfig()
    config: BspConfig

    def __init__(self, dim: int, config: BspConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        self.conditioning: Conditioning | None = None
        if config.base == "cdan+e":
            self.conditioning = Conditioning(config.channels, CdanE.defaults, seed, classes)
        self.adversary = self.make_adversary(self.conditioning.width if self.conditioning else config.channels, seed)
        self._monitored_spectra: dict[str, Tensor] = {}

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:
        """Return the terms of the base method and the penalty."""
        inputs, weights = self.conditioning(features, logits) if self.conditioning else (features, None)
        of_source, of_target = map(squared_spectral_norm, features)
        self._monitored_spectra = {"sigma_source": of_source.detach().sqrt(), "sigma_target": of_target.detach().sqrt()}
        return {
            **self.domain_losses(inputs, step, weights),
            "spectral": self.config.spectral_weight * (of_source + of_target),
        }

    def monitor(self) -> Mapping[str, Tensor]:
        """Return the adversarial values and sigma_1, about sqrt(n) times the mean of non-negative features."""
        return {**super().monitor(), **self._monitored_spectra}
