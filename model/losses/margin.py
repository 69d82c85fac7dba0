"""Margin disparity: how far a classifier that agrees with another on the source can disagree with it on the target.

.. [1] Y. Zhang, T. Liu, M. Long and M. I. Jordan, "Bridging theory and algorithm for domain adaptation", ICML 2019.
.. [2] X. Wen et al., "CTL-MTNet: a novel CapsNet and transfer learning-based mixed task net for single-corpus and
   cross-corpus speech emotion recognition", IJCAI 2022.
"""

from typing import Literal

import torch
from torch import Tensor

from emodna.model.losses import check_choice, check_positive, widen

LabelKind = Literal["hard", "soft"]
"""Answers that the second classifier is compared with: the class that the first one prefers, or its probabilities."""


def margin_disparity(
    task_source: Tensor,
    adversary_source: Tensor,
    task_target: Tensor,
    adversary_target: Tensor,
    *,
    margin: float,
    answers: LabelKind = "hard",
) -> Tensor:
    """Return ``margin * agreement`` on the source ``+ disagreement`` on the target, a scalar [1]_.

    The adversary ``f'`` minimises it, the features maximise it; the task's classifier ``f`` has no gradient of it.
    Where both corpora are distributed alike, the best that an adversary can do is to give the class that ``f`` prefers
    the probability ``margin / (1 + margin)``.

    Parameters
    ----------
    task_source, task_target
        Logits of ``f``, shapes ``(n, classes)`` and ``(m, classes)``.
    adversary_source, adversary_target
        Logits of ``f'``, of the same shapes.
    margin
        ``gamma``, positive: the weight of the source's term, whose logarithm is the margin of [1]_.
    answers
        ``hard``: the class that ``f`` prefers, as in [1]_; ``soft``: all classes, weighted by the probabilities that
        ``f`` gives them, as in [2]_.
    """
    check_positive("margin", margin)
    source = agreement(task_source, adversary_source, answers=answers)
    return margin * source + disagreement(task_target, adversary_target, answers=answers)


def agreement(task: Tensor, adversary: Tensor, *, answers: LabelKind = "hard") -> Tensor:
    """Return ``-log softmax(f')[y]``, ``y`` being the answer of ``f``: small where the adversary says the same."""
    task, adversary = _check_logits(task, adversary)
    return -(_weigh_classes(task, answers) * adversary.log_softmax(1)).sum(1).mean()


def disagreement(task: Tensor, adversary: Tensor, *, answers: LabelKind = "hard") -> Tensor:
    """Return ``-log(1 - softmax(f')[y])``, ``y`` being the answer of ``f``: small where the adversary differs."""
    task, adversary = _check_logits(task, adversary)
    # log(1 - softmax) as the logarithm of the sum of the other classes: the difference would round to 0.
    own = torch.eye(adversary.shape[1], dtype=torch.bool, device=adversary.device)
    others = adversary.unsqueeze(1).masked_fill(own, -torch.inf).logsumexp(2)  # (n, classes)
    return -(_weigh_classes(task, answers) * (others - adversary.logsumexp(1, keepdim=True))).sum(1).mean()


def agreement_share(task: Tensor, adversary: Tensor) -> Tensor:
    """Return the share (0-d) of utterances on which both logits (n, classes) prefer the same class."""
    return (task.argmax(1) == adversary.argmax(1)).float().mean()


def _check_logits(task: Tensor, adversary: Tensor) -> tuple[Tensor, ...]:
    """Return both logits, of one type, the task's without gradient."""
    if adversary.ndim != 2 or adversary.shape[0] == 0 or adversary.shape[1] < 2 or task.shape != adversary.shape:
        found = f"{tuple(task.shape)} and {tuple(adversary.shape)}"
        raise ValueError(f"logits must both have shape (n, classes) with n >= 1 and classes >= 2, got {found}")
    return widen(task.detach(), adversary)


def _weigh_classes(task: Tensor, answers: LabelKind) -> Tensor:
    """Return the weight of each class in the comparison with logits (n, classes), of the same shape; rows sum to 1."""
    check_choice("answers", answers, LabelKind)
    if answers == "soft":
        return task.softmax(1)
    return torch.zeros_like(task).scatter(1, task.argmax(1, keepdim=True), 1.0)
