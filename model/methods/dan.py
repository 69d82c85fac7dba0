"""DAN: deep adaptation network, features aligned by MK-MMD."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.methods.aligning import Aligning, AligningConfig, Domains
from emodna.model.methods.parts.kernels import KernelConfig, configured_mmd


@dataclass(frozen=True)
class DanConfig(AligningConfig, KernelConfig):
    """The paper's DAN aligns three task layers; here one lies behind E, the logits, left alone by default."""

    mmd_weight: Weight = 1.0
    align_logits: bool = False
    """Whether the logits are aligned, too, by kernels of their own and with the same weight."""


class Dan(Aligning):
    """Cross-entropy on the source, and the squared MK-MMD between E of both corpora."""

    name = "dan"
    summary = "features of both corpora brought together by MK-MMD"
    reference = "Long et al. 2015, ICML, arXiv 1502.02791"
    defaults = DanConfig()
    config: DanConfig

    def transfer(self, features: Domains, logits: Domains, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """MK-MMD, as Eq. 10 of Emo-DNA, summed over the layers that are aligned."""
        layers = {"mmd": features} | ({"mmd_logits": logits} if self.config.align_logits else {})
        return {name: self.config.mmd_weight * configured_mmd(self.config, *rows) for name, rows in layers.items()}
