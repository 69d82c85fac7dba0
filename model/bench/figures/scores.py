"""Figures of scores, from the results table alone: ranks, pairs, languages, sensitivity."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.model.bench.compare import EMO_DNA, MIN_SCENARIOS, SOURCE_ONLY, MatchedScores, bootstrap_mean_interval, rank
from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Panel
from emodna.model.bench.figures.selection import (
    MIN_SCORE_SPAN,
    FigureOptions,
    NoFigureDataError,
    describe_left_out,
    describe_omitted_methods,
    describe_scenarios,
    format_pair,
    join_names,
    limit_methods,
    match_methods,
    no_data_error,
    select_finished_runs,
    select_methods,
    select_results,
)
from emodna.model.bench.results import Scores
from emodna.model.bench.spec import Experiment, MethodSpec, Pair
from emodna.model.errors import RunError
from emodna.model.evaluation.intervals import Resampling
from emodna.model.runs.listing import flatten, open_run
from emodna.pipeline.emotions import TASKS

#: Ranks between the worst mean rank and the bars, and from bar to bar.
_BAR_STEP: Final = 0.3
_CHANCE: Final = 50.0
#: In points, from the middle of the colours to their ends: less would paint noise.
_REACH: Final = 5.0
#: Numeric values besides the default from which on a curve is drawn.
_CURVE: Final = 2

#: Name of a group of pairs -> words for its pairs.
_GROUPS: Final[Mapping[str, str]] = {"same language": "of one language", "different languages": "of two languages"}

Spread = tuple[float, float | None, float | None]
"""Mean over pairs and seeds; the lowest and the highest seed's mean over the pairs, None of one seed."""


def ranks(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw mean ranks over the chosen task's scenarios, and over both tasks' where both are there.

    A critical-difference plot after Demsar 2006, JMLR 7:1-30, with the methods below each other, so that long names
    have room.
    """
    everything = select_results(experiment, choice, TASKS)
    own = Scores.from_table(everything.filter(pc.field("task") == choice.task))
    methods = select_methods(experiment, choice, own)
    if len(methods) < 2:
        raise NoFigureDataError(
            f"ranks need two methods with finished cells of {choice.task}, not {join_names(methods)} alone"
        )
    panels: list[Panel] = []
    facts: list[dict[str, Any]] = []
    left_out = ""
    for title, scores in ((choice.task, own), (" and ".join(TASKS), Scores.from_table(everything))):
        found = match_methods(scores, methods)
        if panels and len({task for task, _, _ in found.scenarios}) < len(TASKS):
            break
        panel, fact = _draw_ranks_panel(experiment, found, title)
        panels.append(panel)
        facts.append(fact)
        left_out = describe_left_out(found)
    note = (
        "Rank 1 is the highest UAR of a scenario (a pair of corpora and a task, mean over the seeds). A bar joins "
        "methods whose mean ranks lie less than Nemenyi's critical difference apart (5 %): these scenarios do not tell "
        "them apart, which is not to say that they are equal; one out of reach could not tell any two apart. "
        f"Scenarios that share a corpus are not independent, which the test takes them to be.{left_out}"
        f"{describe_omitted_methods(experiment, choice, methods, methods)}"
    )
    return FigureData("ranks", "Mean ranks of the methods", panels, note, {"panels": facts})


def _draw_ranks_panel(experiment: Experiment, found: MatchedScores, title: str) -> tuple[Panel, dict[str, Any]]:
    ranking = rank(found.scores)
    mean = ranking.mean_ranks
    order = sorted(range(len(mean)), key=mean.__getitem__)
    labels = [experiment.methods[method].label for method in found.methods]
    marks = [DotMark("mean rank", [labels[place] for place in order], [mean[place] for place in order])]
    for number, group in enumerate(ranking.groups, 1):
        at = [max(mean) + number * _BAR_STEP] * len(group)
        marks.append(
            DotMark(f"not told apart ({number})", [labels[place] for place in group], at, colour=1, joined=True)
        )
    n, difference = len(found.scenarios), ranking.critical_difference
    reach = "" if ranking.is_attainable else f", out of reach of {len(mean)} methods"
    critical = "" if difference is None else f", critical difference {difference:.2f}{reach}"
    return Panel(f"{title}: {n} scenario{'s' * (n > 1)}{critical}", marks, x_label="mean rank (1: the best)"), {
        "panel": title,
        "methods": [{"method": str(found.methods[place]), "mean_rank": mean[place]} for place in order],
        "critical_difference": difference,
        "groups": [[str(found.methods[place]) for place in group] for group in ranking.groups],
        "friedman": {"chi_squared": ranking.chi_squared, "p": ranking.p},
        **describe_scenarios(found),
    }


def pairs(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the UAR of each source on each target, a panel per method, and the same less Source Only's."""
    found = select_results(experiment, choice)
    there = select_methods(experiment, choice, Scores.from_table(found))
    methods = limit_methods(there, choice)
    by_method: dict[str, dict[Pair, dict[int, float]]] = {}
    for row in found.filter(pc.field("metric") == "uar").to_pylist():
        by_method.setdefault(row["spec"], {}).setdefault((row["src"], row["tgt"]), {})[row["seed"]] = row["value"]
    by_seed, floor = {method: by_method[str(method)] for method in methods}, by_method.get(str(SOURCE_ONLY), {})
    uars = {method: {pair: fmean(uar.values()) for pair, uar in own.items()} for method, own in by_seed.items()}
    gains: dict[MethodSpec, dict[Pair, float]] = {}
    for method, own in by_seed.items():
        for pair, uar in own.items():
            common = sorted(uar.keys() & floor.get(pair, {}).keys())
            if common and method != SOURCE_ONLY:
                gain = fmean(uar[seed] - floor[pair][seed] for seed in common)
                gains.setdefault(method, {})[pair] = gain
    sources = [name for name in experiment.corpora if choice.src in (None, name)]
    targets = [name for name in experiment.corpora if choice.tgt in (None, name)]

    def panels(found: Mapping[MethodSpec, Mapping[Pair, float]], title: str, middle: float) -> list[Panel]:
        reach = max([_REACH, *(abs(value - middle) for of_pair in found.values() for value in of_pair.values())])
        made = []
        for method, of_pair in found.items():
            values = [[of_pair.get((src, tgt)) for tgt in targets] for src in sources]
            matrix = HeatmapMark(sources, targets, values, middle - reach, middle + reach, diverging=True)
            heading = f"{experiment.methods[method].label}: {title}"
            made.append(Panel(heading, [matrix], x_label="target", y_label="source"))
        return made

    asked = [(src, tgt) for src in sources for tgt in targets if src != tgt]
    missing = {
        str(method): lacks
        for method, own in uars.items()
        if (lacks := [format_pair(pair) for pair in asked if pair not in own])
    }
    lacking = "".join(f" {method} lacks {len(lacks)} of {len(asked)} pairs." for method, lacks in missing.items())
    without = (
        "" if gains or methods == [SOURCE_ONLY] else " No gain is shown: source-only has no finished cell of these."
    )
    note = (
        "Percent, mean over the seeds; the middle of the scale is chance (50) for UAR and 0 for the gain over "
        "source-only, which is taken over the seeds that both have."
        f"{lacking}{without}{describe_omitted_methods(experiment, choice, there, methods)}"
    )
    seeds = {
        str(method): {format_pair(pair): sorted(uar) for pair, uar in own.items()} for method, own in by_seed.items()
    }
    return FigureData(
        "pairs",
        f"Pairs of corpora, {choice.task}",
        [*panels(uars, "UAR", _CHANCE), *panels(gains, "gain over source-only", 0.0)],
        note,
        {"task": choice.task, "seeds": seeds, "missing": missing},
    )


def languages(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the UAR of each method over pairs of one language and of two, and its gain over Source Only."""
    scores = Scores.from_table(select_results(experiment, choice))
    methods = select_methods(experiment, choice, scores)
    floor = SOURCE_ONLY in scores.methods
    found = match_methods(scores, [*methods, *([SOURCE_ONLY] if floor else [])])
    spoken = {name: corpus.language for name, corpus in experiment.corpora.items()}
    of_pair = [(spoken[src], spoken[tgt]) for _, src, tgt in found.scenarios]
    unknown = sorted({name for _, *pair in found.scenarios for name in pair if spoken[name] is None})
    hint = f"{', '.join(unknown)} (a manifest names them in its column language)"
    known = np.array([None not in pair for pair in of_pair])
    if not known.any():
        raise NoFigureDataError(f"no pair of corpora of known languages; {hint}")
    same = np.array([src == tgt for src, tgt in of_pair])
    members = dict(zip(_GROUPS, (np.flatnonzero(known & same), np.flatnonzero(known & ~same)), strict=True))

    def panel(title: str, values: NDArray[np.float64], shown: Sequence[MethodSpec], reference: str, at: float) -> Panel:
        """Draw the mean of values (scenarios, methods) over each group."""
        labels, marks = [experiment.methods[method].label for method in shown], []
        for colour, (name, own) in enumerate(members.items()):
            if len(own):
                of_group = values[own][:, [found.methods.index(method) for method in shown]]
                low, high = zip(
                    *(bootstrap_mean_interval(each, Resampling()) or (None, None) for each in of_group.T), strict=True
                )
                marks.append(DotMark(name, labels, of_group.mean(axis=0).tolist(), low, high, colour))
        return Panel(title, marks, x_label=title, references=[(reference, at)], least_width=MIN_SCORE_SPAN)

    panels = [panel("UAR (%)", found.scores, methods, "chance", _CHANCE)]
    adapting = [method for method in methods if method != SOURCE_ONLY]
    if floor and adapting:
        gains = found.scores - found.scores[:, [found.methods.index(SOURCE_ONLY)]]
        panels.append(panel("gain over source-only (points)", gains, adapting, "source-only", 0.0))
    counts = [f"{n} pair{'s' * (n > 1)} {_GROUPS[name]}" for name, own in members.items() if (n := len(own))]
    absent = [f" There is no pair {_GROUPS[name]}." for name, own in members.items() if not len(own)]
    note = (
        f"Means over {' and '.join(counts)}, each the mean over its seeds; bars: 95 % intervals of the bootstrap over "
        f"the pairs, where a group has {MIN_SCENARIOS} or more; of few pairs they are too narrow. Pairs that share a "
        f"corpus are not independent.{''.join(absent)}"
        f"{describe_left_out(found)}{describe_omitted_methods(experiment, choice, methods, methods)}"
        f"{f' Without the pairs of corpora whose language is not known: {hint}.' if unknown else ''}"
    )
    groups = {name: [format_pair(found.scenarios[place][1:]) for place in own] for name, own in members.items()}
    return FigureData(
        "languages",
        f"Same language against different languages, {choice.task}",
        panels,
        note,
        {"task": choice.task, "groups": groups, "languages": spoken, **describe_scenarios(found)},
    )


def sensitivity(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the UAR with each changed setting beside the defaults', and curves over the numeric ones."""
    base = choice.methods[0] if choice.methods else EMO_DNA
    if base.settings:
        raise NoFigureDataError(f"sensitivity of {base}: a method without settings is what others are compared with")
    scores = Scores.from_table(select_results(experiment, choice))
    if base not in scores.methods:
        raise no_data_error(choice, f"of {base}, with whose defaults settings are compared")
    changed = [
        method
        for method in experiment.methods
        if method.name == base.name and len(method.settings) == 1 and method in scores.methods
    ]
    if not changed:
        raise no_data_error(choice, f"of {base} with one setting changed, such as {base}:padding=mask")
    found = match_methods(scores, [base, *changed])
    spreads = _compute_spreads(scores, found)
    names = ["defaults", *("=".join(method.settings[0]) for method in changed)]
    values, low, high = zip(*spreads.values(), strict=True)
    axis: dict[str, Any] = {"references": [("defaults", spreads[base][0])], "least_width": MIN_SCORE_SPAN}
    panels = [Panel("one setting changed", [DotMark("UAR", names, values, low, high)], x_label="UAR (%)", **axis)]
    for key, line in _make_curves(spreads, base, _read_defaults(experiment, choice, base)).items():
        panels.append(Panel(key, [line], x_label=key, y_label="UAR (%)", **axis))
    n, seeds = len(found.scenarios), set().union(*found.seeds.values())
    over = f"{n} pair{'s' * (n > 1)}{' and the seeds' * (len(seeds) > 1)}"
    bars = "; bars: the lowest and the highest seed's mean over the pairs" if low[0] is not None else ""
    note = f"{experiment.methods[base].label}, mean over {over}{bars}.{describe_left_out(found)}"
    return FigureData(
        "sensitivity",
        f"Settings of {base}, {choice.task}",
        panels,
        note,
        {"task": choice.task, **describe_scenarios(found)},
    )


def _compute_spreads(scores: Scores, found: MatchedScores) -> dict[MethodSpec, Spread]:
    """Return the spread of each method; it has ends if all pairs have the same seeds, and several."""
    seeds = set(found.seeds.values())
    columns = [scores.seeds.index(seed) for seed in next(iter(seeds))] if len(seeds) == 1 else []
    places = [scores.scenarios.index(scenario) for scenario in found.scenarios]
    spreads: dict[MethodSpec, Spread] = {}
    for method, mean in zip(found.methods, found.scores.mean(axis=0).tolist(), strict=True):
        by_seed = scores.values[scores.methods.index(method)][np.ix_(places, columns)].mean(axis=0).tolist()
        spreads[method] = (mean, *((min(by_seed), max(by_seed)) if len(by_seed) > 1 else (None, None)))
    return spreads


def _make_curves(
    spreads: Mapping[MethodSpec, Spread], base: MethodSpec, defaults: Mapping[str, float]
) -> dict[str, LineMark]:
    """Return a curve for each setting that is there with enough numeric values."""
    by_key: dict[str, dict[float, Spread]] = {}
    for method, spread in spreads.items():
        for key, text in method.settings:
            with suppress(ValueError):
                by_key.setdefault(key, {})[float(text)] = spread
    curves = {}
    for key, points in by_key.items():
        if len(points) >= _CURVE:
            if key in defaults:
                points.setdefault(defaults[key], spreads[base])
            x = sorted(points)
            y, low, high = zip(*(points[value] for value in x), strict=True)
            curves[key] = LineMark("UAR by value", x, y, *((None, None) if None in low else (low, high)))
    return curves


def _read_defaults(experiment: Experiment, choice: FigureOptions, base: MethodSpec) -> dict[str, float]:
    """Return the numeric settings of a method, as one of its runs has them."""
    for run in select_finished_runs(experiment, replace(choice, methods=(base,))):
        try:
            settings = flatten(open_run(experiment.run_folder(run).path).decisive)
        except RunError:
            continue
        return {key.rpartition(".")[2]: float(each) for key, each in settings.items() if type(each) in (int, float)}
    return {}
