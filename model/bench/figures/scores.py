"""Figures of scores: ranks, pairs, languages, sensitivity."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.model.bench.compare import (
    EMO_DNA,
    MIN_SCENARIOS,
    MatchedScores,
    bootstrap_mean_interval,
    find_source_only,
    rank,
)
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
    raise_no_data,
    select_finished_runs,
    select_methods,
    select_results,
)
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import Scores
from emodna.model.bench.spec import Experiment, Pair
from emodna.model.errors import RunError
from emodna.model.evaluation.intervals import Resampling
from emodna.model.runs.listing import flatten, open_run

#: Distance of the bars from the worst mean rank and from each other, in ranks.
_BAR_STEP: Final = 0.3
#: Smallest distance from the middle of the colour scale to its ends, in points.
_MIN_REACH: Final = 5.0
#: Fewest numeric values of a setting for a curve, besides the default.
_MIN_CURVE_VALUES: Final = 2

#: Name of a group of pairs -> description of its pairs.
_GROUPS: Final[Mapping[str, str]] = {"same language": "of one language", "different languages": "of two languages"}

Spread = tuple[float, float | None, float | None]
"""Mean over pairs and seeds, and lowest and highest mean of a seed over the pairs (None for one seed)."""


def draw_ranks(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw mean ranks over the scenarios of a task, and over those of all tasks if all have scores.

    This is a critical-difference plot (Demsar 2006, JMLR 7:1-30) with one method per row.
    """
    tasks = experiment.tasks
    everything = select_results(experiment, options, tasks)
    own = Scores.from_table(everything.filter(pc.field("task") == options.task))
    methods = select_methods(experiment, options, own)
    if len(methods) < 2:
        problem = f"only {join_names(methods)} has finished runs of {options.task}; ranks need two methods"
        raise NoFigureDataError(problem)
    panels: list[Panel] = []
    facts: list[dict[str, Any]] = []
    left_out = ""
    for title, scores in ((options.task, own), (" and ".join(tasks), Scores.from_table(everything))):
        matched = match_methods(scores, methods)
        if (panels and len({task for task, _, _ in matched.scenarios}) < len(tasks)) or (panels and len(tasks) < 2):
            break
        panel, panel_facts = _draw_ranks_panel(experiment, matched, title)
        panels.append(panel)
        facts.append(panel_facts)
        left_out = describe_left_out(matched)
    note = (
        "Rank 1 is the highest UAR of a scenario (a pair of corpora and a task, mean over the seeds). A bar joins "
        "methods whose mean ranks differ by less than Nemenyi's critical difference (5 %): the test finds no "
        "difference, which does not mean that they are equal. A critical difference out of reach is larger than any "
        f"possible difference. The test assumes independent scenarios, but those that share a corpus are not.{left_out}"
        f"{describe_omitted_methods(experiment, options, methods, methods)}"
    )
    return FigureData("ranks", "Mean ranks of the methods", panels, note, {"panels": facts})


def _draw_ranks_panel(experiment: Experiment, matched: MatchedScores, title: str) -> tuple[Panel, dict[str, Any]]:
    ranking = rank(matched.scores)
    mean = ranking.mean_ranks
    order = sorted(range(len(mean)), key=mean.__getitem__)
    labels = [experiment.methods[method].label for method in matched.methods]
    marks = [DotMark("mean rank", [labels[index] for index in order], [mean[index] for index in order])]
    for number, group in enumerate(ranking.groups, 1):
        at, members = [max(mean) + number * _BAR_STEP] * len(group), [labels[index] for index in group]
        marks.append(DotMark(f"no difference ({number})", members, at, colour=1, joined=True))
    n, difference = len(matched.scenarios), ranking.critical_difference
    reach = "" if ranking.is_attainable else f", out of reach of {len(mean)} methods"
    critical = "" if difference is None else f", critical difference {difference:.2f}{reach}"
    return Panel(f"{title}: {n} scenario{'s' * (n > 1)}{critical}", marks, x_label="mean rank (1: the best)"), {
        "panel": title,
        "methods": [{"method": str(matched.methods[index]), "mean_rank": mean[index]} for index in order],
        "critical_difference": difference,
        "groups": [[str(matched.methods[index]) for index in group] for group in ranking.groups],
        "friedman": {"chi_squared": ranking.chi_squared, "p": ranking.p},
        **describe_scenarios(matched),
    }


def draw_pairs(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw heatmaps of UAR and of the gain over Source Only over pairs of corpora, with a panel per method."""
    found = select_results(experiment, options)
    known_methods = select_methods(experiment, options, Scores.from_table(found))
    methods = limit_methods(known_methods, options)
    by_method: dict[str, dict[Pair, dict[int, float]]] = {}
    for row in found.filter(pc.field("metric") == "uar").to_pylist():
        by_method.setdefault(row["spec"], {}).setdefault((row["src"], row["tgt"]), {})[row["seed"]] = row["value"]
    by_seed = {method: by_method[str(method)] for method in methods}
    uars = {method: {pair: fmean(uar.values()) for pair, uar in own.items()} for method, own in by_seed.items()}
    gains: dict[MethodSpec, dict[Pair, float]] = {}
    for method, own in by_seed.items():
        baseline = by_method.get(str(find_source_only(method)), {})
        for pair, uar in own.items():
            common = sorted(uar.keys() & baseline.get(pair, {}).keys())
            if common and method != find_source_only(method):
                gains.setdefault(method, {})[pair] = fmean(uar[seed] - baseline[pair][seed] for seed in common)
    sources = [name for name in experiment.corpora if options.src in (None, name)]
    targets = [name for name in experiment.corpora if options.tgt in (None, name)]

    def draw_panels(scores: Mapping[MethodSpec, Mapping[Pair, float]], title: str, middle: float | None) -> list[Panel]:
        every = [value for by_pair in scores.values() for value in by_pair.values()]
        diverging = middle is not None
        middle = (min(every) + max(every)) / 2 if middle is None else middle
        reach = max([_MIN_REACH, *(abs(value - middle) for value in every)])
        panels = []
        for method, by_pair in scores.items():
            values = [[by_pair.get((src, tgt)) for tgt in targets] for src in sources]
            heatmap = HeatmapMark(sources, targets, values, middle - reach, middle + reach, diverging=diverging)
            heading = f"{experiment.methods[method].label}: {title}"
            panels.append(Panel(heading, [heatmap], x_label="target", y_label="source"))
        return panels

    pairs = [(src, tgt) for src in sources for tgt in targets if src != tgt]
    missing = {
        str(method): missing_pairs
        for method, own in uars.items()
        if (missing_pairs := [format_pair(pair) for pair in pairs if pair not in own])
    }
    missing_note = "".join(f" {method}: {len(each)} of {len(pairs)} pairs missing." for method, each in missing.items())
    only_baselines = all(method == find_source_only(method) for method in methods)
    gain_note = "" if gains or only_baselines else " Without gains: no finished run of source-only."
    chance = _find_chance(experiment, options)
    scale = "The pairs differ in the number of classes, so the colour scale of UAR has no chance. Its middle is "
    if chance is not None:
        scale = f"The middle of the colour scale is chance ({chance:.3g}) for UAR, and "
    note = (
        f"Percent, mean over the seeds. {scale}0 for the gain over source-only with the same features and seeds."
        f"{missing_note}{gain_note}{describe_omitted_methods(experiment, options, known_methods, methods)}"
    )
    panels = [*draw_panels(uars, "UAR", chance), *draw_panels(gains, "gain over source-only", 0.0)]
    seeds = {
        str(method): {format_pair(pair): sorted(uar) for pair, uar in own.items()} for method, own in by_seed.items()
    }
    facts = {"task": options.task, "seeds": seeds, "missing": missing}
    return FigureData("pairs", f"Pairs of corpora, {options.task}", panels, note, facts)


def _find_chance(experiment: Experiment, options: FigureOptions) -> float | None:
    """Return the UAR of constant predictors in percent; None if the pairs differ in the number of classes."""
    if (task := experiment.find_task(options.task)) is not None:
        return 100 / len(task)
    counts = {len(experiment.read_task(run)) for run in select_finished_runs(experiment, options)}
    return 100 / counts.pop() if len(counts) == 1 else None


def draw_languages(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the mean UAR and gain over Source Only of each method, for pairs of one language and pairs of two."""
    scores = Scores.from_table(select_results(experiment, options))
    methods = select_methods(experiment, options, scores)
    baselines = {method: find_source_only(method) for method in methods}
    matched = match_methods(scores, [*methods, *(each for each in baselines.values() if each in scores.methods)])
    languages = {name: corpus.language for name, corpus in experiment.corpora.items()}
    language_pairs = [(languages[src], languages[tgt]) for _, src, tgt in matched.scenarios]
    unknown = sorted({name for _, *pair in matched.scenarios for name in pair if languages[name] is None})
    known = np.array([None not in pair for pair in language_pairs])
    if not known.any():
        raise NoFigureDataError(
            f"no pair of corpora of known languages; unknown: {', '.join(unknown)}",
            remedy="add the column language to the manifests",
        )
    same = np.array([src == tgt for src, tgt in language_pairs])
    members = dict(zip(_GROUPS, (np.flatnonzero(known & same), np.flatnonzero(known & ~same)), strict=True))

    def draw_panel(
        title: str, values: NDArray[np.float64], methods: Sequence[MethodSpec], reference: str, at: float | None
    ) -> Panel:
        """Draw the mean of values (scenarios, methods) over each group."""
        labels, marks = [experiment.methods[method].label for method in methods], []
        for colour, (name, own) in enumerate(members.items()):
            if len(own):
                group = values[own][:, [matched.methods.index(method) for method in methods]]
                intervals = (bootstrap_mean_interval(each, Resampling()) or (None, None) for each in group.T)
                low, high = zip(*intervals, strict=True)
                marks.append(DotMark(name, labels, group.mean(axis=0).tolist(), low, high, colour))
        references = [] if at is None else [(reference, at)]
        return Panel(title, marks, x_label=title, references=references, least_width=MIN_SCORE_SPAN)

    panels = [draw_panel("UAR (%)", matched.scores, methods, "chance", _find_chance(experiment, options))]
    adapting_methods = [
        method for method, baseline in baselines.items() if method != baseline and baseline in matched.methods
    ]
    if adapting_methods:
        positions = {method: position for position, method in enumerate(matched.methods)}
        columns = [positions.get(find_source_only(method), position) for method, position in positions.items()]
        gains = matched.scores - matched.scores[:, columns]
        panels.append(draw_panel("gain over source-only (points)", gains, adapting_methods, "source-only", 0.0))
    counts = [f"{n} pair{'s' * (n > 1)} {_GROUPS[name]}" for name, own in members.items() if (n := len(own))]
    absent = [f" No pair is {_GROUPS[name]}." for name, own in members.items() if not len(own)]
    unknown_note = f" Without pairs of corpora of unknown language: {', '.join(unknown)}." if unknown else ""
    note = (
        f"Means over {' and '.join(counts)} and over the seeds. Bars: 95 % bootstrap intervals over at least "
        f"{MIN_SCENARIOS} pairs; intervals over few pairs are too narrow, and pairs that share a corpus are not "
        f"independent.{''.join(absent)}"
        f"{describe_left_out(matched)}{describe_omitted_methods(experiment, options, methods, methods)}"
        f"{unknown_note}"
    )
    groups = {name: [format_pair(matched.scenarios[index][1:]) for index in own] for name, own in members.items()}
    facts = {"task": options.task, "groups": groups, "languages": languages, **describe_scenarios(matched)}
    return FigureData("languages", f"Same language against different languages, {options.task}", panels, note, facts)


def draw_sensitivity(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the UAR with one setting changed at a time, and curves over numeric settings."""
    base = options.methods[0] if options.methods else EMO_DNA
    if base.settings:
        raise NoFigureDataError("must be a method without settings for this figure", field="methods", value=base)
    scores = Scores.from_table(select_results(experiment, options))
    if base not in scores.methods:
        raise_no_data(experiment, options, f"of {base} with default settings")
    same_method = [method for method in experiment.methods if method.name == base.name and method in scores.methods]
    variants = [
        method
        for method in same_method
        if len(method.settings) == 1 and not experiment.methods[method].uses_target_labels
    ]
    if not variants:
        raise_no_data(experiment, options, f"of {base} with one setting changed, such as {base}:padding=mask")
    matched = match_methods(scores, [base, *variants])
    spreads = _compute_spreads(scores, matched)
    names = ["defaults", *("=".join(method.settings[0]) for method in variants)]
    values, low, high = zip(*spreads.values(), strict=True)
    axis: dict[str, Any] = {"references": [("defaults", spreads[base][0])], "least_width": MIN_SCORE_SPAN}
    panels = [Panel("one setting changed", [DotMark("UAR", names, values, low, high)], x_label="UAR (%)", **axis)]
    for key, line in _make_curves(spreads, base, _read_defaults(experiment, options, base)).items():
        panels.append(Panel(key, [line], x_label=key, y_label="UAR (%)", **axis))
    n, seeds = len(matched.scenarios), set().union(*matched.seeds.values())
    over = f"{n} pair{'s' * (n > 1)}{' and the seeds' * (len(seeds) > 1)}"
    bars = " Bars: lowest to highest seed's mean over the pairs." if low[0] is not None else ""
    note = f"{experiment.methods[base].label}, mean over {over}.{bars}{describe_left_out(matched)}"
    facts = {"task": options.task, **describe_scenarios(matched)}
    return FigureData("sensitivity", f"Settings of {base}, {options.task}", panels, note, facts)


def _compute_spreads(scores: Scores, matched: MatchedScores) -> dict[MethodSpec, Spread]:
    """Return the spread of each method; its ends are None unless all pairs have the same seeds, at least two."""
    seeds = set(matched.seeds.values())
    columns = [scores.seeds.index(seed) for seed in next(iter(seeds))] if len(seeds) == 1 else []
    rows = [scores.scenarios.index(scenario) for scenario in matched.scenarios]
    spreads: dict[MethodSpec, Spread] = {}
    for method, mean in zip(matched.methods, matched.scores.mean(axis=0).tolist(), strict=True):
        by_seed = scores.values[scores.methods.index(method)][np.ix_(rows, columns)].mean(axis=0).tolist()
        spreads[method] = (mean, *((min(by_seed), max(by_seed)) if len(by_seed) > 1 else (None, None)))
    return spreads


def _make_curves(
    spreads: Mapping[MethodSpec, Spread], base: MethodSpec, defaults: Mapping[str, float]
) -> dict[str, LineMark]:
    by_key: dict[str, dict[float, Spread]] = {}
    for method, spread in spreads.items():
        for key, text in method.settings:
            with suppress(ValueError):
                by_key.setdefault(key, {})[float(text)] = spread
    curves = {}
    for key, points in by_key.items():
        if len(points) >= _MIN_CURVE_VALUES:
            if key in defaults:
                points.setdefault(defaults[key], spreads[base])
            x = sorted(points)
            y, low, high = zip(*(points[value] for value in x), strict=True)
            curves[key] = LineMark("UAR by value", x, y, *((None, None) if None in low else (low, high)))
    return curves


def _read_defaults(experiment: Experiment, options: FigureOptions, base: MethodSpec) -> dict[str, float]:
    """Read the numeric default settings of a method from one of its runs."""
    for run in select_finished_runs(experiment, replace(options, methods=(base,))):
        try:
            settings = flatten(open_run(experiment.run_folder(run).path).decisive)
        except RunError:
            continue
        return {key.rpartition(".")[2]: float(each) for key, each in settings.items() if type(each) in (int, float)}
    return {}
