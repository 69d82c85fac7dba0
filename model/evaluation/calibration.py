"""Calibration of predicted probabilities.

ECE and MCE follow Guo et al. (2017), On calibration of modern neural networks, equations 3 and 5. They use the
confidence in the predicted class, which is at least 1 / classes. Of two classes, a second reliability curve uses the
probability of class 1, so it also shows a preference for one class.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import assign_labels

#: Number of bins of equal width from 0 to 1, as in Guo et al.; only the first includes its lower end.
BINS: Final = 15
#: Bound that keeps probabilities away from 0 and 1 under a logarithm.
_EPSILON: Final = float(np.finfo(np.float64).eps)


def compute_calibration(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """Compute the calibration of probabilities (n, classes) against the truth (n,), n at least 1.

    Returns the number of `bins`; `ece` and `mce`, the expected and maximum calibration error, 0 to 1; `brier`, the mean
    squared difference of probability and class, summed over the classes, of two classes that of class 1 only, as
    scikit-learn does; `nll`, the mean negative log-likelihood, nats; and the rows of `bin_probabilities` for the
    `confidence` in the predicted class and for the `probability` of class 1, which is None for more than two classes.
    """
    predicted, rows = assign_labels(probabilities), np.arange(len(truth))
    confidence = bin_probabilities(probabilities[rows, predicted], predicted == truth)
    filled = [each for each in confidence if each["count"]]
    gaps = np.array([abs(each["share"] - each["mean"]) for each in filled])
    shares = np.array([each["count"] for each in filled]) / len(truth)
    likelihood = np.clip(probabilities[rows, truth], _EPSILON, 1 - _EPSILON)
    squares = np.square(probabilities - np.eye(probabilities.shape[1])[truth])
    is_binary = probabilities.shape[1] == 2
    return {
        "bins": BINS,
        "ece": float(shares @ gaps),
        "mce": float(gaps.max()),
        "brier": float((squares[:, 1] if is_binary else squares.sum(axis=1)).mean()),
        "nll": float(-np.log(likelihood).mean()),
        "confidence": confidence,
        "probability": bin_probabilities(probabilities[:, 1], truth == 1) if is_binary else None,
    }


def bin_probabilities(predicted: NDArray[np.float64], occurred: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Bin the predicted probabilities (n,) of an event, and count its occurrences (n,).

    Returns a row per bin: bounds `from` and `to`, `count`, `mean` probability and `share` of occurrences. Mean and
    share of an empty bin are None.
    """
    edges = np.linspace(0, 1, BINS + 1)
    index = np.digitize(predicted, edges[1:-1], right=True)
    counts, total, right = (np.bincount(index, weights, BINS) for weights in (None, predicted, occurred))
    return [
        {
            "from": float(lower),
            "to": float(upper),
            "count": int(count),
            "mean": float(sums / count) if count else None,
            "share": float(hits / count) if count else None,
        }
        for lower, upper, count, sums, hits in zip(edges[:-1], edges[1:], counts, total, right, strict=True)
    ]
