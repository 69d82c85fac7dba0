"""Figures from the files of runs: confusion matrices of predictions, and curves of logged values."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.compare import EMO_DNA
from emodna.model.bench.figure_data import FigureData, HeatmapMark, LineMark, Panel
from emodna.model.bench.figures.selection import (
    FigureOptions,
    NoFigureDataError,
    counts_for_all_sources,
    describe_omitted_methods,
    format_pair,
    join_names,
    limit_methods,
    raise_no_data,
    select_finished_runs,
)
from emodna.model.bench.paper import is_upper_bound
from emodna.model.bench.spec import Experiment, RunSpec, shorten_list
from emodna.model.errors import RunError
from emodna.model.runs.compare import count_confusions, read_outcome
from emodna.model.runs.listing import open_run, read_curves

_MAX_PAIRS: Final = 6
_TOTAL: Final = "total"
_BAND: Final = " Lines: mean over the seeds; bands: lowest to highest seed."

LogValues = Mapping[str, Mapping[int, float]]
"""Key of metrics.jsonl -> step -> value."""


def draw_confusion(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw confusion matrices of a pair, in percent of the true class, with a panel per method."""
    finished_runs = [
        run
        for run in select_finished_runs(experiment, options)
        if options.methods is not None or not experiment.methods[run.method].uses_target_labels
    ]
    if not finished_runs:
        raise_no_data(experiment, options, "with predictions")
    first = next((run for run in finished_runs if not is_upper_bound(run.method)), finished_runs[0])
    src, tgt = options.src or first.src, first.tgt
    runs = [
        run for run in finished_runs if run.tgt == tgt and (run.src == src or counts_for_all_sources(experiment, run))
    ]
    known_methods = list(dict.fromkeys(run.method for run in runs))
    methods = limit_methods([method for method in options.methods or known_methods if method in known_methods], options)
    panels: list[Panel] = []
    counts: dict[str, list[list[int]]] = {}
    seeds: dict[str, list[int]] = {}
    problems: list[str] = []
    for method in methods:
        by_seed: dict[int, NDArray[np.int64]] = {}
        own = [run for run in runs if run.method == method]
        own = [run for run in own if run.src == src] or own  # an upper bound with another source
        for run in own:
            try:
                by_seed[run.seed] = _count_confusions(experiment, run)
            except RunError as error:
                problems.append(str(error))
        if by_seed:
            pooled = np.sum(list(by_seed.values()), axis=0).tolist()
            values = [[100 * count / sum(row) if sum(row) else None for count in row] for row in pooled]
            names = experiment.read_task(own[0]).classes
            heatmap = HeatmapMark(names, names, values, 0.0, 100.0)
            panels.append(Panel(experiment.methods[method].label, [heatmap], x_label="predicted", y_label="true"))
            counts[str(method)], seeds[str(method)] = pooled, sorted(by_seed)
    if not panels:
        raise NoFigureDataError(f"no confusion matrix: {problems[0]}")
    visible_methods = [method for method in methods if str(method) in counts]
    note = (
        "Percent of the utterances of each true class, summed over the seeds; a class without utterances is empty."
        f"{describe_omitted_methods(experiment, options, known_methods, visible_methods)}"
    )
    facts = {"task": options.task, "src": src, "tgt": tgt, "counts": counts, "seeds": seeds, "left_out": problems}
    return FigureData("confusion", f"Confusion, {format_pair((src, tgt))}, {options.task}", panels, note, facts)


def _count_confusions(experiment: Experiment, run: RunSpec) -> NDArray[np.int64]:
    """Return the confusions (classes, classes) of the scored utterances; raise a RunError without labels."""
    outcome = read_outcome(open_run(experiment.run_folder(run).path))
    return count_confusions(outcome, outcome.scored)


def draw_threshold(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the threshold (Eq. 6) and the share of the target batch above it (Eq. 7) over the steps."""
    keys = {"threshold": "threshold", "confident": "confident share"}
    note = "The threshold follows the mean confidence (Eq. 6). The share of one target batch is noisy."
    return _draw_over_steps(experiment, options, "threshold", "Pseudo-labels", keys, "confidence, share", note)


def draw_prototypes(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the cosines between prototypes (Eq. 4) that L_decouple uses (Eq. 5) over the steps."""
    keys = {
        "prototypes_emotion": "emotion of source and target",
        "prototypes_source": "emotion and corpus of the source",
        "prototypes_target": "emotion and corpus of the target",
    }
    note = (
        "Unit vectors with cosine c have distance sqrt(2 - 2c). L_decouple increases the first cosine and decreases "
        "the others. It is almost 0 once the cosines differ by a few tau_p (default 0.01)."
    )
    return _draw_over_steps(experiment, options, "prototypes", "Prototypes", keys, "cosine", note)


def draw_losses(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the weighted terms of the loss and their total over the steps."""
    note = "Weighted terms of single batches, so they are noisy."
    return _draw_over_steps(experiment, options, "losses", "Terms of the loss", None, "loss", note)


def _draw_over_steps(
    experiment: Experiment,
    options: FigureOptions,
    name: str,
    title: str,
    keys: Mapping[str, str] | None,
    y_label: str,
    note: str,
) -> FigureData:
    """Draw logged values over the steps, with a panel per pair and method and a band over the seeds.

    The default method is Emo-DNA, or the first one that logs any of the keys. `keys` maps logged keys to names in the
    figure; None: all terms of the loss and the total. Raises NoFigureDataError if no finished run logs any key.
    """
    runs = select_finished_runs(experiment, options)
    preferred = [run for run in runs if options.methods is not None or run.method == EMO_DNA]
    logged = _read_logs(experiment, preferred, keys) or _read_logs(experiment, runs, keys)
    if not logged:
        method_names = join_names(options.methods) if options.methods else "any method"
        raise_no_data(experiment, options, f"of {method_names} logs {' or '.join(keys or ['terms of a loss'])}")
    known_methods = list(dict.fromkeys(run.method for run in logged))
    default = [EMO_DNA if EMO_DNA in known_methods else known_methods[0]]
    methods = [method for method in options.methods if method in known_methods] if options.methods else default
    logged = {run: values for run, values in logged.items() if run.method in methods}
    terms = sorted(dict.fromkeys(key for values in logged.values() for key in values), key=lambda key: key == _TOTAL)
    pairs = sorted({run.pair for run in logged})
    panels, seeds = [], {}
    for method in methods:
        for pair in pairs[:_MAX_PAIRS]:
            by_seed = {run.seed: values for run, values in logged.items() if (run.method, run.pair) == (method, pair)}
            if by_seed:
                heading = f"{experiment.methods[method].label}, {format_pair(pair)}"
                marks = _make_lines(list(by_seed.values()), keys or {term: term for term in terms})
                panels.append(Panel(heading, marks, x_label="step", y_label=y_label))
                seeds[heading] = sorted(by_seed)
    left_out = [format_pair(pair) for pair in pairs[_MAX_PAIRS:]]
    note += _BAND if any(len(each) > 1 for each in seeds.values()) else ""
    note += f" Pairs not shown: {shorten_list(left_out)}." if left_out else ""
    note += describe_omitted_methods(experiment, options, methods, methods)
    facts = {"task": options.task, "seeds": seeds, "left_out": left_out}
    return FigureData(name, f"{title} over the steps, {options.task}", panels, note, facts)


def _read_logs(
    experiment: Experiment, runs: Sequence[RunSpec], keys: Mapping[str, str] | None
) -> dict[RunSpec, LogValues]:
    """Read the values of some keys from the logs of the runs that have any."""
    logged: dict[RunSpec, LogValues] = {}
    for run in runs:
        try:
            found = read_curves(open_run(experiment.run_folder(run).path))
        except RunError:
            continue
        names = list(found)
        if keys is None:  # a log line has the terms, the total, and then values that the method monitors
            wanted = names[: names.index(_TOTAL) + 1] if _TOTAL in found else []
        else:
            wanted = [key for key in keys if key in found]
        if wanted:
            logged[run] = {key: dict(found[key]) for key in wanted}
    return logged


def _make_lines(logs: Sequence[LogValues], names: Mapping[str, str]) -> list[LineMark]:
    """Make a line of each key: the mean over the seeds at their common steps, with a band for several seeds."""
    lines = []
    for colour, (key, name) in enumerate(names.items()):
        if curves := [log[key] for log in logs if key in log]:
            steps = sorted(set.intersection(*map(set, curves)))
            values = [[curve[step] for curve in curves] for step in steps]
            low, high = ([end(each) for each in values] if len(curves) > 1 else None for end in (min, max))
            lines.append(LineMark(name, steps, [fmean(each) for each in values], low, high, colour))
    return lines
