"""Comparison of methods over scenarios: paired bootstrap, Wilcoxon, Holm, mean ranks, Friedman, Nemenyi.

A scenario is an ordered pair of corpora in one task; its score is the mean over its seeds. Scenarios that share a
corpus are not independent of each other, and all tests here treat them as if they were: p-values and intervals are too
optimistic (30 ordered pairs are made of six corpora). It needs no torch.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.results import Scenario, Scores
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import BenchError
from emodna.model.evaluation.intervals import LEVEL, Resampling

EMO_DNA: Final = MethodSpec("emo-dna")
"""Reference of a comparison unless another is named."""
SOURCE_ONLY: Final = MethodSpec("source-only")
"""The method without adaptation, over which others gain."""

ALPHA: Final = 1 - LEVEL / 100
"""Significance level."""
MIN_SCENARIOS: Final = 6
"""Scenarios below which there is no interval: it would be little else than their lowest and highest difference, and
leave out 0 as soon as all have one sign. Signed ranks cannot reject below it either."""

#: Differences up to which the distribution of the signed ranks is exact; with ties, all 2^n signs are enumerated.
_EXACT: Final = 50
_EXACT_WITH_TIES: Final = 13
#: Decimals, in percent: sums in another order differ behind them, the scores of a million utterances before them.
_DECIMALS: Final = 9


@dataclass(frozen=True, slots=True)
class MatchedScores:
    """Scores that may be compared: every method in the same scenarios, and there with the same seeds."""

    methods: tuple[MethodSpec, ...]
    scenarios: tuple[Scenario, ...]
    scores: NDArray[np.float64]
    """(scenarios, methods), in percent."""
    seeds: Mapping[Scenario, tuple[int, ...]]
    left_out: tuple[str, ...]
    """Scenarios and seeds that some methods have and others lack, in words."""


@dataclass(frozen=True, slots=True)
class SignedRank:
    """Outcome of a Wilcoxon test."""

    p: float | None
    """Two-sided; None if the test could not reject whatever the differences were."""
    differing: int
    """Scenarios that differ at all; the others are left out (zero_method "wilcox")."""
    least_p: float | None
    """The smallest p that so many differences can have, 2^(1 - n)."""
    exact: bool
    """False if p is of the normal approximation."""
    why: str | None
    """Reason why there is no p."""


@dataclass(frozen=True, slots=True)
class MethodComparison:
    """A method against the reference: differences are its score less the reference's, in points."""

    method: MethodSpec
    difference: float
    """Mean over the scenarios."""
    interval: tuple[float, float] | None
    better: int
    """Scenarios in which it is better."""
    worse: int
    test: SignedRank
    p_holm: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks of k methods over n scenarios (Demsar 2006, JMLR 7:1-30)."""

    mean_ranks: tuple[float, ...]
    """(k,); 1 is the best, and equal scores share the mean of their ranks."""
    chi_squared: float | None
    """Friedman's statistic, corrected for ties; None of fewer than three methods or two scenarios."""
    p: float | None
    """By its chi-squared distribution with k - 1 degrees of freedom, which wants more than about ten scenarios."""
    critical_difference: float | None
    """Nemenyi's: mean ranks at least this far apart differ; None where there is nothing to rank."""
    groups: tuple[tuple[int, ...], ...]
    """Methods, best first, no two of which are told apart; only the largest such groups, and none of one method."""

    @property
    def is_attainable(self) -> bool:
        """True if mean ranks could lie as far apart as the critical difference: k - 1 at most."""
        return self.critical_difference is not None and self.critical_difference <= len(self.mean_ranks) - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several methods against a reference, and ranked among each other."""

    matched: MatchedScores
    reference: MethodSpec
    methods: tuple[MethodComparison, ...]
    ranking: Ranking

    @property
    def missing_interval_reason(self) -> str | None:
        """Reason why no method has an interval; None if all have."""
        n = len(self.matched.scenarios)
        if n >= MIN_SCENARIOS:
            return None
        which = "one scenario" if n == 1 else f"only {n} scenarios"
        return f"{which}: a bootstrap of fewer than {MIN_SCENARIOS} says little more than which is the lowest and the highest"


def list_default_methods(experiment: Experiment, scores: Scores) -> list[MethodSpec]:
    """Return the methods that are compared unless some are named: those with scores that are no oracles."""
    return [spec for spec, info in experiment.methods.items() if not info.oracle and spec in scores.methods]


def match_scores(scores: Scores, methods: Iterable[MethodSpec]) -> MatchedScores:
    """Reduce scores to the scenarios and seeds that all of some methods have; raises BenchError if there are none."""
    methods = tuple(dict.fromkeys(methods))
    nothing = np.full(scores.values.shape[1:], np.nan)
    values = dict(zip(scores.methods, scores.values, strict=True))
    own = np.array([values.get(spec, nothing) for spec in methods])
    there = ~np.isnan(own)  # (methods, scenarios, seeds)
    common, some = there.all(axis=0), there.any(axis=0)
    used = np.flatnonzero(common.any(axis=1))
    if not used.size:
        counts = ", ".join(f"{spec}: {count}" for spec, count in zip(methods, there.any(2).sum(1), strict=True))
        raise BenchError(
            f"no scenario is finished by all compared methods with the same seed (scenarios of each: {counts})"
        )
    left_out = []
    for place in np.flatnonzero((some != common).any(axis=1)):
        extra = ", ".join(map(str, itertools.compress(scores.seeds, some[place] & ~common[place])))
        lacking = ", ".join(map(str, itertools.compress(methods, (there[:, place] != some[place]).any(axis=1))))
        task, src, tgt = scores.scenarios[place]
        left_out.append(f"{src} -> {tgt}, {task}, seed {extra}: not of {lacking}")
    means = np.nanmean(np.where(common, own, np.nan)[:, used], axis=2).T
    seeds = {scores.scenarios[place]: tuple(itertools.compress(scores.seeds, common[place])) for place in used}
    return MatchedScores(methods, tuple(seeds), np.round(means, _DECIMALS), seeds, tuple(left_out))


def compare(found: MatchedScores, reference: MethodSpec, resampling: Resampling | None = None) -> Comparison:
    """Compare each of the matched methods with one of them, and rank all."""
    of_method = dict(zip(found.methods, found.scores.T, strict=True))
    other = of_method.pop(reference)
    differences = {spec: np.round(own - other, _DECIMALS) for spec, own in of_method.items()}
    tests = [signed_rank(each) for each in differences.values()]
    methods = []
    for (spec, each), test, p_holm in zip(differences.items(), tests, holm([test.p for test in tests]), strict=True):
        interval = bootstrap_mean_interval(each, resampling or Resampling())
        better, worse = int((each > 0).sum()), int((each < 0).sum())
        methods.append(MethodComparison(spec, float(each.mean()), interval, better, worse, test, p_holm))
    return Comparison(found, reference, tuple(methods), rank(found.scores))


def bootstrap_mean_interval(differences: NDArray[np.float64], resampling: Resampling) -> tuple[float, float] | None:
    """Return the percentile interval of a mean (n,), bootstrapped over its n scenarios; None of fewer than `MIN_SCENARIOS`.

    Differences of a method to another in the same scenario are resampled together: it is the paired bootstrap. The
    same seed draws the same scenarios for any two methods. With a handful of scenarios it is too narrow.
    """
    n = len(differences)
    if n < MIN_SCENARIOS:
        return None
    drawn = np.random.default_rng(resampling.seed).integers(n, size=(resampling.resamples, n))
    low, high = np.percentile(differences[drawn].mean(axis=1), (50 - LEVEL / 2, 50 + LEVEL / 2)).tolist()
    return low, high


def signed_rank(differences: NDArray[np.float64]) -> SignedRank:
    """Test differences (n,) by Wilcoxon's signed ranks about 0, two-sided (Wilcoxon 1945, Biometrics Bulletin 1:80).

    Exact up to 50 differences without ties, or up to 13 with ties; else by the normal approximation.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    nonzero = differences[differences != 0]
    n = len(nonzero)
    if n == 0:
        return SignedRank(None, 0, None, exact=False, why="no scenario differs")
    least = 2.0 ** (1 - n)
    if least > ALPHA:
        which = "one scenario differs" if n == 1 else f"only {n} scenarios differ"
        why = f"{which}: the smallest attainable p is {least:g}, so nothing can be significant"
        return SignedRank(None, n, least, exact=True, why=why)
    ties = len(np.unique(np.abs(nonzero))) < n
    exact = n <= (_EXACT_WITH_TIES if ties else _EXACT)
    method = "approx" if not exact else PermutationMethod() if ties else "exact"
    return SignedRank(float(wilcoxon(nonzero, method=method).pvalue), n, least, exact=exact, why=None)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number (Holm 1979, Scandinavian Journal of Statistics 6:65).

    All comparisons count, including those without a p.
    """
    found: list[float | None] = [None] * len(ps)
    largest = 0.0
    for before, (p, place) in enumerate(sorted((p, place) for place, p in enumerate(ps) if p is not None)):
        largest = max(largest, min(1.0, (len(ps) - before) * p))
        found[place] = largest
    return found


def rank(scores: NDArray[np.float64]) -> Ranking:
    """Rank methods by scores (scenarios, methods), the higher the better."""
    from scipy.stats import friedmanchisquare, rankdata

    n, k = scores.shape
    mean = rankdata(-scores, axis=1).mean(axis=0)
    chi_squared = p = None
    if k >= 3 and n >= 2 and not (scores == scores[:, :1]).all():
        chi_squared, p = map(float, friedmanchisquare(*scores.T))
    difference = nemenyi(k, n) if k > 1 and n else None
    return Ranking(
        tuple(mean.tolist()),
        chi_squared,
        p,
        difference,
        () if difference is None else group_indistinct(mean, difference),
    )


def nemenyi(methods: int, scenarios: int) -> float:
    """Return the critical difference of mean ranks at 5 %: q sqrt(k (k + 1) / (6 n)).

    q is the quantile of the studentized range for k methods and infinitely many degrees of freedom, over sqrt 2.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * scenarios))


def group_indistinct(mean_ranks: NDArray[np.float64], difference: float) -> tuple[tuple[int, ...], ...]:
    """Return the largest groups of methods (by place) whose mean ranks (k,) all lie less than a difference apart."""
    order = np.argsort(mean_ranks, kind="stable").tolist()
    groups: list[tuple[int, ...]] = []
    behind = 0
    for first, best in enumerate(order):
        last = first + sum(mean_ranks[place] - mean_ranks[best] < difference for place in order[first:])
        if last > behind and last - first > 1:
            groups.append(tuple(order[first:last]))
        behind = max(behind, last)
    return tuple(groups)
