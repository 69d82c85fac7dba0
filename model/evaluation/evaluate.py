"""Evaluation of predictions against the labels of a corpus: scores, intervals and a breakdown by groups."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from emodna.model.data.domain import MEASURES, Deviation, Measure
from emodna.model.data.speakers import count_speakers
from emodna.model.evaluation import intervals
from emodna.model.evaluation.calibration import compute_calibration
from emodna.model.evaluation.intervals import Resampling
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import predict_store
from emodna.model.metrics import SCORES, assign_labels, compute_scores, confusions, constant_scores, scores
from emodna.model.provenance import Role
from emodna.pipeline.encoders.exposure import find_exposure
from emodna.pipeline.errors import format_count
from emodna.pipeline.inspect.balance import UNKNOWN, encode_names
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task

_NO_SCORES: Final = dict.fromkeys(SCORES)
_CONSTANTS: Final = ("always_high", "always_low", "majority")

Groups = Mapping[str, NDArray[np.int64]]
"""Name of a group of utterances -> its confusions (4,)."""


def evaluate(
    predicted: NDArray[np.int64],
    store: FeatureStore,
    task: Task,
    resampling: Resampling | None = None,
    *,
    excluded: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Score the predictions (n,) for a store; ignore utterances that have no label or are `excluded` (n,).

    Returns war, f1, uar and macro_f1 in percent (None without labels), the scores of constant predictors under
    `constant`, and under `intervals` the 95 % intervals of the scores over `utterances` and over `speakers`.
    """
    scored = _LabelledPredictions.of(predicted, store, task, excluded)
    any_labels = len(scored.rows) > 0
    constants = constant_scores(scored.truth) if any_labels else {}
    return {
        **(asdict(scores(scored.truth, scored.predicted)) if any_labels else _NO_SCORES),
        "constant": {name: asdict(constants[name]) if any_labels else dict(_NO_SCORES) for name in _CONSTANTS},
        "intervals": _compute_intervals(scored, resampling or Resampling()),
    }


def evaluate_run(
    run: FinishedRun,
    store: FeatureStore,
    resampling: Resampling | None = None,
    advance: Callable[[int], None] = lambda _more: None,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Predict all utterances of a corpus and evaluate the predictions.

    Returns the document of docs/EVALUATION.md and the probabilities (n,) of class 1 in the order of the store. Values
    that need labels are None if there are none, and UAR if all labels are of one class. `advance` is called with the
    number of utterances predicted since its last call. Raise an EvaluationError if the features differ from the run's,
    a StoreError or a RunError if the store or the run is damaged.
    """
    start = time.perf_counter()
    probabilities = predict_store(run.adapt_model(store), store, advance)
    predicted = assign_labels(probabilities)
    seen_in_roles = run.find_seen(store)
    excluded = seen_in_roles["target-labels"]
    scored = _LabelledPredictions.of(predicted, store, run.model.task, excluded)
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
        "confusion": confusions(scored.truth, scored.predicted).reshape(2, 2).tolist() if any_labels else None,
        "calibration": compute_calibration(scored.truth, probabilities[scored.rows]) if any_labels else None,
        "audio": _score_audio(seen, scored),
        "breakdown": {
            "emotion": break_down_emotions(scored.group_by("emotion")),
            **{column: break_down_scores(scored.group_by(column)) for column in ("speaker", "gender", "language")},
        },
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


def _score_audio(seen: Mapping[Role, NDArray[np.bool_]], scored: "_LabelledPredictions") -> dict[str, Any]:
    """Count the utterances with seen and with unseen audio, and score both apart as `break_down_scores` does."""
    is_seen = seen["source"] | seen["target"]
    groups: dict[str, dict[str, Any]] = {}
    for name, chosen in {"seen": is_seen, "unseen": ~is_seen}.items():
        rows = chosen[scored.rows]
        counts = confusions(scored.truth[rows], scored.predicted[rows])[0]
        scores = break_down_scores({name: counts})[name] if rows.any() else {"count": 0, "high": 0, **_NO_SCORES}
        groups[name] = {"utterances": int(chosen.sum()), **scores}
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


def group_confusions(
    column: str, store: FeatureStore, rows: NDArray[np.int64], truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> Groups:
    """Count the confusions of truth and predictions (rows,) for each value of an index column, sorted by value."""
    group, names = encode_names(store.columns([column])[column])
    counts = confusions(truth, predicted, group[rows], len(names))
    return {name: row for name, row in sorted(zip(names, counts, strict=True), key=itemgetter(0)) if row.any()}


def break_down_emotions(groups: Groups) -> dict[str, Any]:
    """Return `count`, `label`, and the percentages `called_high` and `recall` of each emotion.

    Label and recall are None if the utterances of the emotion belong to both classes.
    """
    found = {}
    for name, counts in groups.items():
        mixed, label = counts[:2].any() and counts[2:].any(), int(counts[2:].any())
        called_high = 100 * float(counts[1] + counts[3]) / float(counts.sum())
        found[name] = {
            "count": int(counts.sum()),
            "label": None if mixed else label,
            "called_high": called_high,
            "recall": None if mixed else called_high if label else 100 - called_high,
        }
    return found


def break_down_scores(groups: Groups) -> dict[str, Any]:
    """Return `count`, the number of `high` utterances, and the scores in percent of each group.

    UAR is None if the group has only one class.
    """
    found = {}
    for name, counts in groups.items():
        count, high = int(counts.sum()), int(counts[2:].sum())
        found[name] = {"count": count, "high": high, **dict(zip(SCORES, compute_scores(counts).tolist(), strict=True))}
        if high in (0, count):
            found[name]["uar"] = None
    return found


@dataclass(frozen=True, slots=True)
class _LabelledPredictions:
    """Rows, labels and predictions, (n,) each, of the scored utterances of a store."""

    store: FeatureStore
    rows: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @classmethod
    def of(
        cls, predicted: NDArray[np.int64], store: FeatureStore, task: Task, excluded: NDArray[np.bool_] | None
    ) -> Self:
        labels = store.labels(task)
        rows = np.flatnonzero(labels >= 0 if excluded is None else (labels >= 0) & ~excluded)
        return cls(store, rows, labels[rows].astype(np.int64), predicted[rows])

    def group_by(self, column: str) -> Groups:
        return group_confusions(column, self.store, self.rows, self.truth, self.predicted)


def _compute_intervals(scored: _LabelledPredictions, resampling: Resampling) -> dict[str, Any]:
    found = {"level": intervals.LEVEL, **asdict(resampling)}
    if not len(scored.rows):
        return {
            **found,
            **{unit: intervals.make_empty_intervals(0, "no labels") for unit in ("utterances", "speakers")},
        }
    found["utterances"] = intervals.resample_utterances(confusions(scored.truth, scored.predicted)[0], resampling)
    speakers = scored.group_by("speaker")
    if UNKNOWN in speakers:
        unknown = int(speakers[UNKNOWN].sum())
        why = f"{format_count(unknown, 'utterance')} {'has' if unknown == 1 else 'have'} no speaker"
        return {**found, "speakers": intervals.make_empty_intervals(len(speakers) - 1, why)}
    return {**found, "speakers": intervals.resample_speakers(np.stack(list(speakers.values())), resampling)}
