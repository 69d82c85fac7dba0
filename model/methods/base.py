"""What a method is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.config import Blocks, Count, Share
from emodna.model.networks import EmotionNetwork, Pooling
from emodna.model.optimizers import ParameterGroup
from emodna.model.passes import BatchNormMode
from emodna.model.phases import Phase
from emodna.model.seeding import seeded

#: Both tasks are binary.
CLASSES = 2


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The encoder that the compared methods share (paper section 4.1)."""

    channels: Count = 64
    dropout: Share = 0.1
    tcn_blocks: Blocks = 5
    tcn_kernel: Count = 2
    tcn_pooling: Pooling = "mean"


@dataclass(frozen=True, slots=True)
class AdaptationConfig(EncoderConfig):
    """What every method has that passes the target through the shared encoder too."""

    batch_norm: BatchNormMode = "concat"
    """Whose statistics batch norm takes: see `emodna.model.passes`."""


class Method(nn.Module, ABC):
    """A way to train an emotion model from a labelled and an unlabelled corpus.

    Class attributes
    ----------------
    name, reference
        As `--list-methods` prints them.
    defaults
        A frozen dataclass: the keys that `--set` can change. The constructor takes (dim, config, seed).
    phases
        Stages of the training, in order. By default there is one, in which all parameters move at once.

    Attributes
    ----------
    phase, turn
        Where the training is, for `losses` to ask: name of the phase, and names of the parameter groups that are
        about to be updated.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    defaults: ClassVar[Any]
    phases: ClassVar[Sequence[Phase]] = (Phase(),)

    phase: str = ""
    turn: tuple[str, ...] = ()

    @abstractmethod
    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Compute the named terms of the objective, already weighted; the trainer sums them.

        Called once per step, or once per turn of a phase that has several.

        Parameters
        ----------
        step
            0-d int64 tensor on the model's device, from 0.
        """

    @abstractmethod
    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2) of features (batch, dim, frames)."""

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Every trained parameter in one group or another; a group's settings default to the run's."""
        return [ParameterGroup("all", tuple(self.parameters()))]

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
            pooling=config.tcn_pooling,
        )
