"""Code that the export formats share: columns, origin, and the split into files."""

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

#: Index columns that locate the features of an utterance in the store.
_POSITION_COLUMNS: Final = ("shard", "offset")
#: Feature values to hold in memory at a time (64 MiB); one utterance may exceed it.
MAX_BLOCK_VALUES: Final = 1 << 24
#: Largest size of the features in one of several files.
MAX_FILE_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format that stores are exported to."""

    suffix: str
    """End of the default name of an export."""
    own_files: re.Pattern[str] | None
    """Pattern of the paths in an exported folder; None if an export is a single file."""
    write: Callable[[FeatureStore, Path, Callable[[int], None]], None]
    """Function of (store, new file or folder, progress function)."""
    load: str
    """Python statement that opens an export at {place}."""
    always: frozenset[str] = frozenset()
    """Files that are in every exported folder."""


def select_columns(store: FeatureStore, *, taken: Collection[str] = ()) -> pa.Table:
    """Return the index columns to export, in order; names in `taken` get the prefix `own_`."""
    table = store.table.drop_columns(list(_POSITION_COLUMNS))
    return table.rename_columns(list(choose_column_names(table.column_names, taken).values()))


def simplify_columns(table: pa.Table) -> pa.Table:
    """Convert columns that are neither numbers, booleans nor text to text."""
    return pa.table({name: _simplify_column(table[name]) for name in table.column_names})


def format_origin(snapshot: Snapshot) -> str:
    """Return a store's origin as JSON, without paths and times."""
    names = ("corpus", "feature_set", "parameters", "segmentation", "licence", "citation", "libraries", "fingerprint")
    return json.dumps({name: getattr(snapshot, name) for name in names}, indent=1)


def number_blocks(store: FeatureStore) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
    """Yield blocks of a store as (file number, rows, features); a file holds up to `MAX_FILE_BYTES`."""
    number, size = 0, 0
    for rows, features in store.iterate_blocks(MAX_BLOCK_VALUES):
        if size and size + features.nbytes > MAX_FILE_BYTES:
            number, size = number + 1, 0
        size += features.nbytes
        yield number, rows, features


def _simplify_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind == pa.float16():
        return column.cast(pa.float32())
    if kind in (pa.bool_(), pa.string()) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, bytes etc.
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
