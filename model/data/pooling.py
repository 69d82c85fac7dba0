"""Pool an utterance over time: the mean and the standard deviation of each value of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.data.vectors import UtteranceVectors

if TYPE_CHECKING:  # prediction needs no store
    import pyarrow as pa

    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.snapshot import Snapshot


def pool_over_time(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean and the standard deviation over all frames of features (frames, dim), as one frame (1, 2 dim).

    The deviation is that of the population, so that of a single frame is 0. Sums are float64.
    """
    mean = np.add.reduce(features, axis=0, dtype=np.float64) / len(features)
    centred = features - mean  # float64
    deviation = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(features))
    return np.concatenate([mean, deviation], dtype=np.float32)[None]


#: Pooled utterances of each open store.
_POOLED: Final = UtteranceVectors(lambda features: pool_over_time(features)[0])


def view_utterances(store: FeatureStore, *, pooled: bool) -> FeatureStore | PooledStore:
    """Return a store as it is, or with pooled utterances."""
    return PooledStore(store) if pooled else store


class PooledStore:
    """A store whose utterances have one frame, their statistics over time. It reads and pools each utterance once.

    It has the members of `FeatureStore` that training uses.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.dim = 2 * store.dim
        """Values per utterance: the means, then the deviations."""
        self.frames: NDArray[np.int32] = np.ones(len(store), np.int32)

    def __len__(self) -> int:
        return len(self.store)

    def gather(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.float32]]:
        """Return the pooled utterances of rows (n,), each (1, dim); raise a StoreError if one is damaged."""
        return list(_POOLED.gather(self.store, rows, self.dim)[:, None])

    @property
    def peak_db(self) -> NDArray[np.float32]:
        """Peak of each utterance in dB, (n,)."""
        return self.store.peak_db

    @property
    def snapshot(self) -> Snapshot:
        """Snapshot of the store."""
        return self.store.snapshot

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the store's content."""
        return self.store.fingerprint

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read only these columns of the index, in row order."""
        return self.store.columns(names)

    def labels(self, task: str) -> NDArray[np.int8]:
        """Return the labels (n,) of a task: 1 high / positive, 0 low / negative, -1 unlabelled."""
        return self.store.labels(task)
