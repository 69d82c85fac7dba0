"""Source Only: the floor that adaptation has to beat."""

import torch.nn.functional as F
from torch import Tensor

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.methods.base import EncoderConfig, SharedEncoder


class SourceOnly(SharedEncoder):
    """Cross-entropy on the source corpus. The target is never seen, not even by batch norm."""

    name = "source-only"
    summary = "cross-entropy on the source; the target is never seen"
    reference = "no adaptation (V1 of the paper's Table 4)"
    defaults = EncoderConfig()

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Eq. 2."""
        return {"emotion": F.cross_entropy(self.network(source.features, source.lengths), source.labels)}
