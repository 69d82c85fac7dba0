"""DAN: deep adaptation network, features aligned by MK-MMD."""

from dataclasses import dataclass

from torch import Tensor

from emodna.model.config import Weight
from emodna.model.methods.aligning import Aligning, AligningConfig, Domains
from emodna.model.methods.parts.kernels import KernelConfig, configured_mmd


@dataclass(frozen=True)
class DanConfig(AligningConfig, KernelConfig):
    """One task layer lies behind E: the logits, which the paper's DAN would align, too, are left alone."""

    mmd_weight: Weight = 1.0


class Dan(Aligning):
    """Cross-entropy on the source, and the squared MK-MMD between E of both corpora."""

    name = "dan"
    summary = "features of both corpora brought together by MK-MMD"
    reference = "Long et al. 2015, ICML, arXiv 1502.02791"
    defaults = DanConfig()
    config: DanConfig

    def transfer(self, features: Domains, logits: Domains, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """MK-MMD, as Eq. 10 of Emo-DNA."""
        return {"mmd": self.config.mmd_weight * configured_mmd(self.config, *features)}
