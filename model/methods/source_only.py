"""Source Only: the floor that adaptation has to beat."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods.base import EncoderConfig, SharedEncoder
from emodna.model.networks.passes import keep_running_statistics
from emodna.model.reproducibility import fork_random_state


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
            return {"emotion": self._compute_emotion_loss(source)}
        # In training batch norm takes the batch's own statistics, so the running ones decide no weight.
        with keep_running_statistics(self.network):
            emotion = self._compute_emotion_loss(source)
        with fork_random_state("target pass", target.features.device), torch.no_grad():
            self.network(target.features, target.lengths)
        return {"emotion": emotion}

    def _compute_emotion_loss(self, source: LabelledBatch) -> Tensor:
        return F.cross_entropy(self.network(source.features, source.lengths), source.labels)

    @property
    def graph_obstacle(self) -> str | None:
        """Return a reason unless the source alone passes."""
        return "it needs target_bn=false: the target's pass draws numbers of its own" if self.config.target_bn else None
