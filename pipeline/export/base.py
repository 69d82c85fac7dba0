"""What the formats share: which columns go along, what a file says of itself."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import Snapshot
from emodna.pipeline.tables import renamed

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
    """Columns of the index that go along, in order; those with a taken name get `own_` before it."""
    table = store.table.drop_columns(list(_PLACES))
    return table.rename_columns(list(renamed(table.column_names, taken).values()))


def plain(table: pa.Table) -> pa.Table:
    """A table of numbers, truth values and text alone: other columns, which a user's own table may have, as text."""
    return pa.table({name: _plain(table[name]) for name in table.column_names})


def about(snapshot: Snapshot) -> dict[str, Any]:
    """What a copy should say of its origin wherever it goes; but not where on this machine it was made, or when."""
    names = ("corpus", "feature_set", "parameters", "segmentation", "licence", "citation", "libraries", "fingerprint")
    return {name: getattr(snapshot, name) for name in names}


def about_json(snapshot: Snapshot) -> str:
    """The same as JSON."""
    return json.dumps(about(snapshot), indent=1)


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
