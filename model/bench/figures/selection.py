"""FigureOptions of the runs and scores of a figure, and the sentences of its note about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.bench.compare import EMO_DNA, SOURCE_ONLY, MatchedScores, list_default_methods, match_scores
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.results import Scores, collect_results, read_run_results, select_scores
from emodna.model.bench.spec import Experiment, MethodSpec, Pair, RunSpec, shorten_list
from emodna.model.errors import BenchError
from emodna.pipeline.emotions import Task

MIN_SCORE_SPAN: Final = 2.0
"""Least width of an axis of scores: 0.1 points must not look large."""


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """Content of a figure; None leaves it to the figure."""

    task: Task = "arousal"
    src: str | None = None
    tgt: str | None = None
    seed: int | None = None
    methods: tuple[MethodSpec, ...] | None = None


class NoFigureDataError(BenchError):
    """No finished run has what a figure shows."""


def select_results(experiment: Experiment, choice: FigureOptions, tasks: Sequence[Task] = ()) -> pa.Table:
    """Return the rows of `select_scores` of the chosen source, target and seed; of the chosen task unless others are given."""
    found = select_scores(collect_results(experiment, tasks=tasks or [choice.task]))
    for column in ("src", "tgt", "seed"):
        if (value := getattr(choice, column)) is not None:
            found = found.filter(pc.field(column) == value)
    return found


def select_methods(experiment: Experiment, choice: FigureOptions, scores: Scores) -> list[MethodSpec]:
    """Return the chosen methods that have scores; unless some are chosen, all but oracles.

    Raises NothingToShow if there is none.
    """
    chosen = choice.methods
    found = list_default_methods(experiment, scores) if chosen is None else [m for m in chosen if m in scores.methods]
    if not found:
        raise no_data_error(choice, "of any method" if chosen is None else f"of {join_names(chosen)}")
    return found


def match_methods(scores: Scores, methods: Sequence[MethodSpec]) -> MatchedScores:
    """Return `match_scores` of some methods; raises NothingToShow if they have no scenario in common."""
    try:
        return match_scores(scores, methods)
    except BenchError as error:
        raise NoFigureDataError(str(error)) from error


def limit_methods(methods: Sequence[MethodSpec], choice: FigureOptions) -> list[MethodSpec]:
    """Return chosen methods as they are, of others the first four, with Source Only and Emo-DNA before all."""
    if choice.methods is not None:
        return list(methods)
    return sorted(methods, key=lambda method: (method != SOURCE_ONLY, method != EMO_DNA))[:4]


def select_finished_runs(experiment: Experiment, choice: FigureOptions) -> list[RunSpec]:
    """Return the chosen runs that are done. The upper bound was run from one source for all."""
    runs = [
        run
        for run in experiment.runs
        if run.task == choice.task
        and (choice.src in (None, run.src) or run.method == UPPER_BOUND)
        and choice.tgt in (None, run.tgt)
        and choice.seed in (None, run.seed)
        and (choice.methods is None or run.method in choice.methods)
    ]
    return [outcome.run for outcome in read_run_results(experiment, runs) if outcome.state == "done"]


def no_data_error(choice: FigureOptions, what: str) -> NoFigureDataError:
    """Return the error that no finished run has what a figure shows."""
    where: list[str] = [choice.task]
    for name, value in (("source", choice.src), ("target", choice.tgt), ("seed", choice.seed)):
        where += [] if value is None else [f"{name} {value}"]
    return NoFigureDataError(f"no finished cell {what} ({', '.join(where)}); emodna-bench status says what is done")


def describe_scenarios(found: MatchedScores) -> dict[str, object]:
    """Return the scenarios and seeds of matched scores, and what was left out, as facts of a picture."""
    return {
        "scenarios": [
            {"task": task, "src": src, "tgt": tgt, "seeds": list(seeds)}
            for (task, src, tgt), seeds in found.seeds.items()
        ],
        "left_out": list(found.left_out),
    }


def describe_left_out(found: MatchedScores) -> str:
    """Return a sentence on what was left out; empty if nothing was."""
    n = len(found.left_out)
    which = f"{n} scenario{'s' * (n > 1)} left out, wholly or in some seeds"
    return f" Only what all methods have is compared: {which}." if n else ""


def describe_omitted_methods(
    experiment: Experiment, choice: FigureOptions, there: Sequence[MethodSpec], shown: Sequence[MethodSpec]
) -> str:
    """Return a sentence on chosen methods that have nothing to show, or on those that found no room; empty without."""
    omitted = [method for method in choice.methods or there if method not in shown]
    labels = [experiment.methods[each].label if each in experiment.methods else str(each) for each in omitted]
    if not omitted:
        return ""
    return (
        f" Not shown: {shorten_list(labels)}."
        if choice.methods is None
        else f" Nothing finished of {shorten_list(labels)}."
    )


def format_pair(pair: Pair) -> str:
    """Return a pair as titles have it."""
    return f"{pair[0]} -> {pair[1]}"


def join_names(things: Iterable[object]) -> str:
    """Return things joined by commas."""
    return ", ".join(map(str, things))
