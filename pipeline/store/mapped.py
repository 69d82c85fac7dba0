"""One shard's features as a read-only memory map."""

import os
import zlib
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store.snapshot import unreadable

#: What h5py raises of a damaged file, or of one that was made to harm.
_HDF5_ERRORS: Final = (OSError, LookupError, AttributeError, RuntimeError, TypeError, ValueError, ArithmeticError)


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
            raise unreadable(path, OSError(error.errno, os.strerror(error.errno))) from error
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
        raise unreadable(path, error) from error
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
