"""DAN: deep adaptation network, features aligned by MK-MMD."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.losses.mmd import mk_mmd
from emodna.model.methods.alignment import AlignmentConfig, AlignmentMethod, DomainPair, KernelConfig


@dataclass(frozen=True)
class DanConfig(AlignmentConfig, KernelConfig):
    """The paper's DAN aligns three task layers; here one lies behind E, the logits, left alone by default."""

    mmd_weight: Weight = 1.0
    align_logits: bool = False
    """Align the logits, too, by kernels of their own and with the same weight."""


class Dan(AlignmentMethod):
    """Cross-entropy on the source, and the squared MK-MMD between E of both corpora."""

    name = "dan"
    summary = "features of both corpora brought together by MK-MMD"
    reference = "Long et al. 2015, ICML, arXiv 1502.02791"
    defaults = DanConfig()
    config: DanConfig

    def transfer_losses(self, features: DomainPair, logits: DomainPair, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return MK-MMD, as Eq. 10 of Emo-DNA, of each layer that is aligned."""
        config, layers = self.config, {"mmd": features} | ({"mmd_logits": logits} if self.config.align_logits else {})
        return {
            name: config.mmd_weight * mk_mmd(*rows, estimator=config.mmd_estimator, **config.kernel)
            for name, rows in layers.items()
        }
