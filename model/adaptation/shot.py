"""SHOT: an encoder that makes the predictions of a frozen classifier certain and diverse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import normalize

from emodna.model.adaptation.base import Adaptation, Job, Outputs, compute_outputs, find_output_layer
from emodna.model.config import BatchSize, Positive, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.data.stream import LabelledTargetStream, TargetStream
from emodna.model.errors import ConfigError
from emodna.model.evaluation.criteria import LAST
from emodna.model.evaluation.selection import select
from emodna.model.methods.base import Method, ParameterGroup
from emodna.model.reproducibility import force_float32
from emodna.model.run_folder import write_json
from emodna.model.training.loop import train
from emodna.model.training.snapshots import Snapshots


@dataclass(frozen=True)
class ShotConfig:
    """Settings of SHOT. The weights are the paper's."""

    pseudo_label_weight: Weight = 0.3
    """Weight of the cross-entropy on pseudo-labels; that of the information maximisation is 1."""
    learning_rate: Positive = 1e-4
    """A tenth of the learning rate of the training."""
    batch_size: BatchSize = 64


class Shot(Adaptation):
    """Train the encoder on the target by information maximisation and pseudo-labels; the last linear layer is frozen.

    Centroids are refreshed once per pass over the target, from all its utterances. An utterance has the pseudo-label of
    the centroid that is nearest to its features in the step; in the authors' code, it keeps the one of the refresh.
    """

    name = "shot"
    summary = "encoder trained for certain and diverse predictions and for pseudo-labels; frozen classifier"
    reference = "Liang, Hu & Feng 2020, ICML, arXiv 2002.08546"
    defaults = ShotConfig()
    default_steps = 300

    def check(self, method: Method, batch: Batch) -> None:
        """Raise a ConfigError for a model that has only the classifier."""
        if not _list_encoder(method, find_output_layer(method, batch)):
            problem = f"{method.name} has no encoder to train"
            raise ConfigError(problem, field="method", value=self.name, remedy="choose another method")

    def adapt(self, job: Job) -> Mapping[str, Any]:
        """Train the encoder."""
        config: ShotConfig = job.config
        batches = job.read_target()
        layer = find_output_layer(job.model.method, batches[0])
        encoder = _list_encoder(job.model.method, layer)
        streams = {"batch_size": config.batch_size, "seed": job.seed}
        no_labels = np.full(len(job.target), -1, np.int8)
        settings = replace(job.train, batch_size=config.batch_size, learning_rate=config.learning_rate)
        trained = ShotTraining(job.model.method, layer, encoder, batches, config)
        layer.requires_grad_(requires_grad=False)
        with force_float32():
            timing = train(
                trained,
                LabelledTargetStream(job.windows, no_labels, **streams),  # the loop passes two batches; one is unused
                TargetStream(job.windows, **streams),
                settings,
                steps=job.steps,
                seed=job.seed,
                device=job.device,
                run=job.run,
                callback=job.callback,
                stop_listener=job.stop_listener,
            )
        layer.requires_grad_(requires_grad=True)
        trained.eval()
        step = job.steps
        if job.select != LAST:
            snapshots = Snapshots(job.run.snapshots, job.train.snapshot_every, job.steps)
            selection = select(job.select, replace(job.model, method=trained), snapshots, job.target, [], job.seed)
            write_json(job.run.selection, selection)
            step = selection["selected_step"]
        return {"selected_step": step, "steps_per_second": timing.steps / timing.seconds if timing.steps else None}


class ShotTraining(Method):
    """The training of SHOT, as the training loop needs it."""

    name = Shot.name
    reference = Shot.reference
    defaults = ShotConfig()
    centroids: Tensor

    def __init__(
        self,
        method: Method,
        layer: nn.Linear,
        encoder: Sequence[nn.Parameter],
        batches: Sequence[Batch],
        config: ShotConfig,
    ) -> None:
        super().__init__()
        self.method, self.config = method, config
        self._layer = [layer]  # a list: the layer is in `method` already
        self._encoder, self._batches = encoder, batches
        self.register_buffer("centroids", torch.zeros(layer.out_features, layer.in_features + 1))
        self._refresh = -(-sum(len(each.lengths) for each in batches) // config.batch_size)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the mean entropy, minus the entropy of the mean prediction, and the loss on pseudo-labels."""
        if int(step) % self._refresh == 0:
            self.centroids.copy_(find_centroids(compute_outputs(self.method, self._layer[0], self._batches)))
        inputs: list[Tensor] = []
        handle = self._layer[0].register_forward_hook(lambda _layer, given, _output: inputs.append(given[0]))
        try:
            logits = self.method.predict(target.features, target.lengths)
        finally:
            handle.remove()
        pseudo_labels = assign_centroids(inputs[0].detach(), self.centroids)
        probabilities = logits.softmax(1)
        mean = probabilities.mean(0)
        self._monitored = {"pseudo_label_agreement": (logits.argmax(1) == pseudo_labels).float().mean()}
        return {
            "entropy": -(probabilities * logits.log_softmax(1)).sum(1).mean(),
            "diversity": (mean * mean.clamp_min(1e-8).log()).sum(),
            "pseudo_labels": self.config.pseudo_label_weight * F.cross_entropy(logits, pseudo_labels),
        }

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of the adapted method."""
        return self.method.predict(features, lengths)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the encoder."""
        return [ParameterGroup("encoder", tuple(self._encoder))]


def find_centroids(outputs: Outputs) -> Tensor:
    """Return the centroids (classes, width + 1) of features, after one round with hard labels (paper, Eq. 4 to 6).

    As in the authors' code, a 1 is appended to the features before they are scaled to length 1. A class to which no
    utterance belongs keeps its first centroid.
    """
    unit = _append_one(outputs.features)
    weights = outputs.logits.softmax(1)
    first = weights.T @ unit / weights.sum(0)[:, None].clamp_min(1e-8)
    hard = F.one_hot(assign_centroids(outputs.features, first), weights.shape[1]).to(unit.dtype)
    counts = hard.sum(0)[:, None]
    return torch.where(counts > 0, hard.T @ unit / counts.clamp_min(1), first)


def assign_centroids(features: Tensor, centroids: Tensor) -> Tensor:
    """Return the class (n,) of the centroid (classes, width + 1) with the largest cosine to features (n, width)."""
    return (_append_one(features) @ normalize(centroids, dim=1).T).argmax(1)


def _list_encoder(method: Method, layer: nn.Linear) -> tuple[nn.Parameter, ...]:
    """Return the parameters of a method except those of its last linear layer."""
    frozen = set(layer.parameters())
    return tuple(each for each in method.parameters() if each not in frozen)


def _append_one(features: Tensor) -> Tensor:
    return normalize(torch.cat([features, torch.ones_like(features[:, :1])], 1), dim=1)
