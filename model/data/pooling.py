"""Pool each utterance over time once: the mean and the standard deviation of each value of its frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # prediction needs no store
    import pyarrow as pa

    from emodna.pipeline.store import FeatureStore
    from emodna.pipeline.store.snapshot import Snapshot
    from emodna.pipeline.tasks import Task


#: Most bytes of vectors that are kept for each store: 29 000 utterances of 2 x 1152 values.
_KEPT_BYTES: Final = 256 * 2**20


def pool_over_time(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean and the standard deviation over all frames of features (frames, dim), as one frame (1, 2 dim).

    The deviation is that of the population, so that of a single frame is 0. Sums are float64.
    """
    mean = np.add.reduce(features, axis=0, dtype=np.float64) / len(features)
    centred = features - mean  # float64
    deviation = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(features))
    return np.concatenate([mean, deviation], dtype=np.float32)[None]


class UtteranceVectors:
    """Vectors of utterances, by a function of their features (frames, dim).

    All runs on an open store share its vectors. Vectors of a store that would need too much memory are computed again
    at each use.
    """

    def __init__(self, compute: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._compute = compute
        self._kept: WeakKeyDictionary[FeatureStore, tuple[NDArray[np.float32], NDArray[np.bool_]]] = WeakKeyDictionary()

    def gather(self, store: FeatureStore, rows: NDArray[np.int64], width: int) -> NDArray[np.float32]:
        """Return the vectors (n, width) of rows (n,); raise a StoreError if an utterance is damaged."""
        if 4 * width * len(store) > _KEPT_BYTES:
            return np.stack([self._compute(features) for features in store.gather(rows)])
        if (kept := self._kept.get(store)) is None:
            empty = np.empty((len(store), width), np.float32), np.zeros(len(store), bool)
            kept = self._kept.setdefault(store, empty)
        vectors, is_known = kept
        new = rows[~is_known[rows]]
        for row, features in zip(new.tolist(), store.gather(new), strict=True):
            vectors[row] = self._compute(features)
            is_known[row] = True  # after its values: threads share a store
        return vectors[rows]


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

    def labels(self, task: Task | str) -> NDArray[np.int8]:
        """Return the labels (n,) of a task, -1 for none, as `FeatureStore.labels`."""
        return self.store.labels(task)
