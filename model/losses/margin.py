"""Margin disparity of two classifiers that agree on the source and disagree on the target.

.. [1] Y. Zhang, T. Liu, M. Long and M. I. Jordan, "Bridging theory and algorithm for domain adaptation", ICML 2019.
.. [2] X. Wen et al., "CTL-MTNet: a novel CapsNet and transfer learning-based mixed task net for single-corpus and
   cross-corpus speech emotion recognition", IJCAI 2022.
"""

from typing import Literal

import torch
from torch import Tensor

from emodna.model.losses import check_choice, check_positive, check_shapes, widen

LabelKind = Literal["hard", "soft"]
"""Labels that the task classifier gives the adversary: its most probable class, or its class probabilities."""


def margin_disparity(
    task_source: Tensor,
    adversary_source: Tensor,
    task_target: Tensor,
    adversary_target: Tensor,
    *,
    margin: float,
    labels: LabelKind = "hard",
) -> Tensor:
    """Return ``margin * agreement`` on the source ``+ disagreement`` on the target, a scalar [1]_.

    Takes logits of the task classifier ``f`` and of the adversary ``f'``, shapes ``(n, classes)`` on the source and
    ``(m, classes)`` on the target. The adversary minimises the result, the features maximise it, and ``f`` gets no
    gradient. The positive ``margin`` is ``gamma``; its logarithm is the margin of [1]_. Labels are ``hard``, the most
    probable class of ``f`` as in [1]_, or ``soft``, all classes weighted by the probabilities of ``f`` as in [2]_.

    If both corpora have the same distribution, the optimal adversary gives the class of ``f`` the probability
    ``margin / (1 + margin)``.
    """
    check_positive("margin", margin)
    source = agreement(task_source, adversary_source, labels=labels)
    return margin * source + disagreement(task_target, adversary_target, labels=labels)


def agreement(task: Tensor, adversary: Tensor, *, labels: LabelKind = "hard") -> Tensor:
    """Return the mean of ``-log softmax(f')[y]`` with the label ``y`` of ``f``: small if the adversary agrees."""
    task, adversary = _check_logits(task, adversary)
    return -(_weigh_classes(task, labels) * adversary.log_softmax(1)).sum(1).mean()


def disagreement(task: Tensor, adversary: Tensor, *, labels: LabelKind = "hard") -> Tensor:
    """Return the mean of ``-log(1 - softmax(f')[y])`` with the label ``y`` of ``f``: small if the adversary differs."""
    task, adversary = _check_logits(task, adversary)
    # log(1 - softmax) from the log-sum of the other classes, because 1 - softmax would round to 0.
    own = torch.eye(adversary.shape[1], dtype=torch.bool, device=adversary.device)
    others = adversary.unsqueeze(1).masked_fill(own, -torch.inf).logsumexp(2)  # (n, classes)
    return -(_weigh_classes(task, labels) * (others - adversary.logsumexp(1, keepdim=True))).sum(1).mean()


def agreement_share(task: Tensor, adversary: Tensor) -> Tensor:
    """Return the share (0-d) of rows for which both logits (n, classes) predict the same class."""
    return (task.argmax(1) == adversary.argmax(1)).float().mean()


def _check_logits(task: Tensor, adversary: Tensor) -> tuple[Tensor, ...]:
    """Check the shapes, detach the task's logits, and return both in one type."""
    is_valid = task.ndim == 2 and task.shape[0] > 0 and task.shape[1] > 1 and task.shape == adversary.shape
    check_shapes(is_valid, "logits must both have shape (n, classes) with n >= 1 and classes >= 2", task, adversary)
    return widen(task.detach(), adversary)


def _weigh_classes(task: Tensor, labels: LabelKind) -> Tensor:
    """Return the weights (n, classes) of the classes as labels, from the task's logits. Each row sums to 1."""
    check_choice("labels", labels, LabelKind)
    if labels == "soft":
        return task.softmax(1)
    return torch.zeros_like(task).scatter(1, task.argmax(1, keepdim=True), 1.0)
