"""Means of a benchmark's scores over pairs of corpora and seeds. It needs no torch.

As the paper's tables have it: in each seed, the mean over the targets of a source, then over the sources. Its
standard deviation is that of this mean over the seeds, and not a mean of standard deviations. With all 30 pairs there,
the mean over the sources is the mean over the pairs.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from emodna.model.bench.presets import CEILING
from emodna.model.bench.results import Outcome
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import Task

Scenario = tuple[Task, str, str]
"""Task, source, target."""
Pair = tuple[str, str]
"""Source, target."""
Scores = Mapping[str, float]
"""Of `SCORE_NAMES`, in percent; what else was asked for stands beside them."""
ScenarioScores = dict[MethodSpec, dict[Scenario, dict[int, Scores]]]
"""MethodSpec -> task, source, target -> seed -> scores."""


def scenario_scores(
    bench: Experiment, outcomes: Iterable[Outcome], more: Callable[[RunSpec], Scores] = lambda _cell: {}
) -> ScenarioScores:
    """Scores of the cells that are done and have some.

    The upper bound is run from one source per target, and stands for all sources that the benchmark pairs it with.

    Parameters
    ----------
    more
        What else is to stand beside the scores of a cell.
    """
    sources: dict[tuple[Task, str], dict[str, None]] = {}
    for cell in bench.runs:
        sources.setdefault((cell.task, cell.tgt), {})[cell.src] = None
    found: ScenarioScores = {}
    for outcome in outcomes:
        cell, scores = outcome.run, scores_in(outcome.result)
        if scores is None:
            continue
        for src in sources[cell.task, cell.tgt] if cell.method == CEILING else (cell.src,):
            by_seed = found.setdefault(cell.method, {}).setdefault((cell.task, src, cell.tgt), {})
            by_seed.setdefault(cell.seed, {**scores, **more(cell)})
    return found


def scores_in(result: Mapping[str, Any] | None) -> Scores | None:
    """The scores in a result.json; None if there is one that is no number: a target without labels has none."""
    scores = {}
    for key in SCORE_NAMES:
        value = (result or {}).get(key)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        scores[key] = float(value)
    return scores


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over pairs, of each score."""

    by_seed: Mapping[int, Scores]
    """Of each seed that has all of the pairs, in order."""
    pairs: tuple[Pair, ...]
    """Over which it is taken."""

    def mean(self, score: str) -> float:
        """Over the seeds."""
        return fmean(scores[score] for scores in self.by_seed.values())

    def std(self, score: str) -> float | None:
        """Standard deviation over the seeds, of a sample (n - 1); None of one seed.

        The paper does not say which it has: of three seeds, that of a population is 0.82 times this one.
        """
        return spread([scores[score] for scores in self.by_seed.values()])


def mean_over(found: Mapping[Pair, Mapping[int, Scores]], pairs: Sequence[Pair]) -> Mean | None:
    """Mean over as many of some pairs as one seed has; None if none is there.

    Seeds are alike only over the same pairs. So the seed that has most of them decides over which the mean is taken,
    the lowest of several, and a seed that lacks one of those does not count.

    Parameters
    ----------
    found
        Pair -> seed -> scores, of one row and task.
    """
    seeds = sorted({seed for pair in pairs for seed in found.get(pair, ())})
    if not seeds:
        return None
    there = {seed: [pair for pair in pairs if seed in found.get(pair, ())] for seed in seeds}
    chosen = max(there.values(), key=len)  # of several, max takes the first
    return Mean(
        {
            seed: averaged({pair: found[pair][seed] for pair in chosen})
            for seed in seeds
            if set(there[seed]).issuperset(chosen)
        },
        tuple(chosen),
    )


def averaged(scores: Mapping[Pair, Scores]) -> Scores:
    """Mean over the targets of each source, then over the sources."""
    by_source: dict[str, list[Scores]] = {}
    for (src, _), each in scores.items():
        by_source.setdefault(src, []).append(each)
    keys = set.intersection(*(set(each) for each in scores.values()))
    return {key: fmean(fmean(each[key] for each in targets) for targets in by_source.values()) for key in sorted(keys)}


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample (n - 1); None of fewer than two."""
    return stdev(values) if len(values) > 1 else None
