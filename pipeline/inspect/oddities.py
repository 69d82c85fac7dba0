"""Utterances that are unlike the rest of their store: silent, cut off in frequency, far out."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.inspect.moments import Utterances
from emodna.pipeline.inspect.spectra import BAND_LIMITS, BEYOND
from emodna.pipeline.store import FeatureStore

#: Robust z-score from which on an utterance is an outlier. Of a normal distribution, one in five hundred million.
OUTLIER: Final = 6.0
#: Least that the usual distance from the median counts as, of log duration (5 %), peak (dB) and coefficients: where all
#: are alike, what differs by less is no outlier.
_LEAST_USUAL: Final = (0.05, 1.0, 1.0)
#: dB of level over time that no voice stays below.
_FLAT_DB: Final = 0.5
#: dB above the floor: less than this beyond a limit is nothing.
_NOTHING_DB: Final = 1.0
#: dB from floor to peak below which a recording is so quiet that high frequencies may fall below the floor.
_ENOUGH_HEADROOM: Final = 70.0
#: A limit says something only of a file whose sample rate promises so many times as much.
_PROMISED: Final = 1.2
#: Share of the store up to which a sample rate or a number of channels is an exception.
_EXCEPTION: Final = 0.1


def is_silent(store: FeatureStore) -> NDArray[np.bool_]:
    """(n,) whether all samples of an utterance are zero."""
    silent: NDArray[np.bool_] = store.peak_db <= SILENCE_DB
    return silent


def is_flat(store: FeatureStore, found: Utterances) -> NDArray[np.bool_]:
    """(n,) whether an utterance that is not silent keeps one level: a tone, a hum, steady noise."""
    flat: NDArray[np.bool_] = (found.spread < _FLAT_DB) & ~is_silent(store) & (store.frames > 1)
    return flat


def band_limits(store: FeatureStore, found: Utterances, features: FeatureSet) -> NDArray[np.float64]:
    """(n,) lowest limit in Hz beyond which a file holds nothing though its sample rate has room for it; else nan."""
    rates = store.columns(["sample_rate"])["sample_rate"].to_numpy()
    judged = (found.headroom >= _ENOUGH_HEADROOM) & ~is_flat(store, found)
    limits = np.full(len(store), np.nan)
    for limit, above in reversed(list(zip(BAND_LIMITS, found.beyond.T, strict=True))):
        if BEYOND * limit < features.sample_rate / 2:
            limits[judged & (above < _NOTHING_DB) & (rates / 2 >= _PROMISED * limit)] = limit
    return limits


def exceptions(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Rows whose value is so rare that it is an exception."""
    each, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    rare = counts <= _EXCEPTION * len(values)
    return np.flatnonzero(rare[index]) if len(each) > 1 else np.empty(0, np.intp)


def outliers(store: FeatureStore, found: Utterances) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows that are far out, with what of them is furthest out, the furthest first.

    Compared are the logarithm of the duration, the peak, and the mean of c0 to c12, each by its robust z-score: the
    distance from the median over 1.4826 times the median distance (of a normal distribution, the standard deviation).
    Silent utterances are left out.
    """
    duration = store.columns(["duration"])["duration"].to_numpy()
    names = ["duration", "peak_db", *(f"c{number}" for number in range(found.cepstra.shape[1]))]
    values = np.column_stack([duration, store.peak_db, found.cepstra]).astype(np.float64)
    compared = values.copy()
    compared[:, 0] = np.log(np.maximum(duration, 1e-3))
    heard = ~is_silent(store)
    if not heard.any():
        return
    median = np.median(compared[heard], axis=0)
    apart = np.abs(compared - median)
    least = [*_LEAST_USUAL[:2], *[_LEAST_USUAL[2]] * found.cepstra.shape[1]]
    scores = (compared - median) / np.maximum(1.4826 * np.median(apart[heard], axis=0), least)
    scores[~heard] = 0.0
    furthest = np.abs(scores).argmax(axis=1)
    largest = scores[np.arange(len(scores)), furthest]
    for row in np.argsort(-np.abs(largest), kind="stable"):
        if abs(largest[row]) < OUTLIER:
            return
        figure = furthest[row]
        yield int(row), {"figure": names[figure], "value": float(values[row, figure]), "z": float(largest[row])}
