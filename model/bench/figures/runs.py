"""Figures of what runs left behind: confusion matrices from predictions, curves from their logs."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.model.bench.compare import EMO_DNA
from emodna.model.bench.figure_data import FigureData, HeatmapMark, LineMark, Panel
from emodna.model.bench.figures.selection import (
    FigureOptions,
    NoFigureDataError,
    describe_omitted_methods,
    format_pair,
    join_names,
    limit_methods,
    no_data_error,
    select_finished_runs,
)
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Experiment, RunSpec, shorten_list
from emodna.model.errors import RunError
from emodna.model.metrics import confusions
from emodna.model.runs.compare import predictions, read_truth
from emodna.model.runs.listing import open_run, read_curves
from emodna.pipeline.emotions import CLASS_NAMES

#: Pairs that are shown unless one is chosen.
_PAIRS: Final = 6
_TOTAL: Final = "total"
_BAND: Final = " Mean over the seeds, and a band from the lowest to the highest."

LogValues = Mapping[str, Mapping[int, float]]
"""Key of metrics.jsonl -> step -> value."""


def confusion(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw how often each class of the target was called what, in percent of the class, a panel per method."""
    there = [
        run
        for run in select_finished_runs(experiment, choice)
        if choice.methods is not None or not experiment.methods[run.method].oracle
    ]
    if not there:
        raise no_data_error(choice, "with predictions")
    first = next((run for run in there if run.method != UPPER_BOUND), there[0])
    src, tgt = choice.src or first.src, first.tgt
    runs = [run for run in there if run.tgt == tgt and (run.src == src or run.method == UPPER_BOUND)]
    have = list(dict.fromkeys(run.method for run in runs))
    methods = limit_methods([method for method in choice.methods or have if method in have], choice)
    panels: list[Panel] = []
    counts: dict[str, Any] = {}
    seeds: dict[str, list[int]] = {}
    problems: list[str] = []
    for method in methods:
        known: dict[int, NDArray[np.int64]] = {}
        for run in (run for run in runs if run.method == method):
            try:
                known[run.seed] = _count_confusions(experiment, run)
            except RunError as error:
                problems.append(str(error))
        if known:
            pooled = np.sum(list(known.values()), axis=0).tolist()
            values = [[100 * count / sum(own) if sum(own) else None for count in own] for own in pooled]
            matrix = HeatmapMark(CLASS_NAMES[choice.task], CLASS_NAMES[choice.task], values, 0.0, 100.0)
            panels.append(Panel(experiment.methods[method].label, [matrix], x_label="called", y_label="true"))
            counts[str(method)], seeds[str(method)] = pooled, sorted(known)
    if not panels:
        raise NoFigureDataError(f"no confusion matrix: {problems[0]}")
    shown = [method for method in methods if str(method) in counts]
    note = (
        "Percent of the utterances of each true class; a class that does not occur is empty. Counts of all seeds are "
        f"added.{describe_omitted_methods(experiment, choice, have, shown)}"
    )
    facts = {"task": choice.task, "src": src, "tgt": tgt, "counts": counts, "seeds": seeds, "left_out": problems}
    return FigureData("confusion", f"Confusion, {format_pair((src, tgt))}, {choice.task}", panels, note, facts)


def _count_confusions(experiment: Experiment, run: RunSpec) -> NDArray[np.int64]:
    """Return counts (2, 2), true class by called class, over the labelled utterances; raises RunError without them."""
    opened = open_run(experiment.run_folder(run).path)
    table = predictions(opened)
    if not isinstance(table, pa.Table):
        raise RunError(table)
    truth = read_truth(opened, table["id"])
    if truth is None:
        raise RunError(f"{run}: the store of {run.tgt} is gone or has changed: it has the labels")
    labelled, called = truth >= 0, np.asarray(table["label"])
    return confusions(truth[labelled].astype(np.int64), called[labelled].astype(np.int64)).reshape(2, 2)


def threshold(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the threshold (Eq. 6), and the share of the target batch that reaches it (Eq. 7), over the steps."""
    return _draw_over_steps(
        experiment,
        choice,
        "threshold",
        "Pseudo-labels over the steps",
        {"threshold": "threshold", "confident": "confident share"},
        y_label="confidence, share",
        note="The threshold follows the mean confidence (Eq. 6); the share is of one target batch, and so it is noisy.",
    )


def prototypes(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the cosines of the prototypes of Eq. 4 that stand in Eq. 5, over the steps."""
    return _draw_over_steps(
        experiment,
        choice,
        "prototypes",
        "Prototypes over the steps",
        {
            "prototypes_emotion": "emotion of source and target",
            "prototypes_source": "emotion and corpus of the source",
            "prototypes_target": "emotion and corpus of the target",
        },
        y_label="cosine",
        note=(
            "Of unit vectors at a cosine of c the distance is sqrt(2 - 2c). L_decouple pulls the first up and pushes "
            "the others down; it is all but 0 once they are a few tau_p (0.01 by default) apart."
        ),
    )


def losses(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw each term of the loss as it is weighted, and their total, over the steps."""
    return _draw_over_steps(
        experiment,
        choice,
        "losses",
        "Terms of the loss over the steps",
        None,
        y_label="loss",
        note="Terms with their weights, each of one batch, and so they are noisy.",
    )


def _draw_over_steps(
    experiment: Experiment,
    choice: FigureOptions,
    name: str,
    title: str,
    keys: Mapping[str, str] | None,
    *,
    y_label: str,
    note: str,
) -> FigureData:
    """Draw logged values over the steps: a panel per pair and method, the mean over the seeds with a band.

    Methods are those chosen, else Emo-DNA, else the first one that logs any of the keys, which come with their names in
    the picture; None are all terms of the loss, and their total. Raises NothingToShow if no finished run logs any.
    """
    runs = select_finished_runs(experiment, choice)
    preferred = [run for run in runs if choice.methods is not None or run.method == EMO_DNA]
    logged = _read_logs(experiment, preferred, keys) or _read_logs(experiment, runs, keys)
    if not logged:
        whose = f"of {join_names(choice.methods)}" if choice.methods else "of any method"
        what = f"{' or '.join(keys)}: emo-dna and its variants of this version do" if keys else "terms of a loss"
        raise no_data_error(choice, f"{whose} logs {what}")
    there = list(dict.fromkeys(run.method for run in logged))
    usual = [EMO_DNA if EMO_DNA in there else there[0]]
    methods = [method for method in choice.methods if method in there] if choice.methods else usual
    logged = {run: found for run, found in logged.items() if run.method in methods}
    terms = sorted(dict.fromkeys(key for found in logged.values() for key in found), key=lambda key: key == _TOTAL)
    pairs = sorted({run.pair for run in logged})
    panels, seeds = [], {}
    for method in methods:
        for pair in pairs[:_PAIRS]:
            mine = {run.seed: found for run, found in logged.items() if run.method == method and run.pair == pair}
            if mine:
                heading = f"{experiment.methods[method].label}, {format_pair(pair)}"
                marks = _make_lines(list(mine.values()), keys or {term: term for term in terms})
                panels.append(Panel(heading, marks, x_label="step", y_label=y_label))
                seeds[heading] = sorted(mine)
    left = [format_pair(pair) for pair in pairs[_PAIRS:]]
    note += _BAND if any(len(each) > 1 for each in seeds.values()) else ""
    note += f" Pairs that are not shown: {shorten_list(left)}." if left else ""
    note += describe_omitted_methods(experiment, choice, methods, methods)
    return FigureData(
        name, f"{title}, {choice.task}", panels, note, {"task": choice.task, "seeds": seeds, "left_out": left}
    )


def _read_logs(
    experiment: Experiment, runs: Sequence[RunSpec], keys: Mapping[str, str] | None
) -> dict[RunSpec, LogValues]:
    """Return what each run has logged of some keys; runs without any are left out."""
    logged: dict[RunSpec, LogValues] = {}
    for run in runs:
        try:
            found = read_curves(open_run(experiment.run_folder(run).path))
        except RunError:
            continue
        names = list(found)
        if keys is None:  # a line of the log has the terms, their total, and then what the method monitors
            wanted = names[: names.index(_TOTAL) + 1] if _TOTAL in found else []
        else:
            wanted = [key for key in keys if key in found]
        if wanted:
            logged[run] = {key: dict(found[key]) for key in wanted}
    return logged


def _make_lines(of_seeds: Sequence[LogValues], names: Mapping[str, str]) -> list[LineMark]:
    """Return the mean of each key over the seeds, at the steps that all have, with a band of several."""
    lines = []
    for colour, (key, name) in enumerate(names.items()):
        if found := [logged[key] for logged in of_seeds if key in logged]:
            steps = sorted(set.intersection(*map(set, found)))
            values = [[curve[step] for curve in found] for step in steps]
            low, high = ([end(each) for each in values] if len(found) > 1 else None for end in (min, max))
            lines.append(LineMark(name, steps, [fmean(each) for each in values], low, high, colour))
    return lines
