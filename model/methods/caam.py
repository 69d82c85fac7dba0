"""CAAM: the corpus adaptation of CTL-MTNet, margin disparity on a capsule network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Count, Positive, Share, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.losses.adversarial import reverse_gradient
from emodna.model.losses.margin import LabelKind, agreement_share, margin_disparity
from emodna.model.methods.adversarial import ReversalConfig, reversal_weight
from emodna.model.methods.base import DataSummary, Method, ParameterGroup, ResolvedConfig
from emodna.model.networks.capsules import MIN_SIZE, CapsuleEncoder, init_glorot
from emodna.model.reproducibility import use_seed

_AUTHORS_BATCH_SIZE: Final = 512


@dataclass(frozen=True)
class CaamConfig(ReversalConfig):
    """Settings of CAAM, from the authors' code where it differs from their text."""

    input_scale: Positive = 17.0
    """Factor of the features: the standard deviation of the authors' MFCCs, which are not normalised. Squashing would
    reduce standardised features to almost 0. Use 1 with `normalisation=none`."""
    channels: Count = 64
    """Filters of the convolutions and length of the capsules."""
    primary_maps: Count = 6
    """Primary capsules per position."""
    capsules: Count = 6
    routings: Count = 3
    dropout: Share = 0.25
    transfer_weight: Weight = 1.0
    margin: Positive = 1.5
    """Margin factor gamma."""
    answers: LabelKind = "soft"
    """Labels that the task classifier gives the adversary. MDD uses `hard`."""
    beta1: Share = 0.975
    """beta1 of Adam. Overrides the run's default, as `beta2` does."""
    beta2: Share = 0.935


class Caam(Method):
    """Cross-entropy on the source, and margin disparity whose gradient is reversed in front of the encoder.

    The log has the shares of utterances on which the adversary predicts the class of the task head.
    """

    name = "caam"
    summary = "capsule network on which an adversary cannot disagree on the target only (CTL-MTNet)"
    reference = "Wen et al. 2022, IJCAI, arXiv 2207.10644"
    defaults = CaamConfig(reversal_schedule="steps")
    min_dim = MIN_SIZE
    min_frames = MIN_SIZE

    @classmethod
    def resolve_config(cls, config: CaamConfig, data: DataSummary) -> ResolvedConfig:
        """Return the configuration unchanged, with a remark if the batches are smaller than the authors'."""
        if data.batch_size >= _AUTHORS_BATCH_SIZE:
            return ResolvedConfig(config)
        remark = (
            f"this run uses {data.batch_size} utterances of each corpus per step; "
            f"the method's authors use {_AUTHORS_BATCH_SIZE} (batch_size={_AUTHORS_BATCH_SIZE})"
        )
        return ResolvedConfig(config, [remark])

    def __init__(self, dim: int, config: CaamConfig, seed: int, classes: int = 2) -> None:  # noqa: ARG002
        super().__init__()
        self.config = config
        with use_seed(seed, "capsule encoder"):
            sizes = config.channels, config.primary_maps, config.capsules, config.routings
            self.encoder = CapsuleEncoder(*sizes, config.dropout)
        with use_seed(seed, "task"):
            self.task = _make_head(config.channels, classes)
        with use_seed(seed, "adversary"):
            self.adversary = _make_head(config.channels, classes)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return cross-entropy and margin disparity. In joint tensors the first n rows are the source's."""
        n = len(source.labels)
        encoded = self._encode(torch.cat([source.features, target.features]))  # (n + m, channels)
        weight = reversal_weight(self.config, self.progress(step), step)
        task, adversary = self.task(encoded), self.adversary(reverse_gradient(encoded, weight))
        disparity = margin_disparity(
            task[:n], adversary[:n], task[n:], adversary[n:], margin=self.config.margin, labels=self.config.answers
        )
        self._monitored = {
            "agreeing_source": agreement_share(task[:n], adversary[:n]),
            "agreeing_target": agreement_share(task[n:], adversary[n:]),
        }
        return {
            "emotion": F.cross_entropy(task[:n], source.labels),
            "disparity": self.config.transfer_weight * disparity,
        }

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        """Return logits (batch, classes) of the task head. The capsules do not mask padding."""
        logits: Tensor = self.task(self._encode(features))
        return logits

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        """Return the code z (batch, channels) that the task head and the adversary read."""
        return self._encode(features)

    def _encode(self, features: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(self.config.input_scale * features)
        return encoded

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return one group for Adam with the run's learning rate."""
        betas = self.config.beta1, self.config.beta2
        return [ParameterGroup("all", tuple(self.parameters()), "adam", betas=betas)]


def _make_head(inputs: int, classes: int) -> nn.Sequential:
    """Make a ReLU and a linear layer: (batch, inputs) -> (batch, classes)."""
    linear = nn.Linear(inputs, classes)
    init_glorot(linear)
    return nn.Sequential(nn.ReLU(), linear)
