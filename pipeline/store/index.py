"""Tables of a store: the index (Parquet, a row per utterance) and the side files (Arrow after a SHA-256)."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import layout
from emodna.pipeline.store.snapshot import Snapshot, verify_file

#: Columns that training reads for every utterance. All are numeric, so that a million rows take little memory.
NUMERIC_COLUMNS: Final = ("frames", "peak_db", "shard", "offset", "feature_crc")

_DIGEST_SIZE: Final = hashlib.sha256().digest_size


class Index:
    """The index of a snapshot. Raises a `StoreError` if any byte differs from its checksum in store.json."""

    def __init__(self, store: Path, snapshot: Snapshot) -> None:
        self._files = [verify_file(store, file) for file in snapshot.list_tables("index")]
        columns = dict(zip(NUMERIC_COLUMNS, self.columns(NUMERIC_COLUMNS).columns, strict=True))
        # Column by column, so that memory never holds a large index twice.
        self.numeric: Mapping[str, NDArray[Any]] = {name: _to_numpy(columns.pop(name)) for name in NUMERIC_COLUMNS}
        """Each column of `NUMERIC_COLUMNS` as an array (n,) of its type; null is -1."""

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(pq.read_schema(self._files[0]).names)

    def columns(self, names: Sequence[str] | None) -> pa.Table:
        """Read these columns, or all, in row order."""
        return pa.concat_tables([_read_columns(file, names) for file in self._files])


def _read_columns(file: Path, names: Sequence[str] | None) -> pa.Table:
    # pq.read_table takes 40 MB for its dataset and threads, even for a small file.
    with pq.ParquetFile(file) as parquet:
        table = parquet.read(None if names is None else list(names), use_threads=False)
    table = _fill_later_columns(table, layout.INDEX_SCHEMA.names if names is None else names)
    return table if names is None else table.select(list(names))


def _fill_later_columns(table: pa.Table, names: Collection[str]) -> pa.Table:
    """Add those of `layout.LATER_SCHEMA` that are in `names`, as nulls, to a table that was written without them.

    Also replaces a user's own column of such a name, which could not be one then.
    """
    for field in layout.LATER_SCHEMA:
        name, is_present = field.name, field.name in table.column_names
        if name not in names or (is_present and table.schema.field(name).type == field.type):
            continue
        if is_present:
            table = table.drop_columns(name)
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    if column.null_count:
        column = column.fill_null(pa.scalar(-1, column.type))
    return np.array(column.to_numpy())


def write_checksummed(path: Path, table: pa.Table) -> None:
    """Write a checksum and then a table into a file, atomically."""
    sink = pa.BufferOutputStream()
    pyarrow.feather.write_feather(table, sink)
    content = sink.getvalue().to_pybytes()
    write_atomically(path, hashlib.sha256(content).digest() + content)


def read_checksummed(path: Path, schema: pa.Schema | None = None) -> pa.Table | None:
    """Read a table of `write_checksummed`; return None if it is missing, damaged, or not of `schema`."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    table = pyarrow.feather.read_table(pa.BufferReader(content))
    if schema is None:
        return table
    table = _fill_later_columns(table, schema.names)
    if sorted(table.column_names) != sorted(schema.names):
        return None
    table = table.select(schema.names)
    return table if table.schema.equals(schema) else None
