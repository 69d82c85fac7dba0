"""Figures of emotion features: UMAP by method, and distances of source and target."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any, Final

from emodna.model.bench import analysis
from emodna.model.bench.analysis import MAX_UTTERANCES, UMAP, Distances
from emodna.model.bench.compare import find_source_only
from emodna.model.bench.figure_data import DotMark, FigureData, Panel, ScatterMark
from emodna.model.bench.figures.selection import (
    FigureOptions,
    NoFigureDataError,
    format_pair,
    join_names,
    raise_no_data,
    select_finished_runs,
)
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import read_run_result
from emodna.model.bench.spec import Experiment, Pair, RunSpec, shorten_list
from emodna.model.errors import TrainingError
from emodna.pipeline.errors import Remedy
from emodna.pipeline.tasks import Task

#: The pair of the paper's figures.
_PAPER: Final = ("casia", "emodb")

#: Panels of the paper's Figure 2.
_METHODS: Final = {
    MethodSpec("cdan"): "CDAN",
    MethodSpec("addi"): "ADDi (our reading)",
    MethodSpec("difl"): "DIFL (our reading)",
    MethodSpec("emo-dna"): "Emo-DNA",
}
#: Panels of the paper's Figure 3, by its caption. The paper's text calls (c) V4, but its Table 4 calls it V3.
_PARTS: Final = {
    MethodSpec("v2"): "(a) without L_decouple and L_align (v2)",
    MethodSpec("v4"): "(b) without L_align (v4)",
    MethodSpec("v3"): "(c) without L_decouple (v3)",
    MethodSpec("emo-dna"): "(d) Emo-DNA",
}
_UMAP_NOTE: Final = (
    f"UMAP ({UMAP['metric']}, {UMAP['n_neighbors']} neighbours, min_dist {UMAP['min_dist']}, seed "
    f"{UMAP['random_state']}) of each model's emotion features in evaluation mode, fitted on both corpora together, "
    f"with at most {MAX_UTTERANCES} utterances of each. Distances between clusters mean little."
)

#: Distance -> title, and smallest span of its axis.
_MEASURES: Final = {"pad": ("proxy A-distance", 0.2), "mmd": ("squared MK-MMD", 0.1)}
_DISTANCES_NOTE: Final = (
    "Before: Source Only with the same pairs and seeds, and the same initial weights if the encoders are the same. "
    "Within classes: mean of the distances of each class, by the target's true labels. Proxy A-distance: 0 if a linear "
    "classifier cannot separate the corpora, 2 if it separates them without errors. Squared MK-MMD of standardised "
    "features: unbiased, about 0 for samples of one distribution."
)


def draw_features_methods(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2); raises as `_draw_umaps`."""
    return _draw_umaps("features-methods", "Emotion features by method", experiment, options, _METHODS)


def draw_features_parts(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw the emotion features of parts of Emo-DNA (the paper's Figure 3); raises as `_draw_umaps`."""
    return _draw_umaps("features-parts", "Emotion features by parts of Emo-DNA", experiment, options, _PARTS)


def _draw_umaps(
    name: str, title: str, experiment: Experiment, options: FigureOptions, default_titles: Mapping[MethodSpec, str]
) -> FigureData:
    """Draw UMAP of the emotion features of some methods, with a marker per corpus and a colour per class.

    The default pair is the paper's, CASIA -> EMODB, if any of the methods is finished for it, else the first pair with
    the most finished methods. `default_titles` maps the default methods to their titles. Raises NoFigureDataError if
    no method is finished or has features, and BenchError without UMAP or if a store has changed.
    """
    methods, titles = options.methods or tuple(default_titles), default_titles
    if options.methods is not None:
        titles = {each: experiment.methods[each].label for each in options.methods if each in experiment.methods}
    runs = _select_runs_of_pair(experiment, options, titles)
    first = next(iter(runs.values()))
    if options.methods is None and len(runs) == 1:
        same_pair = FigureOptions(first.task, first.src, first.tgt, first.seed)
        raise NoFigureDataError(
            f"only {first.method} of {join_names(default_titles)} is finished, too few methods to compare",
            field="methods",
            valid=dict.fromkeys(run.method for run in select_finished_runs(experiment, same_pair)),
            remedy=Remedy("choose finished {methods}"),
        )
    panels, missing = [], {str(method): "not finished" for method in methods if method not in runs}
    for method, run in runs.items():
        try:
            point_sets = analysis.compute_umap(experiment, run)
        except TrainingError as error:
            missing[str(method)] = str(error)
            continue
        if point_sets is None:
            missing[str(method)] = "has no common features of both corpora"
        else:
            task = experiment.read_task(run)
            marks = [_make_scatter(run, task, points) for points in point_sets]
            panels.append(Panel(titles[method], marks, bare=True))
    reasons = "; ".join(f"{method} ({reason})" for method, reason in missing.items())
    if not panels:
        raise NoFigureDataError(f"no finished run has features: {reasons}")
    return FigureData(
        name,
        f"{title}, {format_pair(first.pair)}, {first.task}, seed {first.seed}",
        panels,
        note=f"{_UMAP_NOTE} Left out: {reasons}." if reasons else _UMAP_NOTE,
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
    experiment: Experiment, options: FigureOptions, titles: Mapping[MethodSpec, str]
) -> dict[MethodSpec, RunSpec]:
    """Return the finished runs of one pair and seed, in the order of `titles`."""
    found: dict[tuple[str, str, int], dict[MethodSpec, RunSpec]] = {}
    for run in select_finished_runs(experiment, replace(options, methods=tuple(titles))):
        found.setdefault((run.src, run.tgt, run.seed), {})[run.method] = run
    if not found:
        raise_no_data(experiment, options, f"of {join_names(titles or options.methods or ())}")
    best = min(found, key=lambda key: (key[:2] != _PAPER, -len(found[key])))  # the first if several are equal
    return {method: found[best][method] for method in titles if method in found[best]}


def _make_scatter(run: RunSpec, task: Task, points: Mapping[str, Any]) -> ScatterMark:
    role, marker = ("source", 0) if points["corpus"] == run.src else ("target", 1)
    label = points["label"]
    class_name, colour = (task.classes[label], label) if label >= 0 else ("unlabelled", len(task))
    name = f"{points['corpus']} ({role}), {class_name}"
    return ScatterMark(name, points["x"], points["y"], points["ids"], colour, marker)


def draw_distances(experiment: Experiment, options: FigureOptions) -> FigureData:
    """Draw distances before and after adaptation, over the finished pairs of one seed, by default the lowest.

    Raises NoFigureDataError if no finished run of the options has features, and BenchError if a store has changed.
    """
    if options.seed is None:
        options = replace(options, seed=min((run.seed for run in experiment.runs), default=0))
    runs = select_finished_runs(experiment, options)
    distances = {run: analysis.compute_run_distances(experiment, run) for run in runs}
    found = {run: each for run, each in distances.items() if each is not None}
    if not found:
        kind = "of a method with features" if options.methods is None else f"of {join_names(options.methods)}"
        raise_no_data(experiment, options, kind)
    methods = [method for method in options.methods or experiment.methods if any(run.method == method for run in found)]
    finished_pairs = list(dict.fromkeys(run.pair for run in found))
    pairs_by_method = [{run.pair for run in found if run.method == method} for method in methods]
    pairs = [pair for pair in finished_pairs if all(pair in own for own in pairs_by_method)]
    if not pairs:
        raise NoFigureDataError(f"no pair of corpora is finished for all of {join_names(methods)}")
    left_out = [format_pair(pair) for pair in finished_pairs if pair not in pairs]
    found = {run: each for run, each in found.items() if run.pair in pairs}
    before = {}
    for run in found:
        partner = replace(run, method=find_source_only(run.method))
        if partner in experiment.runs and read_run_result(experiment, partner).state == "done":
            before[run] = analysis.compute_run_distances(experiment, partner)
    feature_sets = list(dict.fromkeys(map(experiment.name_feature_set, methods)))
    inputs: dict[str, dict[Pair, Distances]] = {name: {} for name in feature_sets}
    for run in found:
        own_inputs = inputs[experiment.name_feature_set(run.method)]
        if run.pair not in own_inputs:
            own_inputs[run.pair] = analysis.compute_input_distances(experiment, run)
    labels = [experiment.methods[method].label for method in methods]
    groups = [[run for run in found if run.method == method] for method in methods]
    panels = []
    for key, (title, least_width) in _MEASURES.items():
        for within in (False, True):
            value = partial(_select_distance, key=key, within=within)
            values_before = [[value(before.get(run)) for run in group] for group in groups]
            values_after = [
                [value(found[run]) for run in group if run.method != find_source_only(run.method)] for group in groups
            ]
            before_dots = _make_dots("before: Source Only", labels, values_before, 0)
            marks = [before_dots, _make_dots("after: the method", labels, values_after, 1)]
            references = []
            for name, own_inputs in inputs.items():
                input_distances = [each for each in map(value, own_inputs.values()) if each is not None]
                features = f"{name} features" if len(inputs) > 1 else "features"
                if input_distances:
                    references.append((f"input {features} (mean per utterance)", fmean(input_distances)))
            heading = f"{title}{', within classes' * within}"
            panels.append(Panel(heading, marks, title, references=references, least_width=least_width))
    pair_text = format_pair(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"
    spread = "Means over the pairs; bars: lowest to highest pair. " if len(pairs) > 1 else ""
    omissions = f" Pairs that not all methods have are left out: {shorten_list(left_out)}." if left_out else ""
    return FigureData(
        "distances",
        f"Distance of source and target features, {pair_text}, {options.task}, seed {options.seed}",
        panels,
        note=f"{spread}{_DISTANCES_NOTE}{omissions}",
        facts={
            "task": options.task,
            "seed": options.seed,
            "pairs": [list(pair) for pair in pairs],
            "left_out": left_out,
            "cells": {experiment.run_name(run): each for run, each in found.items()},
            "before": {experiment.run_name(run): each for run, each in before.items()},
            "inputs": {
                f"{src}-{tgt}" if name == feature_sets[0] else f"{src}-{tgt}, {name}": each
                for name, own_inputs in inputs.items()
                for (src, tgt), each in own_inputs.items()
            },
        },
    )


def _select_distance(found: Distances | None, key: str, *, within: bool) -> float | None:
    """Return a distance over all utterances, or the mean of those within the classes; None if unknown."""
    if found is None:
        return None
    values = [each[key] for each in (found["classes"] if within else [found["all"]])]
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _make_dots(name: str, labels: Sequence[str], groups: Sequence[Sequence[float | None]], colour: int) -> DotMark:
    """Make a dot at the mean of each group of values, with a bar from the lowest to the highest of several."""
    known = [[value for value in group if value is not None] for group in groups]
    low, high = ([end(each) if len(each) > 1 else None for each in known] for end in (min, max))
    return DotMark(name, labels, [fmean(each) if each else None for each in known], low, high, colour)
