"""Everything that the next training step depends on, saved and restored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Optimizer

from emodna.model import checkpoint
from emodna.model.errors import RunError
from emodna.model.methods.base import Method
from emodna.model.methods.optimizers import load_optimizers, optimizer_tensors


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A method, its optimisers and the random numbers; the batches are functions of the step."""

    method: Method
    optimizers: Mapping[str, Optimizer]
    device: torch.device

    def save(self, path: Path, done: int) -> None:
        """Write a checkpoint after so many steps, atomically: the previous one stands until this one is safe."""
        tensors = {
            **checkpoint.prefixed("method", self.method.state_dict()),
            **checkpoint.prefixed("optimizer", optimizer_tensors(self.optimizers, self.method)),
            **checkpoint.prefixed("random", checkpoint.random_state(self.device)),
        }
        checkpoint.save_tensors(path, tensors, {"step": done})

    def restore(self, path: Path, steps: int) -> int:
        """Restore a checkpoint, if there is one; return the number of steps done.

        Raises
        ------
        RunError
            A damaged checkpoint, or one of another method or of more than `steps` steps.
        """
        if not path.exists():
            return 0
        tensors, facts = checkpoint.load_tensors(path)
        checkpoint.load_module(self.method, checkpoint.without_prefix("method", tensors), path)
        try:
            load_optimizers(self.optimizers, self.method, checkpoint.without_prefix("optimizer", tensors))
            checkpoint.set_random_state(checkpoint.without_prefix("random", tensors), self.device)
            done = int(facts["step"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path}: damaged ({error})") from error
        if not 0 <= done <= steps:
            raise RunError(f"{path}: damaged (step {done} of {steps})")
        return done
