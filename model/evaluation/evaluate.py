"""Evaluation of predictions against the labels of a corpus: scores, intervals and a breakdown by groups."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.model.data.domain import MEASURES, Deviation, Measure
from emodna.model.data.speakers import count_speakers
from emodna.model.evaluation import intervals
from emodna.model.evaluation.calibration import compute_calibration
from emodna.model.evaluation.intervals import Resampling
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store
from emodna.model.metrics import SCORES, Scores, assign_labels, compute_recalls, confusions, constant_scores
from emodna.model.provenance import Role
from emodna.model.task import count_left_out
from emodna.pipeline.encoders.exposure import find_exposure
from emodna.pipeline.errors import format_count
from emodna.pipeline.inspect.balance import UNKNOWN, encode_names
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import EMOTION_COLUMN, Task

_NO_SCORES: Final = dict.fromkeys(SCORES)
_GROUP_COLUMNS: Final = ("speaker", "gender", "language")
Groups = Mapping[str, NDArray[np.int64]]
"""Name of a group of utterances -> its confusions (classes, classes)."""


def evaluate(
    predicted: NDArray[np.int64],
    store: FeatureStore,
    task: Task,
    resampling: Resampling | None = None,
    *,
    excluded: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Score the predictions (n,) for a store; ignore utterances that have no label or are `excluded` (n,).

    Returns war, f1 (None for more than two classes), uar and macro_f1 in percent, the scores of constant predictors
    under `constant`, under `intervals` the 95 % intervals of the scores over `utterances` and over `speakers`, the
    names of the `classes`, the `confusion` (classes, classes) and the `recalls` of the classes. `left_out` counts the
    utterances of no class, by the value of the task's column. Without labels, scores, recalls and confusion are None.
    """
    scored = LabelledPredictions.of(predicted, store, task, excluded)
    counts = confusions(scored.truth, scored.predicted, len(task))[0]
    any_labels = len(scored.rows) > 0
    constants = {name: asdict(each) for name, each in constant_scores(scored.truth, task).items()}
    recalls = compute_recalls(counts, task)
    return {
        **(asdict(Scores.of(counts)) if any_labels else _NO_SCORES),
        "constant": constants if any_labels else {name: dict(_NO_SCORES) for name in constants},
        "intervals": _compute_intervals(scored, resampling or Resampling()),
        "classes": list(task.classes),
        "confusion": counts.tolist() if any_labels else None,
        "recalls": recalls if any_labels else None,
        "left_out": count_left_out(store, task),
    }


def evaluate_run(
    run: FinishedRun,
    store: FeatureStore,
    resampling: Resampling | None = None,
    advance: Callable[[int], None] = lambda _more: None,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Predict all utterances of a corpus and evaluate the predictions.

    Returns the document of docs/EVALUATION.md and the probabilities (n, classes) in the order of the store. Values that
    need labels are None if there are none, and UAR if all labels are of one class. `advance` is called with the number
    of utterances predicted since its last call. Raise an EvaluationError if the features differ from the run's,
    a StoreError or a RunError if the store or the run is damaged.
    """
    start = time.perf_counter()
    probabilities = predict_store(run.adapt_model(store), store, advance)
    predicted = assign_labels(probabilities)
    seen_in_roles = run.find_seen(store)
    excluded = seen_in_roles["target-labels"]
    scored = LabelledPredictions.of(predicted, store, run.model.task, excluded)
    any_labels = len(scored.rows) > 0
    scores = evaluate(predicted, store, run.model.task, resampling, excluded=excluded)
    if len(np.unique(scored.truth)) == 1:
        for row in (scores, *scores["constant"].values()):
            row["uar"] = None
    seen = separate_roles(seen_in_roles, run.description["supervision"])
    evaluation = {
        "run": str(run.path.absolute()),
        **run.description,
        "speakers": asdict(count_speakers(store)) if run.model.per_speaker else None,
        "corpus": store.snapshot.corpus,
        "store": str(store.path),
        "exposure": find_exposure(run.model.features, store.snapshot.corpus),
        "seen": _summarise_seen(seen, scored.rows if any_labels else np.arange(len(store))),
        "utterances": len(store),
        "labelled": len(scored.rows),
        "excluded": int((store.labels(run.model.task)[excluded] >= 0).sum()),
        **scores,
        "calibration": compute_calibration(scored.truth, probabilities[scored.rows]) if any_labels else None,
        "audio": _score_audio(seen, scored),
        "breakdown": _break_down(scored),
        "wall_seconds": time.perf_counter() - start,
    }
    return evaluation, probabilities


def _summarise_seen(seen: Mapping[Role, NDArray[np.bool_]], rows: NDArray[np.int64]) -> Role | Literal["partly"] | None:
    """Return the role in which a run was trained on the recordings of some rows; "partly" unless it is one for all."""
    for role, each in seen.items():
        if len(rows) and each[rows].all():
            return role
    return "partly" if any(each[rows].any() for each in seen.values()) else None


def separate_roles(seen: Mapping[Role, NDArray[np.bool_]], supervision: str) -> dict[Role, NDArray[np.bool_]]:
    """Count audio of both roles in one of them: in that whose labels the run used."""
    source, target = seen["source"], seen["target"]
    if supervision == "oracle-folds":
        return {"source": source & ~target, "target": target}
    return {"source": source, "target": target & ~source}


def _score_audio(seen: Mapping[Role, NDArray[np.bool_]], scored: "LabelledPredictions") -> dict[str, Any]:
    """Count the utterances with seen and with unseen audio, and score both apart as `break_down_scores` does."""
    is_seen = seen["source"] | seen["target"]
    groups: dict[str, dict[str, Any]] = {}
    for name, chosen in {"seen": is_seen, "unseen": ~is_seen}.items():
        rows = chosen[scored.rows]
        counts = confusions(scored.truth[rows], scored.predicted[rows], len(scored.task))[0]
        groups[name] = {"utterances": int(chosen.sum()), **break_down_scores({name: counts}, scored.task)[name]}
    roles = {role: int(each.sum()) for role, each in seen.items()}
    return {"seen": {**roles, **groups["seen"]}, "unseen": groups["unseen"]}


def count_outside(
    deviations: Sequence[Sequence[Deviation]], unknown: Collection[Measure] = ()
) -> dict[str, int | None]:
    """Count the `utterances` outside the training audio, and those outside in each measure, by their deviations.

    The count of an `unknown` measure is None.
    """
    counts = Counter(each.measure for of_utterance in deviations for each in of_utterance)
    by_measure: dict[str, int | None] = {
        measure: None if measure in unknown else counts[measure] for measure in MEASURES
    }
    return {"utterances": sum(map(bool, deviations)), **by_measure}


def break_down_values(groups: Groups, task: Task) -> dict[str, Any]:
    """Return `count`, `label`, `shares` and `recall` of the utterances of each emotion, or value of another column.

    `shares` has the percentage predicted as each class. Label and recall are None if the utterances of a value belong
    to several classes.
    """
    found = {}
    for name, counts in groups.items():
        shares = 100 * counts.sum(axis=0) / counts.sum()
        labels = np.flatnonzero(counts.any(axis=1)).tolist()
        label = labels[0] if len(labels) == 1 else None
        found[name] = {
            "count": int(counts.sum()),
            "label": label,
            "shares": dict(zip(task.classes, shares.tolist(), strict=True)),
            "recall": None if label is None else float(shares[label]),
        }
    return found


def break_down_scores(groups: Groups, task: Task) -> dict[str, Any]:
    """Return `count`, the number of utterances of each of the `classes`, and the scores in percent of each group.

    UAR is None if the group has only one class; scores are None if the group is empty.
    """
    found = {}
    for name, counts in groups.items():
        of_classes = counts.sum(axis=1)
        scores = asdict(Scores.of(counts)) if counts.any() else dict(_NO_SCORES)
        classes = dict(zip(task.classes, of_classes.tolist(), strict=True))
        found[name] = {"count": int(counts.sum()), "classes": classes, **scores}
        if np.count_nonzero(of_classes) == 1:
            found[name]["uar"] = None
    return found


@dataclass(frozen=True, slots=True)
class LabelledPredictions:
    """Rows, labels and predictions, (n,) each, of the scored utterances of a store."""

    store: FeatureStore
    task: Task
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @classmethod
    def of(
        cls, predicted: NDArray[np.int64], store: FeatureStore, task: Task, excluded: NDArray[np.bool_] | None = None
    ) -> Self:
        """Select the labelled ones of the predictions (n,) for a store that are not `excluded` (n,)."""
        labels = store.labels(task)
        rows = np.flatnonzero(labels >= 0 if excluded is None else (labels >= 0) & ~excluded)
        return cls(store, task, rows, labels[rows].astype(np.int64), predicted[rows])

    def group_by(self, column: str) -> Groups:
        """Count the confusions for each value of an index column, sorted by value."""
        group, names = encode_names(_read_column(self.store, column))
        counts = confusions(self.truth, self.predicted, len(self.task), group[self.rows], len(names))
        return {name: row for name, row in sorted(zip(names, counts, strict=True), key=itemgetter(0)) if row.any()}


def _read_column(store: FeatureStore, column: str) -> pa.ChunkedArray:
    """Return the values (n,) of an index column as text; null if the store lacks the column of a task."""
    if column not in store.column_names:
        return pa.chunked_array([pa.nulls(len(store), pa.string())])
    return pc.cast(store.columns([column])[column], pa.string())


def _break_down(scored: LabelledPredictions) -> dict[str, Any]:
    """Break the predictions down by emotion, by the values of a column of the task, and by groups of utterances."""
    groups = {column: break_down_scores(scored.group_by(column), scored.task) for column in _GROUP_COLUMNS}
    columns = dict.fromkeys((EMOTION_COLUMN, scored.task.column))
    values = {column: break_down_values(scored.group_by(column), scored.task) for column in columns}
    return values | groups


def _compute_intervals(scored: LabelledPredictions, resampling: Resampling) -> dict[str, Any]:
    found = {"level": intervals.LEVEL, **asdict(resampling)}
    if not len(scored.rows):
        return {
            **found,
            **{unit: intervals.make_empty_intervals(0, "no labels") for unit in ("utterances", "speakers")},
        }
    counts = confusions(scored.truth, scored.predicted, len(scored.task))[0]
    found["utterances"] = intervals.resample_utterances(counts, resampling)
    speakers = scored.group_by("speaker")
    if UNKNOWN in speakers:
        unknown = int(speakers[UNKNOWN].sum())
        why = f"{format_count(unknown, 'utterance')} {'has' if unknown == 1 else 'have'} no speaker"
        return {**found, "speakers": intervals.make_empty_intervals(len(speakers) - 1, why)}
    return {**found, "speakers": intervals.resample_speakers(np.stack(list(speakers.values())), resampling)}
