"""Pool an utterance over time: the mean and the standard deviation of each value of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # prediction needs no store
    import pyarrow as pa

    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.snapshot import Snapshot

#: Most bytes of pooled utterances that are kept for each store: 29 000 utterances of 2 x 1152 values.
_KEPT_BYTES: Final = 256 * 2**20


def pool_over_time(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean and the standard deviation over all frames of features (frames, dim), as one frame (1, 2 dim).

    The deviation is that of the population, so that of a single frame is 0. Sums are float64.
    """
    mean = np.add.reduce(features, axis=0, dtype=np.float64) / len(features)
    centred = features - mean  # float64
    deviation = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(features))
    return np.concatenate([mean, deviation], dtype=np.float32)[None]


def view_utterances(store: FeatureStore, *, pooled: bool) -> FeatureStore | PooledStore:
    """Return a store as it is, or with pooled utterances."""
    return PooledStore(store) if pooled else store


class PooledStore:
    """A store whose utterances have one frame, their statistics over time. It reads and pools each utterance once.

    It has the members of `FeatureStore` that training uses. A store of which too much memory would be needed is pooled
    again at each use.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.dim = 2 * store.dim
        """Values per utterance: the means, then the deviations."""
        self.frames: NDArray[np.int32] = np.ones(len(store), np.int32)
        self._is_kept = np.zeros(len(store), bool)
        self._kept: NDArray[np.float32] | None = None
        if 4 * self.dim * len(store) <= _KEPT_BYTES:
            self._kept = np.empty((len(store), self.dim), np.float32)

    def __len__(self) -> int:
        return len(self.store)

    def gather(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.float32]]:
        """Return the pooled utterances of rows (n,), each (1, dim); raise a StoreError if one is damaged."""
        if self._kept is None:
            return [pool_over_time(each) for each in self.store.gather(rows)]
        new = rows[~self._is_kept[rows]]
        for row, features in zip(new.tolist(), self.store.gather(new), strict=True):
            self._kept[row] = pool_over_time(features)
            self._is_kept[row] = True  # after its values: threads share a store
        return list(self._kept[rows][:, None])

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
