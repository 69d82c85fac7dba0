"""Read a user's table of recordings, and convert Arrow tables to Python values."""

import codecs
import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from emodna.pipeline.errors import CorpusError, explain_os_error, format_count

#: Number of rows that are converted to Python objects at a time.
ROWS_PER_BATCH: Final = 8192

#: Position of a value that is not found.
NOT_FOUND: Final = -1

#: Texts of cells without a value: those of pandas, in exactly this spelling, so that Nan may be the name of a person.
MISSING_WORDS: Final = (
    *("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "NULL", "null", "None"),
    *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

#: First bytes of spreadsheets: XLSX and ODS, and XLS.
_SPREADSHEETS: Final = (b"PK\3\4", b"\xd0\xcf\x11\xe0")

#: Types that `Table.take` does not support -> types of the same values that it supports.
_VIEWS: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def read_table(table: Path, columns: Collection[str]) -> pa.Table:
    """Read a user's table with a column `path`, which may also be called `file`.

    `columns` are the other columns that have a meaning for the caller. A column whose name differs from one of these or
    from `path` only by case or spaces is an error, because it would be ignored.

    The table is a Parquet file, or a CSV file (UTF-8 or UTF-16, header, all text). Columns without a name are left out:
    spreadsheets write empty ones at the end, and pandas its row numbers at the beginning. Raises `CorpusError`.
    """
    if not table.is_file():
        problem = "is a folder, not a table" if table.is_dir() else "not found"
        raise CorpusError(problem, field="manifest", value=table)
    kind, read = ("Parquet", _read_parquet) if table.suffix.lower() == ".parquet" else ("CSV", _read_csv)
    try:
        if not table.stat().st_size:
            raise CorpusError("empty; needs a header with the column path", field="manifest", value=table)
        content = read(table)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise CorpusError(_explain_bad_table(error, kind), field="manifest", value=table) from error
    names: list[str] = content.column_names
    known = {"path", *columns, *(() if "path" in names else ("file",))}
    if misspelt := [name for name in names if name not in known and name.strip().lower() in known]:
        found, right = (", ".join(map(repr, each)) for each in (misspelt, [each.strip().lower() for each in misspelt]))
        column, them = ("column", "it") if len(misspelt) == 1 else ("columns", "them")
        remedy = f"write {right} or rename {them}"
        raise CorpusError(f"unknown {column} {found}", field="manifest", value=table, remedy=remedy)
    if "path" not in names and "file" in names:  # as in audformat
        return content.rename_columns(["path" if name == "file" else name for name in names])
    if "path" not in names:
        problem = f"no column 'path' (its columns: {', '.join(names) or 'none'})"
        raise CorpusError(problem, field="manifest", value=table)
    return content


def is_missing(value: object) -> bool:
    """Return True for a cell without a value: null, NaN, or a text of `MISSING_WORDS`."""
    if isinstance(value, str):
        return value.strip() in MISSING_WORDS
    return value is None or (isinstance(value, float) and math.isnan(value))


def iterate_listed_rows(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number, from 0, and some columns of each row of a user's table. Rows without any value are left out."""
    is_listed = np.zeros(len(table), bool)
    for column in (table["path"], *table.columns):
        if not is_listed.all():
            is_listed |= _find_values(column)
    for number, row in enumerate(iterate_rows(table.select(list(columns)))):
        if is_listed[number]:
            yield number, row


def _find_values(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return a mask (n,) of the cells that are not missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_value = column.is_valid()
    if pa.types.is_floating(column.type):
        is_value = pc.and_kleene(is_value, pc.invert(pc.is_nan(column)))
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        words = pa.array(MISSING_WORDS, column.type)
        is_value = pc.and_(is_value, pc.invert(pc.is_in(pc.utf8_trim_whitespace(column), value_set=words)))
    mask: NDArray[np.bool_] = is_value.fill_null(False).to_numpy()
    return mask


def iterate_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dictionaries of Python values, column -> cell."""
    for batch in table.to_batches(ROWS_PER_BATCH):
        columns = map(to_python, batch.columns)
        yield from (dict(zip(batch.column_names, row, strict=True)) for row in zip(*columns, strict=True))


def choose_column_names(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return new names for a user's columns: old -> new. A taken name gets the prefix `own_`."""
    new: dict[str, str] = {}
    for name in names:
        free = name
        while free in taken or free in new.values():
            free = f"own_{free}"
        new[name] = free
    return new


def iterate_batches(column: pa.ChunkedArray) -> Iterator[list[Any]]:
    """Yield the values of a column, in lists of at most `ROWS_PER_BATCH`."""
    for start in range(0, len(column), ROWS_PER_BATCH):
        yield column.slice(start, ROWS_PER_BATCH).to_pylist()


def iterate_values(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yield the values of a column."""
    return chain.from_iterable(iterate_batches(column))


def to_python(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; as text if Python has no such type (such as times in ns)."""
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:
        values = column.cast(pa.string()).to_pylist()
    return values


def find_positions(column: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the first row of each value in another column, or `NOT_FOUND`; int64, shape (n,)."""
    rows: NDArray[np.int32] = pc.index_in(column, value_set=among).fill_null(NOT_FOUND).to_numpy()
    return rows.astype(np.int64)


def _explain_bad_table(error: Exception, kind: str) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {explain_os_error(error)}"
    reason = " ".join(str(error).split())
    if isinstance(error, UnicodeDecodeError):
        if not error.start or b"\0" not in error.object:  # text; UTF-16 fails at its first byte
            return f"not UTF-8: byte {error.start} is {error.object[error.start]:#x}; save it as UTF-8"
        reason = ""
    is_foreign = not reason or reason.startswith(("Parquet magic bytes", "Parquet file size"))
    return f"not a {kind} table" + ("" if is_foreign else f": {reason}")


def _read_csv(table: Path) -> pa.Table:
    with table.open("rb") as content:
        start = content.read(4)
    if start.startswith(_SPREADSHEETS):
        raise ValueError("a spreadsheet; save it as CSV")
    # Excel's "Unicode text" is UTF-16.
    is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    with table.open(newline="", encoding="utf-16" if is_utf16 else "utf-8-sig") as file:
        first = file.readline()
        if rule := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):  # Excel's own line above the header
            delimiter = rule[1]
        else:
            # Spreadsheets write semicolons where the decimal separator is a comma.
            delimiter = max(",;\t", key=first.count)
            file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        names = [name if name.strip() else "" for name in next(lines, [])]
        _check_unique_names([name for name in names if name])
        parts = [pa.schema([(name, pa.string()) for name in names if name]).empty_table()]
        rows = (_fit_row(row, number, len(names)) for number, row in enumerate(lines, start=1))
        while batch := list(islice(rows, ROWS_PER_BATCH)):
            columns = zip(names, zip(*batch, strict=True), strict=True)
            parts.append(pa.table({name: pa.array(column, pa.string()) for name, column in columns if name}))
    return pa.concat_tables(parts)


def _fit_row(row: list[str], number: int, width: int) -> list[str]:
    """Return a row as wide as the header. Raises a ValueError: cells are missing, or left over and not empty."""
    filled = max((at for at, cell in enumerate(row, start=1) if cell.strip()), default=0)
    if filled > width or (filled and len(row) < width):
        raise ValueError(f"row {number} has {format_count(len(row), 'cell')}, the header {width}")
    return row[:width] + [""] * (width - len(row))


def _read_parquet(table: Path) -> pa.Table:
    content = pyarrow.parquet.ParquetFile(table).read()
    content.validate(full=True)  # the reader does not check that text is UTF-8
    for index, field in enumerate(content.schema):
        if field.type in _VIEWS:
            content = content.set_column(index, field.name, content[field.name].cast(_VIEWS[field.type]))
    content.take(pa.array([], pa.int64()))  # an error for other types that it does not support, such as lists of views
    _check_unique_names(content.column_names)
    return content


def _check_unique_names(names: list[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"column {twice[0]!r} occurs twice")
