"""Watching that the loss stays finite, without a word between host and device."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

_NO_STEP: Final = -1


class NotFinite(NamedTuple):
    """The first term that was not finite."""

    term: str
    step: int
    """From 0."""


class FiniteGuard:
    """Remembers on the device the first step and term that was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._step = torch.tensor(_NO_STEP, device=device)
        self._term = torch.tensor(0, device=device)
        self._names: list[str] = []

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """All that it remembers."""
        return self._step, self._term

    def look(self, step: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of one step. What it keeps is written in place: a captured CUDA graph replays this."""
        self._names = list(terms)
        finite = torch.stack([term.detach().isfinite() for term in terms.values()])
        first = ~finite.all() & (self._step == _NO_STEP)
        self._step.copy_(torch.where(first, step, self._step))
        self._term.copy_(torch.where(first, finite.int().argmin(), self._term))

    def found(self) -> NotFinite | None:
        """Ask the device; None while all was finite."""
        step = int(self._step.item())
        return None if step == _NO_STEP else NotFinite(self._names[int(self._term.item())], step)
