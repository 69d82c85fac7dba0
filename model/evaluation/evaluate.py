"""Compare predictions with a corpus's labels, after training only."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.evaluation.breakdown import Groups
from emodna.model.evaluation.calibration import calibration
from emodna.model.evaluation.intervals import LEVEL, Resampling, no_intervals, over_speakers, over_utterances
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import probabilities_of
from emodna.model.metrics import SCORES, classified, confusions, constant_scores, scores
from emodna.pipeline.inspect.balance import UNKNOWN
from emodna.pipeline.store import FeatureStore

_NOTHING: Final = dict.fromkeys(SCORES)
_CONSTANTS: Final = ("always_high", "always_low", "majority")
_UNLABELLED: Final = "no labels"


def evaluate(
    predicted: NDArray[np.int64], store: FeatureStore, task: str, resampling: Resampling | None = None
) -> dict[str, Any]:
    """Scores of predictions (n,) for all utterances of a store, over those that are labelled, beside the constants.

    Returns
    -------
    result
        war, f1, uar, macro_f1 in percent, the same of each constant under `constant`, and under `intervals` between
        what they lie over `utterances` and over `speakers`; null without labels.
    """
    rows = _labelled(store, task)
    truth, called = store.labels(task)[rows].astype(np.int64), predicted[rows]
    constants = constant_scores(truth) if len(rows) else {}
    return {
        **(asdict(scores(truth, called)) if len(rows) else _NOTHING),
        "constant": {name: asdict(constants[name]) if constants else dict(_NOTHING) for name in _CONSTANTS},
        "intervals": _intervals(store, rows, truth, called, resampling or Resampling()),
    }


def evaluate_run(
    run: FinishedRun,
    store: FeatureStore,
    resampling: Resampling | None = None,
    told: Callable[[int], None] = lambda _more: None,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Predict all utterances of a corpus, and judge the answers by its labels.

    Parameters
    ----------
    told
        Is told how many more utterances are done.

    Returns
    -------
    evaluation
        As `emodna-eval --json` prints it; what wants labels is null where the corpus has none.
    probabilities
        (n,) of class 1, in the store's order.

    Raises
    ------
    EvaluationError, StoreError
        The store's features are not the run's, or it is damaged.
    """
    began = time.perf_counter()
    probabilities = probabilities_of(run.model_for(store), store, told)
    task, rows = run.model.task, _labelled(store, run.model.task)
    predicted = classified(probabilities)
    truth, called = store.labels(task)[rows].astype(np.int64), predicted[rows]

    def by(column: str) -> Groups:
        return Groups.by(column, store, rows, truth, called)

    evaluation = {
        "run": str(run.path.absolute()),
        **run.facts,
        "corpus": store.snapshot.corpus,
        "store": str(store.path),
        "seen": run.seen(store),
        "utterances": len(store),
        "labelled": len(rows),
        **evaluate(predicted, store, task, resampling),
        "confusion": confusions(truth, called).reshape(2, 2).tolist() if len(rows) else None,
        "calibration": calibration(truth, probabilities[rows]) if len(rows) else None,
        "breakdown": {
            "emotion": by("emotion").emotions(),
            **{column: by(column).scores() for column in ("speaker", "gender", "language")},
        },
        "wall_seconds": time.perf_counter() - began,
    }
    return evaluation, probabilities


def _labelled(store: FeatureStore, task: str) -> NDArray[np.int64]:
    return np.flatnonzero(store.labels(task) >= 0)


def _intervals(
    store: FeatureStore,
    rows: NDArray[np.int64],
    truth: NDArray[np.int64],
    called: NDArray[np.int64],
    resampling: Resampling,
) -> dict[str, Any]:
    """Between what the scores lie, with 95 %, over the utterances in these rows and over their speakers."""
    found = {"level": LEVEL, **asdict(resampling)}
    if not len(rows):
        return {**found, **{unit: no_intervals(0, _UNLABELLED) for unit in ("utterances", "speakers")}}
    found["utterances"] = over_utterances(confusions(truth, called)[0], resampling)
    speakers = Groups.by("speaker", store, rows, truth, called)
    if unknown := speakers.unknown:
        known = len(speakers.names) - (UNKNOWN in speakers.names)
        return {**found, "speakers": no_intervals(known, f"of {unknown} utterances nobody knows the speaker")}
    return {**found, "speakers": over_speakers(speakers.confusions, resampling)}
