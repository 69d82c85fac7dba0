"""T3A: a classifier from the most certain target utterances of each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emodna.model.adaptation.base import Adaptation, Job, compute_outputs, find_output_layer
from emodna.model.config import Count


@dataclass(frozen=True)
class T3aConfig:
    """Settings of T3A."""

    filter: Count = 100
    """Number M of members of each class's support set: those with the lowest entropy. The paper searches 1 to 100."""


class T3a(Adaptation):
    """Replace the weights of the last linear layer by prototypes of its inputs, and its bias by 0.

    The support set of a class begins with the layer's weights of the class, and gets the features of each utterance
    that the layer assigns to the class; the M members with the lowest entropy remain. The prototype is their mean, each
    scaled to length 1, scaled to length 1 again, as in the authors' code. The paper adds utterances one by one; here
    the whole target is known, which gives the state after its last utterance.
    """

    name = "t3a"
    summary = "a classifier from the most certain target utterances of each class"
    reference = "Iwasawa & Matsuo 2021, NeurIPS"
    defaults = T3aConfig()

    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Replace weights and bias of the last linear layer."""
        batches = job.read_target()
        layer = find_output_layer(job.model.method, batches[0])
        outputs = compute_outputs(job.model.method, layer, batches)
        with torch.no_grad():
            of_weights = layer(layer.weight)
            features = torch.cat([layer.weight, outputs.features])
            prototypes, sizes = find_prototypes(features, torch.cat([of_weights, outputs.logits]), job.config.filter)
            layer.weight.copy_(prototypes)
            if layer.bias is not None:
                layer.bias.zero_()
        return {"members": dict(zip(job.model.task.classes, sizes.tolist(), strict=True))}


def find_prototypes(features: Tensor, logits: Tensor, members: int) -> tuple[Tensor, Tensor]:
    """Return the prototypes (classes, width) of features (n, width) with logits (n, classes), and their set sizes.

    The prototype of a class without any member is 0.
    """
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)  # (n,)
    labels, unit = logits.argmax(1), normalize(features, dim=1)
    prototypes, sizes = [], []
    for label in range(logits.shape[1]):
        rows = torch.nonzero(labels == label).flatten()
        rows = rows[entropy[rows].argsort(stable=True)[:members]]
        prototypes.append(normalize(unit[rows].sum(0), dim=0))
        sizes.append(len(rows))
    return torch.stack(prototypes), torch.tensor(sizes)
