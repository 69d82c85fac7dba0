"""Label-free selection of a model snapshot after training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodna.model.data.stream import CorpusWindows
from emodna.model.data.validation import Split
from emodna.model.evaluation.criteria import CRITERIA, Evidence
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.metrics import assign_labels
from emodna.model.training.snapshots import Snapshots
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task

Sources = Sequence[tuple[Split, CorpusWindows]]


def select(
    criterion: str, model: TrainedModel, snapshots: Snapshots, target: FeatureStore, sources: Sources, seed: int
) -> dict[str, Any]:
    """Compute every criterion for every model snapshot, and restore the best by `criterion` (the last of equals).

    Returns the content of selection.json: the `selected_step`, and under `snapshots` a row per snapshot with its step,
    the value of each criterion, and the share of target utterances predicted as class 1, or as each of more than two
    classes.
    """
    of_target, of_sources, total = [], [], np.zeros((len(target), len(model.task)))
    for step in snapshots.steps:
        snapshots.restore(model.method, step)
        of_target.append(predict_store(model, target))
        total += of_target[-1]
        of_sources.append([_predict_split(model, *each) for each in sources if each[0].by is not None])
    pseudo_labels = assign_labels(total / len(of_target))
    table = []
    for step, probabilities, held_out in zip(snapshots.steps, of_target, of_sources, strict=True):
        evidence = Evidence(probabilities, pseudo_labels, held_out, seed)
        values = {name: each.value(evidence) for name, each in CRITERIA.items()}
        table.append({"step": step, **values, **_count_shares(assign_labels(probabilities), model.task)})
    selected = find_best_step(table, criterion, higher_is_better=CRITERIA[criterion].higher_is_better)
    snapshots.restore(model.method, selected)
    criteria = {}
    for name, each in CRITERIA.items():
        better = "higher" if each.higher_is_better else "lower"
        criteria[name] = {"says": each.description, "better": better, "reference": each.reference}
    return {"select": criterion, "selected_step": selected, "criteria": criteria, "snapshots": table}


def _count_shares(predicted: NDArray[np.int64], task: Task) -> dict[str, Any]:
    """Return the share of utterances predicted as class 1 of two classes, or as each class of more."""
    shares = (np.bincount(predicted, minlength=len(task)) / len(predicted)).tolist()
    if len(task) == 2:
        return {"class_1_share": shares[1]}
    return {"class_shares": dict(zip(task.classes, shares, strict=True))}


def find_best_step(table: Sequence[Mapping[str, Any]], key: str, *, higher_is_better: bool) -> int:
    """Return the step of the row with the best value; of equals, the last."""
    sign = 1 if higher_is_better else -1
    return int(max(table, key=lambda row: (sign * row[key], row["step"]))["step"])


def _predict_split(
    model: TrainedModel, split: Split, windows: CorpusWindows
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels and predictions of the held-out utterances, normalised as in training."""
    # The windows have pooled their utterances if the model reads statistics.
    own_model = replace(model, framer=windows.framer, reads_statistics=False)
    probabilities = own_model.probabilities(windows.read(split.held_out))
    return split.truth, assign_labels(probabilities)
