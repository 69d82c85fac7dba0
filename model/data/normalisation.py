"""Normalise features by means and standard deviations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from emodna.model.config import Normalisation

if TYPE_CHECKING:  # prediction needs no store
    from emodna.model.data.pooling import PooledStore
    from emodna.pipeline.store import FeatureStore

#: Lower bound of a standard deviation, for features that are constant.
MIN_STD: Final = 1e-5
#: Values per sum: 256 kB in float64, which fits into the CPU's cache.
_CHUNK_VALUES: Final = 2**15


class Frames(Protocol):
    """Features of utterances, such as a store."""

    @property
    def dim(self) -> int:
        """Values per frame."""

    @property
    def frames(self) -> NDArray[np.integer[Any]]:
        """Frames of each utterance, (n,)."""

    def gather(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.float32]]:
        """Return the features (frames, dim) of the utterances in some rows."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation (dim,) of each value of a frame."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def identity(cls, dim: int) -> Statistics:
        """Return statistics that leave features unchanged."""
        return cls(np.zeros(dim, np.float32), np.ones(dim, np.float32))

    @classmethod
    def of_frames(cls, features: NDArray[np.float32]) -> Statistics:
        """Return the statistics of the frames of one utterance (frames, dim)."""
        return cls(features.mean(axis=0), np.maximum(features.std(axis=0), MIN_STD))

    @classmethod
    def of_corpora(cls, corpora: Sequence[tuple[Frames, NDArray[np.int64]]]) -> Statistics:
        """Return the statistics of all frames of some rows (n,) of each store, with equal weight for each corpus."""
        mean, square = np.mean([_compute_moments(store, rows) for store, rows in corpora], axis=0)
        std = np.sqrt(np.maximum(square - mean**2, MIN_STD**2))
        return cls(mean.astype(np.float32), std.astype(np.float32))


def compute_statistics(
    normalisation: Normalisation,
    sources: Sequence[tuple[FeatureStore | PooledStore, NDArray[np.int8]]],
    target: FeatureStore | PooledStore,
) -> tuple[list[Statistics | None], Statistics | None]:
    """Return the statistics for each source, of its labelled utterances, and for the target.

    None stands for the normalisation of each utterance by its own statistics. `per-speaker` uses all utterances of each
    corpus, for those without statistics of their speaker (see `SpeakerStatistics`).
    """
    labelled = [(store, np.flatnonzero(labels >= 0)) for store, labels in sources]
    match normalisation:
        case "none":
            identity = Statistics.identity(target.dim)
            return [identity] * len(sources), identity
        case "per-utterance":
            return [None] * len(sources), None
        case "per-corpus":
            all_of_target = (target, np.arange(len(target)))
            return [Statistics.of_corpora([each]) for each in labelled], Statistics.of_corpora([all_of_target])
        case "per-speaker":
            whole = [(store, np.arange(len(store))) for store in (*(each for each, _ in sources), target)]
            found = [Statistics.of_corpora([each]) for each in whole]
            return [*found[:-1]], found[-1]
        case "source":
            statistics = Statistics.of_corpora(labelled)
            return [statistics] * len(sources), statistics


def _compute_moments(store: Frames, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the mean square over the frames of some utterances, (dim,) float64 each."""
    counts = np.cumsum(store.frames[rows], dtype=np.int64)
    frames_per_chunk = max(_CHUNK_VALUES // store.dim, 1)
    total, squares = np.zeros(store.dim), np.zeros(store.dim)
    for chunk in np.split(rows, np.flatnonzero(np.diff(counts // frames_per_chunk)) + 1):
        features = np.concatenate(store.gather(chunk), dtype=np.float64)
        total += features.sum(axis=0)
        squares += np.einsum("ij,ij->j", features, features)
    return total / counts[-1], squares / counts[-1]
