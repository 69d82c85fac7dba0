"""Write one uncompressed .npz: concatenated features, the offset of each utterance, and an array per column."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.export import base
from emodna.pipeline.export.base import ExportFormat, format_origin, select_columns, simplify_columns
from emodna.pipeline.store import FeatureStore

_TAKEN: Final = ("features", "offsets", "about")
#: Prefix of the array that marks missing values of a column.
_MISSING_PREFIX: Final = "missing_"
#: Number of strings to convert at a time.
_BATCH_ROWS: Final = 1 << 16


def _write(store: FeatureStore, file: Path, on_progress: Callable[[int], None]) -> None:
    """Write array by array.

    A column with missing values gets a boolean array `missing_<column>`; it has -1 (0 if unsigned), NaN, false or ""
    in their place.
    """
    names = store.table.column_names
    table = simplify_columns(select_columns(store, taken=[*_TAKEN, *(_MISSING_PREFIX + name for name in names)]))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        offsets = np.cumsum([0, *store.frames], dtype=np.int64)
        with _open_array(archive, "features", "<f4", (int(offsets[-1]), store.dim)) as stream:
            for rows, features in store.iterate_blocks(base.MAX_BLOCK_VALUES):
                stream.write(features.data.cast("B"))
                on_progress(rows.stop - rows.start)
        _write_array(archive, "offsets", offsets)
        for name in table.column_names:
            _write_column(archive, name, table[name])
        _write_array(archive, "about", np.array(format_origin(store.snapshot)))


def _write_column(archive: zipfile.ZipFile, name: str, column: pa.ChunkedArray) -> None:
    if column.null_count:
        _write_array(archive, f"{_MISSING_PREFIX}{name}", column.is_null().to_numpy())
    if not pa.types.is_string(column.type):
        filled = column.fill_null(_choose_fill_value(column.type)) if column.null_count else column
        _write_array(archive, name, filled.to_numpy())
        return
    filled = column.fill_null("")
    width = max(pc.max(pc.utf8_length(filled)).as_py() or 0, 1)
    with _open_array(archive, name, f"<U{width}", (len(filled),)) as stream:
        for start in range(0, len(filled), _BATCH_ROWS):
            stream.write(np.array(filled.slice(start, _BATCH_ROWS).to_pylist(), dtype=f"<U{width}").tobytes())


def _choose_fill_value(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_floating(kind):
        return pa.scalar(np.nan, kind)
    return pa.scalar(-1 if pa.types.is_signed_integer(kind) else 0).cast(kind)


def _write_array(archive: zipfile.ZipFile, name: str, values: np.ndarray[Any, Any]) -> None:
    with _open_array(archive, name, values.dtype.str, values.shape) as stream:
        stream.write(values.tobytes())


@contextmanager
def _open_array(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # constant, so that exports are equal
    with archive.open(member, "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
        yield stream


FORMAT: Final = ExportFormat(suffix=".npz", own_files=None, write=_write, load="arrays = numpy.load({place!r})")
