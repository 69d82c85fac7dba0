"""Compare predictions with the target's labels: the one place on this floor that reads them, after training only."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import constant_scores, scores
from emodna.pipeline.store import FeatureStore

_NOTHING = dict.fromkeys(("war", "f1", "uar", "macro_f1"))


def evaluate(predicted: NDArray[np.int64], store: FeatureStore, task: str) -> dict[str, Any]:
    """Scores of predictions (n,) for all utterances of a store, over those that are labelled, beside the constants.

    Returns
    -------
    result
        war, f1, uar, macro_f1 in percent, and the same of each constant under `constant`; null without labels.
    """
    labels = store.labels(task).astype(np.int64)
    labelled = labels >= 0
    if not labelled.any():
        names = ("always_high", "always_low", "majority")
        return {**_NOTHING, "constant": {name: dict(_NOTHING) for name in names}}
    truth = labels[labelled]
    constants = {name: asdict(each) for name, each in constant_scores(truth).items()}
    return {**asdict(scores(truth, predicted[labelled])), "constant": constants}
