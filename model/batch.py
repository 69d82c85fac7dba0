"""What a method is given at each step. A target batch has no field for labels: they cannot leak."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

#: Values of `Batch.corpus`.
TARGET, SOURCE = 0, 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances of one corpus, cropped or padded to the same number of frames."""

    features: Tensor
    """(batch, dim, frames) float32, normalised."""
    lengths: Tensor
    """(batch,) int64: frames that pooling counts; all of them unless padding is `mask`."""
    corpus: Tensor
    """(batch,) int64: `SOURCE` or `TARGET`."""
    gender: Tensor
    """(batch,) int64: 0 female, 1 male, -1 unknown."""
    language: Tensor
    """(batch,) int64: index into the run's languages, -1 unknown."""

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        moved = {field.name: getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)}
        return type(self)(**moved)


@dataclass(frozen=True, slots=True)
class LabelledBatch(Batch):
    """Utterances of the source corpus."""

    labels: Tensor
    """(batch,) int64: 1 high / positive, 0 low / negative."""
