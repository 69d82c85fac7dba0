"""Adaptive-threshold pseudo-labelling of target utterances, Eq. 6 and 7 of the paper."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a target mini-batch.

    Attributes
    ----------
    labels
        Most probable class of each utterance, int64, shape ``(batch,)``.
    confidence
        Its probability, at least float32, shape ``(batch,)``.
    selected
        Whether the confidence reaches the threshold, bool, shape ``(batch,)``.
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
        logits = logits.detach()
        probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
        confidence, labels = probabilities.max(1)
        if self.training:
            # In place, and the value never read by the host: a captured CUDA graph replays this on the same memory.
            self.threshold.lerp_(confidence.mean().to(self.threshold.dtype), 1 - self.momentum)
        return PseudoLabels(labels, confidence, confidence >= self.threshold)

    def extra_repr(self) -> str:
        """Return the settings, to be shown in the printed module."""
        return f"n_classes={self.n_classes}, momentum={self.momentum}"
