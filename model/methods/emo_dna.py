"""Emo-DNA: contrastive emotion decoupling and dual-level emotion alignment (arXiv 2308.02190)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.config import Count, Momentum, Odd, Positive, Ratio, Steps, Weight
from emodna.model.errors import ConfigError
from emodna.model.losses import decoupling_loss, mk_mmd, prototype, supervised_contrastive
from emodna.model.losses.contrastive import Reduction
from emodna.model.losses.mmd import Bandwidth, Estimator, KernelReduction
from emodna.model.losses.prototypes import Negative, PrototypeMean
from emodna.model.methods.base import CLASSES, AdaptationConfig, Method, emotion_network
from emodna.model.networks import CorpusEncoder, Directions, Pooling, projection_head
from emodna.model.passes import evaluation_mode, pass_both
from emodna.model.pseudo_labels import AdaptiveThreshold
from emodna.model.seeding import seeded


@dataclass(frozen=True, slots=True)
class EmoDnaConfig(AdaptationConfig):
    """The paper's constants, and our readings of what it leaves open (docs/METHODS.md)."""

    corpus_weight: Weight = 1.0
    """Of L_corpus."""
    mmd_weight: Weight = 1.0
    """Of d_k^2."""
    scl_weight: Weight = 0.1
    """alpha_1, of L_SCL."""
    decouple_weight: Weight = 1.0
    """Of L_decouple."""
    scl_temperature: Positive = 0.01
    """tau_s."""
    prototype_temperature: Positive = 0.01
    """tau_p."""
    threshold_momentum: Momentum = 0.99
    """lambda of the adaptive threshold; 0.999 goes with 3000 steps."""
    reduction: Reduction = "mean"
    """Of Eq. 2, 3 and 9 over utterances."""
    warmup_steps: Steps = 0
    """Of L_emotion and L_corpus alone; the threshold follows the confidence meanwhile."""

    lstm_directions: Directions = "sum"
    lstm_pooling: Pooling = "mean"
    projection_heads: Literal["shared", "separate"] = "shared"
    """One g for E and C, or one each."""
    projection_hidden: Count = 64
    projection_dim: Count = 128

    decouple_negative: Negative = "same"
    """Of Eq. 5, whose print lost an index."""
    prototype_mean: PrototypeMean = "raw"
    """Of Eq. 4: of projections as they are, or of unit vectors."""
    detach_corpus_prototypes: bool = False

    mmd_kernels: Odd = 5
    mmd_estimator: Estimator = "biased"
    mmd_reduction: KernelReduction = "mean"
    """Over the kernels."""
    mmd_bandwidth: Bandwidth = "mean"
    mmd_width_ratio: Ratio = 2.0
    """Of neighbouring kernel widths."""

    scl_anchors: Literal["all", "source"] = "all"
    pseudo_label_mode: Literal["train", "eval"] = "train"
    """Pseudo-labels from the training step's own forward pass, or from one in evaluation mode."""

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        ConfigError
            C cannot have the width that is asked for, or a head would never learn.
        """
        if self.lstm_directions == "concat" and self.projection_heads == "shared":
            raise ConfigError("lstm_directions=concat: C is twice as wide as E, so it needs projection_heads=separate")
        if self.detach_corpus_prototypes and self.projection_heads == "separate":
            raise ConfigError(
                "detach_corpus_prototypes=true: the head of C would never learn; needs projection_heads=shared"
            )
        if self.lstm_directions == "concat-half" and self.channels % 2:
            raise ConfigError(f"lstm_directions=concat-half: needs an even number of channels, not {self.channels}")


class EmoDna(Method):
    """Emotion and corpus encoders on one backbone, trained by Eq. 12."""

    name = "emo-dna"
    reference = "Ye et al. 2023, ACM MM, arXiv 2308.02190"
    defaults = EmoDnaConfig()

    def __init__(self, dim: int, config: EmoDnaConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.network = emotion_network(dim, config, seed)
        with seeded(seed, "corpus encoder"):
            self.corpus_encoder = CorpusEncoder(
                config.channels, config.channels, directions=config.lstm_directions, pooling=config.lstm_pooling
            )
            self.corpus_classifier = nn.Linear(self.corpus_encoder.width, 2)
        with seeded(seed, "projection head"):
            self.projection = projection_head(config.channels, config.projection_hidden, config.projection_dim)
        self.corpus_projection: nn.Module | None = None
        if config.projection_heads == "separate":
            with seeded(seed, "corpus projection head"):
                self.corpus_projection = projection_head(
                    self.corpus_encoder.width, config.projection_hidden, config.projection_dim
                )
        self.threshold = AdaptiveThreshold(n_classes=CLASSES, momentum=config.threshold_momentum)
        self._confident_share: Tensor = torch.zeros(())

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:
        """Algorithm 1, one step; of every joint tensor the source's rows are the first n."""
        config, n = self.config, len(source.labels)
        is_source = torch.arange(n + len(target.lengths), device=source.labels.device) < n
        logits, emotion, corpus = pass_both(self.network, self._encode, source, target, config.batch_norm)

        l_emotion = F.cross_entropy(logits[:n], source.labels, reduction=config.reduction)
        corpus_logits = self.corpus_classifier(corpus)
        l_corpus = F.cross_entropy(corpus_logits, torch.cat([source.corpus, target.corpus]), reduction=config.reduction)

        projected = self.projection(emotion)  # g(E): (n + m, projection_dim)
        projected_corpus = self._project_corpus(corpus)
        prototypes = [
            prototype(rows, mean=config.prototype_mean)
            for rows in (projected[:n], projected[n:], projected_corpus[:n], projected_corpus[n:])
        ]
        l_decouple = decoupling_loss(
            *prototypes,
            temperature=config.prototype_temperature,
            negative=config.decouple_negative,
            detach_corpus=config.detach_corpus_prototypes,
        )

        pseudo = self.threshold(self._evaluated(target) if config.pseudo_label_mode == "eval" else logits[n:])
        self._confident_share = pseudo.selected.float().mean()
        l_mmd = mk_mmd(
            emotion[:n],
            emotion[n:],
            kernels=config.mmd_kernels,
            estimator=config.mmd_estimator,
            reduction=config.mmd_reduction,
            bandwidth=config.mmd_bandwidth,
            width_ratio=config.mmd_width_ratio,
        )
        l_scl = supervised_contrastive(
            projected,
            torch.cat([source.labels, pseudo.labels]),
            torch.cat([is_source[:n], pseudo.selected]),
            temperature=config.scl_temperature,
            anchors=is_source if config.scl_anchors == "source" else None,
            reduction=config.reduction,
        )

        warm = step >= config.warmup_steps  # a mask, not a branch: the step is never read by the host
        return {
            "emotion": l_emotion,
            "corpus": config.corpus_weight * l_corpus,
            "decouple": warm * (config.decouple_weight * l_decouple),
            "mmd": warm * (config.mmd_weight * l_mmd),
            "scl": warm * (config.scl_weight * l_scl),
        }

    def _encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi_e(E) (batch, 2), E (batch, channels) and C (batch, its width) of features (batch, dim, frames)."""
        hidden = self.network.backbone(features)  # (batch, channels, time)
        emotion = self.network.encode(hidden, lengths)
        corpus = self.corpus_encoder(hidden, self.network.backbone.pooled_lengths(lengths))
        return self.network.classifier(emotion), emotion, corpus

    def _project_corpus(self, corpus: Tensor) -> Tensor:
        """g(C) (batch, projection_dim) of C (batch, its width)."""
        head = self.projection if self.corpus_projection is None else self.corpus_projection
        projected: Tensor = head(corpus)
        return projected

    def _evaluated(self, target: Batch) -> Tensor:
        """Logits (m, 2) of the network as it would predict now."""
        with evaluation_mode(self.network):
            return self.predict(target.features, target.lengths)

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2) of phi_e(E_e(E(x))); the corpus side is dropped."""
        logits: Tensor = self.network(features, lengths)
        return logits

    def monitor(self) -> Mapping[str, Tensor]:
        """The threshold of Eq. 6, and the share of the last target batch that passed it."""
        return {"threshold": self.threshold.threshold, "confident": self._confident_share}
