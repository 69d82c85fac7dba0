"""Destinations of the answers of emodna-predict: lines, JSON or CSV on standard output, or a file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from emodna.cli import common
from emodna.pipeline.emotions import CLASS_NAMES
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import writing_atomically

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Endings of files of answers.
SUFFIXES: Final = (".csv", ".parquet", ".json")

_NUMBERS: Final = ("start", "end", "probability")
#: Answers in a row group of Parquet.
_ROWS: Final = 8192

Answer = Mapping[str, Any]
"""Column -> value."""


class Answers:
    """Takes one answer after the other."""

    def add(self, answer: Answer, beside: Answer, number: int | None) -> None:
        """Take an answer, the other cells of its row in a manifest, and the number of that row."""
        raise NotImplementedError

    def end(self) -> None:
        """Finish after the last answer."""


class Lines(Answers):
    """A line for each answer, for people.

    Parameters
    ----------
    over_time
        Answers are for windows.
    runs
        Each answer names its run.
    """

    def __init__(self, *, over_time: bool, runs: bool) -> None:
        self._over_time, self._runs = over_time, runs

    def add(self, answer: Answer, beside: Answer, number: int | None) -> None:  # noqa: ARG002
        """Print it, unless it is an error of a whole file."""
        if answer["start"] is None:
            return
        span = f"{answer['start']:.1f} to {answer['end']:.1f} s"
        if answer["error"] is not None:
            said = f"{answer['error']}  ({span})"
        else:
            positive = CLASS_NAMES[answer["task"]][1]
            said = f"{answer['label']} {answer['task']}  (p({positive}) = {answer['probability']:.3f}"
            said += f", {span})" if self._over_time or answer["start"] else ")"  # else it is all of the file
        said += f"  run={answer['run']}" if self._runs else ""
        row = "".join(f"  {column}={cell}" for column, cell in beside.items() if cell not in (None, ""))
        click.echo(common.visible(f"{answer['file']}: {said}{row}"))


class JsonAnswers(Answers):
    """One JSON array, which grows as the answers come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._before = stream, "["

    def add(self, answer: Answer, beside: Answer, number: int | None) -> None:  # noqa: ARG002
        """Write an element."""
        lines = common.json_text({**answer, **beside}).splitlines()
        self._stream.write("\n  ".join([self._before, *lines]))
        self._stream.flush()
        self._before = ","

    def end(self) -> None:
        """Close the array."""
        self._stream.write("[]\n" if self._before == "[" else "\n]\n")
        self._stream.flush()


class CsvAnswers(Answers):
    """A header, and a row for each answer; no cell is a formula to a spreadsheet, or a command to a terminal."""

    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        self._stream, self._rows = stream, csv.writer(stream, lineterminator="\n")
        self._rows.writerow(map(common.csv_cell, columns))

    def add(self, answer: Answer, beside: Answer, number: int | None) -> None:  # noqa: ARG002
        """Write a row."""
        self._rows.writerow(map(common.csv_cell, (*answer.values(), *beside.values())))
        self._stream.flush()

    def end(self) -> None:
        """Write the header at least."""
        self._stream.flush()


class ParquetAnswers(Answers):
    """A Parquet file; a manifest's columns keep their types."""

    def __init__(self, writer: "pq.ParquetWriter", own: "pa.Schema", manifest: "pa.Table | None") -> None:
        self._writer, self._own, self._manifest = writer, own, manifest
        self._answers: list[Answer] = []
        self._numbers: list[int | None] = []

    def add(self, answer: Answer, beside: Answer, number: int | None) -> None:  # noqa: ARG002
        """Keep an answer until there are enough."""
        self._answers.append({name: _encodable(value) for name, value in answer.items()})
        self._numbers.append(number)
        if len(self._answers) == _ROWS:
            self.end()

    def end(self) -> None:
        """Write the answers that are kept."""
        import pyarrow as pa

        table = pa.Table.from_pylist(self._answers, self._own)
        if self._manifest is not None:
            beside = self._manifest.take(pa.array(self._numbers, pa.int64()))
            for field in beside.schema:
                table = table.append_column(field, beside[field.name])
        self._writer.write_table(table)
        self._answers, self._numbers = [], []


def check_file(path: Path) -> None:
    """Check that answers can be written to a file.

    Raises
    ------
    EmodnaError
        Another ending, no folder to write in, or not a file in its place.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise EmodnaError(f"--out {path}: must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise EmodnaError(f"--out {path}: no such folder: {path.parent}")
    if path.exists() and not path.is_file():
        raise EmodnaError(f"--out {path}: there is something else than a file in its place")


@contextmanager
def into_file(path: Path, names: Sequence[str], manifest: "pa.Table | None") -> Iterator[Answers]:
    """Write the answers to a file by its ending; it appears when it is complete."""
    kind = path.suffix.lower()
    with writing_atomically(path) as stream:
        if kind == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            own = pa.schema([(name, pa.float64() if name in _NUMBERS else pa.string()) for name in names])
            beside = [] if manifest is None else manifest.schema
            with pq.ParquetWriter(stream, pa.schema([*own, *beside])) as writer:
                yield ParquetAnswers(writer, own, manifest)
            return
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        columns = [*names, *([] if manifest is None else manifest.column_names)]
        yield JsonAnswers(text) if kind == ".json" else CsvAnswers(text, columns)
        text.detach()


def _encodable(value: object) -> object:
    """Return a value without characters that UTF-8 cannot encode, which names of files may have."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
