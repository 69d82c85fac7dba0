"""One training step: losses, gradients, optimisers."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.optim import Optimizer

from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import TrainingError
from emodna.model.methods.base import Method
from emodna.model.methods.phases import Phase
from emodna.model.training.compiled import compiled
from emodna.model.training.finite import FiniteGuard
from emodna.model.training.undone import undone


class Update:
    """Moves a method's parameters by one step. Nothing in it waits for the device.

    Parameters
    ----------
    optimizers
        By the names of the method's parameter groups.
    done
        Steps that are behind.
    compile
        Whether the losses go through torch.compile.
    """

    def __init__(
        self,
        method: Method,
        optimizers: Mapping[str, Optimizer],
        device: torch.device,
        *,
        done: int = 0,
        compile: bool = False,
    ) -> None:
        self._method, self._optimizers, self._device = method, optimizers, device
        self._losses = compiled(method.losses, device) if compile else method.losses
        self._step = torch.tensor(done, device=device)
        self.guard = FiniteGuard(device)

    def __call__(self, source: LabelledBatch, target: Batch, phase: Phase) -> dict[str, Tensor]:
        """Take a step in a phase; return the terms of the loss, and their total."""
        method = self._method
        method.phase = phase.name
        terms: dict[str, Tensor] = {}
        for turn in phase.turns or (tuple(self._optimizers),):
            method.turn = turn
            for optimizer in self._optimizers.values():
                optimizer.zero_grad(set_to_none=True)
            of_turn = self._losses(source, target, self._step)
            self._check(of_turn)
            torch.stack(list(of_turn.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name in turn:
                self._optimizers[name].step()
            terms |= of_turn
        terms["total"] = torch.stack([term.detach() for term in terms.values()]).sum()
        self.guard.look(self._step, terms)
        self._step += 1
        return terms

    def _check(self, terms: dict[str, Tensor]) -> None:
        """Refuse what is no objective, as another package's method may give; looks at no value."""
        named = isinstance(terms, Mapping) and terms and "total" not in terms
        if not named or not all(isinstance(term, Tensor) and term.ndim == 0 for term in terms.values()):
            raise TrainingError(
                f"method {self._method.name}: losses() must return named 0-d tensors, none of them called total"
            )

    def undone(self) -> AbstractContextManager[None]:
        """Undo at the end the steps that are taken within."""
        return undone(self._method, self._optimizers, [self._step, *self.guard.tensors], self._device)
