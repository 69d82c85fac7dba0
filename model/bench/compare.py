"""Comparison of methods over scenarios: paired bootstrap, Wilcoxon, Holm, mean ranks, Friedman, Nemenyi.

A scenario is an ordered pair of corpora in one task. Its score is the mean over the seeds. All tests here assume
independent scenarios, but scenarios that share a corpus are dependent (six corpora make 30 ordered pairs). So p-values
and intervals are too optimistic. This module needs no torch.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.results import Exposures, Scenario, Scores
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from emodna.model.evaluation.intervals import LEVEL, Resampling

EMO_DNA: Final = MethodSpec("emo-dna")
"""Default reference of a comparison."""
SOURCE_ONLY: Final = MethodSpec("source-only")
"""The method without adaptation, the reference of gains."""


def find_source_only(method: MethodSpec) -> MethodSpec:
    """Return Source Only on the feature set and with the target labels of a method: gains are over the same data."""
    return SOURCE_ONLY.on(method.feature_set).set("target_labels", method.overrides.get("target_labels"))


ALPHA: Final = 1 - LEVEL / 100
"""Significance level."""
MIN_SCENARIOS: Final = 6
"""Smallest number of scenarios for an interval. A bootstrap of fewer gives little more than their range."""

#: Most differences for an exact p-value. With ties, the test enumerates all 2^n signs.
_MAX_EXACT: Final = 50
_MAX_EXACT_WITH_TIES: Final = 13
#: Decimals of scores in percent. They drop rounding errors, and keep differences of one in a million utterances.
_DECIMALS: Final = 9


@dataclass(frozen=True, slots=True)
class MatchedScores:
    """Scores of several methods in the same scenarios, with the same seeds in each scenario."""

    methods: tuple[MethodSpec, ...]
    scenarios: tuple[Scenario, ...]
    scores: NDArray[np.float64]
    """Scores (scenarios, methods) in percent."""
    seeds: Mapping[Scenario, tuple[int, ...]]
    left_out: tuple[str, ...]
    """Scenarios and seeds that some methods lack, in words."""
    exposures: Exposures = field(default_factory=dict)
    """Exposures of the scenarios' targets by method; methods without one are missing."""


@dataclass(frozen=True, slots=True)
class SignedRank:
    """Result of a Wilcoxon signed-rank test."""

    p: float | None
    """Two-sided p-value; None if so few differences cannot be significant."""
    differing: int
    """Scenarios with a difference; the test leaves out the others (zero_method "wilcox")."""
    least_p: float | None
    """Smallest p-value that n differences can have, 2^(1 - n)."""
    exact: bool
    """False if p comes from the normal approximation."""
    why: str | None
    """Reason for a missing p-value."""


@dataclass(frozen=True, slots=True)
class MethodComparison:
    """Differences of a method's scores to those of the reference, in points."""

    method: MethodSpec
    difference: float
    """Mean difference over the scenarios."""
    interval: tuple[float, float] | None
    """Interval of the mean difference; None for few scenarios."""
    better: int
    """Number of scenarios in which the method is better."""
    worse: int
    test: SignedRank
    p_holm: float | None
    """p-value of the test with Holm's correction."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks of k methods over n scenarios (Demsar 2006, JMLR 7:1-30)."""

    mean_ranks: tuple[float, ...]
    """Mean ranks (k,); 1 is the best. Equal scores share the mean of their ranks."""
    chi_squared: float | None
    """Friedman's statistic, corrected for ties; None for fewer than three methods or two scenarios."""
    p: float | None
    """p-value of Friedman's test (chi-squared, k - 1 degrees of freedom), for more than about ten scenarios."""
    critical_difference: float | None
    """Nemenyi's critical difference of mean ranks; None for fewer than two methods or no scenario."""
    groups: tuple[tuple[int, ...], ...]
    """Indices of methods without a significant difference: the largest groups of two or more, best method first."""

    @property
    def is_attainable(self) -> bool:
        """True if mean ranks, at most k - 1 apart, can reach the critical difference."""
        return self.critical_difference is not None and self.critical_difference <= len(self.mean_ranks) - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of methods with a reference, and their ranking."""

    matched: MatchedScores
    reference: MethodSpec
    methods: tuple[MethodComparison, ...]
    ranking: Ranking

    @property
    def missing_interval_reason(self) -> str | None:
        """Reason for missing intervals; None if all methods have one."""
        n = len(self.matched.scenarios)
        if n >= MIN_SCENARIOS:
            return None
        count = "one scenario" if n == 1 else f"only {n} scenarios"
        return f"{count}: a bootstrap needs at least {MIN_SCENARIOS}"


def list_default_methods(experiment: Experiment, scores: Scores) -> list[MethodSpec]:
    """Return the methods to compare by default: all with scores that use no target labels."""
    known = experiment.methods.items()
    return [spec for spec, info in known if not info.uses_target_labels and spec in scores.methods]


def match_scores(scores: Scores, methods: Iterable[MethodSpec]) -> MatchedScores:
    """Reduce scores to the scenarios and seeds that all methods have; raise a BenchError if there are none."""
    methods = tuple(dict.fromkeys(methods))
    no_scores = np.full(scores.values.shape[1:], np.nan)
    by_method = dict(zip(scores.methods, scores.values, strict=True))
    values = np.array([by_method.get(spec, no_scores) for spec in methods])  # (methods, scenarios, seeds)
    present = ~np.isnan(values)
    common, some = present.all(axis=0), present.any(axis=0)
    common_scenarios = np.flatnonzero(common.any(axis=1))
    if not common_scenarios.size:
        counts = ", ".join(f"{spec}: {count}" for spec, count in zip(methods, present.any(2).sum(1), strict=True))
        raise BenchError(f"the methods have no finished scenario and seed in common; finished scenarios: {counts}")
    left_out = []
    for index in np.flatnonzero((some != common).any(axis=1)):
        extra = ", ".join(map(str, itertools.compress(scores.seeds, some[index] & ~common[index])))
        lacking = ", ".join(map(str, itertools.compress(methods, (present[:, index] != some[index]).any(axis=1))))
        task, src, tgt = scores.scenarios[index]
        left_out.append(f"{src} -> {tgt}, {task}, seed {extra}: missing for {lacking}")
    means = np.nanmean(np.where(common, values, np.nan)[:, common_scenarios], axis=2).T
    seeds = {scores.scenarios[i]: tuple(itertools.compress(scores.seeds, common[i])) for i in common_scenarios}
    targets = {target for _, _, target in seeds}
    exposures = {
        spec: {target: exposure for target, exposure in own.items() if target in targets}
        for spec, own in scores.exposures.items()
        if spec in methods and own.keys() & targets
    }
    return MatchedScores(methods, tuple(seeds), np.round(means, _DECIMALS), seeds, tuple(left_out), exposures)


def compare(matched: MatchedScores, reference: MethodSpec, resampling: Resampling | None = None) -> Comparison:
    """Compare each method with the reference, one of them, and rank all."""
    by_method = dict(zip(matched.methods, matched.scores.T, strict=True))
    baseline = by_method.pop(reference)
    differences = {spec: np.round(own - baseline, _DECIMALS) for spec, own in by_method.items()}
    tests = [signed_rank(each) for each in differences.values()]
    methods = []
    for (spec, each), test, p_holm in zip(differences.items(), tests, holm([test.p for test in tests]), strict=True):
        interval = bootstrap_mean_interval(each, resampling or Resampling())
        better, worse = int((each > 0).sum()), int((each < 0).sum())
        methods.append(MethodComparison(spec, float(each.mean()), interval, better, worse, test, p_holm))
    return Comparison(matched, reference, tuple(methods), rank(matched.scores))


def bootstrap_mean_interval(differences: NDArray[np.float64], resampling: Resampling) -> tuple[float, float] | None:
    """Bootstrap the percentile interval of the mean of differences (n,); None for n below `MIN_SCENARIOS`.

    This is the paired bootstrap: it resamples scenarios, each with the difference of two methods. The seed alone
    determines the resamples, so all methods share them. Intervals from few scenarios are too narrow.
    """
    n = len(differences)
    if n < MIN_SCENARIOS:
        return None
    resamples = np.random.default_rng(resampling.seed).integers(n, size=(resampling.resamples, n))
    low, high = np.percentile(differences[resamples].mean(axis=1), (50 - LEVEL / 2, 50 + LEVEL / 2)).tolist()
    return low, high


def signed_rank(differences: NDArray[np.float64]) -> SignedRank:
    """Test whether differences (n,) are symmetric about 0, two-sided (Wilcoxon 1945, Biometrics Bulletin 1:80).

    The p-value is exact up to 50 differences without ties or 13 with ties, else from the normal approximation.
    """
    from scipy.stats import PermutationMethod, wilcoxon

    nonzero = differences[differences != 0]
    n = len(nonzero)
    if n == 0:
        return SignedRank(None, 0, None, exact=False, why="no scenario differs")
    least = 2.0 ** (1 - n)
    if least > ALPHA:
        count = "one scenario differs" if n == 1 else f"only {n} scenarios differ"
        why = f"{count}: the smallest attainable p is {least:g}, so nothing can be significant"
        return SignedRank(None, n, least, exact=True, why=why)
    ties = len(np.unique(np.abs(nonzero))) < n
    exact = n <= (_MAX_EXACT_WITH_TIES if ties else _MAX_EXACT)
    method = "approx" if not exact else PermutationMethod() if ties else "exact"
    return SignedRank(float(wilcoxon(nonzero, method=method).pvalue), n, least, exact=exact, why=None)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for multiple comparisons (Holm 1979, Scandinavian Journal of Statistics 6:65).

    Comparisons without a p-value count as well.
    """
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for before, (p, index) in enumerate(sorted((p, index) for index, p in enumerate(ps) if p is not None)):
        largest = max(largest, min(1.0, (len(ps) - before) * p))
        corrected[index] = largest
    return corrected


def rank(scores: NDArray[np.float64]) -> Ranking:
    """Rank methods by scores (scenarios, methods); higher is better."""
    from scipy.stats import friedmanchisquare, rankdata

    n, k = scores.shape
    mean = rankdata(-scores, axis=1).mean(axis=0)
    chi_squared = p = None
    if k >= 3 and n >= 2 and not (scores == scores[:, :1]).all():
        chi_squared, p = map(float, friedmanchisquare(*scores.T))
    difference = nemenyi(k, n) if k > 1 and n else None
    groups = () if difference is None else group_indistinct(mean, difference)
    return Ranking(tuple(mean.tolist()), chi_squared, p, difference, groups)


def nemenyi(methods: int, scenarios: int) -> float:
    """Return the critical difference of mean ranks at 5 %: q sqrt(k (k + 1) / (6 n)).

    q is the quantile of the studentized range for k methods and infinite degrees of freedom, divided by sqrt 2.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * scenarios))


def group_indistinct(mean_ranks: NDArray[np.float64], difference: float) -> tuple[tuple[int, ...], ...]:
    """Return the largest groups of method indices whose mean ranks (k,) are less than `difference` apart."""
    order = np.argsort(mean_ranks, kind="stable").tolist()
    groups: list[tuple[int, ...]] = []
    end = 0
    for first, best in enumerate(order):
        last = first + sum(mean_ranks[index] - mean_ranks[best] < difference for index in order[first:])
        if last > end and last - first > 1:
            groups.append(tuple(order[first:last]))
        end = max(end, last)
    return tuple(groups)
