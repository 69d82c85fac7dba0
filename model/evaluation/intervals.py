"""How far a score would move had other utterances been recorded, or other speakers: bootstrap intervals.

A resample draws as many units (utterances; or speakers, each with all that he said) as there are, with replacement, and
is scored anew. The interval holds the middle 95 % of the resamples' scores: the percentile interval (Efron & Tibshirani
1993, chapter 13). Utterances of one speaker resemble each other, so that the interval over utterances may be too narrow
for what is said of new speakers: the one over speakers is the cluster bootstrap (Field & Welsh 2007). That in turn is
too narrow where there are few speakers: `tests.benchmarks.intervals` measures how often each holds the truth.

A score depends on counts alone, so a resample is a draw of counts: units with the same confusions are of one kind, and
how often each kind is drawn is multinomial. This is the bootstrap itself, not an approximation of it, and its cost
does not grow with the number of utterances.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import SCORES, scores_of

#: Percent of the resamples that an interval holds.
LEVEL: Final = 95.0
#: Numbers that are drawn at a time, at most.
_AT_A_TIME: Final = 1 << 21
#: UAR has no interval if a class is missing in more than this share of the resamples: its recall is not known there.
_MAX_MISSING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often, and from which seed."""

    resamples: int = 10_000
    seed: int = 0


def over_utterances(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Intervals of the scores of confusions (4,), each of them an utterance's."""
    kinds = np.eye(4, dtype=np.int64)[::-1]  # in the order of `np.unique`, so that equal units give equal draws
    return _intervals(kinds, counts[::-1], resampling, "utterance")


def over_speakers(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Intervals of the scores of all speakers' utterances together, from the confusions (speakers, 4) of each."""
    return _intervals(*np.unique(counts, axis=0, return_counts=True), resampling, "speaker")


def no_intervals(units: int, why: str) -> dict[str, Any]:
    """What stands where there are none, and the reason."""
    return {"n": units, **dict.fromkeys(SCORES), "why": why}


def _intervals(
    kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling, unit: str
) -> dict[str, Any]:
    """Intervals over units, of which so many are of each kind (kinds, 4).

    Returns
    -------
    intervals
        `n` units; of each score [lower, upper] in percent, or null; `why` there is null, if so.
    """
    units = int(multiplicity.sum())
    if units < 2:
        return no_intervals(units, f"one {unit} alone: there is nothing to resample")
    kinds, multiplicity = kinds[multiplicity > 0], multiplicity[multiplicity > 0]
    counts = _resampled(kinds, multiplicity, resampling)
    found = scores_of(counts)
    tails = (50 - LEVEL / 2, 50 + LEVEL / 2)
    intervals = dict(zip(SCORES, np.percentile(found, tails, axis=0).T.tolist(), strict=True))
    complete = _has_all_of(counts, multiplicity @ kinds)
    missing = 1 - complete.mean()
    if missing > _MAX_MISSING:
        why = f"{100 * missing:.0f} % of the resamples lack a class: too few {unit}s have it for an interval of UAR"
        return {"n": units, **intervals, "uar": None, "why": why}
    intervals["uar"] = np.percentile(found[complete, SCORES.index("uar")], tails).tolist()
    return {"n": units, **intervals, "why": None}


def _resampled(kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling) -> NDArray[np.int64]:
    """Confusions (resamples, 4) of each resample."""
    rng = np.random.default_rng(resampling.seed)
    units, counts = int(multiplicity.sum()), np.empty((resampling.resamples, 4), np.int64)
    at_a_time = max(_AT_A_TIME // len(kinds), 1)
    for start in range(0, resampling.resamples, at_a_time):
        part = counts[start : start + at_a_time]
        part[:] = rng.multinomial(units, multiplicity / units, size=len(part)) @ kinds
    return counts


def _has_all_of(counts: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which confusions (n, 4) have every true class that the whole (4,) has."""
    occurs, expected = (each.reshape(-1, 2, 2).sum(axis=2) > 0 for each in (counts, whole))
    complete: NDArray[np.bool_] = (occurs >= expected).all(axis=1)
    return complete
