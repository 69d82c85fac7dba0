"""Optimisers over a method's parameters, one per group, and their state by the parameters' names."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer, RAdam

from emodna.model.config import TrainConfig
from emodna.model.methods.base import ParameterGroup as ParameterGroup

_KINDS: Final[Mapping[str, type[RAdam] | type[Adam]]] = {"radam": RAdam, "adam": Adam}


def make_optimizers(
    groups: Sequence[ParameterGroup], config: TrainConfig, *, capturable: bool = False
) -> dict[str, Optimizer]:
    """One optimiser per group, by its name; capturable ones, for a CUDA graph, count their steps on the device."""
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


def optimizer_tensors(optimizers: Mapping[str, Optimizer], module: nn.Module) -> dict[str, Tensor]:
    """State of the optimisers over a module's parameters, as `parameter.key` -> tensor; none of parameters at rest."""
    states = {parameter: state for each in optimizers.values() for parameter, state in each.state.items()}
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        for key, value in states.get(parameter, {}).items()
    }


def load_optimizers(optimizers: Mapping[str, Optimizer], module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_tensors` gave.

    Raises
    ------
    ValueError
        It does not fit the parameters.
    """
    owners = {p: each for each in optimizers.values() for group in each.param_groups for p in group["params"]}
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition(".")
        found.setdefault(parameter_name, {})[key] = value
    parameters = dict(module.named_parameters())
    for name, state in found.items():
        parameter = parameters.get(name)
        shapes = {key: value.shape for key, value in state.items()}
        if parameter is None or parameter not in owners or shapes != _shapes(parameter):
            raise ValueError(f"the optimiser's state of {name} does not fit")
        owner = owners[parameter]
        # The step counts stay on the CPU, where the optimiser makes them, unless it is capturable.
        counts_on_cpu = not owner.defaults["capturable"]
        owner.state[parameter] = {
            key: value if key == "step" and counts_on_cpu else value.to(parameter.device)
            for key, value in state.items()
        }


def _shapes(parameter: Tensor) -> dict[str, torch.Size]:
    """Of the state that these optimisers keep of a parameter."""
    return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
