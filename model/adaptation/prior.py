"""Correction of the class priors by expectation maximisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.adaptation.base import Adaptation, Job, compute_outputs, find_output_layer
from emodna.model.data.batch import Batch
from emodna.model.errors import ConfigError
from emodna.model.methods.base import Method

#: The iteration ends once no prior changes by more, or after this number of rounds.
_TOLERANCE: Final = 1e-9
_MAX_ROUNDS: Final = 10_000


@dataclass(frozen=True)
class PriorConfig:
    """The correction has no settings."""


class Prior(Adaptation):
    """Estimate the target's class shares from the posteriors, and shift the logits by their logarithmic ratio.

    It takes for granted that p(x | class) is the same in source and target, and that the probabilities are calibrated.
    """

    name = "prior"
    summary = "the target's class shares, estimated from the predictions"
    reference = "Saerens, Latinne & Decaestecker 2002, Neural Computation 14"
    defaults = PriorConfig()

    def check(self, method: Method, batch: Batch) -> None:
        """Raise a ConfigError if the last layer is not linear or has no bias."""
        if find_output_layer(method, batch).bias is None:
            raise ConfigError("the last linear layer of the base run has no bias", field="method", value=self.name)

    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Shift the bias of the last linear layer."""
        assert job.prior is not None  # noqa: S101 - a second correction is refused before
        batches = job.read_target()
        layer = find_output_layer(job.model.method, batches[0])
        posteriors = compute_outputs(job.model.method, layer, batches).logits.double().softmax(1).cpu().numpy()
        found = estimate_priors(posteriors, job.prior)
        with torch.no_grad():
            shift = np.log(np.maximum(found, np.finfo(np.float32).tiny)) - np.log(job.prior)
            layer.bias.add_(torch.as_tensor(shift - shift.mean(), dtype=layer.bias.dtype, device=layer.bias.device))
        names = job.model.task.classes
        return {
            "source_priors": dict(zip(names, job.prior.tolist(), strict=True)),
            "target_priors": dict(zip(names, found.tolist(), strict=True)),
        }


def estimate_priors(posteriors: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the class shares (classes,) of utterances with posteriors (n, classes) under a training `prior`.

    The fixed point of Saerens et al. 2002, equations 2.9 and 2.10: the posteriors, corrected by the ratio of the
    shares to the training prior, have the shares as their mean.
    """
    found = prior
    for _ in range(_MAX_ROUNDS):
        corrected = posteriors * (found / prior)
        new: NDArray[np.float64] = (corrected / corrected.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - found).max() <= _TOLERANCE:
            return new
        found = new
    return found
