"""How the features of two stores differ."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.inspect.moments import Moments, Utterances

#: Utterances of a store that are shown as points.
_POINTS: Final = 2000
_SEED: Final = 0


def mean_difference(one: Moments, other: Moments) -> NDArray[np.float64]:
    """(dim,) standardised mean difference of two stores: how many deviations the second lies above the first.

    The deviation is the root of the mean of the two variances (Cohen's d of groups of one size).
    """
    pooled = np.sqrt((one.std**2 + other.std**2) / 2)
    return np.divide(other.mean - one.mean, pooled, out=np.zeros_like(pooled), where=pooled > 0)


def plane(parts: list[Utterances]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]], list[float]]:
    """Principal plane of the utterances of some stores, each represented by its mean c0 to c12.

    The coefficients are standardised over all of them, so that c0 does not drown the others. Of a large store some
    utterances are drawn by lot, the same each time.

    Returns
    -------
    rows
        Of the utterances shown, of each store.
    points
        (rows, 2) of each store.
    explained
        Share of the variance along the two axes.
    """
    from sklearn.decomposition import PCA

    random = np.random.default_rng(_SEED)
    rows = [np.sort(random.permutation(len(part.cepstra))[:_POINTS]) for part in parts]
    values = np.vstack([part.cepstra[chosen] for part, chosen in zip(parts, rows, strict=True)]).astype(np.float64)
    if len(values) < 2:
        return rows, [np.zeros((len(chosen), 2)) for chosen in rows], [0.0, 0.0]
    scaled = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    if not scaled.any():
        return rows, [np.zeros((len(chosen), 2)) for chosen in rows], [0.0, 0.0]
    fitted = PCA(2, svd_solver="full").fit(scaled)
    points = np.split(fitted.transform(scaled), np.cumsum([len(chosen) for chosen in rows])[:-1])
    explained: list[float] = fitted.explained_variance_ratio_.tolist()
    return rows, points, explained


def described(rows: NDArray[np.int64], points: NDArray[np.float64], ids: list[str]) -> dict[str, Any]:
    """Points of one store as plain values."""
    return {"ids": [ids[row] for row in rows], "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
