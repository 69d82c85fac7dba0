"""Passes of both corpora through a network with batch norm and dropout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from emodna.model.data.batch import Batch
from emodna.model.reproducibility import fork_random_state

BatchNormMode = Literal["concat", "separate", "source"]
"""Statistics that batch norm uses in training.

concat
    Source and target are one batch with common statistics.
separate
    Each corpus has its own statistics. The running statistics, which prediction uses, mix both.
source
    As `separate`, but the running statistics come from the source only.
"""

Encode = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Function that maps features (batch, dim, frames) and lengths (batch,) to outputs (batch, ...)."""


def pass_both(
    network: nn.Module, encode: Encode, source: Batch, target: Batch, batch_norm: BatchNormMode
) -> tuple[Tensor, ...]:
    """Pass both corpora through a network, at once or one after the other. Return the source's rows, then the target's.

    `network` holds the batch norms of `encode`. In separate passes the target's pass draws dropout from its own random
    state, so the source's outputs do not depend on the target. So with `source`, and if `encode` is the whole network,
    a method with transfer weights of 0 trains the shared network bit for bit like Source Only.
    """
    if batch_norm == "concat":
        return encode(torch.cat([source.features, target.features]), torch.cat([source.lengths, target.lengths]))
    of_source = encode(source.features, source.lengths)
    statistics = keep_running_statistics(network) if batch_norm == "source" else nullcontext()
    with fork_random_state("target pass", target.features.device), statistics:
        of_target = encode(target.features, target.lengths)
    return tuple(torch.cat(rows) for rows in zip(of_source, of_target, strict=True))


@contextmanager
def keep_running_statistics(network: nn.Module) -> Iterator[None]:
    """Make batch norm use each batch's statistics within the context and keep the running ones unchanged."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm1d) and layer.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode within the context, without gradients."""
    modes = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training
