"""Source Only: the floor that adaptation has to beat."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods.base import EncoderConfig, SharedEncoder
from emodna.model.networks.passes import running_statistics_kept
from emodna.model.reproducibility import forked


@dataclass(frozen=True)
class SourceOnlyConfig(EncoderConfig):
    """Settings of the encoder and of its batch norm."""

    target_bn: bool = False
    """Predict by the target's batch norm statistics; every weight stays that of Source Only."""


class SourceOnly(SharedEncoder):
    """Cross-entropy on the source corpus. The target is never seen, not even by batch norm unless `target_bn` asks."""

    name = "source-only"
    summary = "cross-entropy on the source; the target is never seen"
    reference = "no adaptation (V1 of the paper's Table 4)"
    defaults = SourceOnlyConfig()
    config: SourceOnlyConfig

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return Eq. 2."""
        if not self.config.target_bn:
            return {"emotion": self._emotion(source)}
        # In training batch norm takes the batch's own statistics, so the running ones decide no weight.
        with running_statistics_kept(self.network):
            emotion = self._emotion(source)
        with forked("target pass", target.features.device), torch.no_grad():
            self.network(target.features, target.lengths)
        return {"emotion": emotion}

    def _emotion(self, source: LabelledBatch) -> Tensor:
        return F.cross_entropy(self.network(source.features, source.lengths), source.labels)

    @property
    def uncapturable(self) -> str | None:
        """Return a reason unless the source alone passes."""
        return "it needs target_bn=false: the target's pass draws numbers of its own" if self.config.target_bn else None
