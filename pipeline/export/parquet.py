"""Write one Parquet file: the index columns and the features, one row group per block."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emodna.pipeline.export import base
from emodna.pipeline.export.base import ExportFormat, format_origin, select_columns
from emodna.pipeline.store import FeatureStore

_TAKEN: Final = ("dim", "features")


def open_writer(file: Path, schema: pa.Schema, features: str) -> pq.ParquetWriter:
    """Open a Parquet file for writing; `features` is the path of the column of feature values."""
    # Features compress best if their bytes are split by significance.
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=text, use_byte_stream_split=[features])


def _write(store: FeatureStore, file: Path, on_progress: Callable[[int], None]) -> None:
    table = select_columns(store, taken=_TAKEN)
    schema = pa.schema(
        [*table.schema, pa.field("dim", pa.int32()), pa.field("features", pa.list_(pa.float32()))],
        metadata={"emodna": format_origin(store.snapshot)},
    )
    with open_writer(file, schema, "features.list.element") as writer:
        for rows, features in store.iterate_blocks(base.MAX_BLOCK_VALUES):
            part = table.slice(rows.start, rows.stop - rows.start)
            ends = np.cumsum([0, *store.frames[rows]]) * features.shape[1]
            lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(features.ravel()))
            dim = pa.array(np.full(len(part), features.shape[1], np.int32))
            writer.write_table(pa.table([*part.columns, dim, lists], schema=schema))
            on_progress(len(part))


FORMAT: Final = ExportFormat(
    suffix=".parquet", own_files=None, write=_write, load="table = pyarrow.parquet.read_table({place!r})"
)
