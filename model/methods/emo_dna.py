"""Emo-DNA: contrastive emotion decoupling and dual-level emotion alignment (arXiv 2308.02190)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emodna.model.batch import Batch, LabelledBatch
from emodna.model.config import Count, Momentum, Odd, Positive, Weight
from emodna.model.losses import decoupling_loss, mk_mmd, prototype, supervised_contrastive
from emodna.model.methods.base import CLASSES, EncoderConfig, Method, emotion_network
from emodna.model.networks import CorpusEncoder, mean_over_time, projection_head
from emodna.model.pseudo_labels import AdaptiveThreshold
from emodna.model.seeding import seeded


@dataclass(frozen=True, slots=True)
class EmoDnaConfig(EncoderConfig):
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
    mmd_kernels: Odd = 5
    projection_dim: Count = 128


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
            self.corpus_encoder = CorpusEncoder(config.channels, config.channels)
            self.corpus_classifier = nn.Linear(config.channels, 2)
        with seeded(seed, "projection head"):
            self.projection = projection_head(config.channels, config.projection_dim)
        self.threshold = AdaptiveThreshold(n_classes=CLASSES, momentum=config.threshold_momentum)
        self._confident_share: Tensor = torch.zeros(())

    def losses(self, source: LabelledBatch, target: Batch, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Algorithm 1, one step; each corpus's rows are a half of one joint batch."""
        config, n = self.config, len(source.labels)
        features = torch.cat([source.features, target.features])  # (n + m, dim, frames)
        lengths = torch.cat([source.lengths, target.lengths])

        hidden = self.network.backbone(features)  # (n + m, channels, time)
        emotion = self.network.encode(hidden, lengths)  # E: (n + m, channels)
        corpus = mean_over_time(self.corpus_encoder(hidden), self.network.backbone.pooled_lengths(lengths))  # C
        logits = self.network.classifier(emotion)

        projected = self.projection(emotion)  # g(E): (n + m, projection_dim)
        projected_corpus = self.projection(corpus)
        pseudo = self.threshold(logits[n:])
        self._confident_share = pseudo.selected.float().mean()

        return {
            "emotion": F.cross_entropy(logits[:n], source.labels),
            "corpus": config.corpus_weight
            * F.cross_entropy(self.corpus_classifier(corpus), torch.cat([source.corpus, target.corpus])),
            "decouple": config.decouple_weight
            * decoupling_loss(
                prototype(projected[:n]),
                prototype(projected[n:]),
                prototype(projected_corpus[:n]),
                prototype(projected_corpus[n:]),
                temperature=config.prototype_temperature,
            ),
            "mmd": config.mmd_weight * mk_mmd(emotion[:n], emotion[n:], kernels=config.mmd_kernels),
            "scl": config.scl_weight
            * supervised_contrastive(
                projected,
                torch.cat([source.labels, pseudo.labels]),
                torch.cat([torch.ones_like(source.labels, dtype=torch.bool), pseudo.selected]),
                temperature=config.scl_temperature,
            ),
        }

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, 2) of phi_e(E_e(E(x))); the corpus side is dropped."""
        logits: Tensor = self.network(features, lengths)
        return logits

    def monitor(self) -> Mapping[str, Tensor]:
        """The threshold of Eq. 6, and the share of the last target batch that passed it."""
        return {"threshold": self.threshold.threshold, "confident": self._confident_share}
