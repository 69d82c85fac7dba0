"""Taking back training steps that were taken for another reason than training."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from emodna.model.checkpoint import random_state, set_random_state


@contextmanager
def undone(
    module: nn.Module, optimizers: Mapping[str, Optimizer], others: Iterable[Tensor], device: torch.device
) -> Iterator[None]:
    """Undo at the end what the steps within have changed, so that the next step is as if they had not been.

    Parameters and buffers of the module, the optimisers' state, the random numbers and the other tensors get their
    values back where they are in memory, for that is where a CUDA graph looks for them. An optimiser's state that was
    not there before stays, as zeros, with which RAdam and Adam begin anyway; gradients are dropped.
    """
    tensors = [*module.parameters(), *module.buffers(), *others, *_states(optimizers)]
    values = {tensor: tensor.detach().clone() for tensor in tensors}
    random = random_state(device)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in values.items():
                tensor.copy_(value)
            for state in _states(optimizers):
                if state not in values:
                    state.zero_()
        for parameter in module.parameters():
            parameter.grad = None
        set_random_state(random, device)


def _states(optimizers: Mapping[str, Optimizer]) -> list[Tensor]:
    states = [state for optimizer in optimizers.values() for state in optimizer.state.values()]
    return [value for state in states for value in state.values()]
