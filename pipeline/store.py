"""The feature store's read side: open, read, verify. The write side is `shards`."""

import fcntl
import hashlib
import json
import os
import stat
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline import layout
from emodna.pipeline.errors import ForeignStoreError, StoreError, UnreadableStoreError, explained, of_the_machine
from emodna.pipeline.files import naming
from emodna.pipeline.sealed import read_sealed, side_files
from emodna.pipeline.soundness import check_description, check_files, check_index, check_schemas

#: Columns that a training run needs of every utterance; all numeric, so that a million of them cost little.
_NUMERIC = ("arousal", "valence", "frames", "peak_db", "shard", "offset", "feature_crc")
#: Some 150 bytes a shard: a million utterances have 1.2 MB.
_DESCRIPTION_BYTES: Final = 2**28
#: What h5py raises of a damaged file, or of one that was made to harm.
_HDF5_ERRORS: Final = (OSError, LookupError, AttributeError, RuntimeError, TypeError, ValueError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, as store.json names it."""

    name: str
    size: int
    sha256: str
    shard: int | None = None
    """Number of the shard; None for the tables."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one store.json says."""

    corpus: str
    feature_set: str
    parameters: Mapping[str, Any]
    libraries: Mapping[str, str]
    root: str
    licence: str
    citation: str
    counts: Mapping[str, float]
    fingerprint: str
    """SHA-256 of the content: configuration, ids, labels, audio hashes and feature checksums."""
    files: Sequence[StoredFile]
    created: str
    segmentation: Mapping[str, Any] | None = None
    """Rule by which recordings were cut into utterances; None if each is one."""

    @property
    def shards(self) -> dict[int, StoredFile]:
        """Shard number -> file."""
        return {file.shard: file for file in self.files if file.shard is not None}

    def tables(self, kind: str) -> list[StoredFile]:
        """Return the `index` or `rejected` files, in order."""
        return [file for file in self.files if file.shard is None and file.name.startswith(f"{kind}-")]


def read_snapshot(store: Path) -> Snapshot:
    """Read and check a store's store.json.

    Raises
    ------
    StoreError
        Missing, damaged, or of another format version.
    UnreadableStoreError
        The machine fails to read it at the moment.
    """
    file = store / layout.STORE_JSON
    text = _description(store)
    try:
        content = json.loads(text)
        if content["format"] != layout.FORMAT:
            raise StoreError(f"{file}: not the description of a feature store")
        if content["version"] != layout.FORMAT_VERSION:
            raise ForeignStoreError(
                f"{file}: format version {content['version']!r}, this emodna reads version {layout.FORMAT_VERSION}: "
                "prepare the corpus again into another --cache"
            )
        if content.pop("checksum") != checksum(content):
            raise StoreError(
                f"{file}: damaged (its checksum does not match); run emodna-prep again to rebuild the store"
            )
        files = [StoredFile(**entry) for entry in content.pop("files")]
        check_files(files)
        check_description(content)
        del content["format"], content["version"]
        return Snapshot(**content, files=files)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{file}: damaged ({error}); run emodna-prep again to rebuild the store") from error


def _description(store: Path) -> bytes:
    """Content of a store's store.json.

    Raises
    ------
    StoreError
        There is none, or it cannot be one.
    """
    file = store / layout.STORE_JSON
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise StoreError(f"{file}: not a file")
        if status.st_size > _DESCRIPTION_BYTES:
            raise StoreError(f"{file}: damaged ({status.st_size} bytes); run emodna-prep again to rebuild the store")
        return file.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{store}: no feature store (it has no {layout.STORE_JSON})") from None
    except OSError as error:
        raise _unreadable(file, error) from error


def encoded(content: Mapping[str, Any]) -> bytes:
    """A store.json's document as it is written."""
    return json.dumps(content, indent=1).encode() + b"\n"


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document in canonical form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with naming(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_content(path: Path, size: int, sha256: str | None) -> bool:
    """Whether a file is there, of this size and these bytes; one that its disk cannot read is not.

    Parameters
    ----------
    sha256
        None to trust the size.

    Raises
    ------
    OSError
        The machine fails to read it at the moment.
    """
    try:
        return path.stat().st_size == size and (sha256 is None or file_sha256(path) == sha256)
    except OSError as error:
        if of_the_machine(error):
            raise
        return False


def _unreadable(path: Path, error: OSError) -> StoreError:
    """What to say of a file of a store that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{path}: missing; run emodna-prep again")
    kind = UnreadableStoreError if of_the_machine(error) else StoreError
    return kind(f"{path}: cannot be read: {explained(error)}")


def feature_crc(features: NDArray[np.float32]) -> int:
    """CRC-32 of an utterance's features as they lie in the shard."""
    return zlib.crc32(np.ascontiguousarray(features).data)


def map_shard(path: Path) -> NDArray[np.float32]:
    """Memory-map the features [frames, dim] of one shard, read-only.

    Raises
    ------
    StoreError
        Missing, not HDF5, or not laid out as the store writes it.
    """
    if not path.is_file():
        raise StoreError(f"{path}: missing; run emodna-prep again")
    try:
        with h5py.File(path, "r") as file:
            place = _place(file)
    except _HDF5_ERRORS as error:
        if isinstance(error, OSError) and error.errno:  # no file's fault: too many are open, say
            raise _unreadable(path, OSError(error.errno, os.strerror(error.errno))) from error
        raise StoreError(f"{path}: damaged ({error}); delete it and run emodna-prep again") from error
    if place is None:
        raise StoreError(
            f"{path}: damaged (no contiguous float32 dataset 'features'); delete it and run emodna-prep again"
        )
    offset, shape = place
    try:
        if offset + 4 * shape[0] * shape[1] > path.stat().st_size:
            raise StoreError(f"{path}: damaged (shorter than its dataset); delete it and run emodna-prep again")
        # Arrow's map outlives its file descriptor, where np.memmap holds one per shard: a large store has more shards
        # than a process may have open files.
        with pa.memory_map(str(path)) as mapped:
            content = mapped.read_buffer()
    except OSError as error:
        raise _unreadable(path, error) from error
    return np.frombuffer(content, "<f4", shape[0] * shape[1], offset).reshape(shape)


def _place(shard: h5py.File) -> tuple[int, tuple[int, int]] | None:
    """Where in its file a shard's features [frames, dim] lie as they are; None if they do not."""
    # Not what a link names: it may lie in another file.
    if not isinstance(shard.get("features", getlink=True), h5py.HardLink):
        return None
    dataset = shard["features"]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype != np.dtype("<f4"):
        return None
    contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS and not dataset.external
    offset, shape = dataset.id.get_offset(), dataset.shape
    return (offset, shape) if contiguous and offset is not None and len(shape) == 2 and min(shape) > 0 else None


class FeatureStore:
    """A snapshot of one corpus's features and labels.

    `len(store)` utterances; `store[i]` are the features of utterance i, float32 [frames, dim], read-only and
    memory-mapped; `store.table` is the whole index as a pyarrow table, row i describing utterance i. The snapshot stays
    readable while later runs of emodna-prep commit new ones. A forked process goes on with it; one that gets it pickled
    opens the same snapshot.

    Parameters
    ----------
    path
        <cache>/<corpus>/<feature-set>.

    Raises
    ------
    StoreError
        No store, or a damaged one. `store[i]` raises it too, if the features do not match their checksum.

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
        table = read_index(self.path, snapshot, _NUMERIC)
        self._index_files = [self.path / file.name for file in snapshot.tables("index")]
        numeric = {name: _numpy(table, name) for name in _NUMERIC}
        self.frames: NDArray[np.int32] = numeric["frames"]
        """(n,) number of frames of each utterance."""
        self.peak_db: NDArray[np.float32] = numeric["peak_db"]
        """(n,) top of each utterance's log-mel range in dB, or of its waveform."""
        self._labels: dict[str, NDArray[np.int8]] = {task: numeric[task] for task in ("arousal", "valence")}
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
        if self._checked_rows[row]:
            return self._read(row)
        features = self._read_checked(row)
        self._checked_rows[row] = True
        return features

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    def labels(self, task: str) -> NDArray[np.int8]:
        """(n,) labels of a task: 1 high / positive, 0 low / negative, -1 unlabelled."""
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
        return self._columns(None)

    @cached_property
    def ids(self) -> list[str]:
        """Utterance ids, in order; read when first asked for."""
        return self.column("id")

    def column(self, name: str) -> list[Any]:
        """One column of the index as Python values, in order."""
        values: list[Any] = self._columns([name])[name].to_pylist()
        return values

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return some columns of the index, in order, and read no others."""
        return self._columns(names)

    def blocks(self, values: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Everything once, in order: runs of utterances that lie end to end in one shard, each checked.

        No shard stays mapped, so that memory does not grow with the store.

        Parameters
        ----------
        values
            Utterances are taken together up to so many values; a longer one comes alone.

        Yields
        ------
        rows
            Of the utterances.
        features
            (sum of their frames, dim), read-only.

        Raises
        ------
        StoreError
            A shard or an utterance is damaged.
        """
        ends = self._offset + self.frames
        bounds = np.flatnonzero(np.diff(self._shard) | (self._offset[1:] != ends[:-1])) + 1
        for first, last in pairwise([0, *bounds.tolist(), len(self)]):
            shard = map_shard(self.path / self._shards[int(self._shard[first])].name)
            limit = max(values // shard.shape[1], 1)
            while first < last:
                fitting = int(np.searchsorted(ends[first:last], self._offset[first] + limit, side="right"))
                rows = slice(first, first + max(fitting, 1))
                yield rows, self._run(shard, rows)
                first = rows.stop

    def row_of(self, utterance_id: str) -> int:
        """Row of an utterance.

        Raises
        ------
        StoreError
            No such utterance; names a few that exist.
        """
        ids = self._columns(["id"])["id"]
        row: int = pc.index(ids, utterance_id).as_py()
        if row < 0:
            some = ", ".join(sorted(ids.slice(length=3).to_pylist()))
            raise StoreError(f"{self.snapshot.corpus}: no utterance {utterance_id!r}; ids are like {some}")
        return row

    def rejected(self) -> pa.Table:
        """Files that could not be used: path and reason."""
        files = [checked_file(self.path, file) for file in self.snapshot.tables("rejected")]
        with _believing_tables(self.path):
            tables = [pq.read_table(file, schema=layout.REJECTED_SCHEMA) for file in files]
            return pa.concat_tables([layout.REJECTED_SCHEMA.empty_table(), *tables])

    def verify(self) -> list[str]:
        """Check every byte, of the side files too; return what is wrong, a line each, with the file's name."""
        problems = self._damaged_beside()
        unreadable = set()
        for file in self.snapshot.files:
            try:
                checked_file(self.path, file)
            except StoreError as error:
                problems.append(str(error))
                if isinstance(error.__cause__, OSError):
                    unreadable.add(file.shard)  # a map of what its disk cannot read ends the process
        damaged: dict[str, list[str]] = {}
        for row, shard in enumerate(self._shard):
            if int(shard) in unreadable:
                continue
            try:
                self._read_checked(row)
            except StoreError:
                damaged.setdefault(self._shards[int(shard)].name, []).append(self.ids[row])
        for name, ids in damaged.items():
            problems.append(f"{self.path / name}: {len(ids)} utterances are not readable (the first: {ids[0]})")
        return problems

    def _damaged_beside(self) -> list[str]:
        """What is wrong with the files that store.json does not name: itself, and the side files."""
        problems = []
        description = self.path / layout.STORE_JSON
        try:
            read_snapshot(self.path)
            if encoded(json.loads(description.read_bytes())) != description.read_bytes():
                problems.append(f"{description}: damaged (not the bytes that were written); run emodna-prep again")
        except StoreError as error:
            problems.append(str(error))
        # A run that ends meanwhile takes its journal away.
        damaged = [path for path in side_files(self.path) if read_sealed(path) is None and path.exists()]
        return [*problems, *(f"{path}: damaged; delete it and run emodna-prep again" for path in damaged)]

    def _read(self, row: int) -> NDArray[np.float32]:
        """Features of a row, as a view of its shard's memory map."""
        shard, offset = int(self._shard[row]), int(self._offset[row])
        if shard not in self._maps:
            self._maps[shard] = map_shard(self.path / self._shards[shard].name)
        return self._maps[shard][offset : offset + int(self.frames[row])]

    def _run(self, shard: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """Features of neighbours in a shard, each compared with its checksum."""
        for row in range(rows.start, rows.stop):
            features = shard[self._offset[row] : self._offset[row] + self.frames[row]]
            if len(features) != self.frames[row] or feature_crc(features) != self._crc[row]:
                raise self._damaged(row)
        return shard[self._offset[rows.start] : self._offset[rows.stop - 1] + self.frames[rows.stop - 1]]

    def _damaged(self, row: int) -> StoreError:
        file = self.path / self._shards[int(self._shard[row])].name
        return StoreError(f"{file}: {self.ids[row]!r} is damaged; delete this file and run emodna-prep again")

    def _read_checked(self, row: int) -> NDArray[np.float32]:
        """Features of a row, compared with its checksum."""
        features = self._read(row)
        if len(features) != self.frames[row] or feature_crc(features) != self._crc[row]:
            raise self._damaged(row)
        return features

    def _columns(self, names: Sequence[str] | None) -> pa.Table:
        columns = None if names is None else list(names)
        with _believing_tables(self.path):
            return pa.concat_tables([pq.read_table(file, columns=columns) for file in self._index_files])


def checked_file(store: Path, file: StoredFile) -> Path:
    """Path of a file whose bytes are those that store.json names.

    Raises
    ------
    StoreError
        Missing or damaged.
    """
    path = store / file.name
    try:
        if not path.is_file():
            raise StoreError(f"{path}: missing; run emodna-prep again")
        intact = path.stat().st_size == file.size and file_sha256(path) == file.sha256
    except OSError as error:
        raise _unreadable(path, error) from error
    if not intact:
        raise StoreError(f"{path}: damaged (not the bytes that were written); delete it and run emodna-prep again")
    return path


def read_index(store: Path, snapshot: Snapshot, columns: Iterable[str]) -> pa.Table:
    """Columns of a store's index, in order; before, every byte of it is checked, and that it is an index.

    Raises
    ------
    StoreError
        A file is missing or damaged, or says what no index can.
    """
    files = [checked_file(store, file) for file in snapshot.tables("index")]
    with _believing_tables(store):
        check_schemas([pq.read_schema(file) for file in files])
        names = list(dict.fromkeys([*_NUMERIC, *columns]))
        table = pa.concat_tables([pq.read_table(file, columns=names) for file in files])
        check_index(table, snapshot.shards, snapshot.counts["utterances"])
    return table.select(list(columns))


@contextmanager
def _believing_tables(store: Path) -> Iterator[None]:
    """Read tables whose bytes are those that store.json names, which may still not be what they should."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{store}: its tables are not a store's ({reason}); run emodna-prep again") from error


def _numpy(table: pa.Table, column: str) -> NDArray[Any]:
    """A column as an array of its own type, null as -1."""
    values = table[column]
    if values.null_count:
        values = values.fill_null(pa.scalar(-1, values.type))
    array: NDArray[Any] = values.to_numpy()
    return array


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
