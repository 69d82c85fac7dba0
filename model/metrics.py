"""Scores, and the constant predictors that every score has to be seen beside.

WAR is plain accuracy and F1 is that of class 1 (high / positive): the only readings that the paper's tables allow.
A constant answer has UAR 50; on the 30 pairs "always high" has a WAR of 62.5 and an F1 of 76.7.

All of them follow from four counts, the confusions of two classes: how often class 0 was called 0 and 1, and class 1
was called 0 and 1, in this order. So many sets of predictions can be scored at once.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.label import SCORE_NAMES as SCORE_NAMES


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


SCORES: Final = tuple(field.name for field in fields(Scores))


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], group: NDArray[np.int64] | None = None, groups: int = 1
) -> NDArray[np.int64]:
    """Count the confusions (groups, 4), by group numbers (n,) if there are any, of classes 0 and 1 (n,)."""
    kind = 2 * truth + predicted
    where = kind if group is None else 4 * group + kind
    return np.bincount(where, minlength=4 * groups).reshape(groups, 4)


def compute_scores(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Scores (..., 4), as `SCORES` lists them, of confusions (..., 4); nan of none at all."""
    right_low, wrong_low, wrong_high, right_high = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    wrong = wrong_low + wrong_high
    f1_high, f1_low = _ratio(2 * right_high, 2 * right_high + wrong), _ratio(2 * right_low, 2 * right_low + wrong)
    low, high = right_low + wrong_low, right_high + wrong_high
    recalls = _ratio(right_low, low) + _ratio(right_high, high)  # a class that does not occur adds nothing
    with np.errstate(invalid="ignore"):
        war = (right_low + right_high) / (low + high)
        uar = recalls / ((low > 0).astype(np.float64) + (high > 0))
    return 100 * np.stack([war, f1_high, uar, (f1_high + f1_low) / 2], axis=-1)


def scores(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> Scores:
    """Score predictions (n,) of 0 and 1 against the truth (n,)."""
    return Scores(*compute_scores(confusions(truth, predicted)[0]).tolist())


def constant_scores(truth: NDArray[np.int64]) -> dict[str, Scores]:
    """Scores of the answers that look at nothing; `majority` knows the target's labels."""
    majority = int(2 * truth.sum() >= len(truth))
    answers = {"always_high": 1, "always_low": 0, "majority": majority}
    return {name: scores(truth, np.full_like(truth, answer)) for name, answer in answers.items()}


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of a whole; 0 of nothing."""
    return part / np.where(whole > 0, whole, 1)


def assign_labels(of_class_1: NDArray[np.float64]) -> NDArray[np.int64]:
    """Labels (n,) of probabilities (n,) of class 1: 1 from a half on, as in predictions.parquet."""
    return (of_class_1 >= 0.5).astype(np.int64)
