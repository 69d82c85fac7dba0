"""What a table of a benchmark lacks, and why. It needs no torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from emodna.model.bench.presets import CEILING
from emodna.model.bench.results import Outcome
from emodna.model.bench.scores import Pair, scores_in
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.pipeline.emotions import Task

Why = Literal["failed", "unlabelled", "running", "interrupted", "waiting", "not planned"]

WHY: Final[tuple[Why, ...]] = ("failed", "unlabelled", "running", "interrupted", "waiting", "not planned")
"""In the order in which they are told: those that no further run mends come first."""
RUNNABLE: Final[frozenset[Why]] = frozenset({"failed", "interrupted", "waiting", "not planned"})


@dataclass(frozen=True, slots=True)
class Gap:
    """Cells that have no scores for one reason: all of some tasks by rows by pairs by seeds."""

    why: Why
    tasks: tuple[Task, ...]
    rows: tuple[MethodSpec, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    error: str | None = None
    """Of failed ones."""

    @property
    def cells(self) -> int:
        """How many they are."""
        return len(self.tasks) * len(self.rows) * len(self.pairs) * len(self.seeds)


def gaps(
    bench: Experiment,
    outcomes: Iterable[Outcome],
    tasks: Sequence[Task],
    rows: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> tuple[Gap, ...]:
    """What is missing of some tasks by rows by pairs, in the seeds of the benchmark.

    Pairs of corpora that the benchmark does not have are left out.
    """
    lacking: dict[tuple[Why, Task, MethodSpec, str | None], dict[Pair, list[int]]] = {}
    for cell, why, error in _lacking(bench, outcomes, tasks, rows, pairs):
        lacking.setdefault((why, cell.task, cell.method, error), {}).setdefault((cell.src, cell.tgt), []).append(
            cell.seed
        )
    alike: dict[tuple[Why, Task, str | None, tuple[Pair, ...], tuple[int, ...]], list[MethodSpec]] = {}
    for (why, task, row, error), by_pair in lacking.items():
        by_seeds: dict[tuple[int, ...], list[Pair]] = {}
        for pair, seeds in sorted(by_pair.items()):
            by_seeds.setdefault(tuple(sorted(seeds)), []).append(pair)
        for numbers, those in sorted(by_seeds.items()):
            alike.setdefault((why, task, error, tuple(those), numbers), []).append(row)
    found: dict[tuple[Why, str | None, tuple[MethodSpec, ...], tuple[Pair, ...], tuple[int, ...]], list[Task]] = {}
    for (why, task, error, alike_pairs, numbers), each in alike.items():
        found.setdefault((why, error, tuple(sorted(each, key=rows.index)), alike_pairs, numbers), []).append(task)
    made = [
        Gap(why, tuple(sorted(same)), alike_rows, alike_pairs, numbers, error)
        for (why, error, alike_rows, alike_pairs, numbers), same in found.items()
    ]
    return tuple(
        sorted(
            made,
            key=lambda gap: (
                WHY.index(gap.why),
                gap.tasks,
                rows.index(gap.rows[0]),
                gap.pairs,
                gap.seeds,
                gap.error or "",
            ),
        )
    )


def _lacking(
    bench: Experiment,
    outcomes: Iterable[Outcome],
    tasks: Sequence[Task],
    rows: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> Iterator[tuple[RunSpec, Why, str | None]]:
    known = {pair for pair in pairs if set(pair) <= set(bench.corpora)}
    for outcome in outcomes:
        cell = outcome.run
        if cell.task not in tasks or cell.method not in rows or (cell.src, cell.tgt) not in known:
            continue
        if outcome.state != "done":
            yield cell, outcome.state, outcome.error
        elif scores_in(outcome.result) is None:
            unlabelled = not any(bench.corpora[cell.tgt].classes[cell.task])
            yield cell, "unlabelled" if unlabelled else "failed", None if unlabelled else "result.json has no scores"
    planned: Mapping[object, object] = dict.fromkeys(map(_asked, bench.runs))
    seeds = sorted({cell.seed for cell in bench.runs})
    told = set()
    for seed in seeds:
        for task in tasks:
            for row in rows:
                for src, tgt in sorted(known, key=pairs.index):
                    cell = RunSpec(src, tgt, task, row, seed)
                    if (asked := _asked(cell)) not in planned and asked not in told:
                        told.add(asked)
                        # Which no run would plan: nobody can learn from them.
                        learnt_from = tgt if row == CEILING else src
                        yield cell, "unlabelled" if bench.corpora[learnt_from].lacks(task) else "not planned", None


def _asked(cell: RunSpec) -> tuple[object, ...]:
    """What a cell answers: the upper bound does so for all sources of its target."""
    return (None if cell.method == CEILING else cell.src, cell.tgt, cell.task, cell.method, cell.seed)
