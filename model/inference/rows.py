"""Rows of a table of predictions, and Parquet files of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from emodna.model.inference.prediction import Prediction
from emodna.pipeline.tasks import Task

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of a row -> their types in Arrow, before and after those of the probabilities. `channel` follows if one was
#: asked for, then `run` with several models.
_FIRST: Final = {"file": "string", "start": "float64", "end": "float64", "task": "string"}
_LAST: Final = {"label": "string", "error": "string", "outside": "string"}
_CHANNEL: Final = {"channel": "int64"}
_RUN: Final = {"run": "string"}
#: Rows per row group of Parquet.
_ROWS: Final = 8192

Row = Mapping[str, Any]
"""Column -> value."""

AddRow = Callable[[Row, Row, int | None], None]
"""Function that writes a row, given also the other values and the number of its row in the manifest."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """The columns of the rows that the predictions of some models become."""

    tasks: Sequence[Task]
    """Task of each model."""
    runs: Sequence[Path]
    """Run of each model."""
    has_channels: bool = False
    """True to add a column with the channel."""

    @property
    def types(self) -> Mapping[str, str]:
        """Columns -> their types in Arrow."""
        probabilities = {name: "float64" for task in self.tasks for name in task.probability_columns}
        return (
            _FIRST
            | probabilities
            | _LAST
            | (_CHANNEL if self.has_channels else {})
            | (_RUN if len(self.runs) > 1 else {})
        )

    def make_row(self, prediction: Prediction) -> Row:
        """Return the row of a prediction, with None in columns of other tasks."""
        task, label = self.tasks[prediction.model], prediction.label
        values = {**asdict(prediction), "task": task.name, "run": str(self.runs[prediction.model])}
        values["outside"] = prediction.outside
        values["label"] = None if label is None else task.classes[label]
        if prediction.probabilities is not None:
            columns = task.probability_columns
            values |= dict(zip(columns, prediction.probabilities[-len(columns) :], strict=True))
        return {name: values.get(name) for name in self.types}

    def make_schema(self, manifest: "pa.Table | None") -> "pa.Schema":
        """Return the schema of the rows with the manifest's columns."""
        import pyarrow as pa

        own = [(name, pa.type_for_alias(kind)) for name, kind in self.types.items()]
        return pa.schema([*pa.schema(own), *([] if manifest is None else manifest.schema)])

    @contextmanager
    def write_parquet(self, stream: BinaryIO, manifest: "pa.Table | None") -> Iterator[AddRow]:
        """Write a Parquet file; the manifest's columns keep their types."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.make_schema(manifest)
        own = pa.schema(list(schema)[: len(self.types)])
        extra = pa.table({}) if manifest is None else manifest
        rows: list[Row] = []
        numbers: list[int | None] = []
        with pq.ParquetWriter(stream, schema, write_page_checksum=True) as writer:

            def write() -> None:
                table = pa.Table.from_pylist(rows, own)
                if manifest is not None:
                    columns = extra.take(pa.array(numbers, pa.int64())).columns
                    for field, column in zip(extra.schema, columns, strict=True):
                        table = table.append_column(field, column)
                writer.write_table(table)
                rows.clear()
                numbers.clear()

            def add(row: Row, _other: Row, number: int | None) -> None:
                rows.append({name: make_encodable(value) for name, value in row.items()})
                numbers.append(number)
                if len(rows) == _ROWS:
                    write()

            yield add
            write()


def make_encodable(value: object) -> object:
    """Escape the characters that UTF-8 cannot encode; file names may contain some."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
