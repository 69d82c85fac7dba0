"""Selection of a figure's runs and scores, and notes about omissions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.bench.compare import EMO_DNA, SOURCE_ONLY, MatchedScores, list_default_methods, match_scores
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import is_upper_bound
from emodna.model.bench.results import Scores, collect_results, read_run_results, select_scores
from emodna.model.bench.spec import Experiment, Pair, RunSpec, shorten_list
from emodna.model.errors import BenchError, ShowExperiment
from emodna.pipeline.errors import Remedy

MIN_SCORE_SPAN: Final = 2.0
"""Smallest span of an axis of scores in points."""


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """Data to show in a figure; None: the figure's default."""

    task: str = "arousal"
    src: str | None = None
    tgt: str | None = None
    seed: int | None = None
    methods: tuple[MethodSpec, ...] | None = None


class NoFigureDataError(BenchError):
    """No finished run has the data of a figure."""


def select_results(experiment: Experiment, options: FigureOptions, tasks: Sequence[str] = ()) -> pa.Table:
    """Return the scores (`select_scores`) of the source, target and seed of the options, in their task or `tasks`."""
    found = select_scores(collect_results(experiment, tasks=tasks or [options.task]))
    for column in ("src", "tgt", "seed"):
        if (value := getattr(options, column)) is not None:
            found = found.filter(pc.field(column) == value)
    return found


def select_methods(experiment: Experiment, options: FigureOptions, scores: Scores) -> list[MethodSpec]:
    """Return the methods of the options that have scores, by default all but oracles, or raise a NoFigureDataError."""
    chosen = list_default_methods(experiment, scores) if options.methods is None else options.methods
    methods = [method for method in chosen if method in scores.methods]
    if not methods:
        raise_no_data(experiment, options, f"of {join_names(options.methods)}" if options.methods else "of any method")
    return methods


def match_methods(scores: Scores, methods: Sequence[MethodSpec]) -> MatchedScores:
    """Match the scores of some methods; raise a NoFigureDataError if they have no scenario in common."""
    try:
        return match_scores(scores, methods)
    except BenchError as error:
        raise NoFigureDataError(error.problem) from error


def limit_methods(methods: Sequence[MethodSpec], options: FigureOptions) -> list[MethodSpec]:
    """Return all methods if the options name them, else the first four, with Source Only and Emo-DNA in front."""
    if options.methods is not None:
        return list(methods)
    return sorted(methods, key=lambda method: (method != SOURCE_ONLY, method != EMO_DNA))[:4]


def select_finished_runs(experiment: Experiment, options: FigureOptions) -> list[RunSpec]:
    """Return the finished runs of the options. Those of the upper bound count for all sources."""
    runs = [
        run
        for run in experiment.runs
        if run.task == options.task
        and (options.src in (None, run.src) or counts_for_all_sources(experiment, run))
        and options.tgt in (None, run.tgt)
        and options.seed in (None, run.seed)
        and (options.methods is None or run.method in options.methods)
    ]
    return [result.run for result in read_run_results(experiment, runs) if result.state == "done"]


def counts_for_all_sources(experiment: Experiment, run: RunSpec) -> bool:
    """Return True for a run of the upper bound in a task whose classes do not depend on the pair."""
    return is_upper_bound(run.method) and experiment.find_task(run.task) is not None


def raise_no_data(experiment: Experiment, options: FigureOptions, kind: str) -> NoReturn:
    """Raise a NoFigureDataError: no finished run is of this kind."""
    filters: list[str] = [options.task]
    for name, value in (("source", options.src), ("target", options.tgt), ("seed", options.seed)):
        filters += [] if value is None else [f"{name} {value}"]
    remedy = Remedy("list the finished runs", ShowExperiment(experiment.out))
    raise NoFigureDataError(f"no finished run {kind} ({', '.join(filters)})", remedy=remedy)


def describe_scenarios(found: MatchedScores) -> dict[str, object]:
    """Return the scenarios, seeds and omissions of matched scores as facts of a figure."""
    seeds_of = found.seeds.items()
    scenarios = [{"task": task, "src": src, "tgt": tgt, "seeds": list(own)} for (task, src, tgt), own in seeds_of]
    return {"scenarios": scenarios, "left_out": list(found.left_out)}


def describe_left_out(found: MatchedScores) -> str:
    """Return a sentence on omitted scenarios and seeds, if there are any."""
    n = len(found.left_out)
    return f" Scenarios and seeds that not all methods have are left out ({n} scenario{'s' * (n > 1)})." if n else ""


def describe_omitted_methods(
    experiment: Experiment, options: FigureOptions, methods: Sequence[MethodSpec], visible_methods: Sequence[MethodSpec]
) -> str:
    """Return a sentence on methods of the options that are not finished, or by default on methods not shown."""
    omitted = [method for method in options.methods or methods if method not in visible_methods]
    labels = [experiment.methods[each].label if each in experiment.methods else str(each) for each in omitted]
    if not omitted:
        return ""
    return f" {'Not shown' if options.methods is None else 'Not finished'}: {shorten_list(labels)}."


def format_pair(pair: Pair) -> str:
    """Return a pair as text."""
    return f"{pair[0]} -> {pair[1]}"


def join_names(names: Iterable[object]) -> str:
    """Return names joined by commas."""
    return ", ".join(map(str, names))
