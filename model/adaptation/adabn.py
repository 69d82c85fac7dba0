"""AdaBN: the target's statistics in batch norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from emodna.model.adaptation.base import Adaptation, Job
from emodna.model.data.batch import Batch
from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method


@dataclass(frozen=True)
class AdaBnConfig:
    """AdaBN has no settings."""


class AdaBn(Adaptation):
    """Replace mean and variance of each batch norm by those of the target.

    One pass over the target in training mode without dropout; each layer keeps the mean of its batches' statistics,
    weighted by their sizes, as every batch is normalised by its own statistics.
    """

    name = "adabn"
    summary = "mean and variance of each batch norm from the target"
    reference = "Li et al. 2016, arXiv 1603.04779"
    defaults = AdaBnConfig()

    def check(self, method: Method, batch: Batch) -> None:  # noqa: ARG002
        """Raise a ConfigError for a network without batch norm."""
        if not _find_norms(method):
            problem, remedy = "the network of the base run has no batch norm", "choose another method"
            raise ConfigError(problem, field="method", value=self.name, remedy=remedy)

    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Replace the statistics."""
        method = job.model.method
        norms = _find_norms(method)
        momenta = [each.momentum for each in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        seen = 0
        with torch.no_grad():
            for batch in job.read_target():
                seen += len(batch.lengths)
                for norm in norms:
                    norm.momentum = len(batch.lengths) / seen
                method.predict(batch.features, batch.lengths)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        method.eval()
        return {"layers": len(norms), "utterances": seen}


def _find_norms(method: Method) -> list[nn.BatchNorm1d]:
    return [each for each in method.modules() if isinstance(each, nn.BatchNorm1d)]
