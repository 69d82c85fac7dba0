"""Oracle analysis: scores of each model snapshot, computed with target labels. No result depends on them."""

from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.evaluation.selection import find_best_step
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import assign_labels, constant_scores, scores
from emodna.model.run_folder import RunFolder, write_json
from emodna.model.training.snapshots import Snapshots
from emodna.pipeline.store import FeatureStore

_NOTE: Final = "computed with the target's labels, for analysis only: never a result, never used to select a model"


def write_oracle_analysis(
    run: RunFolder,
    model: TrainedModel,
    snapshots: Snapshots,
    target: FeatureStore,
    excluded: NDArray[np.bool_] | None = None,
) -> None:
    """Score every model snapshot with the target's labels, and write oracle.json, with the single key `oracle`.

    Scores leave out the utterances that are `excluded` (n,), as the result of the run does. The model ends in the state
    of the last snapshot. Raise a RunError if a snapshot is damaged.
    """
    model, labels = model.adapt_to_speakers(target), target.labels(model.task).astype(np.int64)
    rows = np.flatnonzero(labels >= 0 if excluded is None else (labels >= 0) & ~excluded)
    analysis: dict[str, Any] = {"note": _NOTE, "labelled": len(rows), "best_step": None, "best": None}
    if len(rows):
        truth, table = labels[rows], []
        for step in snapshots.steps:
            snapshots.restore(model.method, step)
            predicted = assign_labels(predict_store(model, target))[rows]
            table.append({"step": step, **asdict(scores(truth, predicted, len(model.task)))})
        step = find_best_step(table, "uar", higher_is_better=True)
        analysis["best_step"] = step
        analysis["best"] = next(row for row in table if row["step"] == step)
        analysis["last"] = table[-1]
        constants = constant_scores(truth, model.task)
        analysis["constant"] = {name: asdict(each) for name, each in constants.items()}
        analysis["snapshots"] = table
    write_json(run.oracle, {"oracle": analysis})
