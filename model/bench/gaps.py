"""Gaps of a table: runs that have no scores, and why. It needs no torch."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.bench.presets import CEILING
from emodna.model.bench.spec import Experiment, MethodSpec, Pair
from emodna.pipeline.emotions import Task

Why = Literal["failed", "unlabelled", "running", "interrupted", "waiting", "not planned"]

WHY: Final[tuple[Why, ...]] = ("failed", "unlabelled", "running", "interrupted", "waiting", "not planned")
"""In the order in which they are listed."""
RUNNABLE: Final[frozenset[Why]] = frozenset({"failed", "interrupted", "waiting", "not planned"})
"""Those that a further run mends."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Runs that have no scores for one reason: all of some tasks by methods by pairs by seeds."""

    why: Why
    error: str | None
    """Of failed ones."""
    tasks: tuple[Task, ...]
    methods: tuple[MethodSpec, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.tasks) * len(self.methods) * len(self.pairs) * len(self.seeds)


def find_gaps(
    experiment: Experiment,
    results: pa.Table,
    tasks: Sequence[Task],
    methods: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> tuple[Gap, ...]:
    """Return the missing runs of some tasks, methods and pairs in the experiment's seeds, as few gaps as possible.

    Parameters
    ----------
    results
        Results of the experiment in these tasks.
    """
    found: list[tuple[Any, ...]] = [
        (why, error, (task,), (spec,), (pair,), (seed,))
        for why, error, task, spec, pair, seed in _missing(experiment, results, tasks, methods, pairs)
    ]
    place = {spec: place for place, spec in enumerate(methods)}
    for axis in (5, 4, 3, 2):  # seeds, pairs, methods, tasks: gaps that differ in this one only become one
        alike: dict[tuple[Any, ...], list[Any]] = {}
        for gap in found:
            alike.setdefault((*gap[:axis], *gap[axis + 1 :]), []).extend(gap[axis])
        found = [
            (*rest[:axis], tuple(sorted(values, key=place.__getitem__ if axis == 3 else None)), *rest[axis:])
            for rest, values in alike.items()
        ]

    def order(gap: Gap) -> tuple[Any, ...]:
        return WHY.index(gap.why), gap.tasks, place[gap.methods[0]], gap.pairs, gap.seeds, gap.error or ""

    return tuple(sorted((Gap(*gap) for gap in found), key=order))


def _missing(
    experiment: Experiment,
    results: pa.Table,
    tasks: Sequence[Task],
    methods: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> Iterator[tuple[Why, str | None, Task, MethodSpec, Pair, int]]:
    corpora, specs = experiment.corpora, {str(spec): spec for spec in methods}
    for row in results.filter(pc.equal(results["metric"], "uar")).to_pylist():
        pair, task = (row["src"], row["tgt"]), row["task"]
        if row["spec"] not in specs or pair not in pairs or row["value"] is not None:
            continue
        why, error = row["state"], row["error"]
        if why == "done":
            labelled = any(corpora[row["tgt"]].classes[task])
            why, error = ("failed", "result.json has no scores") if labelled else ("unlabelled", None)
        yield why, error, task, specs[row["spec"]], pair, row["seed"]

    def answered(task: Task, spec: MethodSpec, pair: Pair, seed: int) -> tuple[object, ...]:
        return task, spec, seed, pair[1], None if spec == CEILING else pair[0]  # for all sources of its target

    planned = {answered(run.task, run.method, run.pair, run.seed) for run in experiment.runs}
    for seed, task, spec, pair in itertools.product(experiment.seeds, tasks, methods, pairs):
        asked = answered(task, spec, pair, seed)
        if asked not in planned:
            planned.add(asked)
            # No run is planned that cannot learn.
            lacks = corpora[pair[1] if spec == CEILING else pair[0]].lacks(task)
            yield "unlabelled" if lacks else "not planned", None, task, spec, pair, seed
