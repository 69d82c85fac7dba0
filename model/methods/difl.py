"""DIFL: domain-invariant features, which hide corpus, gender and language."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Count, Positive, Share, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.adversarial import UNKNOWN, known_cross_entropy, reverse_gradient
from emodna.model.losses.regularizers import center_loss
from emodna.model.methods.adversarial import ReversalConfig, reversal_weight
from emodna.model.methods.base import DataSummary, PairMethod, ParameterGroup, ResolvedConfig, monitor_target
from emodna.model.networks.emotion import make_head
from emodna.model.networks.passes import BatchNormMode, pass_both
from emodna.model.networks.recurrent import AttentiveEncoder
from emodna.model.reproducibility import use_seed

#: Classes of the corpus head (source, target) and of the gender head (f, m).
_TWO: Final = 2


@dataclass(frozen=True)
class DiflConfig(ReversalConfig):
    """Settings of DIFL, with sizes chosen by us. A weight of 0 drops the term and the modules that only it needs."""

    channels: Count = 64
    """Channels of the backbone."""
    dropout: Share = 0.1
    """Dropout of the backbone."""
    lstm_units: Count = 64
    """Units per direction. z is twice as wide."""
    attention_units: Count = 64
    head_units: Count = 64
    """Units of the hidden layer of each head."""
    head_dropout: Share = 0.3
    """Dropout of the emotion head."""

    corpus_head: bool = True
    gender_head: bool = True
    language_head: bool = True
    languages: Count = 2
    """Number of languages in both corpora, counted from the data."""
    adversarial_weight: Weight = 1.0
    """Total weight of the adversarial heads, in equal parts."""

    center_weight: Weight = 0.0
    """Weight of the center loss on the source's classes."""
    center_learning_rate: Positive = 0.01
    """Learning rate of the centers. Values of z are between -1 and 1, so a hundred steps reach any of them."""
    batch_norm: BatchNormMode = "concat"

    @property
    def heads(self) -> dict[str, int]:
        """Number of classes of each adversarial head, by the field of `Batch` that labels it."""
        if not self.adversarial_weight:
            return {}
        heads = {
            "corpus": (self.corpus_head, _TWO),
            "gender": (self.gender_head, _TWO),
            "language": (self.language_head, self.languages),
        }
        return {label: classes for label, (enabled, classes) in heads.items() if enabled}


class Difl(PairMethod):
    """Cross-entropy on the source, and adversarial heads for corpus, gender and language on both corpora.

    The log has values of `monitor_target`, lambda, and the accuracy of each head (NaN without known labels).
    """

    name = "difl"
    summary = "features that hide corpus, gender and language from adversarial heads"
    reference = "Gao et al. 2022, ICASSP"
    our_reading = True
    defaults = DiflConfig()
    _monitored: dict[str, Tensor]

    def __init__(self, dim: int, config: DiflConfig, seed: int, classes: int = 2) -> None:
        super().__init__()
        self.config = config
        with use_seed(seed, "attentive encoder"):
            self.encoder = AttentiveEncoder(
                dim,
                channels=config.channels,
                units=config.lstm_units,
                attention_units=config.attention_units,
                dropout=config.dropout,
            )
            self.classifier = nn.Sequential(
                nn.Linear(self.encoder.width, config.head_units),
                nn.ReLU(),
                nn.Dropout(config.head_dropout),
                nn.Linear(config.head_units, classes),
            )
        self.heads = nn.ModuleDict()
        for label, values in config.heads.items():
            with use_seed(seed, f"{label} head"):
                self.heads[label] = make_head(self.encoder.width, config.head_units, values)
        if config.center_weight:
            self.centers = nn.Parameter(torch.zeros(classes, self.encoder.width))

    @classmethod
    def resolve_config(cls, config: DiflConfig, data: DataSummary) -> ResolvedConfig:
        """Drop the heads that cannot learn and count the languages. Raise a ConfigError if `languages` is wrong."""
        gender, of_gender = _assess_head("gender", data.source_genders, data.target_genders)
        language, of_language = _assess_head("language", data.source_languages, data.target_languages)
        heads = config.heads
        about_heads = {"gender": of_gender, "language": of_language}
        remarks = [remark for label, remark in about_heads.items() if remark and label in heads]
        gender, language = config.gender_head and gender, config.language_head and language
        config = replace(config, gender_head=gender, language_head=language)
        if "language" in config.heads:
            if config.languages not in (DiflConfig.languages, count := len(data.languages)):
                problem = f"the corpora have {count} languages ({_join_values(data.languages)})"
                raise ConfigError(problem, field="languages", value=config.languages)
            config = replace(config, languages=count)
        if heads and not config.heads:
            remarks.append("no adversarial head is left: the target enters batch norm only")
        return ResolvedConfig(config, remarks)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the terms of the objective. In joint tensors the first n rows are the source's."""
        config, n = self.config, len(source.labels)
        logits, z = pass_both(self.encoder, self._encode, source, target, config.batch_norm)
        terms = {"emotion": F.cross_entropy(logits[:n], source.labels)}
        self._monitored = monitor_target(logits[n:])
        if self.heads:
            terms |= self._compute_head_losses(z, source, target, step)
        if config.center_weight:
            terms["center"] = config.center_weight * center_loss(z[:n], source.labels, self.centers)
        return terms

    def _compute_head_losses(self, z: Tensor, source: Batch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of each head on z (n + m, width) behind a gradient reversal."""
        weight = reversal_weight(self.config, self.progress(step), step)
        reversed_z = reverse_gradient(z, weight)
        self._monitored["reversal"] = weight
        terms = {}
        for label, head in self.heads.items():
            labels = torch.cat([getattr(source, label), getattr(target, label)])
            logits = head(reversed_z)
            terms[label] = self.config.adversarial_weight / len(self.heads) * known_cross_entropy(logits, labels)
            self._monitored[f"{label}_accuracy"] = _compute_accuracy(logits, labels)
        return terms

    def _encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return logits (batch, classes) and z (batch, width) of features (batch, dim, frames)."""
        z = self.encoder(features, lengths)
        return self.classifier(z), z

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, classes) of the emotion head."""
        return self._encode(features, lengths)[0]

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the domain-invariant z (batch, width), which all heads read."""
        z: Tensor = self.encoder(features, lengths)
        return z

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return all parameters. The centers have their own learning rate."""
        if not self.config.center_weight:
            return super().parameter_groups()
        others = tuple(parameter for parameter in self.parameters() if parameter is not self.centers)
        return [
            ParameterGroup("all", others),
            ParameterGroup("centers", (self.centers,), learning_rate=self.config.center_learning_rate),
        ]


def _assess_head(label: str, source: frozenset[str], target: frozenset[str]) -> tuple[bool, str | None]:
    """Return True if a head can learn from the known values of both corpora, and a remark for the user."""
    known = source | target
    if not known:
        return False, f"no {label} head: the {label} of all utterances is unknown"
    if len(known) == 1:
        return False, f"no {label} head: all utterances of known {label} have {_join_values(known)}"
    if not source or not target:
        unknown, other = ("target", "source") if source else ("source", "target")
        return True, f"{label} head: the {unknown}'s {label} is unknown, so it learns from the {other} only"
    if source == target:
        return True, None
    role = "partly a corpus label" if source & target else "a second corpus label"
    values = f"the source has {_join_values(source)} and the target {_join_values(target)}"
    return True, f"{label} head: {values}, so {label} is {role}"


def _join_values(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _compute_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the accuracy (0-d) over the rows with a known label."""
    return (logits.detach().argmax(1) == labels).sum() / (labels != UNKNOWN).sum()
