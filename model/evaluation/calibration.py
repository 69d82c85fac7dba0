"""Calibration of probabilities: of the utterances that are called high with 0.8, 80 % should be high.

ECE and MCE follow Guo et al. (2017), On calibration of modern neural networks, equations 3 and 5, over the confidence
in the chosen class, which with two classes is at least one half. The reliability curve is that of the probability of
class 1, which also shows a model that prefers one class.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import assign_labels

#: Number of bins of equal width between 0 and 1, each without its lower end (but the first), as Guo et al. have them.
BINS: Final = 15
#: Nearest that a probability comes to 0 or 1 under a logarithm.
_LEAST: Final = float(np.finfo(np.float64).eps)


def calibration(truth: NDArray[np.int64], probability: NDArray[np.float64]) -> dict[str, Any]:
    """Compare probabilities (n,) of class 1 with the truth (n,), n at least 1.

    Returns the number of `bins`; `ece`, `mce`, expected and maximum calibration error, 0 to 1; `brier`, mean squared
    difference of probability and class, 0 to 1; `nll`, mean negative log-likelihood, nats; and as `reliability` gives
    them `confidence`, the answers' confidence against how many were right, and `probability`, that of class 1.
    """
    predicted = assign_labels(probability)
    confidence = reliability(np.maximum(probability, 1 - probability), predicted == truth)
    filled = [each for each in confidence if each["count"]]
    gaps = np.array([abs(each["share"] - each["mean"]) for each in filled])
    shares = np.array([each["count"] for each in filled]) / len(truth)
    of_truth = np.clip(np.where(truth == 1, probability, 1 - probability), _LEAST, 1 - _LEAST)
    return {
        "bins": BINS,
        "ece": float(shares @ gaps),
        "mce": float(gaps.max()),
        "brier": float(np.square(probability - truth).mean()),
        "nll": float(-np.log(of_truth).mean()),
        "confidence": confidence,
        "probability": reliability(probability, truth == 1),
    }


def reliability(predicted: NDArray[np.float64], occurred: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Bin the predicted probabilities (n,) of an event, and count how often it occurred (n,).

    Returns of each bin its ends, `from` and `to`, its `count`, the `mean` of the probabilities and the `share` of the
    occurrences; both are null in an empty bin.
    """
    edges = np.linspace(0, 1, BINS + 1)
    place = np.digitize(predicted, edges[1:-1], right=True)
    counts, total, right = (np.bincount(place, weights, BINS) for weights in (None, predicted, occurred))
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
