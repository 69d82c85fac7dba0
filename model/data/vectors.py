"""Vectors that are computed from each utterance of a store once, and kept while the store is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # prediction needs no store
    from emodna.pipeline.store import FeatureStore

#: Most bytes of vectors that are kept for each store: 29 000 utterances of 2 x 1152 values.
_KEPT_BYTES: Final = 256 * 2**20


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
