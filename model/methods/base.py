"""Interface of a method, the data summary that configures it, and the encoder that most methods share."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emodna.model.config import DEFAULT_STEPS, OF_PAPER_NETWORK, Blocks, Count, Share
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError, TrainingError
from emodna.model.networks.emotion import EmotionClassifier, EmotionNetwork, Pooling
from emodna.model.networks.passes import BatchNormMode
from emodna.model.networks.recurrent import ConvLstm
from emodna.model.networks.statistics import StatisticsNetwork
from emodna.model.reproducibility import use_seed
from emodna.pipeline.errors import Remedy

if TYPE_CHECKING:  # prediction needs methods, and no store
    from emodna.pipeline.store import FeatureStore

Supervision = Literal["source", "oracle-labels", "oracle-folds"]
"""Labels that a method learns from.

source
    Labels of the source only. The task of this project.
oracle-labels
    Labels of source and target. Target batches have labels, -1 where one is missing.
oracle-folds
    Labels of the target only, cross-validated over its speakers: see `UpperBound`.
"""


@dataclass(frozen=True)
class PaperNetworkConfig:
    """Sizes of the paper's emotion network (section 4.1)."""

    channels: Count = 64
    dropout: Share = 0.1
    tcn_blocks: Blocks = 5
    tcn_kernel: Count = 2
    tcn_pooling: Pooling = "mean"


Network = Literal["paper", "statistics"]
"""Network of the methods with the shared encoder.

paper
    Backbone and TCN on a window of frames.
statistics
    One hidden layer on the mean and the standard deviation over all frames of an utterance.
"""


@dataclass(frozen=True)
class EncoderConfig(PaperNetworkConfig):
    """Settings of the encoder that the compared methods share."""

    network: Network = "paper"

    def __post_init__(self) -> None:
        """Raise a ConfigError if a setting of the paper's network is changed without it."""
        if self.network != "paper":
            unused = [field for field in fields(self) if field.name in OF_PAPER_NETWORK]
            check_unused(self, unused, Remedy("it needs {network=paper}"))


@dataclass(frozen=True)
class AdaptationConfig(EncoderConfig):
    """Settings of a method that also passes the target through the shared encoder."""

    batch_norm: BatchNormMode = "concat"
    """Statistics that batch norm uses: see `emodna.model.networks.passes`."""


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Sizes and metadata of a run's corpora, without any emotion label."""

    dim: int
    """Values per frame."""
    frames: int
    """Frames of a window; 1 for pooled statistics."""
    batch_size: int
    """Utterances per step and domain."""
    source_genders: frozenset[str]
    """Known genders of the utterances used for training: a subset of {f, m}."""
    target_genders: frozenset[str]
    source_languages: frozenset[str]
    target_languages: frozenset[str]
    target_speakers: int
    """Number of known speakers."""

    @classmethod
    def of(
        cls,
        sources: Iterable[tuple["FeatureStore", NDArray[np.int8]]],
        target: "FeatureStore",
        dim: int,
        frames: int,
        batch_size: int,
    ) -> Self:
        """Summarise the stores that a run reads, without source utterances of label -1, which no batch holds."""
        of_source = [(store, np.flatnonzero(labels >= 0)) for store, labels in sources]
        of_target = [(target, np.arange(len(target)))]

        def find_values(column: str, chosen: Iterable[tuple["FeatureStore", NDArray[np.int64]]]) -> frozenset[str]:
            values = [store.columns([column])[column].take(rows).unique().to_pylist() for store, rows in chosen]
            return frozenset(value for each in values for value in each) - {None}

        return cls(
            dim,
            frames,
            batch_size,
            find_values("gender", of_source),
            find_values("gender", of_target),
            find_values("language", of_source),
            find_values("language", of_target),
            len(find_values("speaker", of_target)),
        )

    @property
    def languages(self) -> list[str]:
        """Return the languages of source and target, sorted. `Batch.language` is an index into them."""
        return sorted(self.source_languages | self.target_languages)


class ResolvedConfig(NamedTuple):
    """A configuration adapted to the data, with remarks for the user (one sentence each)."""

    config: Any
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that are updated together. None means the run's setting."""

    name: str
    parameters: Sequence[nn.Parameter]
    optimizer: Literal["radam", "adam"] = "radam"
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of training, for methods that train parts one after another or against each other."""

    name: str = "training"
    share: float = 1.0
    """Share of the steps. The shares of a method's phases add up to 1."""
    turns: tuple[tuple[str, ...], ...] = ()
    """Names of the parameter groups that each turn of a step updates, e.g. an encoder's, then its discriminators'.
    Each turn has its own losses. Empty: one turn with all groups."""


def find_phase(phases: Sequence[Phase], step: int, steps: int) -> Phase:
    """Return the phase of a step (from 0) of `steps` steps. Phases begin and end at the nearest step."""
    end = 0.0
    for phase in phases:
        end += phase.share
        if step < round(end * steps):
            return phase
    return phases[-1]


class Method(nn.Module, ABC):
    """A way to train an emotion model on a labelled and an unlabelled corpus.

    Its constructor takes `(dim, config, seed, classes)`: values per frame, a configuration like `defaults`, the run's
    seed, and the number of classes.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    reference: ClassVar[str]
    """Publication of the method."""
    our_reading: ClassVar[bool] = False
    """True if the paper does not specify the layers and we chose them. Every table says so."""
    defaults: ClassVar[Any]
    """Default configuration, a frozen dataclass. Its fields are the method's settings."""
    min_dim: ClassVar[int] = 1
    min_frames: ClassVar[int] = 8
    """Smallest input of the networks: values per frame, and frames."""
    unused_settings: ClassVar[Collection[str]] = ()
    """Settings of the training that have no effect on the method. A run says so, and its label leaves them out."""
    phases: ClassVar[Sequence[Phase]] = (Phase(),)
    """Stages of training, in order. By default one stage updates all parameters."""

    steps: int = DEFAULT_STEPS
    phase: str = ""
    """Name of the current phase, set by the trainer."""
    turn: tuple[str, ...] = ()
    """Names of the parameter groups that this call of `losses` updates, set by the trainer."""
    _monitored: Mapping[str, Tensor] = MappingProxyType({})
    """Values of the last step for `monitor`."""

    @classmethod
    def resolve_config(cls, config: Any, data: DataSummary) -> ResolvedConfig:  # noqa: ARG003
        """Fill in the settings that follow from the data. Raise a ConfigError if they do not fit the data."""
        return ResolvedConfig(config)

    @classmethod
    def reads_statistics(cls, config: Any) -> bool:
        """Return True if the method reads pooled statistics, one frame per utterance, instead of windows of frames."""
        return isinstance(config, EncoderConfig) and config.network == "statistics"

    @classmethod
    def reads_target(cls, config: Any) -> bool:  # noqa: ARG003
        """Return True if training reads utterances of the target. The model card says which scores depend on that."""
        return True

    @abstractmethod
    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of the objective by name, each a scalar. The trainer minimises their sum.

        The trainer calls this once per step, or once per turn if the phase has turns. `step` counts from 0, a 0-d
        int64 tensor on the device.
        """

    @abstractmethod
    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of features (batch, dim, frames)."""

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return the emotion features (batch, width) that the classifier of `predict` reads; None if there are none."""
        return None

    @property
    def supervision(self) -> Supervision:
        """Labels that the method learns from with this configuration."""
        return "source"

    @property
    def graph_obstacle(self) -> str | None:
        """Reason that prevents capturing a step as a CUDA graph; None if nothing does."""
        return None

    def progress(self, step: Tensor) -> Tensor:
        """Return the finished share of training, 0-d, in [0, 1)."""
        return step / self.steps

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return all trained parameters, each in one group."""
        return [ParameterGroup("all", tuple(self.parameters()))]

    def monitor(self) -> Mapping[str, Tensor]:
        """Return further values of the last step to log, 0-d tensors by name."""
        return self._monitored


class DirectMethod(Method):
    """A method that is fitted at once to all labelled source utterances, without training steps and batches."""

    unused_settings: ClassVar[Collection[str]] = (
        *("batch_size", "frames", "padding", "snapshot_every"),
        *("learning_rate", "beta1", "beta2", "epsilon", "weight_decay"),
    )

    @classmethod
    def reads_target(cls, config: Any) -> bool:  # noqa: ARG003
        """Return False: `fit` gets the source only."""
        return False

    @abstractmethod
    def fit(self, source: LabelledBatch, weights: NDArray[np.float64]) -> Mapping[str, float]:
        """Fit the parameters to all utterances, on the CPU; return values to log, by name.

        The weights (batch,) have the mean 1. They replace the equal shares of sources, and with balanced classes of
        classes, in the batches of other methods.
        """

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Raise a TrainingError: there are no training steps."""
        raise TrainingError("it is fitted at once, without training steps", where=f"method {self.name}")


class PairMethod(Method):
    """A method that passes both corpora through its network. Its configuration has the setting `batch_norm`."""

    config: Any

    @property
    def graph_obstacle(self) -> str | None:
        """Reason that separate passes of the corpora prevent a CUDA graph; None if they pass at once."""
        if self.config.batch_norm == "concat":
            return None
        return "needs batch_norm=concat: separate passes draw their own random numbers"


class NetworkMethod(Method):
    """A method that predicts with one network."""

    network: EmotionClassifier | ConvLstm

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of the network."""
        logits: Tensor = self.network(features, lengths)
        return logits

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the emotion features (batch, width) that the network's linear classifier reads."""
        return self.network.embed(features, lengths)


class SharedEncoder(NetworkMethod):
    """A method with the encoder that the compared methods share. It predicts phi_e(E_e(E(x)))."""

    network: EmotionClassifier

    def __init__(self, dim: int, config: EncoderConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        self.config = config
        self.network = make_emotion_network(dim, config, seed, classes)


def make_emotion_network(dim: int, config: PaperNetworkConfig, seed: int, classes: int = 2) -> EmotionClassifier:
    """Make the shared network. Methods with the same seed begin with the same weights."""
    with use_seed(seed, "emotion network"):
        if isinstance(config, EncoderConfig) and config.network == "statistics":
            return StatisticsNetwork(dim, classes=classes, channels=config.channels, dropout=config.dropout)
        return EmotionNetwork(
            dim,
            classes=classes,
            channels=config.channels,
            dropout=config.dropout,
            tcn_blocks=config.tcn_blocks,
            tcn_kernel=config.tcn_kernel,
            pooling=config.tcn_pooling,
        )


def monitor_target(logits: Tensor) -> dict[str, Tensor]:
    """Return values to log of target logits (batch, classes), which reveal a collapse of the predictions.

    They are the mean entropy in nats, and the share of the class predicted most often; of two classes, that of class 1.
    """
    probabilities = logits.detach().softmax(1)
    classes = torch.arange(logits.shape[1], device=logits.device)
    shares = (probabilities.argmax(1, keepdim=True) == classes).float().mean(0)  # (classes,)
    share = {"target_high": shares[1]} if len(classes) == 2 else {"target_largest": shares.max()}
    return {**share, "target_entropy": -(probabilities * probabilities.clamp_min(1e-8).log()).sum(1).mean()}


def check_unused(config: object, unused: Iterable[Field[Any]], remedy: Remedy) -> None:
    """Raise a ConfigError if a field without effect in this configuration does not have its default."""
    for field in unused:
        if (value := getattr(config, field.name)) != field.default:
            raise ConfigError("has no effect", field=field.name, value=value, remedy=remedy)
