"""Read a user's own table of recordings: CSV or Parquet, with a column `path`."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from emodna.pipeline.errors import CorpusError


def read_table(table: Path) -> pa.Table:
    """Read a CSV (UTF-8, with a header line; all cells are text) or Parquet file with a column `path`.

    Raises
    ------
    CorpusError
        A table that cannot be read, that names a column twice, or has no column `path`.
    """
    if not table.is_file():
        raise CorpusError(f"--manifest {table}: no such file")
    try:
        content = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise CorpusError(f"--manifest {table}: not readable as CSV (UTF-8) or Parquet: {reason}") from error
    if "path" not in content.column_names:
        columns = ", ".join(content.column_names) or "none"
        raise CorpusError(f"--manifest {table}: no column 'path'; its columns: {columns}")
    return content


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows of a table as Python values: column -> cell."""
    columns = [_values(table[name]) for name in table.column_names]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:  # what Python has no type for, such as times in ns
        values = column.cast(pa.string()).to_pylist()
    return values


def _read_csv(table: Path) -> pa.Table:
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter=_delimiter(file.readline()), strict=True)
        file.seek(0)
        names = next(lines, [])
        rows = [row for row in lines if row]
    _refuse_twins(names)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise ValueError(f"row {number} has not as many cells as the header")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    # pandas writes its row numbers under no name.
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True) if name})


def _delimiter(header: str) -> str:
    """Comma, semicolon (as spreadsheets write where the comma is the decimal point) or tab."""
    return max(",;\t", key=header.count)


def _read_parquet(table: Path) -> pa.Table:
    content = pyarrow.parquet.ParquetFile(table).read()
    content.validate(full=True)  # text that is no UTF-8, say: its reader believes what it reads
    _refuse_twins(content.column_names)
    return content


def _refuse_twins(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} occurs twice")
