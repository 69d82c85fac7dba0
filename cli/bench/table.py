"""emodna-bench table: the paper's tables, ours beside the paper's numbers."""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import check_folder, out_option
from emodna.cli.options import Command, common_options, config_option
from emodna.model.bench.spec import Experiment, list_shared_recordings
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.files import write_atomically

if TYPE_CHECKING:
    from emodna.model.bench.tables import Cell, Column, Table, TableRow

_NAMES: Final = ("2", "3", "4", "5", "6", "sensitivity", "pairs")
FORMATS: Final = ("text", "markdown", "latex", "csv", "json")
_ALSO: Final = {"md": "markdown", "tex": "latex"}
_BY_SUFFIX: Final = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "text"}


@click.command(cls=Command)
@click.argument("name", metavar="|".join(_NAMES), type=click.Choice(_NAMES))
@out_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, *_ALSO]),
    help="Form of the table; md is markdown, tex latex.  [default: as the suffix of --to says: .md, .tex, .csv, .json, "
    ".txt; printed: text]",
    show_default=False,
)
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="File to write instead of printing.")
@config_option
@common_options
def table(name: str, out: Path, form: str | None, to: Path | None, as_json: bool) -> None:
    """Show one of the paper's tables, ours beside the paper's, or how sensitive Emo-DNA is to its settings.

    2 and 3 compare methods in arousal and valence, 4 leaves out parts of Emo-DNA, 5 adds its contrastive loss to other
    methods, 6 varies its pseudo-labels; `pairs` has all rows that were run, pair by pair. Each number is the mean over
    the targets of a source, then over the sources; its standard deviation is that of this mean over the seeds. A
    benchmark that is not finished has its table, too: it says what is missing, and where ours cannot be compared with
    the paper's.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form}: give one of them")
    if as_json and to is not None:
        raise click.UsageError("--json prints; to write a file, give --to with --format json")
    if as_json:
        form = "json"
    elif form is None:
        form = "text" if to is None else _BY_SUFFIX.get(to.suffix.lower())
    if form is None:
        raise EmodnaError(f"--to {to}: its form is not known by its suffix ({', '.join(_BY_SUFFIX)}); give --format")
    check_folder(to)
    from emodna.cli.bench import formats
    from emodna.model.bench.tables import make_table as made

    found = made(Experiment.read(out), name)
    if to is None and form == "text" and common.out.is_terminal:
        formats.print_text(found, common.out)
        return
    forms: dict[str, Callable[[Table], str]] = {
        "text": formats.text,
        "markdown": formats.format_markdown,
        "latex": formats.format_latex,
        "csv": format_csv,
        "json": lambda made: common.format_json(make_document(made)) + "\n",
    }
    written = forms[_ALSO.get(form, form)](found)
    if to is None:
        click.echo(written, nl=False)
    else:
        write_atomically(to, written.encode())
        common.note(f"wrote {common.escape(to)}")


# JSON and CSV


def make_document(made: "Table") -> dict[str, Any]:
    """Return a table as a JSON document, with nothing rounded."""
    from emodna.cli.bench.notes import command

    experiment = made.experiment
    columns = {column.name: column for block in made.blocks for _, column in block.columns}

    def cells(line: "TableRow") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for (task, column, score), cell in line.cells.items():
            found.setdefault(task, {}).setdefault(column.name, {})[score] = _describe_cell(cell, column)
        return found

    return {
        "table": made.name,
        "title": made.title,
        "bench": str(experiment.out.absolute()),
        "conditions": {**asdict(experiment.conditions), "seeds": experiment.seeds},
        "columns": {name: {"pairs": column.pairs, "of_the_paper": column.in_paper} for name, column in columns.items()},
        "rows": {
            line.name: {"label": line.label, "kind": line.kind, **_describe_method(line, "paper"), "cells": cells(line)}
            for line in made.select_rows("entry", "floor", "ceiling")
        },
        "not_shown": [str(spec) for spec in made.not_shown],
        "shared": list_shared_recordings(made.shared_recordings),
        "constants": {line.name: {"label": line.label, "cells": cells(line)} for line in made.select_rows("constant")},
        "missing": {
            "cells": sum(gap.run_count for gap in made.gaps),
            "gaps": [
                {
                    "why": gap.reason,
                    "tasks": gap.tasks,
                    "rows": [str(spec) for spec in gap.methods],
                    "pairs": gap.pairs,
                    "seeds": gap.seeds,
                    "error": gap.error,
                }
                for gap in made.gaps
            ],
            "corpora": made.absent,
            "command": command(made),
        },
    }


def format_csv(made: "Table") -> str:
    """Return a table as CSV in long form, a line for each number: none is rounded, and what is not there is empty.

    Seeds are joined by blanks; `shared_recordings` counts the recordings of the targets that are in their sources, too, over the
    pairs of a mean.
    """
    shared_recordings = made.shared_recordings
    lines = [
        {
            "table": made.name,
            "task": task,
            "kind": line.kind,
            "row": line.name,
            "label": line.label,
            **_describe_method(line, "paper_row"),
            "column": column.name,
            "metric": score,
            **_describe_cell(cell, column),
            "seeds": " ".join(map(str, cell.seeds)),
            "shared": sum(shared_recordings.get(pair, 0) for pair in cell.pairs),
        }
        for line in made.rows
        for (task, column, score), cell in line.cells.items()
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {
            key: str(value).lower() if isinstance(value, bool) else common.to_csv_cell(value)
            for key, value in line.items()
        }
        for line in lines
    )
    return stream.getvalue()


def _describe_method(line: "TableRow", paper_key: str) -> dict[str, Any]:
    info = line.info
    return {
        paper_key: line.paper_name,
        "our_reading": info.our_reading if info else None,
        "supervision": info.supervision if info else None,
    }


def _describe_cell(cell: "Cell", column: "Column") -> dict[str, Any]:
    """Return a cell by the names that JSON and CSV have."""
    cited = cell.paper_score
    return {
        "mean": cell.mean,
        "std": cell.std,
        "seeds": cell.seeds,
        "pairs": len(cell.pairs),
        "of": len(column.pairs),
        "constant": cell.constant,
        "mark": cell.mark,
        "best": cell.best,
        "paper_mean": cited.mean if cited else None,
        "paper_std": cited.std if cited else None,
        "comparable": cell.comparable,
        "difference": cell.difference,
        "gain": cell.gain,
        "paper_gain": cell.paper_gain,
    }
