"""Runs side by side: differing settings, scores over seeds, and pairs of predictions."""

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model.label import SCORE_NAMES
from emodna.model.runs.listing import Run, flat, trained_on


@dataclass(frozen=True, slots=True)
class Paired:
    """Two runs on the same utterances of a target; the last four are None if its labels are not available."""

    utterances: int
    agreement: float
    """Percent of the utterances that get the same label from both."""
    labelled: int | None
    only_a: int | None
    """Labelled utterances that only the first run labels right."""
    only_b: int | None
    p: float | None
    """p-value of `mcnemar`."""


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """Runs that differ by their seed alone."""

    runs: tuple[int, ...]
    """Places among the compared runs."""
    mean: Mapping[str, float]
    std: Mapping[str, float]
    """Of the sample (n - 1)."""


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the keys of the configuration, such as `train.batch_size`, that differ between runs, with each value.

    Settings of different methods are compared only if all methods have them, or if runs of one method differ in them.
    """
    found = [
        {**flat(run.decisive), "supervision": run.supervision, **flat({"versions": run.config.get("versions")})}
        for run in runs
    ]
    keys = dict.fromkeys(key for each in found for key in each)
    if len({run.asked["method"] for run in runs}) > 1:
        keys = {
            key: None
            for key in keys
            if not key.startswith("method_config.")
            or all(key in each for each in found)
            or _differs_within_a_method(key, found)
        }
    values = {key: [each.get(key) for each in found] for key in keys}
    return {key: each for key, each in values.items() if any(_text(value) != _text(each[0]) for value in each)}


def _differs_within_a_method(key: str, found: Sequence[Mapping[str, Any]]) -> bool:
    values: dict[str, set[str]] = {}
    for each in found:
        values.setdefault(_text(each.get("method")), set()).add(_text(each.get(key)))
    return any(len(different) > 1 for different in values.values())


def over_seeds(runs: Sequence[Run]) -> list[OverSeeds]:
    """Return mean and deviation of the scores of each two or more finished runs that differ by their seed alone."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        if run.state == "done" and None not in run.scores.values():
            groups.setdefault(_text({**run.decisive, "seed": None}), []).append(place)
    found = []
    for places in groups.values():
        if len({runs[place].decisive["seed"] for place in places}) < len(places) or len(places) < 2:
            continue
        columns = {key: [runs[place].scores[key] or 0.0 for place in places] for key in SCORE_NAMES}
        mean = {key: statistics.fmean(values) for key, values in columns.items()}
        std = {key: statistics.stdev(values) for key, values in columns.items()}
        found.append(OverSeeds(tuple(places), mean, std))
    return found


def paired(runs: Sequence[Run]) -> dict[tuple[int, int], Paired | str]:
    """Return the statistics of each pair of runs, by their places, or the reason why there are none."""
    tables = [predictions(run) for run in runs]
    return {
        (a, b): _pair(runs[a], runs[b], tables[a], tables[b]) for a, b in itertools.combinations(range(len(runs)), 2)
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of the exact McNemar test: a two-sided binomial test of one half.

    It is the probability of so unequal a split, or a more unequal one, of the utterances that only one run labels
    right, if the runs were equally good (McNemar 1947, Psychometrika 12:153; for classifiers, Dietterich 1998, Neural
    Computation 10:1895). It takes utterances as independent, whoever speaks.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def _pair(a: Run, b: Run, first: pa.Table | str, second: pa.Table | str) -> Paired | str:
    if isinstance(first, str):
        return first
    if isinstance(second, str):
        return second
    if a.asked["task"] != b.asked["task"]:
        return "not the same task"
    if not first["id"].equals(second["id"]):
        return "not the same utterances"
    labels = [np.asarray(table["label"]) for table in (first, second)]
    agreement = 100 * float(np.mean(labels[0] == labels[1]))
    truth = next((found for run in (a, b) if (found := truth_of(run, first["id"])) is not None), None)
    if truth is None:
        return Paired(len(first), agreement, None, None, None, None)
    right = [(label == truth) & (truth >= 0) for label in labels]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return Paired(len(first), agreement, int((truth >= 0).sum()), *only, mcnemar(*only))


def predictions(run: Run) -> pa.Table | str:
    """Return id and label of a run's predictions, by id, or the reason why there are none."""
    path = run.folder.predictions
    if run.state != "done":
        return f"{run.folder.path}: not done"
    try:
        with pq.ParquetFile(path) as parquet:
            table = parquet.read(["id", "label"], use_threads=False)
        table = table.select(["id", "label"]).cast(pa.schema([("id", pa.string()), ("label", pa.int8())]))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        return f"{path}: cannot be read ({' '.join(str(error).split())})"
    missing = table["id"].null_count + table["label"].null_count
    if missing or not len(table) or pc.count_distinct(table["id"]).as_py() != len(table):
        return f"{path}: damaged: ids or labels that are missing or there twice"
    return table.sort_by("id").combine_chunks()


def truth_of(run: Run, ids: pa.ChunkedArray) -> NDArray[np.int8] | None:
    """Return the labels (n,) of the target's utterances, -1 for none; None if its store is no longer the run's."""
    store = trained_on(run, str(run.asked["tgt"])).store
    if store is None:
        return None
    rows = pc.index_in(ids, value_set=pa.array(store.ids, pa.string()))
    if rows.null_count:
        return None
    truth: NDArray[np.int8] = store.labels(str(run.asked["task"]))[np.asarray(rows)]
    return truth


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
