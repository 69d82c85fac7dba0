"""DAN: deep adaptation network, which aligns features by MK-MMD."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.losses.mmd import mk_mmd
from emodna.model.methods.alignment import AlignmentConfig, AlignmentMethod, DomainPair, KernelConfig


@dataclass(frozen=True)
class DanConfig(AlignmentConfig, KernelConfig):
    """Settings of DAN. The paper aligns three task layers; here E, and on request the logits."""

    mmd_weight: Weight = 1.0
    align_logits: bool = False
    """True to align the logits too, with their own kernels and the same weight."""


class Dan(AlignmentMethod):
    """Cross-entropy on the source, and the squared MK-MMD between the features E of both corpora."""

    name = "dan"
    summary = "features of both corpora aligned by MK-MMD"
    reference = "Long et al. 2015, ICML, arXiv 1502.02791"
    defaults = DanConfig()
    config: DanConfig

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return MK-MMD (Eq. 10 of Emo-DNA) of each aligned layer."""
        config, layers = self.config, {"mmd": features} | ({"mmd_logits": logits} if self.config.align_logits else {})
        return {
            name: config.mmd_weight * mk_mmd(*rows, estimator=config.mmd_estimator, **config.kernel)
            for name, rows in layers.items()
        }
