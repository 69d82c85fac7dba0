"""Open, read and verify a feature store. The write side is `shards`."""

import fcntl
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.emotions import TASKS
from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import layout
from emodna.pipeline.store.index import Index, list_side_files, read_checksummed
from emodna.pipeline.store.shards import compute_feature_crc, map_shard
from emodna.pipeline.store.snapshot import Snapshot, encode_document, read_snapshot, verify_file

#: Ids that a mistyped one is compared with, at most: a second's work.
_IDS_TO_COMPARE: Final = 20_000


class FeatureStore:
    """A snapshot of one corpus's features and labels, at the path <cache>/<corpus>/<feature-set>.

    `len(store)` utterances; `store[i]` are the features of utterance i, float32 [frames, dim], read-only and
    memory-mapped; `store.table` is the whole index as a pyarrow table, row i describing utterance i. The snapshot stays
    readable while later runs of emodna-prep commit new ones. A forked process goes on with it; one that gets it pickled
    opens the same snapshot.

    Raises `StoreError`: no store, or a damaged one; from `store[i]`, features that do not match their checksum.

    Examples
    --------
    >>> store = FeatureStore("cache/ravdess/mfcc40-22050hz-9b2f6a10")  # doctest: +SKIP
    >>> store[0].shape  # doctest: +SKIP
    (143, 40)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        _hold_for_reading(self)
        snapshot = read_snapshot(self.path)
        while True:
            try:
                self._open(snapshot)
                break
            except StoreError:
                # Where there are no locks, another run may have replaced what store.json named a moment ago.
                earlier, snapshot = snapshot, read_snapshot(self.path)
                if snapshot == earlier:
                    raise

    def _open(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._index = Index(self.path, snapshot)
        numeric = self._index.numeric
        self.frames: NDArray[np.int32] = numeric["frames"]
        """(n,) number of frames of each utterance."""
        self.peak_db: NDArray[np.float32] = numeric["peak_db"]
        """(n,) top of each utterance's log-mel range in dB, or of its waveform."""
        self._labels: dict[str, NDArray[np.int8]] = {task: numeric[task] for task in TASKS}
        self._shard, self._offset, self._crc = numeric["shard"], numeric["offset"], numeric["feature_crc"]
        self._shards = self.snapshot.shards
        self._maps: dict[int, NDArray[np.float32]] = {}
        self._checked_rows = np.zeros(len(self.frames), dtype=bool)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "snapshot": self.snapshot}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        _hold_for_reading(self)
        self._open(state["snapshot"])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"utterance {row} of {len(self)}")
        row %= len(self)
        features = self._read(row)
        if not self._checked_rows[row]:
            self._check(row, features)
            self._checked_rows[row] = True
        return features

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    def gather(self, rows: NDArray[np.integer[Any]]) -> list[NDArray[np.float32]]:
        """Return the features of rows (n,), as `store[row]` gives them one by one at five times the cost."""
        for row in rows[~self._checked_rows[rows]].tolist():
            self[row]  # maps its shard, too
        starts = self._offset[rows]
        places = zip(self._shard[rows].tolist(), starts.tolist(), (starts + self.frames[rows]).tolist(), strict=True)
        return [self._maps[shard][start:end] for shard, start, end in places]

    def labels(self, task: str) -> NDArray[np.int8]:
        """Return the labels (n,) of a task: 1 high / positive, 0 low / negative, -1 unlabelled."""
        return self._labels[task]

    @property
    def dim(self) -> int:
        """Values per frame."""
        return int(self[0].shape[1])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        return self.snapshot.fingerprint

    @cached_property
    def table(self) -> pa.Table:
        """The whole index, in order; read when first asked for."""
        return self._index.columns(None)

    @cached_property
    def ids(self) -> list[str]:
        """Utterance ids, in order; read when first asked for."""
        return self.column("id")

    def column(self, name: str) -> list[Any]:
        """Read one column of the index as Python values, in order."""
        values: list[Any] = self.columns([name])[name].to_pylist()
        return values

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return some columns of the index, in order, and read no others."""
        return self._index.columns(names)

    def blocks(self, values: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Read everything once, in order: runs of utterances that lie end to end in one shard, each checked.

        No shard stays mapped, so that memory does not grow with the store. Utterances are taken together up to so many
        values; a longer one comes alone. Yields their rows and features (sum of their frames, dim), read-only.
        """
        ends = self._offset + self.frames
        bounds = np.flatnonzero(np.diff(self._shard) | (self._offset[1:] != ends[:-1])) + 1
        for first, last in pairwise([0, *bounds.tolist(), len(self)]):
            shard = map_shard(self.path / self._shards[int(self._shard[first])].name)
            limit = max(values // shard.shape[1], 1)
            while first < last:
                fitting = int(np.searchsorted(ends[first:last], self._offset[first] + limit, side="right"))
                rows = slice(first, first + max(fitting, 1))
                for row in range(rows.start, rows.stop):
                    self._check(row, shard[self._offset[row] : ends[row]])
                yield rows, shard[self._offset[first] : ends[rows.stop - 1]]
                first = rows.stop

    def find_row(self, utterance_id: str) -> int:
        """Return the row of an utterance. Raises `StoreError`: no such utterance; names a few that exist."""
        ids = self.columns(["id"])["id"]
        row: int = pc.index(ids, utterance_id).as_py()
        if row < 0:
            some = ids.slice(length=_IDS_TO_COMPARE).to_pylist()
            near = get_close_matches(utterance_id, some, cutoff=0.5) or some[:3]
            raise StoreError(f"{self.snapshot.corpus}: no utterance {utterance_id!r}; ids are like {', '.join(near)}")
        return row

    def rejected(self) -> pa.Table:
        """Return the files that could not be used: path and reason."""
        files = [verify_file(self.path, file) for file in self.snapshot.tables("rejected")]
        tables = [pq.read_table(file, schema=layout.REJECTED_SCHEMA) for file in files]
        return pa.concat_tables([layout.REJECTED_SCHEMA.empty_table(), *tables])

    def verify(self) -> list[str]:
        """Check every byte, of the side files too; return the problems, a line each, with the file's name."""
        problems = self._damaged_beside()
        unreadable = set()
        for file in self.snapshot.files:
            try:
                verify_file(self.path, file)
            except StoreError as error:
                problems.append(str(error))
                if isinstance(error.__cause__, OSError):
                    unreadable.add(file.shard)  # a map of what its disk cannot read ends the process
        damaged: dict[str, list[str]] = {}
        for row, shard in enumerate(self._shard.tolist()):
            if shard in unreadable:
                continue
            try:
                self._check(row, self._read(row))
            except StoreError:
                damaged.setdefault(self._shards[shard].name, []).append(self.ids[row])
        for name, ids in damaged.items():
            problems.append(f"{self.path / name}: {len(ids)} utterances are not readable (the first: {ids[0]})")
        return problems

    def _damaged_beside(self) -> list[str]:
        """Check the files that store.json does not name: itself, and the side files."""
        problems = []
        description = self.path / layout.STORE_JSON
        try:
            read_snapshot(self.path)
            if encode_document(json.loads(description.read_bytes())) != description.read_bytes():
                problems.append(f"{description}: damaged (not the bytes that were written); run emodna-prep again")
        except StoreError as error:
            problems.append(str(error))
        # A run that ends meanwhile takes its journal away.
        damaged = [path for path in list_side_files(self.path) if read_checksummed(path) is None and path.exists()]
        return [*problems, *(f"{path}: damaged; delete it and run emodna-prep again" for path in damaged)]

    def _read(self, row: int) -> NDArray[np.float32]:
        """Read the features of a row, as a view of its shard's memory map."""
        shard, offset = int(self._shard[row]), int(self._offset[row])
        if shard not in self._maps:
            self._maps[shard] = map_shard(self.path / self._shards[shard].name)
        return self._maps[shard][offset : offset + int(self.frames[row])]

    def _check(self, row: int, features: NDArray[np.float32]) -> None:
        """Compare features of a row with its checksum."""
        if len(features) != self.frames[row] or compute_feature_crc(features) != self._crc[row]:
            file = self.path / self._shards[int(self._shard[row])].name
            raise StoreError(f"{file}: {self.ids[row]!r} is damaged; run emodna-prep --rehash")


def _hold_for_reading(store: FeatureStore) -> None:
    """Take a shared lock for as long as the object lives: no file of its snapshot is removed meanwhile."""
    # Of a store that was copied without its locks, the lock is made; of a folder that is no store, none is.
    make = os.O_CREAT if (store.path / layout.STORE_JSON).exists() else 0
    try:
        descriptor = os.open(store.path / layout.READER_LOCK, os.O_RDONLY | make, 0o666)
    except OSError:  # no store, which `read_snapshot` says, or one where nothing may be written
        return
    weakref.finalize(store, os.close, descriptor)
    with suppress(OSError):  # a file system without locks: no run can write there, so none removes anything
        fcntl.flock(descriptor, fcntl.LOCK_SH)
