"""Stages of a training, for methods that train one thing before another, or two against each other."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of the training."""

    name: str = "training"
    share: float = 1.0
    """Of the steps; the shares of a method's phases add up to 1."""
    turns: tuple[tuple[str, ...], ...] = ()
    """Names of the parameter groups that each step updates, turn after turn, each turn by losses of its own: an
    encoder against its discriminators, say. By default there is one turn, of all groups."""


def phase_at(phases: Sequence[Phase], step: int, steps: int) -> Phase:
    """The phase in which a step is, from 0: of some steps in all, each phase has its share, to the nearest step."""
    end = 0.0
    for phase in phases:
        end += phase.share
        if step < round(end * steps):
            return phase
    return phases[-1]
