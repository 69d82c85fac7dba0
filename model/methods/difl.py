"""DIFL: domain-invariant features, which tell neither corpus nor gender nor language."""

from collections.abc import Iterable, Mapping, Sequence
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
from emodna.model.methods.base import CLASSES, DataSummary, Method, ParameterGroup, ResolvedConfig, find_graph_obstacle
from emodna.model.networks.passes import BatchNormMode, pass_both
from emodna.model.networks.recurrent import AttentiveEncoder
from emodna.model.reproducibility import use_seed

#: Of the corpus head (source and target), and of the gender head (f and m).
_TWO: Final = 2


@dataclass(frozen=True)
class DiflConfig(ReversalConfig):
    """Sizes are our reading. A term of weight 0 is left out, and with it whatever it alone needs."""

    channels: Count = 64
    """Of the backbone."""
    dropout: Share = 0.1
    """Of the backbone."""
    lstm_units: Count = 64
    """Per direction: z is twice as wide."""
    attention_units: Count = 64
    head_units: Count = 64
    """Of the hidden layer of each head."""
    head_dropout: Share = 0.3
    """Of the emotion head."""

    corpus_head: bool = True
    gender_head: bool = True
    language_head: bool = True
    languages: Count = 2
    """Of both corpora: filled in, as is which of these heads there can be."""
    adversarial_weight: Weight = 1.0
    """Of these heads together, in equal parts."""

    center_weight: Weight = 0.0
    """Of the center loss on the source's classes."""
    center_learning_rate: Positive = 0.01
    """Of the centers alone: z stays within (-1, 1), so a hundred steps lead anywhere."""
    batch_norm: BatchNormMode = "concat"
    """Statistics that batch norm takes: see `emodna.model.networks.passes`."""

    @property
    def heads(self) -> dict[str, int]:
        """Map each adversarial head, by the field of `Batch` that labels it, to its number of classes."""
        if not self.adversarial_weight:
            return {}
        known = {
            "corpus": (self.corpus_head, _TWO),
            "gender": (self.gender_head, _TWO),
            "language": (self.language_head, self.languages),
        }
        return {label: classes for label, (wanted, classes) in known.items() if wanted}


class Difl(Method):
    """Cross-entropy on the source, against heads that guess corpus, gender and language of both sides."""

    name = "difl"
    summary = "corpus, gender and language kept out of the features"
    reference = "Gao et al. 2022, ICASSP"
    our_reading = True
    defaults = DiflConfig()

    def __init__(self, dim: int, config: DiflConfig, seed: int) -> None:
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
                nn.Linear(config.head_units, CLASSES),
            )
        self.heads = nn.ModuleDict()
        for label, classes in config.heads.items():
            with use_seed(seed, f"{label} head"):
                self.heads[label] = nn.Sequential(
                    nn.Linear(self.encoder.width, config.head_units), nn.ReLU(), nn.Linear(config.head_units, classes)
                )
        if config.center_weight:
            self.centers = nn.Parameter(torch.zeros(CLASSES, self.encoder.width))
        self._monitored: dict[str, Tensor] = {}

    @classmethod
    def resolve_config(cls, config: DiflConfig, facts: DataSummary) -> ResolvedConfig:
        """Drop the heads that could learn nothing, and fill in the number of languages; another is a `ConfigError`."""
        gender, of_gender = _assess_head("gender", facts.source_genders, facts.target_genders)
        language, of_language = _assess_head("language", facts.source_languages, facts.target_languages)
        asked = config.heads
        remarks = [
            remark for label, remark in (("gender", of_gender), ("language", of_language)) if remark and label in asked
        ]
        config = replace(
            config, gender_head=config.gender_head and gender, language_head=config.language_head and language
        )
        if "language" in config.heads:
            if config.languages not in (DiflConfig.languages, count := len(facts.languages)):
                found = f"{count}: {_join_values(facts.languages)}"
                raise ConfigError(f"--set languages={config.languages}: the corpora have {found}")
            config = replace(config, languages=count)
        if asked and not config.heads:
            remarks.append("no adversarial head is left: nothing but batch norm looks at the target")
        return ResolvedConfig(config, remarks)

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the terms; of every joint tensor the source's rows are the first n."""
        config, n = self.config, len(source.labels)
        logits, z = pass_both(self.encoder, self._encode, source, target, config.batch_norm)
        terms = {"emotion": F.cross_entropy(logits[:n], source.labels)}
        self._monitored = {"target_high": logits[n:].detach().argmax(1).float().mean()}
        if self.heads:
            terms |= self._compute_head_losses(z, source, target, step)
        if config.center_weight:
            terms["center"] = config.center_weight * center_loss(z[:n], source.labels, self.centers)
        return terms

    def _compute_head_losses(self, z: Tensor, source: Batch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of each head on z (n + m, width), whose gradient the encoder gets reversed."""
        strength = reversal_weight(self.config, self.progress(step), step)
        reversed_z = reverse_gradient(z, strength)
        self._monitored["reversal"] = strength
        terms = {}
        for label, head in self.heads.items():
            labels = torch.cat([getattr(source, label), getattr(target, label)])
            logits = head(reversed_z)
            terms[label] = self.config.adversarial_weight / len(self.heads) * known_cross_entropy(logits, labels)
            self._monitored[f"{label}_accuracy"] = _compute_accuracy(logits, labels)
        return terms

    def _encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return logits (batch, 2) and z (batch, width) of features (batch, dim, frames)."""
        z = self.encoder(features, lengths)
        return self.classifier(z), z

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, 2) of the emotion head."""
        return self._encode(features, lengths)[0]

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the domain-invariant z (batch, width), which the emotion head and its opponents read."""
        z: Tensor = self.encoder(features, lengths)
        return z

    @property
    def graph_obstacle(self) -> str | None:
        """Return a reason unless both corpora pass at once."""
        return find_graph_obstacle(self.config.batch_norm)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return all parameters, the centers with a rate of their own."""
        if not self.config.center_weight:
            return super().parameter_groups()
        others = tuple(parameter for parameter in self.parameters() if parameter is not self.centers)
        return [
            ParameterGroup("all", others),
            ParameterGroup("centers", (self.centers,), learning_rate=self.config.center_learning_rate),
        ]

    def monitor(self) -> Mapping[str, Tensor]:
        """Return the target's share of class 1, lambda, and each head's accuracy, NaN where nothing is known."""
        return self._monitored


def _assess_head(label: str, source: frozenset[str], target: frozenset[str]) -> tuple[bool, str | None]:
    """Tell if a head can learn from the values known of both sides, with a remark."""
    known = source | target
    if not known:
        return False, f"no {label} head: no utterance's {label} is known"
    if len(known) == 1:
        return False, f"no {label} head: every utterance whose {label} is known has {_join_values(known)}"
    if not source or not target:
        unknown, other = ("target", "source") if source else ("source", "target")
        return True, f"{label} head: the {unknown}'s {label} is unknown, so it learns from the {other} alone"
    if source == target:
        return True, None
    how = "partly a corpus label" if source & target else "a second corpus label"
    return True, (
        f"{label} head: the source has {_join_values(source)} and the target {_join_values(target)}, so {label} is {how}"
    )


def _join_values(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def _compute_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share (0-d) of right answers among the rows of logits (n, classes) whose label (n,) is known."""
    return (logits.detach().argmax(1) == labels).sum() / (labels != UNKNOWN).sum()
