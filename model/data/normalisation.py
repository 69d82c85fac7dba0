"""Means and standard deviations that make utterances of different recordings comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.config import Normalisation

if TYPE_CHECKING:  # prediction needs no store
    from emodna.pipeline.store import FeatureStore

#: A standard deviation is no less: what never changes is divided by this.
MIN_STD: Final = 1e-5
#: Values that are added up at once: few enough to stay in the cache, 256 kB in float64.
_VALUES_TOGETHER: Final = 2**15


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of each value of a frame, (dim,) each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def identity(cls, dim: int) -> Statistics:
        """Statistics that change nothing."""
        return cls(np.zeros(dim, np.float32), np.ones(dim, np.float32))

    @classmethod
    def of_frames(cls, features: NDArray[np.float32]) -> Statistics:
        """Statistics over the frames of one utterance [frames, dim]."""
        return cls(features.mean(axis=0), np.maximum(features.std(axis=0), MIN_STD))

    @classmethod
    def of_corpora(cls, corpora: Sequence[tuple[FeatureStore, NDArray[np.int64]]]) -> Statistics:
        """Statistics over all frames of rows (n,) of each store, in float64; every corpus weighs the same."""
        moments = [_compute_moments(store, rows) for store, rows in corpora]
        mean, square = np.mean(moments, axis=0)
        std = np.sqrt(np.maximum(square - mean**2, MIN_STD**2))
        return cls(mean.astype(np.float32), std.astype(np.float32))


def compute_statistics(
    normalisation: Normalisation, sources: Sequence[tuple[FeatureStore, NDArray[np.int8]]], target: FeatureStore
) -> tuple[list[Statistics | None], Statistics | None]:
    """Statistics of each source's labelled utterances and of the target; None for each utterance's own."""
    labelled = [(store, np.flatnonzero(labels >= 0)) for store, labels in sources]
    match normalisation:
        case "none":
            nothing = Statistics.identity(target.dim)
            return [nothing] * len(sources), nothing
        case "per-utterance":
            return [None] * len(sources), None
        case "per-corpus":
            everything = (target, np.arange(len(target)))
            return [Statistics.of_corpora([each]) for each in labelled], Statistics.of_corpora([everything])
        case "source":
            of_sources = Statistics.of_corpora(labelled)
            return [of_sources] * len(sources), of_sources


def _compute_moments(store: FeatureStore, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and mean square over the frames of some utterances."""
    counts = np.cumsum(store.frames[rows], dtype=np.int64)
    together = max(_VALUES_TOGETHER // store.dim, 1)
    total, squares = np.zeros(store.dim), np.zeros(store.dim)
    for some in np.split(rows, np.flatnonzero(np.diff(counts // together)) + 1):
        features = np.concatenate(store.gather(some), dtype=np.float64)
        total += features.sum(axis=0)
        squares += np.einsum("ij,ij->j", features, features)
    return total / counts[-1], squares / counts[-1]
