"""Figures of emotion features: their plane by method, and how far source and target lie apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, Final

from emodna.model.bench import analysis
from emodna.model.bench.analysis import MAX_UTTERANCES, UMAP, Distances
from emodna.model.bench.compare import SOURCE_ONLY
from emodna.model.bench.figure_data import DotMark, FigureData, Panel, ScatterMark
from emodna.model.bench.figures.selection import (
    FigureOptions,
    NoFigureDataError,
    format_pair,
    join_names,
    no_data_error,
    select_finished_runs,
)
from emodna.model.bench.results import read_run_result
from emodna.model.bench.spec import MAX_NAMES, Experiment, MethodSpec, RunSpec, shorten_list
from emodna.model.errors import TrainingError
from emodna.pipeline.emotions import CLASS_NAMES

#: The pair of the paper's figures.
_PAPER: Final = ("casia", "emodb")

#: Panels of the paper's Figure 2.
_METHODS: Final = {
    MethodSpec("cdan"): "CDAN",
    MethodSpec("addi"): "ADDi (our reading)",
    MethodSpec("difl"): "DIFL (our reading)",
    MethodSpec("emo-dna"): "Emo-DNA",
}
#: Panels of the paper's Figure 3, by its description: (c) is without L_decouple, which the paper's Table 4 calls V3 and
#: its text V4; (b) is without L_align, V4 in the table.
_PARTS: Final = {
    MethodSpec("v2"): "(a) without L_decouple and L_align (v2)",
    MethodSpec("v4"): "(b) without L_align (v4)",
    MethodSpec("v3"): "(c) without L_decouple (v3)",
    MethodSpec("emo-dna"): "(d) Emo-DNA",
}
_PLANES_NOTE: Final = (
    f"UMAP ({UMAP['metric']}, {UMAP['n_neighbors']} neighbours, min_dist {UMAP['min_dist']}, seed "
    f"{UMAP['random_state']}) of each model's emotion features in evaluation mode, fitted on both corpora together; at "
    f"most {MAX_UTTERANCES} utterances of each. Distances between clusters mean little."
)

#: Measure -> title, and least width of its axis, in its unit.
_MEASURES: Final = {"pad": ("proxy A-distance", 0.2), "mmd": ("squared MK-MMD", 0.1)}
_DISTANCES_NOTE: Final = (
    "Before: Source Only of the same pairs and seeds, from the "
    "same first weights where a method has its encoder. Within classes: each class of the source against the same of "
    "the target, by the target's true labels, which no method sees. Proxy A-distance: 0 where a linear classifier "
    "cannot tell the corpora apart, 2 where it never errs. Squared MK-MMD of standardised features, unbiased: about 0 "
    "for like samples."
)


def features_methods(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2); raises as `_draw_umaps`."""
    return _draw_umaps("features-methods", "Emotion features by method", experiment, choice, _METHODS)


def features_parts(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw the emotion features of parts of Emo-DNA (the paper's Figure 3); raises as `_draw_umaps`."""
    return _draw_umaps("features-parts", "Emotion features by parts of Emo-DNA", experiment, choice, _PARTS)


def _draw_umaps(
    name: str, title: str, experiment: Experiment, choice: FigureOptions, usual: Mapping[MethodSpec, str]
) -> FigureData:
    """Draw UMAP of the emotion features of some methods, corpora by marker and classes by colour.

    Unless the choice says more, the pair is the paper's, CASIA -> EMODB, if any of the methods is finished there; else
    the first of those where most are. `usual` has the titles of the panels by method, unless methods are chosen. Raises
    NothingToShow if no method is finished or has features, BenchError without UMAP or if a store has changed.
    """
    asked = choice.methods or tuple(usual)
    titles = usual
    if choice.methods is not None:
        titles = {each: experiment.methods[each].label for each in choice.methods if each in experiment.methods}
    runs = _select_runs_of_pair(experiment, choice, titles)
    first = next(iter(runs.values()))
    if choice.methods is None and len(runs) == 1:
        here = FigureOptions(first.task, first.src, first.tgt, first.seed)
        there = dict.fromkeys(run.method for run in select_finished_runs(experiment, here))
        hint = " ".join(f"--methods {method}" for method in list(there)[:MAX_NAMES])
        raise NoFigureDataError(
            f"only {first.method} is finished of {join_names(usual)}, and alone it shows little; what is there: {hint}"
        )
    panels, missing = [], {str(method): "not finished" for method in asked if method not in runs}
    for method, run in runs.items():
        try:
            places = analysis.compute_umap(experiment, run)
        except TrainingError as error:
            missing[str(method)] = str(error)
            continue
        if places is None:
            missing[str(method)] = "has no features of both corpora in one space"
        else:
            panels.append(Panel(titles[method], [_make_scatter(run, place) for place in places], bare=True))
    lacking = "; ".join(f"{method} ({why})" for method, why in missing.items())
    if not panels:
        raise NoFigureDataError(f"none of the finished cells has what is shown: {lacking}")
    return FigureData(
        name,
        f"{title}, {format_pair(first.pair)}, {first.task}, seed {first.seed}",
        panels,
        note=f"{_PLANES_NOTE} Left out: {lacking}." if lacking else _PLANES_NOTE,
        facts={
            "src": first.src,
            "tgt": first.tgt,
            "task": first.task,
            "seed": first.seed,
            "cells": {str(method): experiment.run_name(run) for method, run in runs.items()},
            "umap": dict(UMAP),
            "sample": dict(analysis.SAMPLE),
            "missing": missing,
        },
    )


def _select_runs_of_pair(
    experiment: Experiment, choice: FigureOptions, titles: Mapping[MethodSpec, str]
) -> dict[MethodSpec, RunSpec]:
    """Return the finished runs of one pair and seed, in the order of the methods."""
    found: dict[tuple[str, str, int], dict[MethodSpec, RunSpec]] = {}
    for run in select_finished_runs(experiment, replace(choice, methods=tuple(titles))):
        found.setdefault((run.src, run.tgt, run.seed), {})[run.method] = run
    if not found:
        raise no_data_error(choice, f"of {join_names(titles or choice.methods or ())}")
    best = min(found, key=lambda key: (key[:2] != _PAPER, -len(found[key])))  # the first of equals
    return {method: found[best][method] for method in titles if method in found[best]}


def _make_scatter(run: RunSpec, place: Mapping[str, Any]) -> ScatterMark:
    role, marker = ("source", 0) if place["corpus"] == run.src else ("target", 1)
    label = place["label"]
    called, colour = (CLASS_NAMES[run.task][label], label) if label >= 0 else ("unlabelled", 2)
    return ScatterMark(f"{place['corpus']} ({role}), {called}", place["x"], place["y"], place["ids"], colour, marker)


def distances(experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Draw distances before and after adaptation: of one pair, or over all finished ones; of the first seed.

    Raises NothingToShow if no finished run of the choice has features, and BenchError if a store has changed.
    """
    if choice.seed is None:
        choice = replace(choice, seed=min((run.seed for run in experiment.runs), default=0))
    every = {run: analysis.compute_run_distances(experiment, run) for run in select_finished_runs(experiment, choice)}
    found = {run: each for run, each in every.items() if each is not None}
    if not found:
        raise no_data_error(
            choice, "of a method with features" if choice.methods is None else f"of {join_names(choice.methods)}"
        )
    methods = [method for method in choice.methods or experiment.methods if any(run.method == method for run in found)]
    there = list(dict.fromkeys(run.pair for run in found))
    have = [{run.pair for run in found if run.method == method} for method in methods]
    pairs = [pair for pair in there if all(pair in own for own in have)]
    if not pairs:
        raise NoFigureDataError(f"no pair of corpora is finished by all of {join_names(methods)}")
    left = [format_pair(pair) for pair in there if pair not in pairs]
    found = {run: each for run, each in found.items() if run.pair in pairs}
    before = {}
    for run in found:
        partner = replace(run, method=SOURCE_ONLY)
        if partner in experiment.runs and read_run_result(experiment, partner).state == "done":
            before[run] = analysis.compute_run_distances(experiment, partner)
    of_pair = {pair: next(run for run in found if run.pair == pair) for pair in pairs}
    inputs = {pair: analysis.compute_input_distances(experiment, run) for pair, run in of_pair.items()}
    labels = [experiment.methods[method].label for method in methods]
    groups = [[run for run in found if run.method == method] for method in methods]
    panels = []
    for key, (title, least_width) in _MEASURES.items():
        for within in (False, True):
            value = partial(_average_distance, key=key, within=within)
            earlier = [[value(before.get(run)) for run in runs] for runs in groups]
            later = [[value(found[run]) for run in runs if run.method != SOURCE_ONLY] for runs in groups]
            outside = [each for each in map(value, inputs.values()) if each is not None]
            panels.append(
                Panel(
                    f"{title}{', within classes' * within}",
                    [
                        _make_dots("before: Source Only", labels, earlier, 0),
                        _make_dots("after: the method", labels, later, 1),
                    ],
                    x_label=title,
                    references=[("the input itself (mean per utterance)", fmean(outside))] if outside else [],
                    least_width=least_width,
                )
            )
    among = format_pair(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"
    spread = "Means over the pairs, lines from the least to the largest. " if len(pairs) > 1 else ""
    lacking = f" Only pairs that all methods have are compared; left out: {shorten_list(left)}." if left else ""
    return FigureData(
        "distances",
        f"Distance of source and target features, {among}, {choice.task}, seed {choice.seed}",
        panels,
        note=f"{spread}{_DISTANCES_NOTE}{lacking}",
        facts={
            "task": choice.task,
            "seed": choice.seed,
            "pairs": [list(pair) for pair in pairs],
            "left_out": left,
            "cells": {experiment.run_name(run): each for run, each in found.items()},
            "before": {experiment.run_name(run): each for run, each in before.items()},
            "inputs": {f"{src}-{tgt}": each for (src, tgt), each in inputs.items()},
        },
    )


def _average_distance(found: Distances | None, key: str, *, within: bool) -> float | None:
    """Return one number of some distances: of the corpora, or the mean of that of their classes."""
    if found is None:
        return None
    values = [each[key] for each in (found["classes"] if within else [found["all"]])]
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _make_dots(name: str, labels: Sequence[str], groups: Sequence[Sequence[float | None]], colour: int) -> DotMark:
    """Return the mean of each group of values, and the least and the largest of several."""
    known = [[value for value in group if value is not None] for group in groups]
    return DotMark(
        name,
        labels,
        [fmean(each) if each else None for each in known],
        low=[min(each) if len(each) > 1 else None for each in known],
        high=[max(each) if len(each) > 1 else None for each in known],
        colour=colour,
    )
