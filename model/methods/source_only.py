"""Source Only: training without adaptation, the lower bound."""

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
    """True to predict with the target's batch norm statistics. The weights do not depend on it."""


class SourceOnly(SharedEncoder):
    """Cross-entropy on the source. Training reads no target, except for batch norm with `target_bn`."""

    name = "source-only"
    summary = "cross-entropy, trained on the source only"
    reference = "no adaptation (V1 of the paper's Table 4)"
    defaults = SourceOnlyConfig()
    config: SourceOnlyConfig

    @classmethod
    def reads_target(cls, config: SourceOnlyConfig) -> bool:
        """Return True with `target_bn`."""
        return config.target_bn

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return Eq. 2."""
        if not self.config.target_bn:
            return {"emotion": self._compute_emotion_loss(source)}
        # In training, batch norm uses the batch's statistics, so the running ones do not change the weights.
        with keep_running_statistics(self.network):
            emotion = self._compute_emotion_loss(source)
        with fork_random_state("target pass", target.features.device), torch.no_grad():
            self.network(target.features, target.lengths)
        return {"emotion": emotion}

    def _compute_emotion_loss(self, source: LabelledBatch) -> Tensor:
        return F.cross_entropy(self.network(source.features, source.lengths), source.labels)

    @property
    def graph_obstacle(self) -> str | None:
        """Reason that the target's pass prevents a CUDA graph; None without `target_bn`."""
        return "needs target_bn=false: the target's pass draws random numbers" if self.config.target_bn else None
