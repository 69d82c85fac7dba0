"""Open, read and verify a feature store. The module `shards` writes it."""

import fcntl
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.errors import (
    EmodnaError,
    PrepareCorpus,
    Remedy,
    StoreError,
    check_list,
    find_similar,
    format_count,
)
from emodna.pipeline.store import layout
from emodna.pipeline.store.index import Index, read_checksummed
from emodna.pipeline.store.shards import StoredFeatures, compute_feature_crc, map_shard, to_float32
from emodna.pipeline.store.snapshot import Snapshot, encode_document, make_damage_error, read_snapshot, verify_file
from emodna.pipeline.tasks import BUILT_IN_TASKS, Task

#: Maximum number of ids to compare with an unknown id. The comparison takes a second.
_IDS_TO_COMPARE: Final = 20_000


class FeatureStore:
    """A snapshot of one corpus's features and labels, at the path <cache>/<corpus>/<feature-set>.

    `len(store)` is the number of utterances. `store[i]` returns the features of utterance i, float32 [frames, dim],
    read-only: a view of a memory map, or a copy if the store holds float16. `store.table` is the index as a pyarrow
    table, one row per utterance. The snapshot stays readable while later preparations commit new ones. A forked process
    can use it; a pickled store opens the same snapshot.

    Raises `StoreError`: missing or damaged store. `store[i]` raises it if features do not match their checksum.

    Examples
    --------
    >>> store = FeatureStore("cache/ravdess/mfcc40-22050hz-9b2f6a10")  # doctest: +SKIP
    >>> store[0].shape  # doctest: +SKIP
    (143, 40)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        _lock_for_reading(self)
        snapshot = read_snapshot(self.path)
        while True:
            try:
                self._open(snapshot)
                break
            except StoreError:
                # Without locks, another process may just have replaced the files of this snapshot.
                earlier, snapshot = snapshot, read_snapshot(self.path)
                if snapshot == earlier:
                    raise

    def _open(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._index = Index(self.path, snapshot)
        numeric = self._index.numeric
        self.frames: NDArray[np.int32] = numeric["frames"]
        """Number of frames of each utterance, (n,)."""
        self.peak_db: NDArray[np.float32] = numeric["peak_db"]
        """Peak of each utterance in dB, of its log-mel spectrogram or its waveform, (n,)."""
        self._labels: dict[Task, NDArray[np.int8]] = {}
        self._shard, self._offset, self._crc = numeric["shard"], numeric["offset"], numeric["feature_crc"]
        self._shards = self.snapshot.shards
        self._maps: dict[int, StoredFeatures] = {}
        self._checked_rows = np.zeros(len(self.frames), dtype=bool)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "snapshot": self.snapshot}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        _lock_for_reading(self)
        self._open(state["snapshot"])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is out of range: the store has {len(self)} utterances")
        row %= len(self)
        features = self._read(row)
        if not self._checked_rows[row]:
            self._check(row, features)
            self._checked_rows[row] = True
        return to_float32(features)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    def gather(self, rows: NDArray[np.integer[Any]]) -> list[NDArray[np.float32]]:
        """Return the features of rows (n,), as `store[row]` does for each row, but five times as fast."""
        for row in rows[~self._checked_rows[rows]].tolist():
            self[row]  # also maps its shard
        starts = self._offset[rows]
        spans = zip(self._shard[rows].tolist(), starts.tolist(), (starts + self.frames[rows]).tolist(), strict=True)
        stored = [self._maps[shard][start:end] for shard, start, end in spans]
        if stored and stored[0].dtype == np.float16:  # all shards of a store have one type
            return [to_float32(each) for each in stored]
        return cast(list[NDArray[np.float32]], stored)

    def labels(self, task: Task | str) -> NDArray[np.int8]:
        """Return the labels (n,) of a task, or of the built-in task of a name: see `Task.classes`; -1 for none.

        Without the column of the task, no utterance has a label. Raises StoreError: its values cannot be compared.
        """
        task = BUILT_IN_TASKS[task] if isinstance(task, str) else task
        if task not in self._labels:
            labels = np.full(len(self), -1, np.int8)
            if task.column in self.column_names:
                try:
                    labels = task.assign_labels(self.columns([task.column])[task.column])
                except EmodnaError as error:
                    raise StoreError(error.problem, where=self.path) from error
            self._labels[task] = labels
        return self._labels[task]

    @property
    def column_names(self) -> list[str]:
        """Names of the index columns."""
        return self._index.names

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
        """The whole index in row order, read on first use."""
        return self._index.columns(None)

    @cached_property
    def ids(self) -> list[str]:
        """Utterance ids in row order, read on first use."""
        return self.column("id")

    def column(self, name: str) -> list[Any]:
        """Read one column of the index as Python values, in row order."""
        values: list[Any] = self.columns([name])[name].to_pylist()
        return values

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read only these columns of the index, in row order. Raises EmodnaError if `names` is one name."""
        check_list("names", names)
        return self._index.columns(names)

    def iterate_blocks(self, values: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows and features of the whole store, in blocks of adjacent utterances; check each utterance.

        A block has at most this number of `values`, or one longer utterance. Its features are (sum of the frames, dim),
        read-only. No shard stays mapped, so memory does not grow with the store.
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
                yield rows, to_float32(shard[self._offset[first] : ends[rows.stop - 1]])
                first = rows.stop

    def find_row(self, utterance_id: str) -> int:
        """Return the row of an utterance; raise a `StoreError` with similar ids if there is none."""
        ids = self.columns(["id"])["id"]
        row: int = pc.index(ids, utterance_id).as_py()
        if row < 0:
            some = ids.slice(length=_IDS_TO_COMPARE).to_pylist()
            near = find_similar(utterance_id, some, 3, 0.5) or some[:3]
            problem, remedy = f"no utterance {utterance_id!r}", f"ids look like {', '.join(near)}"
            raise StoreError(problem, where=self.snapshot.corpus, remedy=remedy)
        return row

    def read_rejected(self) -> pa.Table:
        """Return the rejected files: path and reason."""
        files = [verify_file(self.path, file) for file in self.snapshot.list_tables("rejected")]
        tables = [pq.read_table(file, schema=layout.REJECTED_SCHEMA) for file in files]
        return pa.concat_tables([layout.REJECTED_SCHEMA.empty_table(), *tables])

    def verify(self) -> list[StoreError]:
        """Check every byte, including the side files; return an error for each problem."""
        problems = self._verify_unlisted_files()
        unreadable = set()
        for file in self.snapshot.files:
            try:
                verify_file(self.path, file)
            except StoreError as error:
                problems.append(error)
                if isinstance(error.__cause__, OSError):
                    unreadable.add(file.shard)  # a read error of mapped memory kills the process
        damaged: dict[str, list[str]] = {}
        for row, shard in enumerate(self._shard.tolist()):
            if shard in unreadable:
                continue
            try:
                self._check(row, self._read(row))
            except StoreError:
                damaged.setdefault(self._shards[shard].name, []).append(self.ids[row])
        for name, ids in damaged.items():
            reason = f"the checksum of {format_count(len(ids), 'utterance')} does not match (the first: {ids[0]})"
            problems.append(make_damage_error(self.path / name, reason, reread=True))
        return problems

    def _verify_unlisted_files(self) -> list[StoreError]:
        """Return the problems of the files that store.json does not list: itself and the side files."""
        problems = []
        file = self.path / layout.STORE_JSON
        try:
            read_snapshot(self.path)
            if encode_document(json.loads(file.read_bytes())) != file.read_bytes():
                problems.append(make_damage_error(file, "changed after it was written"))
        except StoreError as error:
            problems.append(error)
        # A preparation that commits meanwhile deletes its journal.
        side_files = sorted(path for path in self.path.glob(f"**/*{layout.CHECKSUMMED_SUFFIX}") if path.is_file())
        damaged = [path for path in side_files if read_checksummed(path) is None and path.exists()]
        remedy = Remedy("delete it and prepare the corpus again", PrepareCorpus.of_store(self.path))
        problem = "damaged: its checksum does not match"
        return [*problems, *(StoreError(problem, where=path, remedy=remedy) for path in damaged)]

    def _read(self, row: int) -> StoredFeatures:
        """Return the stored features of a row, a view of the memory map of its shard."""
        shard, offset = int(self._shard[row]), int(self._offset[row])
        if shard not in self._maps:
            self._maps[shard] = map_shard(self.path / self._shards[shard].name)
        return self._maps[shard][offset : offset + int(self.frames[row])]

    def _check(self, row: int, features: StoredFeatures) -> None:
        """Raise a `StoreError` if stored features do not match the checksum of their row."""
        if len(features) != self.frames[row] or compute_feature_crc(features) != self._crc[row]:
            file = self.path / self._shards[int(self._shard[row])].name
            reason = f"the features of {self.ids[row]!r} do not match their checksum"
            raise make_damage_error(file, reason, reread=True)


def _lock_for_reading(store: FeatureStore) -> None:
    """Take a shared lock for the lifetime of the object, so that no file of its snapshot is deleted."""
    # Create the lock file in a store that was copied without it, but not in another folder.
    create = os.O_CREAT if (store.path / layout.STORE_JSON).exists() else 0
    try:
        descriptor = os.open(store.path / layout.READER_LOCK, os.O_RDONLY | create, 0o666)
    except OSError:  # no store, which `read_snapshot` reports, or a read-only one
        return
    weakref.finalize(store, os.close, descriptor)
    with suppress(OSError):  # a file system without locks, where no process can write stores
        fcntl.flock(descriptor, fcntl.LOCK_SH)
