"""Scores, and the constant predictors that every score has to be seen beside.

WAR is plain accuracy and F1 is that of class 1 (high / positive): the only readings that the paper's tables allow.
A constant answer has UAR 50; on the 30 pairs "always high" has a WAR of 62.5 and an F1 of 76.7.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score


@dataclass(frozen=True, slots=True)
class Scores:
    """In percent."""

    war: float
    """Weighted average recall: accuracy."""
    f1: float
    """Of class 1; 0 where nothing is, and nothing is called, class 1."""
    uar: float
    """Unweighted average recall, over the classes that occur."""
    macro_f1: float
    """Mean F1 of the two classes."""


def scores(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> Scores:
    """Score predictions (n,) of 0 and 1 against the truth (n,)."""
    return Scores(
        war=100 * float(accuracy_score(truth, predicted)),
        f1=100 * float(f1_score(truth, predicted, pos_label=1, zero_division=0)),
        uar=100 * float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)),
        macro_f1=100 * float(f1_score(truth, predicted, labels=[0, 1], average="macro", zero_division=0)),
    )


def constant_scores(truth: NDArray[np.int64]) -> dict[str, Scores]:
    """Scores of the answers that look at nothing; `majority` knows the target's labels."""
    majority = int(2 * truth.sum() >= len(truth))
    answers = {"always_high": 1, "always_low": 0, "majority": majority}
    return {name: scores(truth, np.full_like(truth, answer)) for name, answer in answers.items()}
