"""Emo-DNA: contrastive emotion decoupling and dual-level emotion alignment (arXiv 2308.02190)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.config import Positive, Steps, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.contrastive import Reduction
from emodna.model.losses.mmd import mk_mmd
from emodna.model.losses.prototypes import Negative, PrototypeMean, decoupling_loss, prototype
from emodna.model.methods.alignment import KernelConfig
from emodna.model.methods.pseudo_labels import ContrastiveConfig, ContrastiveMethod, PseudoLabelContrast
from emodna.model.networks.emotion import CorpusEncoder, Directions, Pooling, make_head
from emodna.model.networks.passes import evaluation_mode, pass_both
from emodna.model.networks.statistics import StatisticsEncoder
from emodna.model.reproducibility import use_seed
from emodna.pipeline.errors import Remedy


@dataclass(frozen=True)
class EmoDnaConfig(ContrastiveConfig, KernelConfig):
    """Settings of Emo-DNA: the paper's constants, and our choices where it is silent. A weight of 0 drops the term."""

    corpus_weight: Weight = 1.0
    """Weight of L_corpus."""
    mmd_weight: Weight = 1.0
    """Weight of d_k^2."""
    decouple_weight: Weight = 1.0
    """Weight of L_decouple."""
    prototype_temperature: Positive = 0.01
    """Temperature tau_p."""
    reduction: Reduction = "mean"
    """Reduction of Eq. 2, 3 and 9 over utterances."""
    warmup_steps: Steps = 0
    """Steps with L_emotion and L_corpus only. Meanwhile the threshold follows the confidence."""

    lstm_directions: Directions = "sum"
    lstm_pooling: Pooling = "mean"
    projection_heads: Literal["shared", "separate"] = "shared"
    """One projection head g for E and C, or a head for each."""

    decouple_negative: Negative = "same"
    """Negative of Eq. 5, whose index the paper does not print."""
    prototype_mean: PrototypeMean = "raw"
    """Mean of Eq. 4: over projections as they are, or over unit vectors."""
    detach_corpus_prototypes: bool = False

    scl_anchors: Literal["all", "source"] = "all"
    pseudo_label_mode: Literal["train", "eval"] = "train"
    """Forward pass that makes the pseudo-labels: that of the training step, or one in evaluation mode."""

    def __post_init__(self) -> None:
        """Raise a ConfigError if the width of C does not fit or a projection head would never learn."""
        super().__post_init__()
        if self.lstm_directions == "concat" and self.projection_heads == "shared":
            remedy = Remedy("it needs {projection_heads=separate}")
            raise ConfigError("C is twice as wide as E", field="lstm_directions", value="concat", remedy=remedy)
        if self.detach_corpus_prototypes and self.projection_heads == "separate":
            problem, remedy = "the projection head of C would never learn", Remedy("it needs {projection_heads=shared}")
            raise ConfigError(problem, field="detach_corpus_prototypes", value="true", remedy=remedy)
        if self.lstm_directions == "concat-half" and self.channels % 2:
            problem = f"needs an even number of channels, not {self.channels}"
            raise ConfigError(problem, field="lstm_directions", value="concat-half")


class EmoDna(ContrastiveMethod):
    """Emotion and corpus encoders on one backbone, trained with the objective of Eq. 12."""

    name = "emo-dna"
    summary = "contrastive decoupling of emotion and corpus; alignment by MK-MMD and confident pseudo-labels"
    reference = "Ye et al. 2023, ACM MM, arXiv 2308.02190"
    defaults = EmoDnaConfig()
    config: EmoDnaConfig

    def __init__(self, dim: int, config: EmoDnaConfig, seed: int, classes: int = 2) -> None:
        super().__init__(dim, config, seed, classes)
        if config.corpus_weight or config.decouple_weight:
            with use_seed(seed, "corpus encoder"):
                self.corpus_encoder = _make_corpus_encoder(dim, config)
                if config.corpus_weight:
                    self.corpus_classifier = nn.Linear(self.corpus_encoder.width, 2)
        if config.decouple_weight or config.scl_weight:
            self.projection = self.make_projection(seed)
        self.corpus_projection: nn.Module | None = None
        if config.decouple_weight and config.projection_heads == "separate":
            with use_seed(seed, "corpus projection head"):
                width = self.corpus_encoder.width
                self.corpus_projection = make_head(width, config.projection_hidden, config.projection_dim)
        self.contrast = PseudoLabelContrast(config, classes) if config.scl_weight else None

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Return the terms of one step of Algorithm 1. In joint tensors the first n rows are the source's."""
        config, n = self.config, len(source.labels)
        logits, emotion, *corpus = pass_both(self.network, self._encode, source, target, config.batch_norm)
        terms = {"emotion": F.cross_entropy(logits[:n], source.labels, reduction=config.reduction)}
        if config.corpus_weight:
            corpora = torch.cat([source.corpus, target.corpus])
            l_corpus = F.cross_entropy(self.corpus_classifier(corpus[0]), corpora, reduction=config.reduction)
            terms["corpus"] = config.corpus_weight * l_corpus
        alignment: dict[str, Tensor] = {}
        # g(E): (n + m, projection_dim). Without a projection head no term uses it.
        projected = self.projection(emotion) if config.decouple_weight or config.scl_weight else emotion
        if config.decouple_weight:
            alignment["decouple"] = config.decouple_weight * self._compute_decoupling(projected, corpus[0], n)
        if config.mmd_weight:
            d_k = mk_mmd(emotion[:n], emotion[n:], estimator=config.mmd_estimator, **config.kernel)
            alignment["mmd"] = config.mmd_weight * d_k
        if self.contrast:
            of_target = self._predict_in_eval_mode(target) if config.pseudo_label_mode == "eval" else logits[n:]
            pseudo = self.contrast.select(of_target, target)
            options = {"source_anchors": config.scl_anchors == "source", "reduction": config.reduction}
            alignment["scl"] = config.scl_weight * self.contrast(projected, source.labels, pseudo, **options)
        is_warm = step >= config.warmup_steps  # a factor, because the host must not read the step
        return terms | {name: is_warm * term for name, term in alignment.items()}

    def _encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return phi_e(E) (batch, classes), E (batch, channels) and, if a term needs it, C (batch, its width)."""
        if not (self.config.corpus_weight or self.config.decouple_weight):
            return self.network.classify_and_embed(features, lengths)
        hidden = self.network.backbone(features)  # (batch, channels, time)
        emotion = self.network.encode(hidden, lengths)
        logits = self.network.classifier(emotion)
        return logits, emotion, self.corpus_encoder(hidden, self.network.backbone.pool_lengths(lengths))

    def _compute_decoupling(self, projected: Tensor, corpus: Tensor, n: int) -> Tensor:
        """Return L_decouple of g(E) (n + m, projection_dim) and C (n + m, its width)."""
        config = self.config
        projected_corpus = (self.corpus_projection or self.projection)(corpus)
        prototypes = [
            prototype(rows, mean=config.prototype_mean)
            for rows in (projected[:n], projected[n:], projected_corpus[:n], projected_corpus[n:])
        ]
        emotion_s, emotion_t, corpus_s, corpus_t = (each.detach() for each in prototypes)
        self._monitored = {
            "prototypes_emotion": (emotion_s * emotion_t).sum(),
            "prototypes_source": (emotion_s * corpus_s).sum(),
            "prototypes_target": (emotion_t * corpus_t).sum(),
        }
        return decoupling_loss(
            *prototypes,
            temperature=config.prototype_temperature,
            negative=config.decouple_negative,
            detach_corpus=config.detach_corpus_prototypes,
        )

    def _predict_in_eval_mode(self, target: Batch) -> Tensor:
        with evaluation_mode(self.network):
            return self.predict(target.features, target.lengths)

    def monitor(self) -> Mapping[str, Tensor]:
        """Return the values of the pseudo-labels, and the cosines p_e^S . p_e^T, p_e^S . p_c^S and p_e^T . p_c^T."""
        return {**(self.contrast.monitor() if self.contrast else {}), **self._monitored}


def _make_corpus_encoder(dim: int, config: EmoDnaConfig) -> CorpusEncoder | StatisticsEncoder:
    """Make the encoder of C: the Bi-LSTM after the backbone, or a hidden layer on pooled statistics (batch, dim, 1)."""
    if config.network == "statistics":
        return StatisticsEncoder(dim, config.channels, config.dropout)
    return CorpusEncoder(
        config.channels, config.channels, directions=config.lstm_directions, pooling=config.lstm_pooling
    )
