"""What a method is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from emodna.model.config import DEFAULT_STEPS, Blocks, Count, Share
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.methods.facts import RunFacts
from emodna.model.networks.emotion import EmotionNetwork, Pooling
from emodna.model.networks.passes import BatchNormMode
from emodna.model.reproducibility import seeded

#: Both tasks are binary.
CLASSES = 2

Supervision = Literal["source", "oracle-labels", "oracle-folds"]
"""Whose labels a method learns from.

source
    The source's alone: the task that this project is about.
oracle-labels
    The target's, too: its batches are labelled ones, with -1 where there is no label.
oracle-folds
    The target's alone, cross-validated over its speakers: see `UpperBound`.
"""


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder that the compared methods share (paper section 4.1)."""

    channels: Count = 64
    dropout: Share = 0.1
    tcn_blocks: Blocks = 5
    tcn_kernel: Count = 2
    tcn_pooling: Pooling = "mean"


@dataclass(frozen=True)
class AdaptationConfig(EncoderConfig):
    """What every method has that passes the target through the shared encoder too."""

    batch_norm: BatchNormMode = "concat"
    """Whose statistics batch norm takes: see `emodna.model.networks.passes`."""


class Settled(NamedTuple):
    """A configuration that fits a run, and what its user should know of that, a sentence each."""

    config: Any
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters of a method that are updated together; a value of None is that of the run's settings."""

    name: str
    parameters: Sequence[nn.Parameter]
    optimizer: Literal["radam", "adam"] = "radam"
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of the training, for methods that train one thing before another, or two against each other."""

    name: str = "training"
    share: float = 1.0
    """Share of the steps; the shares of a method's phases add up to 1."""
    turns: tuple[tuple[str, ...], ...] = ()
    """Names of the parameter groups that each step updates, turn after turn, each turn by losses of its own: an
    encoder against its discriminators, say. By default there is one turn, of all groups."""


def phase_at(phases: Sequence[Phase], step: int, steps: int) -> Phase:
    """Return the phase of a step, from 0; each phase has its share of all `steps`, to the nearest step."""
    end = 0.0
    for phase in phases:
        end += phase.share
        if step < round(end * steps):
            return phase
    return phases[-1]


class Method(nn.Module, ABC):
    """A way to train an emotion model from a labelled and an unlabelled corpus.

    Class attributes
    ----------------
    name, summary, reference
        As `--list-methods` prints them: a word, what the method does in a line, and where it comes from.
    our_reading
        Whether its layers are our reading of a paper that leaves them open: every table says so.
    defaults
        A frozen dataclass: the keys that `--set` can change. The constructor takes (dim, config, seed).
    min_dim, min_frames
        The smallest input that its networks can read: values per frame, and frames.
    phases
        Stages of the training, in order. By default there is one, in which all parameters move at once.

    Attributes
    ----------
    steps
        Of the whole training: see `progress`.
    phase, turn
        Where the training is, for `losses` to ask: name of the phase, and names of the parameter groups that are
        about to be updated.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    reference: ClassVar[str]
    our_reading: ClassVar[bool] = False
    defaults: ClassVar[Any]
    min_dim: ClassVar[int] = 1
    min_frames: ClassVar[int] = 8
    phases: ClassVar[Sequence[Phase]] = (Phase(),)

    steps: int = DEFAULT_STEPS
    phase: str = ""
    turn: tuple[str, ...] = ()

    @classmethod
    def settled(cls, config: Any, facts: RunFacts) -> Settled:  # noqa: ARG003
        """The configuration as it fits a run: what follows from the corpora is filled in.

        Raises
        ------
        ConfigError
            The method cannot be used there.
        """
        return Settled(config)

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

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor | None:  # noqa: ARG002
        """Emotion features (batch, width) from which `predict` answers, for those who look at them.

        None, as here, of a method that says nothing of them.
        """
        return None

    @property
    def supervision(self) -> Supervision:
        """Whose labels it learns from, as it is configured."""
        return "source"

    @property
    def uncapturable(self) -> str | None:
        """Why its step cannot be a CUDA graph, as it is configured; None if it can."""
        return None

    def progress(self, step: Tensor) -> Tensor:
        """The share of the training that is behind, 0-d, in [0, 1): for schedules."""
        return step / self.steps

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Every trained parameter in one group or another; a group's settings default to the run's."""
        return [ParameterGroup("all", tuple(self.parameters()))]

    def monitor(self) -> Mapping[str, Tensor]:
        """0-d tensors worth watching beside the terms, of the last step."""
        return {}


class SharedEncoder(Method):
    """A method that predicts by the encoder that the compared methods share."""

    def __init__(self, dim: int, config: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.network = emotion_network(dim, config, seed)

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2) of phi_e(E_e(E(x)))."""
        logits: Tensor = self.network(features, lengths)
        return logits

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """E (batch, channels), which the linear phi_e reads."""
        return self.network.encode(self.network.backbone(features), lengths)


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


def own_draws(batch_norm: BatchNormMode) -> str | None:
    """Why a step that passes the corpora one after the other cannot be a CUDA graph; None if they pass at once."""
    return None if batch_norm == "concat" else "it needs batch_norm=concat: other passes draw numbers of their own"
