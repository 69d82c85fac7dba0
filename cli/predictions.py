"""Destinations of the answers of emodna-predict: lines, JSON or CSV on standard output, or a file."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO

import click

from emodna.cli import common
from emodna.pipeline.emotions import CLASS_NAMES
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import open_atomically

if TYPE_CHECKING:
    import pyarrow as pa

#: Endings of files of answers.
SUFFIXES: Final = (".csv", ".parquet", ".json")

_NUMBERS: Final = ("start", "end", "probability")
#: Answers in a row group of Parquet.
_ROWS: Final = 8192

Prediction = Mapping[str, Any]
"""Column -> value."""


AddPrediction = Callable[[Prediction, Prediction, int | None], None]
"""Takes an answer, the other cells of its row in a manifest, and the number of that row."""


def print_lines(*, over_time: bool, runs: bool) -> AddPrediction:
    """Print a line for each answer, for people, except for errors of whole files; `runs`: each answer names its run."""

    def add(answer: Prediction, beside: Prediction, _number: int | None) -> None:
        if answer["start"] is None:
            return
        span = f"{answer['start']:.1f} to {answer['end']:.1f} s"
        if answer["error"] is not None:
            said = f"{answer['error']}  ({span})"
        else:
            positive = CLASS_NAMES[answer["task"]][1]
            said = f"{answer['label']} {answer['task']}  (p({positive}) = {answer['probability']:.3f}"
            said += f", {span})" if over_time or answer["start"] else ")"  # else it is all of the file
        said += f"  run={answer['run']}" if runs else ""
        row = "".join(f"  {column}={cell}" for column, cell in beside.items() if cell not in (None, ""))
        click.echo(common.visible(f"{answer['file']}: {said}{row}"))

    return add


@contextmanager
def as_json(stream: TextIO) -> Iterator[AddPrediction]:
    """Write one JSON array, which grows as the answers come."""
    before = "["

    def add(answer: Prediction, beside: Prediction, _number: int | None) -> None:
        nonlocal before
        lines = common.format_json({**answer, **beside}).splitlines()
        stream.write("\n  ".join([before, *lines]))
        stream.flush()
        before = ","

    yield add
    stream.write("[]\n" if before == "[" else "\n]\n")
    stream.flush()


@contextmanager
def as_csv(stream: TextIO, names: Sequence[str], manifest: "pa.Table | None") -> Iterator[AddPrediction]:
    """Write a header, and a row for each answer; no cell is a formula to a spreadsheet, or a command to a terminal."""
    rows = csv.writer(stream, lineterminator="\n")

    def add(answer: Prediction, beside: Prediction, _number: int | None) -> None:
        rows.writerow(map(common.to_csv_cell, (*answer.values(), *beside.values())))
        stream.flush()

    rows.writerow(map(common.to_csv_cell, [*names, *([] if manifest is None else manifest.column_names)]))
    yield add
    stream.flush()  # the header at least


@contextmanager
def _write_parquet(stream: BinaryIO, names: Sequence[str], manifest: "pa.Table | None") -> Iterator[AddPrediction]:
    """Write a Parquet file; a manifest's columns keep their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = pa.schema([(name, pa.float64() if name in _NUMBERS else pa.string()) for name in names])
    beside = pa.table({}) if manifest is None else manifest
    answers: list[Prediction] = []
    numbers: list[int | None] = []
    with pq.ParquetWriter(stream, pa.schema([*own, *beside.schema])) as writer:

        def write() -> None:
            table = pa.Table.from_pylist(answers, own)
            if manifest is not None:
                for field, column in zip(
                    beside.schema, beside.take(pa.array(numbers, pa.int64())).columns, strict=True
                ):
                    table = table.append_column(field, column)
            writer.write_table(table)
            answers.clear()
            numbers.clear()

        def add(answer: Prediction, _beside: Prediction, number: int | None) -> None:
            answers.append({name: _make_encodable(value) for name, value in answer.items()})
            numbers.append(number)
            if len(answers) == _ROWS:
                write()

        yield add
        write()


def check_output(path: Path) -> None:
    """Check that answers can be written to a file: its ending, its folder, and that nothing else has its place."""
    if path.suffix.lower() not in SUFFIXES:
        raise EmodnaError(f"--out {path}: must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise EmodnaError(f"--out {path}: no such folder: {path.parent}")
    if path.exists() and not path.is_file():
        raise EmodnaError(f"--out {path}: there is something else than a file in its place")


@contextmanager
def write_file(path: Path, names: Sequence[str], manifest: "pa.Table | None") -> Iterator[AddPrediction]:
    """Write the answers to a file by its ending; it appears when it is complete."""
    with open_atomically(path) as stream:
        if path.suffix.lower() == ".parquet":
            with _write_parquet(stream, names, manifest) as add:
                yield add
            return
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        with as_json(text) if path.suffix.lower() == ".json" else as_csv(text, names, manifest) as add:
            yield add
        text.detach()


def _make_encodable(value: object) -> object:
    """Return a value without characters that UTF-8 cannot encode, which names of files may have."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
