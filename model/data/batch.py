"""What a method is given at each step. A target batch has no labels that could leak, but an oracle's: `Supervision`."""

from dataclasses import dataclass, fields
from typing import Final, Self

import torch
from torch import Tensor

#: Values of `Batch.corpus`.
TARGET, SOURCE = 0, 1

_CPU: Final = torch.device("cpu")


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

    @classmethod
    def empty(cls, n: int, dim: int, frames: int, device: torch.device = _CPU, *, pinned: bool = False) -> Self:
        """Room for n utterances, in the layout that the networks are given.

        A GPU reads pinned memory of the host itself; torch gives a block out again once the copies from it are done.
        """
        features = torch.empty(n, dim, frames, dtype=torch.float32, device=device, pin_memory=pinned)
        numbers = torch.empty(len(fields(cls)) - 1, n, dtype=torch.int64, device=device, pin_memory=pinned)
        return cls(features, *numbers)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that there is, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        return type(self)(**{name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()})

    def take(self, rows: Tensor) -> Self:
        """A copy of some of the utterances, by (n,) int64 rows on the batch's device."""
        return type(self)(**{name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()})


@dataclass(frozen=True, slots=True)
class LabelledBatch(Batch):
    """Utterances of the source corpus, or those of the target that an oracle is given."""

    labels: Tensor
    """(batch,) int64: 1 high / positive, 0 low / negative, -1 none, which only utterances of the target have."""
