"""Whether one method is better than another over several scenarios: bootstrap, signed-rank test, correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.evaluation.intervals import LEVEL, Resampling

#: Error that is allowed for.
ALPHA: Final = 1 - LEVEL / 100
#: Scenarios below which there is no interval: of so few, it is little else than their lowest and highest difference,
#: and leaves out 0 as soon as all are of one sign. It is where the signed ranks begin to be able to reject, too.
LEAST: Final = 6
#: Differences up to which the distribution of the signed ranks is exact; where some are of equal size, all 2^n
#: assignments of signs are gone through instead.
_EXACT: Final = 50
_EXACT_WITH_TIES: Final = 13


@dataclass(frozen=True, slots=True)
class SignedRank:
    """Outcome of a Wilcoxon test."""

    p: float | None
    """Two-sided; None where the test could not reject whatever the differences were, or none is there."""
    differing: int
    """Scenarios that differ at all; the others are left out (zero_method "wilcox")."""
    least_p: float | None
    """The smallest p that so many differences can have, 2^(1 - n)."""
    exact: bool
    """Whether p is of the exact distribution, and not of its normal approximation."""
    why: str | None
    """Why there is no p."""


def mean_interval(differences: NDArray[np.float64], resampling: Resampling) -> tuple[float, float] | None:
    """Percentile interval of a mean (n,), by the bootstrap over its n scenarios; None of fewer than `LEAST`.

    Differences of a method to another in the same scenario are resampled together: it is the paired bootstrap. The
    same seed draws the same scenarios for any two methods. With a handful of scenarios it is too narrow.
    """
    n = len(differences)
    if n < LEAST:
        return None
    drawn = np.random.default_rng(resampling.seed).integers(n, size=(resampling.resamples, n))
    low, high = np.percentile(differences[drawn].mean(axis=1), (50 - LEVEL / 2, 50 + LEVEL / 2)).tolist()
    return low, high


def why_no_interval(scenarios: int) -> str | None:
    """Why there is no interval over so many scenarios; None where there is one."""
    if scenarios >= LEAST:
        return None
    which = "one scenario" if scenarios == 1 else f"only {scenarios} scenarios"
    return f"{which}: a bootstrap of fewer than {LEAST} says little more than which is the lowest and the highest"


def signed_rank(differences: NDArray[np.float64]) -> SignedRank:
    """Wilcoxon's signed-rank test of differences (n,) about 0 (Wilcoxon 1945, Biometrics Bulletin 1:80).

    Two-sided. Exact up to 50 differences, of which no two are of the same size, or up to 13 with such ties; else by the
    normal approximation.
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
    """p-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6:65).

    All comparisons count, those without a p, too: they were looked at.
    """
    found: list[float | None] = [None] * len(ps)
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    largest = 0.0
    for behind, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(ps) - behind) * p))
        found[place] = largest
    return found
