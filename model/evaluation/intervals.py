"""Bootstrap intervals of scores, over utterances and over speakers.

A resample is n units drawn from n units with replacement. A unit is an utterance, or a speaker with all utterances.
The percentile interval (Efron & Tibshirani 1993, chapter 13) contains the middle 95 % of the resamples' scores. The
interval over utterances can be too narrow for new speakers, because utterances of one speaker are similar. The interval
over speakers is the cluster bootstrap (Field & Welsh 2007); it is too narrow for few speakers.
`tests.benchmarks.intervals` measures the coverage of both.

Scores depend on counts only. So units with equal confusions form one kind, and the number of draws of each kind is
multinomial. The result is the exact bootstrap, at a cost that does not grow with the number of utterances.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.metrics import SCORES, compute_scores

#: Percentage of the resamples inside an interval.
LEVEL: Final = 95.0
#: Greatest number of values drawn at a time.
_CHUNK: Final = 1 << 21
#: UAR has no interval if more than this share of the resamples lack a class, because UAR is undefined there.
_MAX_MISSING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Resampling:
    """Parameters of the bootstrap."""

    resamples: int = 10_000
    seed: int = 0


def resample_utterances(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Return the intervals over utterances of the scores of confusions (classes, classes)."""
    # The kinds are in the order of `np.unique`, for equal draws of equal units.
    kinds = np.eye(counts.size, dtype=np.int64)[::-1].reshape(-1, *counts.shape)
    return _compute_intervals(kinds, counts.ravel()[::-1], resampling, "utterance")


def resample_speakers(counts: NDArray[np.int64], resampling: Resampling) -> dict[str, Any]:
    """Return the intervals over speakers of the scores of the summed confusions (speakers, classes, classes)."""
    return _compute_intervals(*np.unique(counts, axis=0, return_counts=True), resampling, "speaker")


def make_empty_intervals(units: int, why: str) -> dict[str, Any]:
    """Return the result without intervals: None for each score, and the reason `why`."""
    return {"n": units, **dict.fromkeys(SCORES), "why": why}


def _compute_intervals(
    kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling, unit: str
) -> dict[str, Any]:
    """Return the intervals over units from the confusions (kinds, classes, classes) and the number (kinds,) of each.

    The result has the number of units `n`, [lower, upper] of each score in percent or None, and the reason `why`.
    """
    units = int(multiplicity.sum())
    if units < 2:
        return make_empty_intervals(units, f"only one {unit}")
    kinds, multiplicity = kinds[multiplicity > 0], multiplicity[multiplicity > 0]
    counts = _resample(kinds, multiplicity, resampling)
    found = compute_scores(counts)
    tails = (50 - LEVEL / 2, 50 + LEVEL / 2)
    intervals = dict(zip(SCORES, np.percentile(found, tails, axis=0).T.tolist(), strict=True))
    if counts.shape[-1] > 2:
        intervals["f1"] = None
    # UAR is undefined in a resample that lacks one of the true classes.
    occurs, expected = counts.sum(axis=2) > 0, np.tensordot(multiplicity, kinds, 1).sum(axis=1) > 0
    if expected.sum() < 2:
        return {"n": units, **intervals, "uar": None, "why": "no UAR: only one class has labels"}
    complete = (occurs >= expected).all(axis=1)
    missing = 1 - complete.mean()
    if missing > _MAX_MISSING:
        why = f"no interval of UAR: {100 * missing:.0f} % of the resamples lack a class that too few {unit}s have"
        return {"n": units, **intervals, "uar": None, "why": why}
    intervals["uar"] = np.percentile(found[complete, SCORES.index("uar")], tails).tolist()
    return {"n": units, **intervals, "why": None}


def _resample(kinds: NDArray[np.int64], multiplicity: NDArray[np.int64], resampling: Resampling) -> NDArray[np.int64]:
    """Return the confusions (resamples, classes, classes)."""
    rng = np.random.default_rng(resampling.seed)
    units, counts = int(multiplicity.sum()), np.empty((resampling.resamples, *kinds.shape[1:]), np.int64)
    rows = max(_CHUNK // len(kinds), 1)
    for start in range(0, resampling.resamples, rows):
        part = counts[start : start + rows]
        draws = rng.multinomial(units, multiplicity / units, size=len(part))  # (resamples, kinds)
        part[:] = (draws @ kinds.reshape(len(kinds), -1)).reshape(part.shape)
    return counts
