"""Many methods over many scenarios: mean ranks, Friedman's test and Nemenyi's critical difference.

Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", JMLR 7:1-30.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.comparing.significance import ALPHA


@dataclass(frozen=True, slots=True)
class Ranking:
    """How k methods stand over n scenarios."""

    mean_ranks: tuple[float, ...]
    """(k,); 1 is the best, and equal scores share the mean of their ranks."""
    chi_squared: float | None
    """Friedman's statistic, corrected for ties; None of fewer than three methods or two scenarios."""
    p: float | None
    """By its chi-squared distribution with k - 1 degrees of freedom, which wants more than about ten scenarios."""
    critical_difference: float | None
    """Nemenyi's: mean ranks that are at least so far apart differ; None where there is nothing to rank."""
    groups: tuple[tuple[int, ...], ...]
    """Methods, best first, no two of which are told apart; of each only the largest, and none of one method alone."""

    @property
    def attainable(self) -> bool:
        """Whether any two mean ranks could lie as far apart as the critical difference: k - 1 at most."""
        return self.critical_difference is not None and self.critical_difference <= len(self.mean_ranks) - 1


def ranking(scores: NDArray[np.float64]) -> Ranking:
    """Rank methods by scores (scenarios, methods), the higher the better."""
    ranks = ranks_of(scores)
    n, k = ranks.shape
    mean = ranks.mean(axis=0)
    chi_squared, p = friedman(scores) or (None, None)
    difference = nemenyi(k, n) if k > 1 and n else None
    groups = () if difference is None else alike(mean, difference)
    return Ranking(tuple(mean.tolist()), chi_squared, p, difference, groups)


def ranks_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks (scenarios, methods) in each scenario: 1 is the highest score, ties share the mean of theirs."""
    from scipy.stats import rankdata

    found: NDArray[np.float64] = rankdata(-scores, axis=1)
    return found


def friedman(scores: NDArray[np.float64]) -> tuple[float, float] | None:
    """Friedman's statistic of scores (scenarios, methods), and its p; None where it has no meaning."""
    from scipy.stats import friedmanchisquare

    n, k = scores.shape
    if k < 3 or n < 2 or (scores == scores[:, :1]).all():
        return None
    statistic, p = friedmanchisquare(*scores.T)
    return float(statistic), float(p)


def nemenyi(methods: int, scenarios: int) -> float:
    """Critical difference of mean ranks at 5 %: q sqrt(k (k + 1) / (6 n)).

    q is the quantile of the studentized range for k methods and infinitely many degrees of freedom, over sqrt 2.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * scenarios))


def alike(mean_ranks: NDArray[np.float64], difference: float) -> tuple[tuple[int, ...], ...]:
    """Largest groups of methods (by place) whose mean ranks (k,) all lie less than a difference apart."""
    order = np.argsort(mean_ranks, kind="stable").tolist()
    groups: list[tuple[int, ...]] = []
    behind = 0
    for first, best in enumerate(order):
        end = next((i for i in range(first, len(order)) if mean_ranks[order[i]] - mean_ranks[best] >= difference), None)
        last = len(order) if end is None else end
        if last > behind and last - first > 1:
            groups.append(tuple(order[first:last]))
        behind = max(behind, last)
    return tuple(groups)
