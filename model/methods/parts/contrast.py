"""Pseudo-labels and the contrastive loss on them (Eq. 6 to 9): a part of Emo-DNA, and an addition to others."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emodna.model.config import Count, Momentum, Positive, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.contrastive import Reduction, supervised_contrastive
from emodna.model.methods.base import CLASSES, AdaptationConfig, SharedEncoder, Supervision, own_draws
from emodna.model.methods.parts.pseudo_labels import ORACLE, PseudoLabels, Threshold, pseudo_labeller
from emodna.model.networks.emotion import projection_head
from emodna.model.reproducibility import seeded


@dataclass(frozen=True)
class ContrastConfig:
    """Of L_SCL."""

    scl_weight: Weight = 0.1
    """alpha_1, of L_SCL."""
    scl_temperature: Positive = 0.01
    """tau_s."""
    threshold: Threshold = "adaptive"
    """Which pseudo-labels count: `adaptive`, `fixed:0.9`, `none` (all count), or `oracle-labels` in their place."""
    threshold_momentum: Momentum = 0.99
    """lambda of the adaptive threshold; 0.999 goes with 3000 steps."""
    projection_hidden: Count = 64
    projection_dim: Count = 128

    def __post_init__(self) -> None:
        """Refuse settings that would change nothing.

        Raises
        ------
        ConfigError
            A momentum of a threshold that does not move.
        """
        if self.threshold != "adaptive" and self.threshold_momentum != ContrastConfig.threshold_momentum:
            raise ConfigError(f"threshold_momentum={self.threshold_momentum}: only with threshold=adaptive")

    @property
    def oracle(self) -> bool:
        """Whether the target's labels take the place of pseudo-labels."""
        return self.threshold == ORACLE


def projection_of(inputs: int, config: ContrastConfig, seed: int) -> nn.Sequential:
    """Head g: (n, inputs) -> (n, projection_dim)."""
    with seeded(seed, "projection head"):
        return projection_head(inputs, config.projection_hidden, config.projection_dim)


class PseudoLabelContrast(nn.Module):
    """L_SCL over the source's utterances with their labels and the target's with confident pseudo-labels.

    Attributes
    ----------
    labeller
        Logits (m, 2) -> `PseudoLabels`.
    """

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.labeller = pseudo_labeller(config.threshold, CLASSES, config.threshold_momentum)
        self.confident: Tensor = torch.zeros(())

    def select(self, logits: Tensor, target: Batch) -> PseudoLabels:
        """Labels of a target batch with logits (m, 2), and which count; an oracle's where the batch has any."""
        labels: PseudoLabels = self.labeller(target.labels if isinstance(target, LabelledBatch) else logits)
        self.confident = labels.selected.float().mean()
        return labels

    def forward(
        self,
        projected: Tensor,
        labels: Tensor,
        pseudo: PseudoLabels,
        *,
        source_anchors: bool = False,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """L_SCL, a scalar, not weighted.

        Parameters
        ----------
        projected
            g(E) (n + m, projection_dim): the source's rows, then the target's.
        labels
            (n,) of the source's.
        pseudo
            Of the target's.
        source_anchors
            Whether the source's rows alone are anchors.
        """
        is_source = torch.arange(len(projected), device=projected.device) < len(labels)
        return supervised_contrastive(
            projected,
            torch.cat([labels, pseudo.labels]),
            torch.cat([is_source[: len(labels)], pseudo.selected]),
            temperature=self.config.scl_temperature,
            anchors=is_source if source_anchors else None,
            reduction=reduction,
        )

    def monitor(self) -> dict[str, Tensor]:
        """The threshold of Eq. 6, if there is one that moves, and the share of the last target batch that passed."""
        return {**dict(self.labeller.named_buffers()), "confident": self.confident}


@dataclass(frozen=True)
class ContrastingConfig(AdaptationConfig, ContrastConfig):
    """Of a method that passes both corpora through the shared encoder, and may have L_SCL."""


class Contrasting(SharedEncoder):
    """A method on the shared encoder that may have L_SCL among its terms."""

    config: ContrastingConfig
    contrast: PseudoLabelContrast | None

    @property
    def supervision(self) -> Supervision:
        """The source's labels, unless the target's stand in for pseudo-labels."""
        return "oracle-labels" if self.contrast and self.config.oracle else "source"

    @property
    def uncapturable(self) -> str | None:
        """Captured where both corpora pass at once."""
        return own_draws(self.config.batch_norm)
