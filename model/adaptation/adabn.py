"""AdaBN: the target's statistics in batch norm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emodna.model.adaptation.base import Adaptation, Job
from emodna.model.data.batch import Batch
from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method
from emodna.model.networks.passes import evaluation_mode
from emodna.model.reproducibility import disable_autocast


@dataclass(frozen=True)
class AdaBnConfig:
    """AdaBN has no settings."""


class AdaBn(Adaptation):
    """Replace mean and variance of each batch norm by those of the target.

    The statistics are those of all utterances at once, as in the paper's Algorithm 1, and do not depend on the batches.
    Each layer reads the output of earlier layers that have the target's statistics already, so there is one pass over
    the target for each layer. Variances are unbiased, as torch's are.
    """

    name = "adabn"
    summary = "mean and variance of each batch norm from the target"
    reference = "Li et al. 2016, arXiv 1603.04779"
    defaults = AdaBnConfig()

    def check(self, method: Method, batch: Batch) -> None:
        """Raise a ConfigError if no prediction passes a batch norm."""
        if not _find_norms(method, batch):
            problem, remedy = "the network of the base run has no batch norm", "choose another method"
            raise ConfigError(problem, field="method", value=self.name, remedy=remedy)

    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Replace the statistics."""
        method, batches = job.model.method, job.read_target()
        norms = _find_norms(method, batches[0])
        for norm in norms:
            mean, variance = _compute_statistics(method, norm, batches)
            norm.get_buffer("running_mean").copy_(mean)
            norm.get_buffer("running_var").copy_(variance)
        return {"layers": len(norms), "utterances": len(job.target)}


def _find_norms(method: Method, batch: Batch) -> list[nn.BatchNorm1d]:
    """Return the batch norms of a prediction in the order of the pass; those of other heads are not among them."""
    called: list[nn.BatchNorm1d] = []
    norms = [each for each in method.modules() if isinstance(each, nn.BatchNorm1d) and each.running_mean is not None]
    handles = [each.register_forward_hook(lambda norm, _inputs, _output: called.append(norm)) for each in norms]
    try:
        with evaluation_mode(method):
            method.predict(batch.features, batch.lengths)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(called))


def _compute_statistics(method: Method, norm: nn.BatchNorm1d, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Return mean and variance (channels,) of the input of a batch norm over all batches, in float64."""
    count = 0
    total = torch.zeros(norm.num_features, dtype=torch.float64, device=batches[0].features.device)
    squares = total.clone()

    def add(_norm: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal count
        values = inputs[0].double().transpose(0, 1).flatten(1)  # (channels, batch x time)
        count += values.shape[1]
        total.add_(values.sum(1))
        squares.add_(values.square().sum(1))

    handle = norm.register_forward_pre_hook(add)
    try:
        with evaluation_mode(method), disable_autocast():
            for batch in batches:
                method.predict(batch.features, batch.lengths)
    finally:
        handle.remove()
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0) * count / max(count - 1, 1)
