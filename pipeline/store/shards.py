"""Write and map the shards of a store, write its tables, and lock it for one writer."""

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

from emodna.pipeline.errors import Remedy, StoreError
from emodna.pipeline.files import make_folder, write_atomically
from emodna.pipeline.store import layout
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.snapshot import has_content, make_damage_error, make_read_error

#: Features as a shard holds them: little-endian float32 or float16.
StoredFeatures = NDArray[np.float32] | NDArray[np.float16]

_numbers_in_memory = itertools.count()

_POLL_SECONDS: Final = 0.05

#: Errors that h5py raises for a damaged file.
_HDF5_ERRORS: Final = (OSError, LookupError, AttributeError, RuntimeError, TypeError, ValueError, ArithmeticError)


@contextmanager
def hold_writer_lock(store: Path, *, wait: bool, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Lock a store for writing. The kernel releases the lock when its holder dies.

    Call `on_wait` before waiting for another writer; yield True after waiting. Raises `StoreError`: another writer
    holds the lock and `wait` is false, or the folder is not writable or does not support locks.
    """
    waited = False
    try:
        while (descriptor := _try_lock(store)) is None:
            if not wait:
                raise StoreError(
                    "another process is writing this store", where=store, remedy="try again when it has finished"
                )
            if not waited:
                on_wait()
                waited = True
            time.sleep(_POLL_SECONDS)
    except OSError as error:
        remedy = Remedy("choose another {cache}")
        raise StoreError(f"cannot be written: {error.strerror}", where=store, remedy=remedy) from error
    try:
        yield waited
    finally:
        os.close(descriptor)


def _try_lock(store: Path) -> int | None:
    """Lock a store, creating its folder; return the lock's open descriptor, or None if another writer holds the lock.

    The package filelock is unsuitable: on a file system without locks it believes that another process holds the lock,
    or leaves a file behind when it is killed.
    """
    make_folder(store / layout.JOURNAL)
    (store / layout.READER_LOCK).touch()
    path = store / layout.WRITER_LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if try_to_lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:  # deleted meanwhile, with its folder
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def try_to_lock(descriptor: int) -> bool:
    """Lock an open file exclusively; return False if another process holds a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_shard(
    store: Path, number: int, parameters: Mapping[str, Any], ids: Sequence[str], features: Sequence[StoredFeatures]
) -> StoredFile:
    """Write one memory-mappable shard: features [frames, dim] in order of `ids`, `parameters` as attributes.

    Features of type float16 are written as such, others as float32.
    """
    offsets = np.cumsum([0, *(len(each) for each in features)], dtype=np.int64)
    # HDF5 identifies files in memory by name, and several threads write shards at the same time.
    name = f"shard in memory {next(_numbers_in_memory)}"
    with h5py.File(
        name, "w", driver="core", backing_store=False, alignment_threshold=4096, alignment_interval=4096
    ) as file:
        for parameter, value in parameters.items():
            file.attrs[parameter] = "none" if value is None else value
        # One contiguous dataset without times, so that the same content gives the same bytes.
        content = np.concatenate(features)
        dtype = "<f2" if content.dtype == np.float16 else "<f4"
        file.create_dataset("features", data=content, dtype=dtype, track_times=False)
        file.create_dataset("offsets", data=offsets, dtype="<i8", track_times=False)
        encoded = [id.encode("utf-8", "surrogateescape") for id in ids]
        text = h5py.string_dtype("utf-8", max(map(len, encoded)))
        file.create_dataset("ids", data=np.array(encoded, dtype=text), track_times=False)
        file.flush()
        image: bytes = file.id.get_file_image()
    return _write_named_by_content(store, "shard", layout.SHARD_SUFFIX, image, number)


def compute_feature_crc(features: StoredFeatures) -> int:
    """Return the CRC-32 of the features of one utterance, as stored in the shard."""
    return zlib.crc32(np.ascontiguousarray(features).data)


def to_float32(features: StoredFeatures) -> NDArray[np.float32]:
    """Return stored features as float32, read-only: themselves if they are float32, else a copy."""
    converted = features.astype(np.float32, copy=False)
    if converted is not features:
        converted.flags.writeable = False
    return converted


def map_shard(path: Path) -> StoredFeatures:
    """Memory-map the features [frames, dim] of one shard, read-only; raise a `StoreError` if it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            place = _locate_features(file)
    except _HDF5_ERRORS as error:
        if isinstance(error, OSError) and error.errno:  # such as a missing file, or too many open files
            raise make_read_error(path, OSError(error.errno, os.strerror(error.errno))) from error
        raise make_damage_error(path, str(error), reread=True) from error
    if place is None:
        raise make_damage_error(path, "no contiguous float32 or float16 dataset 'features'", reread=True)
    offset, shape, dtype = place
    try:
        if offset + dtype.itemsize * shape[0] * shape[1] > path.stat().st_size:
            raise make_damage_error(path, "shorter than its dataset", reread=True)
        # Arrow's map outlives its file descriptor. np.memmap keeps one open per shard, but a large store has more
        # shards than a process may have open files.
        with pa.memory_map(str(path)) as mapped:
            content = mapped.read_buffer()
    except OSError as error:
        raise make_read_error(path, error) from error
    return np.frombuffer(content, dtype, shape[0] * shape[1], offset).reshape(shape)


def _locate_features(shard: h5py.File) -> tuple[int, tuple[int, int], np.dtype[Any]] | None:
    """Return the offset, shape and type of the features [frames, dim] in a shard; None if they cannot be mapped."""
    dataset = shard["features"]
    is_contiguous = dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    offset, shape = dataset.id.get_offset(), dataset.shape
    is_mappable = is_contiguous and dataset.dtype in (np.dtype("<f4"), np.dtype("<f2")) and offset is not None
    return (offset, shape, dataset.dtype) if is_mappable and len(shape) == 2 and min(shape) > 0 else None


def write_table(store: Path, kind: str, table: pa.Table) -> StoredFile:
    """Write a Parquet table of this kind: `index` or `rejected`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6")
    return _write_named_by_content(store, kind, layout.TABLE_SUFFIX, sink.getvalue().to_pybytes(), None)


def _write_named_by_content(store: Path, kind: str, suffix: str, content: bytes, shard: int | None) -> StoredFile:
    sha256 = hashlib.sha256(content).hexdigest()
    name = layout.make_content_name(kind, sha256, suffix)
    if not has_content(store / name, len(content), sha256):
        write_atomically(store / name, content)
    return StoredFile(name, len(content), sha256, shard)
