"""Batches of utterances. A target batch has no labels, except for methods marked oracle (see `Supervision`)."""

from dataclasses import dataclass, fields
from typing import Final, Self

import torch
from torch import Tensor

#: Values of `Batch.corpus`.
TARGET, SOURCE = 0, 1

_CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of windows of one corpus, all with the same number of frames."""

    features: Tensor
    """(batch, dim, frames) float32, normalised."""
    lengths: Tensor
    """(batch,) int64: number of frames to pool over; all frames unless padding is `mask`."""
    corpus: Tensor
    """(batch,) int64: `SOURCE` or `TARGET`."""
    gender: Tensor
    """(batch,) int64: 0 female, 1 male, -1 unknown."""
    language: Tensor
    """(batch,) int64: index into the run's languages, -1 unknown."""

    @classmethod
    def empty(cls, n: int, dim: int, frames: int, device: torch.device = _CPU, *, pinned: bool = False) -> Self:
        """Allocate a batch for n utterances.

        A GPU copies pinned host memory without the CPU. Torch reuses a pinned block once its copies are done.
        """
        features = torch.empty(n, dim, frames, dtype=torch.float32, device=device, pin_memory=pinned)
        numbers = torch.empty(len(fields(cls)) - 1, n, dtype=torch.int64, device=device, pin_memory=pinned)
        return cls(features, *numbers)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the batch by field name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device) -> Self:
        """Return the batch on another device."""
        return type(self)(**{name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()})

    def take(self, rows: Tensor) -> Self:
        """Return a copy of some utterances, by their rows (n,) int64 on the batch's device."""
        return type(self)(**{name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()})


@dataclass(frozen=True, slots=True)
class LabelledBatch(Batch):
    """A labelled batch of windows: of the source, or of the target for an oracle."""

    labels: Tensor
    """(batch,) int64: index of the class, see `Task.classes`; -1 unlabelled (target only)."""
