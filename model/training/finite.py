"""Watching that the loss stays finite, without a word between host and device."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

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
        self._names: list[str] = []  # of all terms that it has looked at: those of one phase are not those of another
        self._places: dict[tuple[str, ...], Tensor] = {}

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """All that it remembers."""
        return self._step, self._term

    def look(self, step: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of one step. What it keeps is written in place: a captured CUDA graph replays this."""
        places = self._places_of(tuple(terms))
        finite = torch.stack([term.detach().isfinite() for term in terms.values()])
        first = ~finite.all() & (self._step == _NO_STEP)
        self._step.copy_(torch.where(first, step, self._step))
        self._term.copy_(torch.where(first, places[finite.int().argmin()], self._term))

    def _places_of(self, names: tuple[str, ...]) -> Tensor:
        """Where the names stand among all: put on the device when they are first seen, before a step is captured."""
        if names not in self._places:
            self._names += [name for name in names if name not in self._names]
            places = [self._names.index(name) for name in names]
            self._places[names] = torch.tensor(places, device=self._term.device)
        return self._places[names]

    def found(self) -> NotFinite | None:
        """Ask the device; None while all was finite."""
        step = int(self._step.item())
        return None if step == _NO_STEP else NotFinite(self._names[int(self._term.item())], step)


def all_finite(module: nn.Module) -> bool:
    """Whether the parameters and buffers of a module are finite; waits for the device."""
    return all(bool(tensor.isfinite().all()) for tensor in (*module.parameters(), *module.buffers()))
