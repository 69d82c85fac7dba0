"""Writers of predictions: lines, JSON or CSV on standard output, or a file."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import click

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import open_atomically
from emodna.pipeline.tasks import BUILT_IN_TASKS

if TYPE_CHECKING:
    import pyarrow as pa

    from emodna.model.inference.rows import AddRow, Row, RowFormat

#: Suffixes of prediction files.
SUFFIXES: Final = (".csv", ".parquet", ".json")


def print_lines(rows: "RowFormat", *, spans: bool, runs: bool) -> "AddRow":
    """Print a line per prediction, except for errors of whole files.

    `spans` adds start and end to each line, otherwise they are in the lines of files that are used in part. `runs` adds
    the run to each line.
    """
    tasks = dict(zip(map(str, rows.runs), rows.tasks, strict=True))
    first = str(rows.runs[0])

    def add(prediction: "Row", extra: "Row", _number: int | None) -> None:
        if prediction["start"] is None:
            return
        span = f"{prediction['start']:.2f} to {prediction['end']:.2f} s"
        if prediction["error"] is not None:
            text = f"{prediction['error']}  ({span})"
        else:
            # Tasks of one name may have other classes, so the run decides.
            definition = tasks[prediction.get("run", first)]
            columns = definition.probability_columns
            named = zip(definition.classes[-len(columns) :], columns, strict=True)
            values = ", ".join(f"p({name}) = {prediction[column]:.3f}" for name, column in named)
            label, task = prediction["label"], prediction["task"]
            text = f"{label} {task}  ({values}" if task in BUILT_IN_TASKS else f"{label}  ({task}: {values}"
            text += f", {span})" if spans or prediction["start"] else ")"  # else the span is the whole file
        text += f"  outside={prediction['outside']}" if prediction["outside"] else ""
        text += f"  channel={prediction['channel']}" if "channel" in prediction else ""
        text += f"  run={prediction['run']}" if runs else ""
        row = "".join(f"  {column}={cell}" for column, cell in extra.items() if cell not in (None, ""))
        click.echo(common.escape_controls(f"{prediction['file']}: {text}{row}"))

    return add


@contextmanager
def write_json(stream: TextIO) -> "Iterator[AddRow]":
    """Write a JSON array, one prediction at a time."""
    before = "["

    def add(prediction: "Row", extra: "Row", _number: int | None) -> None:
        nonlocal before
        lines = common.format_json({**prediction, **extra}).splitlines()
        stream.write("\n  ".join([before, *lines]))
        stream.flush()
        before = ","

    yield add
    stream.write("[]\n" if before == "[" else "\n]\n")
    stream.flush()


@contextmanager
def write_csv(stream: TextIO, names: Iterable[str], manifest: "pa.Table | None") -> "Iterator[AddRow]":
    """Write a header and a row per prediction. Cells are safe for spreadsheets and terminals."""
    rows = csv.writer(stream, lineterminator="\n")

    def add(prediction: "Row", extra: "Row", _number: int | None) -> None:
        rows.writerow(map(common.to_csv_cell, (*prediction.values(), *extra.values())))
        stream.flush()

    rows.writerow(map(common.to_csv_cell, [*names, *([] if manifest is None else manifest.column_names)]))
    yield add
    stream.flush()  # the header, if there is no prediction


def is_folder(out: str) -> bool:
    """Return True if a path means a folder: it is one, ends with a slash, or has no suffix."""
    path = Path(out)
    return bool(out) and (out.endswith("/") or path.is_dir() or not path.suffix)


def check_folder(path: Path) -> None:
    """Raise an EmodnaError if a path has no folder, or exists and is not a folder."""
    if not path.parent.is_dir():
        raise EmodnaError(f"folder {path.parent} not found", field="out", value=path)
    if path.exists() and not path.is_dir():
        raise EmodnaError("exists and is not a folder", field="out", value=path)


def check_output(
    path: Path,
    suffixes: Sequence[str] = SUFFIXES,
    *,
    field: str = "out",
    remedy: str | None = None,
    future_folder: Path | None = None,
) -> None:
    """Raise an EmodnaError if a path has an unknown suffix, no folder, or exists and is not a file.

    `remedy` is for an unknown suffix. The command makes the `future_folder` before it writes the file.
    """
    if path.suffix.lower() not in suffixes:
        raise EmodnaError("unknown suffix", field=field, value=path, valid=suffixes, remedy=remedy)
    is_future = future_folder is not None and future_folder.is_relative_to(path.parent)
    if not path.parent.is_dir() and not is_future:
        raise EmodnaError(f"folder {path.parent} not found", field=field, value=path)
    if path.exists() and not path.is_file():
        raise EmodnaError("exists and is not a file", field=field, value=path)


@contextmanager
def write_file(path: Path, rows: "RowFormat", manifest: "pa.Table | None") -> "Iterator[AddRow]":
    """Write a file in the format of its suffix. The file appears when it is complete."""
    with open_atomically(path) as stream:
        if path.suffix.lower() == ".parquet":
            with rows.write_parquet(stream, manifest) as add:
                yield add
            return
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        with write_json(text) if path.suffix.lower() == ".json" else write_csv(text, rows.types, manifest) as add:
            yield add
        text.detach()
