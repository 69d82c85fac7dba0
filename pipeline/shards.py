"""The feature store's write side: shards, tables, and the lock around them. `commit` makes them the store's content."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import filelock
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline import layout
from emodna.pipeline.errors import StoreError
from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import StoredFile, file_sha256

#: A step between shards' numbers of frames that keeps the alignment of all that follows, whatever the dimension.
_STEP: Final = 1024

_in_memory = itertools.count()


@contextmanager
def writer_lock(store: Path, *, wait: bool, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Be the only writer of a store. The lock is the kernel's and dies with its holder.

    Parameters
    ----------
    wait
        Whether to wait for another writer; `on_wait` is called before.

    Yields
    ------
    waited
        Whether there was another writer.

    Raises
    ------
    StoreError
        Another writer holds it and `wait` is false; or the folder cannot be written.
    """
    lock = filelock.FileLock(store / layout.WRITER_LOCK)
    waited = False
    try:
        (store / layout.JOURNAL).mkdir(parents=True, exist_ok=True)
        (store / layout.READER_LOCK).touch()
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not wait:
            raise StoreError(f"{store}: another emodna-prep is writing this store (--no-wait given)") from None
        on_wait()
        lock.acquire()
        waited = True
    except OSError as error:
        raise StoreError(f"{store}: cannot be written: {error.strerror}; choose another --cache") from error
    try:
        yield waited
    finally:
        lock.release()


def write_shard(
    store: Path,
    number: int,
    parameters: Mapping[str, Any],
    ids: Sequence[str],
    features: Sequence[NDArray[np.float32]],
) -> StoredFile:
    """Write one shard, laid out so that readers can memory-map it and any HDF5 viewer can explain it.

    Parameters
    ----------
    number
        Of the shard.
    parameters
        Of the extraction: become attributes.
    ids, features
        Utterances in their order; features are [frames, dim] each. They go from where they are to the disk.
    """
    offsets = np.cumsum([0, *(len(each) for each in features)], dtype=np.int64)
    before, behind = _around_features(parameters, ids, offsets, dim=features[0].shape[1])
    rows = (np.ascontiguousarray(each, "<f4").reshape(-1).view(np.uint8).data for each in features)
    return _write_named_by_content(store, "shard", layout.SHARD_SUFFIX, (before, *rows, behind), number)


def write_table(store: Path, kind: str, table: pa.Table) -> StoredFile:
    """Write a Parquet table of a kind: `index` or `rejected`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", version="2.6")
    return _write_named_by_content(store, kind, layout.TABLE_SUFFIX, [sink.getvalue().to_pybytes()], None)


def _around_features(
    parameters: Mapping[str, Any], ids: Sequence[str], offsets: NDArray[np.int64], dim: int
) -> tuple[bytes, bytes]:
    """What stands before and behind the features in a shard's file, without the features in memory once more.

    HDF5 writes to memory only: after a write to a full disk it can neither close its file nor end the process in peace.
    But there it has no holes, so a large file is extrapolated from small ones. Whole steps of `_STEP` frames keep the
    alignment; so each number in the file, be it a length or an address, grows by the same with each step. Then so does
    the file, taken for one long number. A third small file says whether that holds, as it does for HDF5's format
    without checksums; if not, the large file is made after all.
    """
    frames = int(offsets[-1])
    steps = frames // _STEP - 1
    if steps <= 2:
        return _around_frames(frames, parameters, ids, offsets, dim)
    small = [_around_frames(frames % _STEP + n * _STEP, parameters, ids, offsets, dim) for n in (1, 2, 3)]
    first, second, third = (int.from_bytes(before + behind, "little") for before, behind in small)
    lengths = {(len(before), len(behind)) for before, behind in small}
    if len(lengths) > 1 or third - second != second - first:
        return _around_frames(frames, parameters, ids, offsets, dim)
    length, rest = lengths.pop()
    content = (first + steps * (second - first)).to_bytes(length + rest, "little")
    return content[:length], content[length:]


def _around_frames(
    frames: int, parameters: Mapping[str, Any], ids: Sequence[str], offsets: NDArray[np.int64], dim: int
) -> tuple[bytes, bytes]:
    """What HDF5 puts before and behind so many frames of features."""
    # HDF5 knows a file in memory by its name, and several workers write theirs at the same time.
    name = f"shard in memory {next(_in_memory)}"
    with h5py.File(
        name, "w", driver="core", backing_store=False, alignment_threshold=4096, alignment_interval=4096
    ) as file:
        for parameter, value in parameters.items():
            file.attrs[parameter] = "none" if value is None else value
        # One contiguous dataset, times off: the same content gives the same bytes.
        features = file.create_dataset("features", (frames, dim), dtype="<f4", track_times=False)
        features[0, 0] = 0.0  # HDF5 gives a dataset its place when something is written
        file.create_dataset("offsets", data=offsets, dtype="<i8", track_times=False)
        encoded = [id.encode("utf-8", "surrogateescape") for id in ids]
        text = h5py.string_dtype("utf-8", max(map(len, encoded)))
        file.create_dataset("ids", data=np.array(encoded, dtype=text), track_times=False)
        start: int = features.id.get_offset()
        file.flush()
        content: bytes = file.id.get_file_image()
    return content[:start], content[start + 4 * frames * dim :]


def _write_named_by_content(
    store: Path, kind: str, suffix: str, content: Sequence[bytes | memoryview], shard: int | None
) -> StoredFile:
    """Write a file, given in parts, under the name of its content, unless it is there already."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part)
    sha256, size = digest.hexdigest(), sum(map(len, content))
    path = store / layout.content_name(kind, sha256, suffix)
    if not path.is_file() or path.stat().st_size != size or file_sha256(path) != sha256:
        write_atomically(path, content)
    return StoredFile(path.name, size, sha256, shard)
