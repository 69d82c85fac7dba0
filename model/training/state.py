"""Everything that the next training step depends on: built, saved, restored, and taken back."""

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

_KINDS: Final[Mapping[str, type[RAdam] | type[Adam]]] = {"radam": RAdam, "adam": Adam}


def make_optimizers(
    groups: Sequence[ParameterGroup], config: TrainConfig, *, capturable: bool = False
) -> dict[str, Optimizer]:
    """Make one optimiser per group, by its name; capturable ones, for a CUDA graph, count their steps on the device."""
    return {
        group.name: _KINDS[group.optimizer](
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
    """Return the optimisers' state over a module's parameters, as `parameter.key` -> tensor; none of those at rest."""
    states = {parameter: state for each in optimizers.values() for parameter, state in each.state.items()}
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        for key, value in states.get(parameter, {}).items()
    }


def load_optimizers(optimizers: Mapping[str, Optimizer], module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of `get_optimizer_tensors`. A `ValueError` if they do not fit the parameters."""
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
        # The step counts stay on the CPU, where the optimiser makes them, unless it is capturable.
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
    """A method, its optimisers and the random numbers; the batches are functions of the step."""

    method: Method
    optimizers: Mapping[str, Optimizer]
    device: torch.device

    def save(self, path: Path, done: int) -> None:
        """Write a checkpoint after so many steps, atomically: the previous one stands until this one is safe."""
        tensors = {
            **checkpoint.add_prefix("method", self.method.state_dict()),
            **checkpoint.add_prefix("optimizer", get_optimizer_tensors(self.optimizers, self.method)),
            **checkpoint.add_prefix("random", checkpoint.get_random_state(self.device)),
        }
        checkpoint.save_tensors(path, tensors, {"step": done})

    def restore(self, path: Path, steps: int) -> int:
        """Restore a checkpoint, if there is one; return the steps done. One that does not fit is a `RunError`."""
        if not path.exists():
            return 0
        tensors, facts = checkpoint.load_tensors(path)
        checkpoint.load_module(self.method, checkpoint.strip_prefix("method", tensors), path)
        try:
            load_optimizers(self.optimizers, self.method, checkpoint.strip_prefix("optimizer", tensors))
            checkpoint.set_random_state(checkpoint.strip_prefix("random", tensors), self.device)
            done = int(facts["step"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path}: damaged ({error})") from error
        if not 0 <= done <= steps:
            raise RunError(f"{path}: damaged (step {done} of {steps})")
        return done

    @contextmanager
    def undo_steps(self, others: Iterable[Tensor] = ()) -> Iterator[None]:
        """Undo at the end the training steps that are taken within, which were not taken to train.

        Parameters and buffers, the optimisers' state, the random numbers and the other tensors get their values back
        where they are in memory, for a CUDA graph looks for them there. An optimiser's state that was not there before
        stays, as zeros, with which RAdam and Adam begin anyway; gradients are dropped.
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
