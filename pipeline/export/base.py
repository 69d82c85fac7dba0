"""Shared by the formats: the columns that go along, the origin that a file names, the split into files."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import Snapshot
from emodna.pipeline.tables import choose_column_names

#: Columns of the index that say where in the store an utterance lies: not where it lies in an export.
_PLACES: Final = ("shard", "offset")
#: Values of features that are held in memory at a time, unless one utterance has more (64 MiB).
BLOCK_VALUES: Final = 1 << 24
#: Bytes of features after which a format of several files begins the next one.
FILE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """One format."""

    suffix: str
    """End of the name that an export gets by default."""
    own_files: re.Pattern[str] | None
    """Paths of the files of an export that is a folder; None if it is a single file."""
    write: Callable[[FeatureStore, Path, Callable[[int], None]], None]
    """Writes a store to a new file, or into a new folder; calls with the number of utterances it has written."""
    load: str
    """Python that opens an export at {place}."""
    always: frozenset[str] = frozenset()
    """Those of `own_files` that every export has: a folder without them was not written here."""


def columns(store: FeatureStore, *, taken: Collection[str] = ()) -> pa.Table:
    """Return the columns of the index that go along, in order; those with a taken name get `own_` before it."""
    table = store.table.drop_columns(list(_PLACES))
    return table.rename_columns(list(choose_column_names(table.column_names, taken).values()))


def plain(table: pa.Table) -> pa.Table:
    """Turn columns that are neither numbers, truth values nor text, as a user's own table may have, into text."""
    return pa.table({name: _plain(table[name]) for name in table.column_names})


def about_json(snapshot: Snapshot) -> str:
    """Return a store's origin as JSON, but not where on this machine it was made, or when."""
    names = ("corpus", "feature_set", "parameters", "segmentation", "licence", "citation", "libraries", "fingerprint")
    return json.dumps({name: getattr(snapshot, name) for name in names}, indent=1)


def numbered_blocks(store: FeatureStore) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Yield the blocks of a store (number of the file that takes it, rows, features): `FILE_BYTES` to a file."""
    number, size = 0, 0
    for rows, features in store.iterate_blocks(BLOCK_VALUES):
        if size and size + features.nbytes > FILE_BYTES:
            number, size = number + 1, 0
        size += features.nbytes
        yield number, rows, features


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind == pa.float16():
        return column.cast(pa.float32())
    if kind in (pa.bool_(), pa.string()) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, bytes and the like
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
