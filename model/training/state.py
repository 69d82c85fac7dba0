"""Make, save and restore the training state, which determines the next step."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RAdam

from emodna.model import checkpoint
from emodna.model.config import TrainConfig
from emodna.model.errors import RunError
from emodna.model.methods.base import Method, ParameterGroup

_OPTIMIZERS: Final[Mapping[str, type[RAdam] | type[Adam]]] = {"radam": RAdam, "adam": Adam}


def make_optimizers(
    groups: Sequence[ParameterGroup], config: TrainConfig, *, capturable: bool = False
) -> dict[str, Optimizer]:
    """Make an optimiser for each group, by name; `capturable` ones count steps on the device, for CUDA graphs."""
    return {
        group.name: _OPTIMIZERS[group.optimizer](
            group.parameters,
            lr=config.learning_rate if group.learning_rate is None else group.learning_rate,
            betas=group.betas or (config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            foreach=True,
            capturable=capturable,
        )
        for group in groups
    }


def get_optimizer_tensors(optimizers: Mapping[str, Optimizer], module: nn.Module) -> dict[str, Tensor]:
    """Return the optimisers' state as `parameter.key` -> tensor; parameters without a step have none."""
    states = {parameter: state for each in optimizers.values() for parameter, state in each.state.items()}
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        for key, value in states.get(parameter, {}).items()
    }


def load_optimizers(optimizers: Mapping[str, Optimizer], module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of `get_optimizer_tensors`; raise a ValueError if they do not fit the parameters."""
    owners = {p: each for each in optimizers.values() for group in each.param_groups for p in group["params"]}
    parameters = dict(module.named_parameters())
    states: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition(".")
        states.setdefault(parameter_name, {})[key] = value
    for name, state in states.items():
        parameter = parameters.get(name)
        if parameter is None or parameter not in owners or not _fits(state, parameter):
            raise ValueError(f"the optimiser's state of {name} does not fit")
        owner = owners[parameter]
        counts_on_cpu = not owner.defaults["capturable"]
        owner.state[parameter] = {
            key: value if key == "step" and counts_on_cpu else value.to(parameter.device)
            for key, value in state.items()
        }


def _fits(state: Mapping[str, Tensor], parameter: Tensor) -> bool:
    expected = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
    return expected == {key: value.shape for key, value in state.items()}


@dataclass(frozen=True, slots=True)
class TrainingState:
    """The state of a method, of its optimisers and of the random number generators."""

    method: Method
    optimizers: Mapping[str, Optimizer]
    device: torch.device

    def save(self, path: Path, done: int) -> None:
        """Write a checkpoint after `done` steps; replaces the previous one atomically."""
        tensors = {
            **checkpoint.add_prefix("method", self.method.state_dict()),
            **checkpoint.add_prefix("optimizer", get_optimizer_tensors(self.optimizers, self.method)),
            **checkpoint.add_prefix("random", checkpoint.get_random_state(self.device)),
        }
        checkpoint.save_tensors(path, tensors, {"step": done})

    def restore(self, path: Path, steps: int) -> int:
        """Restore a checkpoint, if there is one; return the steps done. Raise a RunError if it is damaged."""
        if not path.exists():
            return 0
        tensors, metadata = checkpoint.load_tensors(path)
        checkpoint.load_module(self.method, checkpoint.strip_prefix("method", tensors), path)
        try:
            load_optimizers(self.optimizers, self.method, checkpoint.strip_prefix("optimizer", tensors))
            checkpoint.set_random_state(checkpoint.strip_prefix("random", tensors), self.device)
            done = int(metadata["step"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"damaged: {error}", where=path) from error
        if not 0 <= done <= steps:
            raise RunError(f"damaged: step {done} of {steps}", where=path)
        return done

    @contextmanager
    def undo_steps(self, others: Iterable[Tensor] = ()) -> Iterator[None]:
        """Undo the training steps taken within the context when it ends.

        Restores parameters, buffers, the optimisers' state, the random numbers and `others` in place, because a CUDA
        graph keeps their addresses. New state of an optimiser becomes zero, the initial state of RAdam and Adam.
        Gradients are dropped.
        """
        tensors = [*self.method.parameters(), *self.method.buffers(), *others, *self._optimizer_state()]
        values = {tensor: tensor.detach().clone() for tensor in tensors}
        random = checkpoint.get_random_state(self.device)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in values.items():
                    tensor.copy_(value)
                for state in self._optimizer_state():
                    if state not in values:
                        state.zero_()
            self.method.zero_grad(set_to_none=True)
            checkpoint.set_random_state(random, self.device)

    def _optimizer_state(self) -> list[Tensor]:
        states = [state for optimizer in self.optimizers.values() for state in optimizer.state.values()]
        return [value for state in states for value in state.values()]
