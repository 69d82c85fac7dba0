"""Pseudo-labelling of target utterances, Eq. 6 and 7 of the paper, and its variants (Table 6)."""

from typing import Annotated, Final, NamedTuple

import torch
from torch import Tensor, nn

from emodna.model.config import Valid

ORACLE: Final = "oracle-labels"
_FIXED: Final = "fixed:"


def _is_threshold(text: str) -> bool:
    if not text.startswith(_FIXED):
        return text in ("adaptive", "none", ORACLE)
    try:
        return 0 <= float(text.removeprefix(_FIXED)) <= 1
    except ValueError:
        return False


Threshold = Annotated[str, Valid(f"adaptive, fixed:P (P from 0 to 1), none or {ORACLE}", _is_threshold)]
"""How pseudo-labels are chosen, as a setting: see `pseudo_labeller`."""


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a target mini-batch.

    Attributes
    ----------
    labels
        Most probable class of each utterance, int64, shape ``(batch,)``.
    confidence
        Its probability, at least float32, shape ``(batch,)``.
    selected
        Whether it counts: its confidence reaches the threshold. bool, shape ``(batch,)``.
    """

    labels: Tensor
    confidence: Tensor
    selected: Tensor


class AdaptiveThreshold(nn.Module):
    """Pseudo-labels chosen by a confidence threshold that follows the mean confidence (as in FreeMatch, ICLR 2023).

    The threshold starts at ``1 / n_classes``. In training mode each call first moves it,
    ``threshold <- momentum * threshold + (1 - momentum) * mean(confidence)`` (Eq. 6), and then selects what is at or
    above it (Eq. 7), the order of Algorithm 1; so call it once per training step. In evaluation mode it only selects.
    Nothing here carries a gradient.

    Parameters
    ----------
    n_classes
        Number of classes ``n^C``, at least 2.
    momentum
        ``lambda`` in (0, 1); the threshold lags behind by about ``1 / (1 - momentum)`` steps.

    Attributes
    ----------
    threshold
        Current threshold, a 0-d float32 buffer, saved with the state of the module and updated in place.

    Raises
    ------
    ValueError
        If ``n_classes`` or ``momentum`` is out of range.
    """

    threshold: Tensor

    def __init__(self, n_classes: int, momentum: float) -> None:
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, got {n_classes}")
        if not 0 < momentum < 1:
            raise ValueError(f"momentum must lie in (0, 1), got {momentum}")
        self.n_classes = n_classes
        self.momentum = momentum
        self.register_buffer("threshold", torch.tensor(1 / n_classes, dtype=torch.float32))

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Label a target mini-batch, after an update of the threshold in training mode.

        Parameters
        ----------
        logits
            Classifier outputs before the softmax, shape ``(batch, n_classes)``, ``batch >= 1``.

        Returns
        -------
        PseudoLabels
            Labels, confidence and selection of each utterance.

        Raises
        ------
        ValueError
            If ``logits`` has another shape.
        """
        if logits.ndim != 2 or logits.shape[0] == 0 or logits.shape[1] != self.n_classes:
            raise ValueError(
                f"logits must have shape (batch, {self.n_classes}) with batch >= 1, got {tuple(logits.shape)}"
            )
        confidence, labels = _most_probable(logits)
        if self.training:
            # In place, and the value never read by the host: a captured CUDA graph replays this on the same memory.
            self.threshold.lerp_(confidence.mean().to(self.threshold.dtype), 1 - self.momentum)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)

    def extra_repr(self) -> str:
        """Return the settings, to be shown in the printed module."""
        return f"n_classes={self.n_classes}, momentum={self.momentum}"


class FixedThreshold(nn.Module):
    """Pseudo-labels of at least a given confidence; with 0, all of them."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, logits: Tensor) -> PseudoLabels:
        """Label a target mini-batch with logits of shape ``(batch, n_classes)``."""
        confidence, labels = _most_probable(logits)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)

    def extra_repr(self) -> str:
        """Return the threshold, to be shown in the printed module."""
        return f"{self.threshold:g}"


class OracleLabels(nn.Module):
    """The target's own labels in place of pseudo-labels: an upper bound of what these could do, not a method."""

    def forward(self, labels: Tensor) -> PseudoLabels:
        """Take labels (batch,), -1 where there is none, as pseudo-labels of confidence 1."""
        known = labels >= 0
        return PseudoLabels(labels.clamp_min(0), known.float(), known)


def pseudo_labeller(threshold: str, n_classes: int, momentum: float) -> nn.Module:
    """What chooses pseudo-labels, by the text of a setting.

    Parameters
    ----------
    threshold
        ``adaptive``: an `AdaptiveThreshold` with `momentum`; ``fixed:P``: a confidence of P; ``none``: all count;
        ``oracle-labels``: the true labels, which the module is called with in place of logits.

    Raises
    ------
    ValueError
        Another text.
    """
    if not _is_threshold(threshold):
        raise ValueError(f"threshold must be adaptive, fixed:P, none or {ORACLE}, got {threshold!r}")
    if threshold == ORACLE:
        return OracleLabels()
    if threshold == "adaptive":
        return AdaptiveThreshold(n_classes, momentum)
    return FixedThreshold(0.0 if threshold == "none" else float(threshold.removeprefix(_FIXED)))


def _most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probability (batch,), of at least float32, and class (batch,) of the most probable class, without gradient."""
    logits = logits.detach()
    confidence, labels = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).max(1)
    return confidence, labels
