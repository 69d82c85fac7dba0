"""Source Only: the floor that adaptation has to beat."""

import torch.nn.functional as F
from torch import Tensor

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.methods.base import EncoderConfig, Method, emotion_network


class SourceOnly(Method):
    """Cross-entropy on the source corpus. The target is never seen, not even by batch norm."""

    name = "source-only"
    reference = "no adaptation (V1 of the paper's Table 4)"
    defaults = EncoderConfig()

    def __init__(self, dim: int, config: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.network = emotion_network(dim, config, seed)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Eq. 2."""
        return {"emotion": F.cross_entropy(self.network(source.features, source.lengths), source.labels)}

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2)."""
        logits: Tensor = self.network(features, lengths)
        return logits
