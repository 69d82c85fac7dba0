"""What a method is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.config import Count, Share
from emodna.model.networks import EmotionNetwork
from emodna.model.seeding import seeded

#: Both tasks are binary.
CLASSES = 2


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The encoder that the compared methods share (paper section 4.1)."""

    channels: Count = 64
    dropout: Share = 0.1
    tcn_blocks: Count = 5
    tcn_kernel: Count = 2


class Method(nn.Module, ABC):
    """A way to train an emotion model from a labelled and an unlabelled corpus.

    Class attributes
    ----------------
    name, reference
        As `--list-methods` prints them.
    defaults
        A frozen dataclass: the keys that `--set` can change. The constructor takes (dim, config, seed).
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    defaults: ClassVar[Any]

    @abstractmethod
    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Compute the named terms of the objective, already weighted; the trainer sums them.

        Parameters
        ----------
        step
            0-d int64 tensor on the model's device, from 0.
        """

    @abstractmethod
    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2) of features (batch, dim, frames)."""

    def monitor(self) -> Mapping[str, Tensor]:
        """0-d tensors worth watching beside the terms, of the last step."""
        return {}


def emotion_network(dim: int, config: EncoderConfig, seed: int) -> EmotionNetwork:
    """The shared network, the same for every method of the same seed."""
    with seeded(seed, "emotion network"):
        return EmotionNetwork(
            dim,
            classes=CLASSES,
            channels=config.channels,
            dropout=config.dropout,
            tcn_blocks=config.tcn_blocks,
            tcn_kernel=config.tcn_kernel,
        )
