"""Interface of a method: its phases, parameter groups, the facts of a run, and the encoder that methods share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from emodna.model.config import DEFAULT_STEPS, Blocks, Count, Share
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.networks.emotion import EmotionClassifier, EmotionNetwork, Pooling
from emodna.model.networks.passes import BatchNormMode
from emodna.model.networks.recurrent import ConvLstm
from emodna.model.reproducibility import use_seed

if TYPE_CHECKING:  # prediction needs methods, and no store
    from emodna.pipeline.store import FeatureStore

#: Both tasks are binary.
CLASSES = 2

Supervision = Literal["source", "oracle-labels", "oracle-folds"]
"""Labels that a method learns from.

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
    """Settings of every method that passes the target through the shared encoder, too."""

    batch_norm: BatchNormMode = "concat"
    """Statistics that batch norm takes: see `emodna.model.networks.passes`."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Knowledge of a run that a method may have before it begins: nothing of emotions."""

    dim: int
    """Values per frame."""
    frames: int
    batch_size: int
    """Utterances of the source, and as many of the target, per step."""
    source_genders: frozenset[str]
    """Those that occur in training: f, m; none if nothing is known."""
    target_genders: frozenset[str]
    source_languages: frozenset[str]
    target_languages: frozenset[str]
    target_speakers: int
    """Number of those that are known."""

    @classmethod
    def of(
        cls,
        sources: Iterable[tuple["FeatureStore", NDArray[np.int8]]],
        target: "FeatureStore",
        frames: int,
        batch_size: int,
    ) -> Self:
        """Collect the facts of the stores that a run reads; a source's utterances of label -1 are in no batch."""
        of_source = [(store, np.flatnonzero(labels >= 0)) for store, labels in sources]
        of_target = [(target, np.arange(len(target)))]

        def found(column: str, chosen: Iterable[tuple["FeatureStore", NDArray[np.int64]]]) -> frozenset[str]:
            values = [store.columns([column])[column].take(rows).unique().to_pylist() for store, rows in chosen]
            return frozenset(value for each in values for value in each) - {None}

        return cls(
            target.dim,
            frames,
            batch_size,
            found("gender", of_source),
            found("gender", of_target),
            found("language", of_source),
            found("language", of_target),
            len(found("speaker", of_target)),
        )

    @property
    def languages(self) -> list[str]:
        """Return all that occur, in order: `Batch.language` is an index into these."""
        return sorted(self.source_languages | self.target_languages)


class ResolvedConfig(NamedTuple):
    """A configuration that fits a run, and remarks on that for the user, a sentence each."""

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


def find_phase(phases: Sequence[Phase], step: int, steps: int) -> Phase:
    """Return the phase of a step, from 0; each phase has its share of all `steps`, to the nearest step."""
    end = 0.0
    for phase in phases:
        end += phase.share
        if step < round(end * steps):
            return phase
    return phases[-1]


class Method(nn.Module, ABC):
    """A way to train an emotion model from a labelled and an unlabelled corpus: made from (dim, config, seed)."""

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    reference: ClassVar[str]
    """As `--list-methods` prints it, like name and summary: the method's origin."""
    our_reading: ClassVar[bool] = False
    """True if its layers are our reading of a paper that leaves them open: every table says so."""
    defaults: ClassVar[Any]
    """A frozen dataclass: the keys that `--set` can change."""
    min_dim: ClassVar[int] = 1
    min_frames: ClassVar[int] = 8
    """The smallest input that its networks can read: values per frame, and frames."""
    phases: ClassVar[Sequence[Phase]] = (Phase(),)
    """Stages of the training, in order. By default there is one, in which all parameters move at once."""

    steps: int = DEFAULT_STEPS
    """Of the whole training: see `progress`."""
    phase: str = ""
    turn: tuple[str, ...] = ()
    """Names of the parameter groups that are about to be updated; like the phase's name, for `losses` to ask."""

    @classmethod
    def resolve_config(cls, config: Any, facts: DataSummary) -> ResolvedConfig:  # noqa: ARG003
        """Return the configuration, with all filled in that follows from a run's corpora, or raise a `ConfigError`."""
        return ResolvedConfig(config)

    @abstractmethod
    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the named terms of the objective, already weighted; the trainer sums them.

        Called once per step (a 0-d int64 tensor on the device, from 0), or once per turn of a phase that has several.
        """

    @abstractmethod
    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, 2) of features (batch, dim, frames)."""

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return the emotion features (batch, width) that the classifier of `predict` reads; None if there are none."""
        return None

    @property
    def supervision(self) -> Supervision:
        """Labels that it learns from, as it is configured."""
        return "source"

    @property
    def graph_obstacle(self) -> str | None:
        """Reason why its step cannot be a CUDA graph, as it is configured; None if it can."""
        return None

    def progress(self, step: Tensor) -> Tensor:
        """Return the share of the training that is behind, 0-d, in [0, 1): for schedules."""
        return step / self.steps

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return every trained parameter in one group or another; a group's settings default to the run's."""
        return [ParameterGroup("all", tuple(self.parameters()))]

    def monitor(self) -> Mapping[str, Tensor]:
        """Return 0-d tensors of the last step worth watching beside the terms."""
        return {}


class NetworkMethod(Method):
    """A method that predicts by one network, which knows its own emotion features."""

    network: EmotionClassifier | ConvLstm

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, 2) of the network."""
        logits: Tensor = self.network(features, lengths)
        return logits

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the emotion features (batch, width) that the network's linear classifier reads."""
        return self.network.embed(features, lengths)


class SharedEncoder(NetworkMethod):
    """A method on the encoder that the compared methods share: it predicts phi_e(E_e(E(x)))."""

    network: EmotionNetwork

    def __init__(self, dim: int, config: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.network = make_emotion_network(dim, config, seed)


def make_emotion_network(dim: int, config: EncoderConfig, seed: int) -> EmotionNetwork:
    """Make the shared network, the same for every method of the same seed."""
    with use_seed(seed, "emotion network"):
        return EmotionNetwork(
            dim,
            classes=CLASSES,
            channels=config.channels,
            dropout=config.dropout,
            tcn_blocks=config.tcn_blocks,
            tcn_kernel=config.tcn_kernel,
            pooling=config.tcn_pooling,
        )


def find_graph_obstacle(batch_norm: BatchNormMode) -> str | None:
    """Return why passing the corpora one after the other cannot be a CUDA graph; None if they pass at once."""
    return None if batch_norm == "concat" else "it needs batch_norm=concat: other passes draw numbers of their own"
