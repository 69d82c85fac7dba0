"""One uncompressed .npz: all features end to end, where each utterance begins, and an array per column."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.export import base
from emodna.pipeline.export.base import Format, about_json, columns, plain
from emodna.pipeline.store import FeatureStore

_TAKEN: Final = ("features", "offsets", "about")
#: Before the name of a column, the array that says where it has no value.
_MISSING: Final = "missing_"
#: Strings that are converted at a time.
_ROWS: Final = 1 << 16


def _write(store: FeatureStore, file: Path, told: Callable[[int], None]) -> None:
    """Stream array by array; a column with missing values has a second array, `missing_<column>`, true where they are.

    There stand -1 (0 where unsigned), NaN, false and "" in the column itself.
    """
    names = store.table.column_names
    table = plain(columns(store, taken=[*_TAKEN, *(_MISSING + name for name in names)]))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        offsets = np.cumsum([0, *store.frames], dtype=np.int64)
        with _array(archive, "features", "<f4", (int(offsets[-1]), store.dim)) as stream:
            for rows, features in store.iterate_blocks(base.BLOCK_VALUES):
                stream.write(features.data.cast("B"))
                told(rows.stop - rows.start)
        _whole(archive, "offsets", offsets)
        for name in table.column_names:
            _column(archive, name, table[name])
        _whole(archive, "about", np.array(about_json(store.snapshot)))


def _column(archive: zipfile.ZipFile, name: str, column: pa.ChunkedArray) -> None:
    if column.null_count:
        _whole(archive, f"{_MISSING}{name}", column.is_null().to_numpy())
    if not pa.types.is_string(column.type):
        filled = column.fill_null(_stand_in(column.type)) if column.null_count else column
        _whole(archive, name, filled.to_numpy())
        return
    filled = column.fill_null("")
    width = max(pc.max(pc.utf8_length(filled)).as_py() or 0, 1)
    with _array(archive, name, f"<U{width}", (len(filled),)) as stream:
        for start in range(0, len(filled), _ROWS):
            stream.write(np.array(filled.slice(start, _ROWS).to_pylist(), dtype=f"<U{width}").tobytes())


def _stand_in(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_floating(kind):
        return pa.scalar(np.nan, kind)
    return pa.scalar(-1 if pa.types.is_signed_integer(kind) else 0).cast(kind)


def _whole(archive: zipfile.ZipFile, name: str, values: np.ndarray[Any, Any]) -> None:
    with _array(archive, name, values.dtype.str, values.shape) as stream:
        stream.write(values.tobytes())


@contextmanager
def _array(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """Open a member of the archive behind its header, to write values into; its time is always the same."""
    member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    with archive.open(member, "w", force_zip64=True) as stream:
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


FORMAT: Final = Format(suffix=".npz", own_files=None, write=_write, load="arrays = numpy.load({place!r})")
