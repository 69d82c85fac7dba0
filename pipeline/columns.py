"""Columns of Arrow tables as arrays and as Python values."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Rows that are Python objects at a time, of however many.
ROWS_AT_ONCE: Final = 8192

#: Position of what is not there.
NOWHERE: Final = -1


def batches(column: pa.ChunkedArray) -> Iterator[list[Any]]:
    """A column's values as lists of a few, in order."""
    for start in range(0, len(column), ROWS_AT_ONCE):
        yield column.slice(start, ROWS_AT_ONCE).to_pylist()


def values(column: pa.ChunkedArray) -> Iterator[Any]:
    """A column's values, in order; few are Python objects at a time."""
    return chain.from_iterable(batches(column))


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """A column's values; as text where Python has no type for them, such as times in ns."""
    try:
        values: list[Any] = column.to_pylist()
    except ValueError:
        values = column.cast(pa.string()).to_pylist()
    return values


def positions(column: pa.ChunkedArray, among: pa.ChunkedArray) -> NDArray[np.int64]:
    """(n,) row of each value in another column, the first one; `NOWHERE` where it is not there."""
    rows: NDArray[np.int32] = pc.index_in(column, value_set=among).fill_null(NOWHERE).to_numpy()
    return rows.astype(np.int64)
