"""Compute the scores of predictions and of constant predictors.

WAR is the accuracy and F1 the F1 score of class 1 (high / positive); only these definitions fit the paper's tables.
Constant predictors have UAR 50; over the 30 pairs, "always high" has a mean WAR of 62.5 and a mean F1 of 76.7.

All scores follow from four counts, the confusions: class 0 predicted as 0 and as 1, class 1 predicted as 0 and as 1.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.label import SCORE_NAMES as SCORE_NAMES


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in percent."""

    war: float
    """Weighted average recall: accuracy."""
    f1: float
    """F1 of class 1; 0 if class 1 neither occurs nor is predicted."""
    uar: float
    """Unweighted average recall of the classes that occur."""
    macro_f1: float
    """Mean F1 of the two classes."""


SCORES: Final = tuple(field.name for field in fields(Scores))


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], group: NDArray[np.int64] | None = None, groups: int = 1
) -> NDArray[np.int64]:
    """Count the confusions (groups, 4) of labels (n,) and predictions (n,), by group numbers (n,) if given."""
    cell = 2 * truth + predicted
    index = cell if group is None else 4 * group + cell
    return np.bincount(index, minlength=4 * groups).reshape(groups, 4)


def compute_scores(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the scores (..., 4), in the order of `SCORES`, of confusions (..., 4); NaN if all four are 0."""
    right_low, wrong_low, wrong_high, right_high = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    wrong = wrong_low + wrong_high
    f1_high, f1_low = _ratio(2 * right_high, 2 * right_high + wrong), _ratio(2 * right_low, 2 * right_low + wrong)
    low, high = right_low + wrong_low, right_high + wrong_high
    recalls = _ratio(right_low, low) + _ratio(right_high, high)  # 0 for a class that does not occur
    with np.errstate(invalid="ignore"):
        war = (right_low + right_high) / (low + high)
        uar = recalls / ((low > 0).astype(np.float64) + (high > 0))
    return 100 * np.stack([war, f1_high, uar, (f1_high + f1_low) / 2], axis=-1)


def scores(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> Scores:
    """Return the scores of predictions (n,) of classes 0 and 1, given the labels (n,)."""
    return Scores(*compute_scores(confusions(truth, predicted)[0]).tolist())


def constant_scores(truth: NDArray[np.int64]) -> dict[str, Scores]:
    """Return the scores of constant predictors; `majority` uses the labels (n,) themselves."""
    majority = int(2 * truth.sum() >= len(truth))
    constants = {"always_high": 1, "always_low": 0, "majority": majority}
    return {name: scores(truth, np.full_like(truth, constant)) for name, constant in constants.items()}


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return part / np.where(whole > 0, whole, 1)  # 0 if the whole is 0


def assign_labels(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most probable classes (n,) for probabilities (n, classes); of equal ones the last class."""
    return probabilities.shape[1] - 1 - probabilities[:, ::-1].argmax(axis=1)
