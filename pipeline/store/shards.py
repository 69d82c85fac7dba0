"""Files of a store: write and map its shards, write its tables, and lock it for one writer."""

import fcntl
import hashlib
import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.files import make_folder, write_atomically
from emodna.pipeline.store import layout
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.snapshot import has_content, make_read_error

_in_memory = itertools.count()

_POLL_SECONDS: Final = 0.05

#: Errors that h5py raises of a damaged file.
_HDF5_ERRORS: Final = (OSError, LookupError, AttributeError, RuntimeError, TypeError, ValueError, ArithmeticError)


@contextmanager
def hold_writer_lock(store: Path, *, wait: bool, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Be the only writer of a store. The lock is the kernel's and dies with its holder.

    `on_wait` is called before waiting for another writer; yields True if there was one. Raises `StoreError`: another
    writer holds it and `wait` is false; or the folder cannot be written, or has no locks.
    """
    waited = False
    try:
        while (descriptor := _try_lock(store)) is None:
            if not wait:
                raise StoreError(f"{store}: another emodna-prep is writing this store")
            if not waited:
                on_wait()
                waited = True
            time.sleep(_POLL_SECONDS)
    except OSError as error:
        raise StoreError(f"{store}: cannot be written: {error.strerror}; choose another --cache") from error
    try:
        yield waited
    finally:
        os.close(descriptor)


def _try_lock(store: Path) -> int | None:
    """Lock a store, made if there is none; the lock lasts as long as its descriptor. None if another writer has it.

    Not by filelock: where a file system has no locks, that one takes the lock for held, or leaves a file behind that
    outlives its holder.
    """
    make_folder(store / layout.JOURNAL)
    (store / layout.READER_LOCK).touch()
    path = store / layout.WRITER_LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if try_to_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:  # deleted with its folder meanwhile
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def try_to_lock(descriptor: int) -> bool:
    """Lock an open file for this process alone; return False if another one has a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_shard(
    store: Path,
    number: int,
    parameters: Mapping[str, Any],
    ids: Sequence[str],
    features: Sequence[NDArray[np.float32]],
) -> StoredFile:
    """Write one shard to be memory-mapped: features [frames, dim] in order of `ids`, `parameters` as attributes."""
    offsets = np.cumsum([0, *(len(each) for each in features)], dtype=np.int64)
    # HDF5 knows a file in memory by its name, and several workers write theirs at the same time.
    name = f"shard in memory {next(_in_memory)}"
    with h5py.File(
        name, "w", driver="core", backing_store=False, alignment_threshold=4096, alignment_interval=4096
    ) as file:
        for parameter, value in parameters.items():
            file.attrs[parameter] = "none" if value is None else value
        # One contiguous dataset, times off: the same content gives the same bytes.
        file.create_dataset("features", data=np.concatenate(features), dtype="<f4", track_times=False)
        file.create_dataset("offsets", data=offsets, dtype="<i8", track_times=False)
        encoded = [id.encode("utf-8", "surrogateescape") for id in ids]
        text = h5py.string_dtype("utf-8", max(map(len, encoded)))
        file.create_dataset("ids", data=np.array(encoded, dtype=text), track_times=False)
        file.flush()
        content: bytes = file.id.get_file_image()
    return _write_named_by_content(store, "shard", layout.SHARD_SUFFIX, content, number)


def compute_feature_crc(features: NDArray[np.float32]) -> int:
    """Return the CRC-32 of an utterance's features as they lie in the shard."""
    return zlib.crc32(np.ascontiguousarray(features).data)


def map_shard(path: Path) -> NDArray[np.float32]:
    """Memory-map the features [frames, dim] of one shard, read-only, or raise a `StoreError` if it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            place = _place(file)
    except _HDF5_ERRORS as error:
        if isinstance(error, OSError) and error.errno:  # missing, or too many files are open, say
            raise make_read_error(path, OSError(error.errno, os.strerror(error.errno))) from error
        raise StoreError(f"{path}: damaged ({error}); run emodna-prep --rehash") from error
    if place is None:
        raise StoreError(f"{path}: damaged (no contiguous float32 dataset 'features'); run emodna-prep --rehash")
    offset, shape = place
    try:
        if offset + 4 * shape[0] * shape[1] > path.stat().st_size:
            raise StoreError(f"{path}: damaged (shorter than its dataset); run emodna-prep --rehash")
        # Arrow's map outlives its file descriptor, where np.memmap holds one per shard: a large store has more shards
        # than a process may have open files.
        with pa.memory_map(str(path)) as mapped:
            content = mapped.read_buffer()
    except OSError as error:
        raise make_read_error(path, error) from error
    return np.frombuffer(content, "<f4", shape[0] * shape[1], offset).reshape(shape)


def _place(shard: h5py.File) -> tuple[int, tuple[int, int]] | None:
    """Return offset in the file, and shape, of a shard's features [frames, dim]; None if they cannot be mapped."""
    dataset = shard["features"]
    contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    offset, shape = dataset.id.get_offset(), dataset.shape
    sound = contiguous and dataset.dtype == np.dtype("<f4") and offset is not None
    return (offset, shape) if sound and len(shape) == 2 and min(shape) > 0 else None


def write_table(store: Path, kind: str, table: pa.Table) -> StoredFile:
    """Write a Parquet table of a kind: `index` or `rejected`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6")
    return _write_named_by_content(store, kind, layout.TABLE_SUFFIX, sink.getvalue().to_pybytes(), None)


def _write_named_by_content(store: Path, kind: str, suffix: str, content: bytes, shard: int | None) -> StoredFile:
    sha256 = hashlib.sha256(content).hexdigest()
    name = layout.make_content_name(kind, sha256, suffix)
    if not has_content(store / name, len(content), sha256):
        write_atomically(store / name, content)
    return StoredFile(name, len(content), sha256, shard)
