"""Passes of batches through a network in which batch norm looks at the whole batch and dropout draws at random."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from emodna.model.data.batch import Batch
from emodna.model.reproducibility import fork_random_state

BatchNormMode = Literal["concat", "separate", "source"]
"""Statistics that batch norm takes in training.

concat
    Source and target are one batch with common statistics.
separate
    Each corpus is whitened by its own; the running statistics, which prediction uses, mix both.
source
    As `separate`, but the running statistics are the source's alone.
"""

Encode = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Function of features (batch, dim, frames) and lengths (batch,) that returns outputs (batch, ...)."""


def pass_both(
    network: nn.Module, encode: Encode, source: Batch, target: Batch, batch_norm: BatchNormMode
) -> tuple[Tensor, ...]:
    """Pass both corpora through a network, in one pass or one after the other.

    Unless they are one batch, the source's outputs do not depend on the target at all: the target's pass draws its
    dropout from a random state of its own. So a method whose transfer terms weigh nothing trains the shared network as
    Source Only does, bit for bit with `source`; for that, whatever Source Only computes must happen in `encode`.
    `network` holds the batch norms of `encode`, whose outputs for the source's rows come first, then the target's.
    """
    if batch_norm == "concat":
        return encode(torch.cat([source.features, target.features]), torch.cat([source.lengths, target.lengths]))
    of_source = encode(source.features, source.lengths)
    kept = keep_running_statistics(network) if batch_norm == "source" else nullcontext()
    with fork_random_state("target pass", target.features.device), kept:
        of_target = encode(target.features, target.lengths)
    return tuple(torch.cat(rows) for rows in zip(of_source, of_target, strict=True))


@contextmanager
def keep_running_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norm take each batch's own statistics in here, as in training, and leave the running ones alone."""
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
    """Predict in here as after training, from the running statistics and without dropout, and without gradients."""
    modes = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training
