"""Pseudo-labels of the target and L_SCL on them (Eq. 6 to 9, Table 6): in Emo-DNA, and by `--add scl` in others."""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import torch
from torch import Tensor, nn

from emodna.model.config import Constraint, Count, Momentum, Positive, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.errors import ConfigError
from emodna.model.losses.contrastive import Reduction, supervised_contrastive
from emodna.model.methods.base import CLASSES, AdaptationConfig, SharedEncoder, Supervision, find_graph_obstacle
from emodna.model.networks.emotion import make_projection_head
from emodna.model.reproducibility import use_seed

ORACLE_LABELS: Final = "oracle-labels"
_FIXED: Final = "fixed:"


def _is_threshold(text: str) -> bool:
    if not text.startswith(_FIXED):
        return text in ("adaptive", "none", ORACLE_LABELS)
    try:
        return 0 <= float(text.removeprefix(_FIXED)) <= 1
    except ValueError:
        return False


Threshold = Annotated[str, Constraint(f"adaptive, fixed:P (P from 0 to 1), none or {ORACLE_LABELS}", _is_threshold)]
"""Setting of the threshold: see `make_labeller`."""


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a target mini-batch."""

    labels: Tensor
    """Most probable class of each utterance, int64, shape ``(batch,)``."""
    confidence: Tensor
    """Its probability, at least float32, shape ``(batch,)``."""
    selected: Tensor
    """True where the confidence reaches the threshold, bool, shape ``(batch,)``."""


class AdaptiveThreshold(nn.Module):
    """Pseudo-labels chosen by a confidence threshold that follows the mean confidence (as in FreeMatch, ICLR 2023).

    The threshold starts at ``1 / n_classes``. In training mode each call first moves it,
    ``threshold <- momentum * threshold + (1 - momentum) * mean(confidence)`` (Eq. 6), and then selects what is at or
    above it (Eq. 7), the order of Algorithm 1; so call it once per training step. In evaluation mode it only selects.
    Nothing here carries a gradient. With a momentum ``lambda`` in (0, 1) it lags behind by about ``1 / (1 - lambda)``
    steps. `threshold` is a 0-d float32 buffer, updated in place.
    """

    threshold: Tensor

    def __init__(self, n_classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("threshold", torch.tensor(1 / n_classes, dtype=torch.float32))

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Label a target mini-batch of logits (batch, n_classes), after an update of the threshold in training mode."""
        confidence, labels = _find_most_probable(logits)
        if self.training:
            # In place, and the value never read by the host: a captured CUDA graph replays this on the same memory.
            self.threshold.lerp_(confidence.mean().to(self.threshold.dtype), 1 - self.momentum)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)


class FixedThreshold(nn.Module):
    """Pseudo-labels of at least a given confidence; with 0, all of them."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Label a target mini-batch of logits (batch, n_classes)."""
        confidence, labels = _find_most_probable(logits)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)


class OracleLabels(nn.Module):
    """The target's own labels in place of pseudo-labels: an upper bound for pseudo-labels, not a method."""

    def forward(self, labels: Tensor) -> PseudoLabels:
        """Take labels (batch,), -1 where there is none, as pseudo-labels of confidence 1."""
        known = labels >= 0
        return PseudoLabels(labels.clamp_min(0), known.float(), known)


def make_labeller(threshold: str, n_classes: int, momentum: float) -> nn.Module:
    """Make the module that chooses pseudo-labels.

    ``adaptive``: an `AdaptiveThreshold` with `momentum`; ``fixed:P``: a confidence of P; ``none``: all count;
    ``oracle-labels``: the true labels, which the module is called with in place of logits.
    """
    if threshold == ORACLE_LABELS:
        return OracleLabels()
    if threshold == "adaptive":
        return AdaptiveThreshold(n_classes, momentum)
    return FixedThreshold(0.0 if threshold == "none" else float(threshold.removeprefix(_FIXED)))


@dataclass(frozen=True)
class SclConfig:
    """Settings of L_SCL."""

    scl_weight: Weight = 0.1
    """alpha_1, of L_SCL."""
    scl_temperature: Positive = 0.01
    """tau_s."""
    threshold: Threshold = "adaptive"
    """Pseudo-labels that count: `adaptive`, `fixed:0.9`, `none` (all count), or `oracle-labels` in their place."""
    threshold_momentum: Momentum = 0.99
    """lambda of the adaptive threshold; 0.999 goes with 3000 steps."""
    projection_hidden: Count = 64
    projection_dim: Count = 128

    def __post_init__(self) -> None:
        """Refuse a momentum of a threshold that does not move, with a `ConfigError`."""
        if self.threshold != "adaptive" and self.threshold_momentum != SclConfig.threshold_momentum:
            raise ConfigError(f"threshold_momentum={self.threshold_momentum}: only with threshold=adaptive")

    @property
    def oracle(self) -> bool:
        """True if the target's labels take the place of pseudo-labels."""
        return self.threshold == ORACLE_LABELS


class PseudoLabelContrast(nn.Module):
    """L_SCL over the source's utterances with their labels and the target's with confident pseudo-labels."""

    def __init__(self, config: SclConfig) -> None:
        super().__init__()
        self.config = config
        self.labeller = make_labeller(config.threshold, CLASSES, config.threshold_momentum)
        self.confident: Tensor = torch.zeros(())

    def select(self, logits: Tensor, target: Batch) -> PseudoLabels:
        """Label a target batch with logits (m, 2); an oracle takes the batch's own labels."""
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
        """Return L_SCL, a scalar, of g(E) (n + m, projection_dim), the source's rows, of labels (n,), first.

        With `source_anchors`, the source's rows alone are anchors.
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
        """Return the threshold of Eq. 6, if it moves, and the selected share of the last target batch."""
        return {**dict(self.labeller.named_buffers()), "confident": self.confident}


@dataclass(frozen=True)
class ContrastiveConfig(AdaptationConfig, SclConfig):
    """Settings of a method that passes both corpora through the shared encoder, and may have L_SCL."""


class ContrastiveMethod(SharedEncoder):
    """A method on the shared encoder that may have L_SCL among its terms."""

    config: ContrastiveConfig
    contrast: PseudoLabelContrast | None

    def make_projection(self, seed: int) -> nn.Sequential:
        """Make the head g: (n, channels) -> (n, projection_dim)."""
        config = self.config
        with use_seed(seed, "projection head"):
            return make_projection_head(config.channels, config.projection_hidden, config.projection_dim)

    @property
    def supervision(self) -> Supervision:
        """Return `source`, unless the target's labels stand in for pseudo-labels."""
        return "oracle-labels" if self.contrast and self.config.oracle else "source"

    @property
    def graph_obstacle(self) -> str | None:
        """Return a reason unless both corpora pass at once."""
        return find_graph_obstacle(self.config.batch_norm)


def _find_most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return probability (batch,), of at least float32, and class (batch,) of the likeliest class, without gradient."""
    logits = logits.detach()
    confidence, labels = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).max(1)
    return confidence, labels
