"""Methods against each other over scenarios: ordered pairs of corpora by tasks.

A scenario's score is the mean over its seeds. Scenarios that share a corpus are not independent of each other, and all
tests here take them as if they were: their p-values and intervals are too optimistic (30 ordered pairs are made of six
corpora).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.comparing.ranks import Ranking, ranking
from emodna.model.bench.comparing.significance import SignedRank, holm, mean_interval, signed_rank, why_no_interval
from emodna.model.bench.scores import Scenario, ScenarioScores
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import BenchError
from emodna.model.evaluation.intervals import Resampling

#: What others are compared with unless told otherwise, and what they gain over.
EMO_DNA: Final = MethodSpec("emo-dna")
SOURCE_ONLY: Final = MethodSpec("source-only")
#: In percent; the scores of a million utterances lie further apart.
_DECIMALS: Final = 9


@dataclass(frozen=True, slots=True)
class Matched:
    """Scores that may be compared: every method in the same scenarios, and there with the same seeds."""

    rows: tuple[MethodSpec, ...]
    scenarios: tuple[Scenario, ...]
    scores: NDArray[np.float64]
    """(scenarios, rows), in percent."""
    seeds: Mapping[Scenario, tuple[int, ...]]
    left_out: tuple[str, ...]
    """What some methods have and others lack, in words."""


@dataclass(frozen=True, slots=True)
class Against:
    """A method against another: differences are its score less the other's, in points."""

    method: MethodSpec
    mean: float
    """Of the difference."""
    interval: tuple[float, float] | None
    wins: int
    """Scenarios in which it is better."""
    losses: int
    test: SignedRank
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several methods against one, and among each other."""

    matched: Matched
    against: MethodSpec
    methods: tuple[Against, ...]
    ranking: Ranking

    @property
    def why_no_interval(self) -> str | None:
        """Why no method has an interval; None where all have."""
        return why_no_interval(len(self.matched.scenarios))


def usual_rows(bench: Experiment, scores: ScenarioScores) -> list[MethodSpec]:
    """Rows that are compared where none is named: those that have scores and are no oracles."""
    return [row for row, named in bench.methods.items() if not named.oracle and scores.get(row)]


def matched(scores: ScenarioScores, rows: Iterable[MethodSpec], metric: str) -> Matched:
    """What may be compared of some rows.

    Raises
    ------
    BenchError
        There is no scenario in which all of them have a seed in common.
    """
    rows = tuple(dict.fromkeys(rows))
    asked = sorted({scenario for row in rows for scenario in scores.get(row, ())})
    seeds: dict[Scenario, tuple[int, ...]] = {}
    left_out: list[str] = []
    for scenario in asked:
        have = {row: set(scores.get(row, {}).get(scenario, ())) for row in rows}
        common = set.intersection(*have.values())
        if common:
            seeds[scenario] = tuple(sorted(common))
        if lacking := [str(row) for row, own in have.items() if own != set.union(*have.values())]:
            extra = sorted(set.union(*have.values()) - common)
            left_out.append(f"{in_words(scenario)}, seed {', '.join(map(str, extra))}: not of {', '.join(lacking)}")
    if not seeds:
        counts = ", ".join(f"{row}: {len(scores.get(row, ()))}" for row in rows)
        raise BenchError(
            f"no scenario is finished by all compared methods with the same seed (scenarios of each: {counts})"
        )
    table = [[_mean(scores[row][scenario], own, metric) for row in rows] for scenario, own in seeds.items()]
    # Scores are floats, of sums in another order: what is equal has to be equal for ranks, and no difference.
    return Matched(rows, tuple(seeds), np.round(np.array(table), _DECIMALS), seeds, tuple(left_out))


def compare(found: Matched, against: MethodSpec, resampling: Resampling | None = None) -> Comparison:
    """Each of the matched methods against one of them, and all ranked."""
    other = found.scores[:, found.rows.index(against)]
    rows = [row for row in found.rows if row != against]
    differences = [np.round(found.scores[:, found.rows.index(row)] - other, _DECIMALS) for row in rows]
    tests = [signed_rank(each) for each in differences]
    methods = (
        Against(
            row,
            float(each.mean()),
            mean_interval(each, resampling or Resampling()),
            int((each > 0).sum()),
            int((each < 0).sum()),
            test,
            corrected,
        )
        for row, each, test, corrected in zip(rows, differences, tests, holm([test.p for test in tests]), strict=True)
    )
    return Comparison(found, against, tuple(methods), ranking(found.scores))


def in_words(scenario: Scenario) -> str:
    """A scenario as people read it."""
    task, src, tgt = scenario
    return f"{src} -> {tgt}, {task}"


def _mean(by_seed: Mapping[int, Mapping[str, float]], seeds: Sequence[int], metric: str) -> float:
    return fmean(by_seed[seed][metric] for seed in seeds)
