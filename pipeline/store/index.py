"""A store's index: Parquet files, one row per utterance."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import layout
from emodna.pipeline.store.snapshot import Snapshot, checked_file
from emodna.pipeline.store.soundness import check_index, check_schemas

#: Columns that a training run needs of every utterance; all numeric, so that a million of them cost little.
NUMERIC: Final = ("arousal", "valence", "frames", "peak_db", "shard", "offset", "feature_crc")


class Index:
    """The index of a snapshot, whose every byte was compared with store.json.

    Parameters
    ----------
    store
        Folder of the store.

    Raises
    ------
    StoreError
        A file is missing or damaged, or says what no index can.
    """

    def __init__(self, store: Path, snapshot: Snapshot) -> None:
        self._store = store
        self._files = [checked_file(store, file) for file in snapshot.tables("index")]
        with believing_tables(store):
            check_schemas([pq.read_schema(file) for file in self._files])
            self.numeric: Mapping[str, NDArray[Any]] = self._numeric(snapshot)
            """Each column of `NUMERIC` as an array (n,) of its own type, null as -1."""

    def columns(self, names: Sequence[str] | None) -> pa.Table:
        """Some columns, or all, in the order of the rows."""
        with believing_tables(self._store):
            return pa.concat_tables([_read(file, names) for file in self._files])

    def _numeric(self, snapshot: Snapshot) -> dict[str, NDArray[Any]]:
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in NUMERIC}
        for file in self._files:
            table = _read(file, NUMERIC)
            check_index(table, snapshot.shards)
            for name in NUMERIC:
                parts[name].append(_numpy(table[name]))
        arrays = {name: np.concatenate(parts.pop(name)) for name in NUMERIC}
        if (found := len(arrays["frames"])) != (said := snapshot.counts["utterances"]):
            raise ValueError(f"{found} utterances, {said} by {layout.STORE_JSON}")
        return arrays


@contextmanager
def believing_tables(store: Path) -> Iterator[None]:
    """Read tables whose bytes are those that store.json names, which may still not be what they should.

    Raises
    ------
    StoreError
        They are not.
    """
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{store}: its tables are not a store's ({reason}); run emodna-prep again") from error


def _read(file: Path, names: Sequence[str] | None) -> pa.Table:
    # Not by pq.read_table: its dataset and its threads take 40 MB, however small the file.
    with pq.ParquetFile(file) as parquet:
        table = parquet.read(None if names is None else list(names), use_threads=False)
    return table if names is None else table.select(list(names))


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    if column.null_count:
        column = column.fill_null(pa.scalar(-1, column.type))
    array: NDArray[Any] = column.to_numpy()
    return array
