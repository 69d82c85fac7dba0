"""Compute the scores of predictions and of constant predictors.

WAR is the accuracy. F1 is the F1 score of class 1 (high / positive) of two classes; only these definitions fit the
paper's tables. A constant predictor has a UAR of 100 / K for K classes that occur. Over the 30 pairs, "always high" has
a mean WAR of 62.5 and a mean F1 of 76.7.

Each score follows from the confusions: the number of utterances of each true class (row) and predicted class (column).
"""

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emodna.model.label import SCORE_NAMES as SCORE_NAMES
from emodna.pipeline.tasks import Task


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in percent."""

    war: float
    """Weighted average recall: accuracy."""
    f1: float | None
    """F1 of class 1; 0 if class 1 neither occurs nor is predicted; None for more than two classes."""
    uar: float
    """Unweighted average recall of the classes that occur."""
    macro_f1: float
    """Mean F1 of the classes of the task; 0 for a class that neither occurs nor is predicted."""

    @classmethod
    def of(cls, counts: ArrayLike) -> Self:
        """Return the scores of confusions (classes, classes)."""
        war, f1, uar, macro_f1 = compute_scores(counts).tolist()
        return cls(war, f1 if len(np.asarray(counts)) == 2 else None, uar, macro_f1)


SCORES: Final = tuple(field.name for field in fields(Scores))


def confusions(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: int,
    group: NDArray[np.int64] | None = None,
    groups: int = 1,
) -> NDArray[np.int64]:
    """Count the confusions (groups, classes, classes) of labels (n,) and predictions (n,).

    Rows are true classes, columns predicted ones. `group` has the number (n,) of each utterance's group.
    """
    cell = classes * truth + predicted
    index = cell if group is None else classes**2 * group + cell
    return np.bincount(index, minlength=classes**2 * groups).reshape(groups, classes, classes)


def compute_scores(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the scores (..., 4), in the order of `SCORES`, of confusions (..., classes, classes).

    NaN if there are no utterances; F1 is NaN for more than two classes.
    """
    table = np.asarray(counts, np.float64)
    right, occurring = np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1)  # (..., classes)
    f1 = _ratio(2 * right, occurring + table.sum(axis=-2))
    recalls = _ratio(right, occurring)  # 0 for a class that does not occur
    with np.errstate(invalid="ignore"):
        war = right.sum(axis=-1) / occurring.sum(axis=-1)
        uar = recalls.sum(axis=-1) / (occurring > 0).sum(axis=-1)
    f1_of_class_1 = f1[..., 1] if table.shape[-1] == 2 else np.full_like(war, np.nan)
    return 100 * np.stack([war, f1_of_class_1, uar, f1.mean(axis=-1)], axis=-1)


def compute_recalls(counts: NDArray[np.int64], task: Task) -> dict[str, float | None]:
    """Return the recall of each class in percent, from confusions (classes, classes); None if it does not occur."""
    return {
        name: 100 * float(row[label] / row.sum()) if row.any() else None
        for label, (name, row) in enumerate(zip(task.classes, counts, strict=True))
    }


def scores(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Scores:
    """Return the scores of predictions (n,), given the labels (n,) and the number of classes."""
    return Scores.of(confusions(truth, predicted, classes)[0])


def constant_scores(truth: NDArray[np.int64], task: Task) -> dict[str, Scores]:
    """Return the scores of the constant predictors, given the labels (n,).

    `always_<class>` predicts one class. Two predictors use the labels themselves: `majority` predicts the most frequent
    class (of equal ones the last), and `prior_proportional` guesses each class as often as it occurs. The scores of the
    latter are those of its expected confusions.
    """
    classes = len(task)
    counts = np.bincount(truth, minlength=classes)
    found = {
        f"always_{name}": Scores.of(np.outer(counts, row))
        for name, row in zip(task.classes, np.eye(classes), strict=True)
    }
    majority = task.classes[classes - 1 - int(np.argmax(counts[::-1]))]
    # Scores do not depend on the sum of the confusions, so integers without rounding serve.
    return found | {"majority": found[f"always_{majority}"], "prior_proportional": Scores.of(np.outer(counts, counts))}


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return part / np.where(whole > 0, whole, 1)  # 0 if the whole is 0


def assign_labels(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the most probable classes (n,) for probabilities (n, classes); of equal ones the last class."""
    labels: NDArray[np.int64] = probabilities.shape[1] - 1 - probabilities[:, ::-1].argmax(axis=1)
    return labels
