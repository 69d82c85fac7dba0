"""Pseudo-labels of the target and the loss L_SCL on them (Eq. 6 to 9, Table 6)."""

from dataclasses import dataclass, fields
from typing import Annotated, Final, NamedTuple

import torch
from torch import Tensor, nn

from emodna.model.config import Constraint, Count, Momentum, Positive, Weight
from emodna.model.data.batch import Batch, LabelledBatch
from emodna.model.losses.contrastive import Reduction, supervised_contrastive
from emodna.model.methods.base import AdaptationConfig, PairMethod, SharedEncoder, Supervision, check_unused
from emodna.model.networks.emotion import make_head
from emodna.model.reproducibility import use_seed
from emodna.pipeline.errors import Remedy

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
"""Rule that selects pseudo-labels: see `make_labeller`."""


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a target mini-batch, each tensor of shape ``(batch,)``."""

    labels: Tensor
    """Most probable class, int64."""
    confidence: Tensor
    """Probability of that class, at least float32."""
    selected: Tensor
    """Mask of the utterances whose confidence reaches the threshold, bool."""


class AdaptiveThreshold(nn.Module):
    """Pseudo-labels above a confidence threshold that follows the mean confidence (as in FreeMatch, ICLR 2023).

    The threshold, a 0-d float32 buffer, starts at ``1 / n_classes``. In training mode each call first updates it in
    place, ``threshold <- momentum * threshold + (1 - momentum) * mean(confidence)`` (Eq. 6), then selects confidences
    at or above it (Eq. 7), as in Algorithm 1. So call it once per training step. In evaluation mode it only selects.
    The threshold lags behind the confidence by about ``1 / (1 - momentum)`` steps. No output has a gradient.
    """

    threshold: Tensor

    def __init__(self, n_classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("threshold", torch.tensor(1 / n_classes, dtype=torch.float32))

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Return pseudo-labels of logits (batch, n_classes). In training mode, update the threshold first."""
        confidence, labels = _find_most_probable(logits)
        if self.training:
            # In place and without the host, because a captured CUDA graph replays it on the same memory.
            self.threshold.lerp_(confidence.mean().to(self.threshold.dtype), 1 - self.momentum)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)


class FixedThreshold(nn.Module):
    """Pseudo-labels with a confidence at or above a threshold. 0 selects all."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Return pseudo-labels of logits (batch, n_classes)."""
        confidence, labels = _find_most_probable(logits)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)


class OracleLabels(nn.Module):
    """True labels instead of pseudo-labels: an upper bound, not a method."""

    def forward(self, labels: Tensor) -> PseudoLabels:
        """Return labels (batch,), -1 where missing, as pseudo-labels of confidence 1."""
        known = labels >= 0
        return PseudoLabels(labels.clamp_min(0), known.float(), known)


def make_labeller(threshold: str, n_classes: int, momentum: float) -> nn.Module:
    """Make the module that selects pseudo-labels.

    ``adaptive``: an `AdaptiveThreshold` with `momentum`; ``fixed:P``: confidence of at least P; ``none``: all;
    ``oracle-labels``: true labels, the module's input instead of logits.
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
    """Weight alpha_1 of L_SCL."""
    scl_temperature: Positive = 0.01
    """Temperature tau_s."""
    threshold: Threshold = "adaptive"
    """Rule that selects pseudo-labels: `adaptive`, `fixed:0.9`, `none` (all), or `oracle-labels` (true labels)."""
    threshold_momentum: Momentum = 0.99
    """Momentum lambda of the adaptive threshold. Use 0.999 with 3000 steps."""
    projection_hidden: Count = 64
    projection_dim: Count = 128

    def __post_init__(self) -> None:
        """Raise a ConfigError if the momentum is changed without an adaptive threshold."""
        if self.threshold != "adaptive":
            unused = [field for field in fields(SclConfig) if field.name == "threshold_momentum"]
            check_unused(self, unused, Remedy("it needs {threshold=adaptive}"))

    @property
    def uses_target_labels(self) -> bool:
        """True if target labels replace pseudo-labels."""
        return self.threshold == ORACLE_LABELS


class PseudoLabelContrast(nn.Module):
    """L_SCL of the source's utterances with labels and the target's utterances with confident pseudo-labels."""

    def __init__(self, config: SclConfig, classes: int = 2) -> None:
        super().__init__()
        self.config = config
        self.labeller = make_labeller(config.threshold, classes, config.threshold_momentum)
        self.confident: Tensor = torch.zeros(())

    def select(self, logits: Tensor, target: Batch) -> PseudoLabels:
        """Return pseudo-labels of a target batch with logits (m, classes). An oracle uses the batch's labels."""
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
        """Return L_SCL, a scalar, of g(E) (n + m, projection_dim). The source's rows, with labels (n,), come first.

        With `source_anchors`, only the source's rows are anchors.
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
        """Return the adaptive threshold, if there is one, and the selected share of the last target batch."""
        return {**dict(self.labeller.named_buffers()), "confident": self.confident}


@dataclass(frozen=True)
class ContrastiveConfig(AdaptationConfig, SclConfig):
    """Settings of a method that passes both corpora through the shared encoder and can use L_SCL."""

    def __post_init__(self) -> None:
        """Raise a ConfigError if a setting has no effect."""
        AdaptationConfig.__post_init__(self)
        SclConfig.__post_init__(self)


class ContrastiveMethod(PairMethod, SharedEncoder):
    """A method on the shared encoder that can use L_SCL."""

    config: ContrastiveConfig
    contrast: PseudoLabelContrast | None

    def make_projection(self, seed: int) -> nn.Sequential:
        """Make the projection head g: (n, channels) -> (n, projection_dim)."""
        config = self.config
        with use_seed(seed, "projection head"):
            return make_head(config.channels, config.projection_hidden, config.projection_dim)

    @property
    def supervision(self) -> Supervision:
        """Labels that the method learns from: `source`, unless target labels replace pseudo-labels."""
        return "oracle-labels" if self.contrast and self.config.uses_target_labels else "source"


def _find_most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return probability (batch,), at least float32, and index (batch,) of the most probable class, detached."""
    logits = logits.detach()
    confidence, labels = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).max(1)
    return confidence, labels
