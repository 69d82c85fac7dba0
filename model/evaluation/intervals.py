"""Bootstrap intervals: how far a score would move with other utterances, or other speakers.

A resample draws as many units (utterances; or speakers, with all their utterances) as there are, with replacement, and
is scored anew. The interval holds the middle 95 % of the resamples' scores: the percentile interval (Efron & Tibshirani
1993, chapter 13). Utterances of one speaker resemble each other, so the interval over utterances may be too narrow for
new speakers: the one over speakers is the cluster bootstrap (Field & Welsh 2007). That in turn is too narrow for few
speakers: `tests.benchmarks.intervals` measures how often each holds the truth.

A score depends on counts alone, so a resample is a draw of counts: units with the same confusions are of one kind, and
how often each kind is drawn is multinomial. This is the bootstrap itself, not an approximation of it, and its cost
does not grow with the number of utterances.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import SCORES, compute_scores

#: Percent of the resamples that an interval holds.
LEVEL: Final = 95.0
#: Most numbers that are drawn at a time.
_AT_A_TIME: Final = 1 << 21
#: UAR has no interval if a class is missing in more than this share of the resamples: its recall is not known there.
_MAX_MISSING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Resampling:
    """Number of resamples, and the seed."""

    resamples: int = 10_000
    seed: int = 0


def resample_utterances(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Return intervals of the scores of confusions (4,), over utterances."""
    kinds = np.eye(4, dtype=np.int64)[::-1]  # in the order of `np.unique`, so that equal units give equal draws
    return _compute_intervals(kinds, counts[::-1], resampling, "utterance")


def resample_speakers(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Return intervals of the scores of all utterances together, from each speaker's confusions (speakers, 4)."""
    return _compute_intervals(*np.unique(counts, axis=0, return_counts=True), resampling, "speaker")


def no_intervals(units: int, why: str) -> dict[str, Any]:
    """Return null in place of each interval, and the reason."""
    return {"n": units, **dict.fromkeys(SCORES), "why": why}


def _compute_intervals(
    kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling, unit: str
) -> dict[str, Any]:
    """Return intervals over units, with the number of units of each kind (kinds, 4).

    They are the `n` units; [lower, upper] of each score in percent, or null; and if so, `why`.
    """
    units = int(multiplicity.sum())
    if units < 2:
        return no_intervals(units, f"one {unit} alone: there is nothing to resample")
    kinds, multiplicity = kinds[multiplicity > 0], multiplicity[multiplicity > 0]
    counts = _resample(kinds, multiplicity, resampling)
    found = compute_scores(counts)
    tails = (50 - LEVEL / 2, 50 + LEVEL / 2)
    intervals = dict(zip(SCORES, np.percentile(found, tails, axis=0).T.tolist(), strict=True))
    # UAR needs each true class that the whole has.
    occurs, expected = (each.reshape(-1, 2, 2).sum(axis=2) > 0 for each in (counts, multiplicity @ kinds))
    complete = (occurs >= expected).all(axis=1)
    missing = 1 - complete.mean()
    if missing > _MAX_MISSING:
        why = f"{100 * missing:.0f} % of the resamples lack a class: too few {unit}s have it for an interval of UAR"
        return {"n": units, **intervals, "uar": None, "why": why}
    intervals["uar"] = np.percentile(found[complete, SCORES.index("uar")], tails).tolist()
    return {"n": units, **intervals, "why": None}


def _resample(kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling) -> NDArray[np.int64]:
    """Draw the confusions (resamples, 4) of each resample."""
    rng = np.random.default_rng(resampling.seed)
    units, counts = int(multiplicity.sum()), np.empty((resampling.resamples, 4), np.int64)
    at_a_time = max(_AT_A_TIME // len(kinds), 1)
    for start in range(0, resampling.resamples, at_a_time):
        part = counts[start : start + at_a_time]
        part[:] = rng.multinomial(units, multiplicity / units, size=len(part)) @ kinds
    return counts
