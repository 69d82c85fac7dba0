"""Figure of the scores over the number of target labels that methods are trained with."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Final

import numpy as np

from emodna.model.bench.figure_data import FigureData, LineMark, Panel
from emodna.model.bench.figures.selection import (
    MIN_SCORE_SPAN,
    FigureOptions,
    NoFigureDataError,
    format_pair,
    raise_no_data,
    select_finished_runs,
)
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Experiment, Pair, RunSpec, shorten_list
from emodna.model.errors import RunError
from emodna.model.metrics import SCORES, compute_scores
from emodna.model.runs.compare import count_confusions, read_outcome
from emodna.model.runs.listing import open_run

#: Setting with the number of labels per class.
_LABELS: Final = "target_labels"
#: Most pairs with a panel of their own; more pairs share one.
_MAX_PANELS: Final = 4

Point = tuple[MethodSpec, int]
"""Method without the setting, and labels per class."""
Curves = Mapping[Point, Mapping[int, float]]
"""UAR in percent by seed, of each point."""


def draw_learning_curve(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw UAR over the labels per class of the target, with a line per method and a panel per pair.

    The runs of a pair and seed are scored on the same utterances: those whose labels none of these runs used. A draw of
    many labels contains each draw of fewer, so the run with the most labels decides. Raises NoFigureDataError unless a
    method has finished runs with two numbers of labels.
    """
    runs = _select_runs(experiment, options)
    if not runs:
        raise_no_data(experiment, options, "with several numbers of target labels")
    found: dict[Pair, dict[Point, dict[int, float]]] = {}
    problems: list[str] = []
    for pair, seed in dict.fromkeys((run.pair, run.seed) for run in runs):
        own = {run: point for run, point in runs.items() if (run.pair, run.seed) == (pair, seed)}
        try:
            uars = _score_on_common_utterances(experiment, list(own))
        except RunError as error:
            problems.append(str(error))
            continue
        for run, point in own.items():
            found.setdefault(pair, {}).setdefault(point, {})[seed] = uars[run]
    if not found:
        raise NoFigureDataError(f"no run can be scored: {problems[0]}")
    groups = {format_pair(pair): [pair] for pair in found}
    if len(found) > _MAX_PANELS:
        groups = {f"mean over {len(found)} pairs": list(found)}
    curves = {title: _average(found, pairs) for title, pairs in groups.items()}
    curves = {title: own for title, own in curves.items() if own}
    if not curves:
        raise NoFigureDataError("no seed has finished runs of all methods and numbers of labels")
    methods = list(dict.fromkeys(method for own in curves.values() for method, _ in own))
    panels = [_draw_panel(experiment, title, own, methods) for title, own in curves.items()]
    left_out = [*(f"{title}: no seed has all runs" for title in groups if title not in curves), *problems]
    note = (
        "Lines: mean over the seeds; bands: one standard deviation (n - 1) on each side. The runs of a pair and seed "
        "are scored on the same utterances, without the recordings that the largest number of labels takes for "
        "training, so scores at 0 labels differ from those in tables. Seeds that lack a run are left out."
    )
    rows = [
        {
            "scenario": title,
            "method": str(method),
            "labels_per_class": count,
            "uar": fmean(uars.values()),
            "std": stdev(uars.values()) if len(uars) > 1 else None,
            "seeds": list(uars),
        }
        for title, own in curves.items()
        for (method, count), uars in own.items()
    ]
    return FigureData(
        "learning-curve",
        f"A few target labels, {options.task}",
        panels,
        note=f"{note} Left out: {shorten_list(left_out)}." if left_out else note,
        facts={"task": options.task, "points": rows, "left_out": left_out},
    )


def _select_runs(experiment: Experiment, options: FigureOptions) -> dict[RunSpec, Point]:
    """Return the finished runs of methods with several numbers of labels; `methods` of the options leave it out."""
    points: dict[RunSpec, Point] = {}
    for run in select_finished_runs(experiment, FigureOptions(options.task, options.src, options.tgt, options.seed)):
        method = run.method.set(_LABELS, None)
        if not experiment.methods[run.method].oracle and (options.methods is None or method in options.methods):
            settings = {**experiment.conditions.settings, **run.method.overrides}
            points[run] = method, int(settings.get(_LABELS, "0"))
    counts: dict[MethodSpec, set[int]] = {}
    for method, count in points.values():
        counts.setdefault(method, set()).add(count)
    return {run: point for run, point in points.items() if len(counts[point[0]]) > 1}


def _score_on_common_utterances(experiment: Experiment, runs: Sequence[RunSpec]) -> dict[RunSpec, float]:
    """Return the UAR of runs of one pair and seed on the utterances that all of them leave over for scoring."""
    outcomes = [read_outcome(open_run(experiment.run_folder(run).path)) for run in runs]
    if any(not np.array_equal(each.ids, outcomes[0].ids) for each in outcomes):
        raise RunError("predictions of other utterances", where=runs[0])
    scored = np.all([each.scored for each in outcomes], axis=0)
    if not scored.any():
        raise RunError("no labelled utterances to score", where=runs[0])
    uar = SCORES.index("uar")
    return {
        run: float(compute_scores(count_confusions(each, scored))[uar])
        for run, each in zip(runs, outcomes, strict=True)
    }


def _average(found: Mapping[Pair, Curves], pairs: Sequence[Pair]) -> Curves:
    """Return the mean UAR over some pairs, of the points that all have and the seeds that all points have."""
    points = [point for point in found[pairs[0]] if all(point in found[pair] for pair in pairs)]
    seeds = [found[pair][point].keys() for pair in pairs for point in points]
    common = sorted(set(seeds[0]).intersection(*seeds[1:])) if seeds else []
    if not common:
        return {}
    return {point: {seed: fmean(found[pair][point][seed] for pair in pairs) for seed in common} for point in points}


def _draw_panel(experiment: Experiment, title: str, curves: Curves, methods: Sequence[MethodSpec]) -> Panel:
    marks = []
    for colour, method in enumerate(methods):
        points = sorted((count, list(uars.values())) for (each, count), uars in curves.items() if each == method)
        own = dict(points)
        if not own:
            continue
        y = [fmean(values) for values in own.values()]
        spread = [stdev(values) if len(values) > 1 else 0.0 for values in own.values()]
        low = [mean - each for mean, each in zip(y, spread, strict=True)]
        high = [mean + each for mean, each in zip(y, spread, strict=True)]
        label = experiment.methods[method].label if method in experiment.methods else str(method)
        marks.append(LineMark(label, list(own), y, low, high, colour, marked=True))
    ticks = sorted({count for _, count in curves})
    return Panel(
        title, marks, x_label="target labels per class", y_label="UAR (%)", x_ticks=ticks, least_width=MIN_SCORE_SPAN
    )
