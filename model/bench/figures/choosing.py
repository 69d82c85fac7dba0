"""What a figure is made of: the cells, rows and pairs of corpora that were chosen or are there."""

from collections.abc import Iterable, Sequence
from typing import Final

from emodna.model.bench.comparing.comparison import EMO_DNA, SOURCE_ONLY, Matched, matched, usual_rows
from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.presets import CEILING
from emodna.model.bench.results import Outcome, read_outcomes
from emodna.model.bench.scores import Pair, ScenarioScores, scenario_scores
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.bench.wording import few
from emodna.model.errors import BenchError
from emodna.pipeline.emotions import Task

LEAST_POINTS: Final = 2.0
"""Least width of an axis of scores: 0.1 points are not to look large."""


def chosen_scores(bench: Experiment, choice: Choice, tasks: Sequence[Task] | None = None) -> ScenarioScores:
    """Scores of all rows, within the chosen source, target and seed; of the chosen task unless others are given."""
    tasks = (choice.task,) if tasks is None else tasks
    cells = [cell for cell in bench.runs if cell.task in tasks and choice.seed in (None, cell.seed)]
    found: ScenarioScores = {}
    for row, scenarios in scenario_scores(bench, read_outcomes(bench, cells)).items():
        for (task, src, tgt), by_seed in scenarios.items():
            if choice.src in (None, src) and choice.tgt in (None, tgt):
                found.setdefault(row, {})[task, src, tgt] = by_seed
    return found


def matched_rows(scores: ScenarioScores, rows: Sequence[MethodSpec]) -> Matched:
    """Rows in the scenarios that all of them have, by UAR.

    Raises
    ------
    NothingToShow
        There is none.
    """
    try:
        return matched(scores, rows, "uar")
    except BenchError as error:
        raise NothingToShow(str(error)) from error


def rows_with_scores(bench: Experiment, choice: Choice, scores: ScenarioScores) -> list[MethodSpec]:
    """The chosen rows, or all that have scores and are no oracles.

    Raises
    ------
    NothingToShow
        No finished cell among them.
    """
    rows = usual_rows(bench, scores) if choice.rows is None else [row for row in choice.rows if scores.get(row)]
    if not rows:
        raise nothing(choice, "of any method" if choice.rows is None else f"of {listed(choice.rows)}")
    return rows


def at_most(rows: Sequence[MethodSpec], choice: Choice, number: int = 4) -> list[MethodSpec]:
    """The chosen rows as they are; else the first ones, Source Only and Emo-DNA before all others."""
    if choice.rows is not None:
        return list(rows)
    return sorted(rows, key=lambda row: (row != SOURCE_ONLY, row != EMO_DNA))[:number]


def done_cells(bench: Experiment, choice: Choice) -> list[RunSpec]:
    """Finished cells of the chosen task, source, target, seed and rows; the upper bound's source is any."""
    cells = [
        cell
        for cell in bench.runs
        if cell.task == choice.task
        and (choice.src in (None, cell.src) or cell.method == CEILING)
        and choice.tgt in (None, cell.tgt)
        and choice.seed in (None, cell.seed)
        and (choice.rows is None or cell.method in choice.rows)
    ]
    return [outcome.run for outcome in read_outcomes(bench, cells) if is_done(outcome)]


def is_done(outcome: Outcome) -> bool:
    """Whether there are files of a finished run."""
    return outcome.state == "done"


def nothing(choice: Choice, what: str) -> NothingToShow:
    """What to say if no finished cell has what a figure shows."""
    where = [
        choice.task,
        *([] if choice.src is None else [f"source {choice.src}"]),
        *([] if choice.tgt is None else [f"target {choice.tgt}"]),
        *([] if choice.seed is None else [f"seed {choice.seed}"]),
    ]
    return NothingToShow(f"no finished cell {what} ({', '.join(where)}); emodna-bench status says what is done")


def facts_of(found: Matched) -> dict[str, object]:
    """Scenarios and seeds of a comparison, and what was left out, for a picture's facts."""
    return {
        "scenarios": [
            {"task": task, "src": src, "tgt": tgt, "seeds": list(found.seeds[task, src, tgt])}
            for task, src, tgt in found.scenarios
        ],
        "left_out": list(found.left_out),
    }


def left_out_note(found: Matched) -> str:
    """A sentence on what was left out; empty where nothing was."""
    if not found.left_out:
        return ""
    n = len(found.left_out)
    return f" Only what all methods have is compared: {n} scenario{'s' * (n > 1)} left out, wholly or in some seeds."


def omitted_note(bench: Experiment, choice: Choice, there: Sequence[MethodSpec], shown: Sequence[MethodSpec]) -> str:
    """A sentence on the chosen rows that have nothing to show, or on those that found no room; empty without any."""
    if choice.rows is None:
        rest = [row for row in there if row not in shown]
        return f" Not shown: {few([bench.methods[row].label for row in rest])}." if rest else ""
    absent = [row for row in choice.rows if row not in shown]
    names = [bench.methods[row].label if row in bench.methods else str(row) for row in absent]
    return f" Nothing finished of {few(names)}." if absent else ""


def pair_name(pair: Pair) -> str:
    """A pair as a title has it."""
    return f"{pair[0]} -> {pair[1]}"


def listed(things: Iterable[object]) -> str:
    """Joined by commas."""
    return ", ".join(map(str, things))
