"""Read a user's own table of recordings, and turn Arrow's rows and columns into Python values."""

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from emodna.pipeline.errors import CorpusError

#: Rows that are Python objects at a time, of however many.
ROWS_PER_BATCH: Final = 8192

#: Position of what is not there.
NOT_FOUND: Final = -1

#: Types whose rows Arrow cannot choose -> those of the same values whose rows it can.
_VIEWS: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def read_table(table: Path) -> pa.Table:
    """Read a CSV (UTF-8, header, all text) or Parquet file with a column `path`, or raise a `CorpusError`."""
    if not table.is_file():
        raise CorpusError(f"--manifest {table}: no such file")
    try:
        content = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, UnicodeDecodeError):
            reason = f"byte {error.start} is {error.object[error.start]:#x}: save it as UTF-8"
        raise CorpusError(f"--manifest {table}: not readable as CSV (UTF-8) or Parquet: {reason}") from error
    if "path" not in content.column_names:
        columns = ", ".join(content.column_names) or "none"
        raise CorpusError(f"--manifest {table}: no column 'path'; its columns: {columns}")
    return content


def iterate_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as Python values: column -> cell; few at a time."""
    for part in table.to_batches(ROWS_PER_BATCH):
        columns = map(to_python, part.columns)
        yield from (dict(zip(part.column_names, row, strict=True)) for row in zip(*columns, strict=True))


def choose_column_names(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Name a user's columns beside others: `own_` before those that are taken."""
    new: dict[str, str] = {}
    for name in names:
        free = name
        while free in taken or free in new.values():
            free = f"own_{free}"
        new[name] = free
    return new


def iterate_batches(column: pa.ChunkedArray) -> Iterator[list[Any]]:
    """Yield a column's values as lists of a few, in order."""
    for start in range(0, len(column), ROWS_PER_BATCH):
        yield column.slice(start, ROWS_PER_BATCH).to_pylist()


def iterate_values(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yield a column's values, in order; few are Python objects at a time."""
    return chain.from_iterable(iterate_batches(column))


def to_python(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column's values; as text where Python has no type for them, such as times in ns."""
    try:
        found: list[Any] = column.to_pylist()
    except ValueError:
        found = column.cast(pa.string()).to_pylist()
    return found


def find_positions(column: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the row (n,) of each value in another column, the first one; `NOT_FOUND` where it is not there."""
    rows: NDArray[np.int32] = pc.index_in(column, value_set=among).fill_null(NOT_FOUND).to_numpy()
    return rows.astype(np.int64)


def _read_csv(table: Path) -> pa.Table:
    with table.open(newline="", encoding="utf-8-sig") as file:
        # Spreadsheets write semicolons where the comma is the decimal point.
        lines = csv.reader(file, delimiter=max(",;\t", key=file.readline().count), strict=True)
        file.seek(0)
        names = next(lines, [])
        _check_unique_names(names)
        # pandas writes its row numbers under no name.
        parts = [pa.schema([(name, pa.string()) for name in names if name]).empty_table()]
        numbered = enumerate((row for row in lines if row), start=1)
        while some := list(islice(numbered, ROWS_PER_BATCH)):
            for number, row in some:
                if len(row) != len(names):
                    raise ValueError(f"row {number} has not as many cells as the header")
            columns = zip(names, zip(*(row for _, row in some), strict=True), strict=True)
            parts.append(pa.table({name: pa.array(column, pa.string()) for name, column in columns if name}))
    return pa.concat_tables(parts)


def _read_parquet(table: Path) -> pa.Table:
    content = pyarrow.parquet.ParquetFile(table).read()
    content.validate(full=True)  # text that is no UTF-8, say: its reader believes what it reads
    for at, field in enumerate(content.schema):
        if field.type in _VIEWS:
            content = content.set_column(at, field.name, content[field.name].cast(_VIEWS[field.type]))
    content.take(pa.array([], pa.int64()))  # of what else Arrow cannot choose rows, a list of views say, it tells here
    _check_unique_names(content.column_names)
    return content


def _check_unique_names(names: list[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"column {twice[0]!r} occurs twice")
