"""Comparison of runs: differing settings, scores over seeds, and pairs of predictions."""

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model.errors import RunError
from emodna.model.label import SCORE_NAMES
from emodna.model.metrics import confusions
from emodna.model.run_folder import LATER_SETTINGS, drop_later_settings
from emodna.model.runs.listing import Run, find_training_store, flatten
from emodna.pipeline.tables import find_positions
from emodna.pipeline.tasks import Task, read_task


@dataclass(frozen=True, slots=True)
class RunPair:
    """A comparison of two runs on the same utterances of a target."""

    utterances: int | None = None
    agreement: float | None = None
    """Percentage of utterances with equal predictions."""
    labelled: int | None = None
    """Number of labelled utterances whose labels neither run used; None if the target's labels are not available."""
    only_a: int | None = None
    """Number of labelled utterances that only the first run predicts correctly; None, like the numbers below, without
    labels."""
    only_b: int | None = None
    p: float | None = None
    """p-value of `mcnemar`."""
    problem: str | None = None
    """Reason why the runs cannot be compared; None if they can."""


@dataclass(frozen=True, slots=True)
class SeedSummary:
    """Scores of runs that differ only in their seed."""

    runs: tuple[int, ...]
    """Indices among the compared runs."""
    mean: Mapping[str, float]
    std: Mapping[str, float]
    """Standard deviations of the sample (n - 1)."""


def find_differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the keys in which the configurations differ, such as `train.batch_size`, with the value of each run.

    Runs of several methods: a method setting is compared only if all have it or runs of one method differ in it.
    """
    found = [
        {
            **flatten(drop_later_settings(run.decisive)),
            "supervision": run.supervision,
            "exposure": run.target_exposure,
            **flatten({"versions": run.config.get("versions")}),
        }
        for run in runs
    ]
    keys = dict.fromkeys(key for each in found for key in each)
    if len({run.identity["method"] for run in runs}) > 1:
        shared = {key for key in keys if all(key in each for each in found)}
        keys = {
            key: None
            for key in keys
            if not key.startswith("method_config.") or key in shared or _differs_within_method(key, found)
        }
    values = {key: [each.get(key, LATER_SETTINGS.get(key)) for each in found] for key in keys}
    return {key: each for key, each in values.items() if any(_to_json(value) != _to_json(each[0]) for value in each)}


def _differs_within_method(key: str, found: Sequence[Mapping[str, Any]]) -> bool:
    values: dict[str, set[str]] = {}
    for each in found:
        values.setdefault(_to_json(each.get("method")), set()).add(_to_json(each.get(key)))
    return any(len(each) > 1 for each in values.values())


def summarise_seeds(runs: Sequence[Run]) -> list[SeedSummary]:
    """Return mean and standard deviation of the scores of finished runs that differ only in their seed."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if run.state == "done" and run.scores["uar"] is not None:
            groups.setdefault(_to_json({**drop_later_settings(run.decisive), "seed": None}), []).append(index)
    found = []
    for indices in groups.values():
        if 1 < len(indices) == len({runs[index].decisive["seed"] for index in indices}):
            scores = {key: [runs[index].scores[key] for index in indices] for key in SCORE_NAMES}
            columns = {key: [each or 0.0 for each in values] for key, values in scores.items() if None not in values}
            mean = {key: statistics.fmean(values) for key, values in columns.items()}
            std = {key: statistics.stdev(values) for key, values in columns.items()}
            found.append(SeedSummary(tuple(indices), mean, std))
    return found


def compare_pairs(runs: Sequence[Run]) -> dict[tuple[int, int], RunPair]:
    """Compare each pair of runs; the keys are the indices of the runs."""
    numbered = enumerate(zip(runs, map(read_predictions, runs), strict=True))
    return {(a, b): _compare_pair(*first, *second) for (a, first), (b, second) in itertools.combinations(numbered, 2)}


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of the exact McNemar test: a two-sided binomial test with probability 1/2.

    The arguments are the numbers of utterances that only one run predicts correctly (McNemar 1947, Psychometrika
    12:153; for classifiers, Dietterich 1998, Neural Computation 10:1895). The test assumes independent utterances.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def _compare_pair(a: Run, first: pa.Table | str, b: Run, second: pa.Table | str) -> RunPair:
    if isinstance(first, str):
        return RunPair(problem=first)
    if isinstance(second, str):
        return RunPair(problem=second)
    if read_task(a.decisive) != read_task(b.decisive):
        is_named_alike = a.identity["task"] == b.identity["task"]
        return RunPair(problem="different classes" if is_named_alike else "different tasks")
    if not first["id"].equals(second["id"]):
        return RunPair(problem="different utterances")
    labels = [np.asarray(table["label"]) for table in (first, second)]
    excluded = np.any([np.asarray(table["training_label"]) for table in (first, second)], axis=0)
    agreement = 100 * float(np.mean(labels[0] == labels[1]))
    truth = next((found for run in (a, b) if (found := read_truth(run, first["id"])) is not None), None)
    if truth is None:
        return RunPair(len(first), agreement)
    if not (truth >= 0).any():
        return RunPair(len(first), agreement, 0)
    truth = np.where(excluded, np.int8(-1), truth)
    right = [(label == truth) & (truth >= 0) for label in labels]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return RunPair(len(first), agreement, int((truth >= 0).sum()), *only, mcnemar(*only))


def read_predictions(run: Run) -> pa.Table | str:
    """Return the columns id, label and training_label of a run's predictions, or the reason why they cannot be read.

    The rows are sorted by id. The label of an utterance is used in training if `training_label` is True.
    """
    path = run.folder.predictions
    if run.state != "done":
        return f"{run.folder.path}: not finished"
    try:
        with pq.ParquetFile(path) as parquet:
            marks = [name for name in ("training_label",) if name in parquet.schema_arrow.names]
            table = parquet.read(["id", "label", *marks], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return f"{path}: cannot be read ({' '.join(str(error).split())})"
    if not marks:  # only semi-supervised runs have the column
        table = table.append_column("training_label", pa.array(np.zeros(len(table), np.bool_)))
    return table.sort_by("id").combine_chunks()


def read_truth(run: Run, ids: pa.ChunkedArray) -> NDArray[np.int8] | None:
    """Return the labels (n,) of the target's utterances, -1 for none; None if its store is missing or has changed."""
    store = find_training_store(run, str(run.identity["tgt"])).store
    if store is None:
        return None
    rows = find_positions(ids, store.table["id"])
    truth: NDArray[np.int8] = store.labels(read_task(run.decisive))[rows]
    return truth


@dataclass(frozen=True, slots=True)
class Outcome:
    """Predictions of a finished run and the truth, in the order of the ids."""

    task: Task
    ids: NDArray[np.object_]
    """(n,) sorted ids of the target's utterances."""
    truth: NDArray[np.int8]
    """(n,) labels; -1 for none."""
    predicted: NDArray[np.int64]
    """(n,) predicted classes."""
    scored: NDArray[np.bool_]
    """(n,) True for utterances with a label that training did not use."""


def read_outcome(run: Run) -> Outcome:
    """Read the outcome of a run; raise a RunError if its predictions or the target's store cannot be read."""
    table = read_predictions(run)
    if isinstance(table, str):
        raise RunError(table)
    truth = read_truth(run, table["id"])
    if truth is None:
        target = run.identity["tgt"]
        raise RunError(f"the store of {target}, which has the labels, is missing or has changed", where=run.folder.path)
    ids = table["id"].to_numpy()
    return Outcome(
        read_task(run.decisive),
        ids,
        truth,
        np.asarray(table["label"]),
        (truth >= 0) & ~np.asarray(table["training_label"]),
    )


def count_confusions(outcome: Outcome, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the confusions (classes, classes) of some utterances (n,) of a run."""
    truth, predicted = outcome.truth[rows].astype(np.int64), outcome.predicted[rows].astype(np.int64)
    counts: NDArray[np.int64] = confusions(truth, predicted, len(outcome.task))[0]
    return counts


def _to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
