"""emodna-bench table: the paper's tables with our scores."""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import check_output, out_option
from emodna.cli.options import FILE, Command, common_options, config_option
from emodna.model.bench.spec import Experiment, list_shared_recordings
from emodna.pipeline.errors import EmodnaError, Remedy
from emodna.pipeline.files import write_atomically

if TYPE_CHECKING:
    from emodna.model.bench.table_data import Cell, Column, Table, TableRow

_NAMES: Final = ("2", "3", "4", "5", "6", "sensitivity", "pairs")
_FORMATS: Final = ("text", "markdown", "latex", "csv", "json")
_ALIASES: Final = {"md": "markdown", "tex": "latex"}
_BY_SUFFIX: Final = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "text"}


@click.command(
    cls=Command,
    groups={"Data": "out feature_set", "Output": "form to"},
    examples=("emodna-bench table 2", "emodna-bench table pairs --to pairs.csv"),
)
@click.argument("name", metavar="TABLE", type=click.Choice(_NAMES), help=f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}.")
@out_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*_FORMATS, *_ALIASES]),
    help="Format; md is markdown, tex is latex.  [default: by the suffix of --to, else text]",
    show_default=False,
)
@click.option("--to", type=FILE, help="File to write.  [default: print it]")
@click.option(
    "--feature-set",
    metavar="NAME",
    help="Feature set to show, of those in --out.  [default: all for pairs, else mfcc40 or the first]",
)
@config_option
@common_options
def table(name: str, out: Path, form: str | None, to: Path | None, feature_set: str | None, as_json: bool) -> None:
    """Show a table of the paper with the experiment's scores.

    Table 2 compares the methods in arousal, table 3 in valence. Table 4 is the ablation of Emo-DNA, table 5 adds its
    contrastive loss to other methods, and table 6 varies its pseudo-labels. Table `sensitivity` varies settings of
    Emo-DNA, and table `pairs` shows all methods pair by pair.

    Scores are averaged over the targets of each source, then over the sources; the standard deviation is over the
    seeds. For an unfinished experiment, the table lists the missing runs and marks scores that are not comparable with
    the paper's.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other")
    if as_json and to is not None:
        raise click.UsageError("--json and --to exclude each other; to write a JSON file, use --format json")
    if as_json:
        form = "json"
    elif form is None:
        form = "text" if to is None else _BY_SUFFIX.get(to.suffix.lower())
    if form is None:
        raise EmodnaError(
            "unknown suffix", field="to", value=to, valid=_BY_SUFFIX, remedy=Remedy("choose another, or set {form}")
        )
    check_output(to)
    from emodna.cli.bench import formats
    from emodna.model.bench.tables import make_table

    table = make_table(Experiment.read(out), name, feature_set=feature_set)
    if to is None and form == "text" and common.out.is_terminal:
        formats.print_text(table, common.out)
        return
    formatters: dict[str, Callable[[Table], str]] = {
        "text": formats.format_text,
        "markdown": formats.format_markdown,
        "latex": formats.format_latex,
        "csv": format_csv,
        "json": lambda table: common.format_json(make_document(table)) + "\n",
    }
    text = formatters[_ALIASES.get(form, form)](table)
    if to is None:
        click.echo(text, nl=False)
    else:
        write_atomically(to, text.encode())
        common.note(f"wrote {common.escape(to)}")


def make_document(table: "Table") -> dict[str, Any]:
    """Return a table as a JSON document with unrounded numbers."""
    from emodna.cli.bench.notes import make_command

    experiment = table.experiment
    columns = {column.name: column for block in table.blocks for _, column in block.columns}

    def group_cells(row: "TableRow") -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for (task, column, score), cell in row.cells.items():
            groups.setdefault(task, {}).setdefault(column.name, {})[score] = _describe_cell(cell, column)
        return groups

    return {
        "table": table.name,
        "title": table.title,
        "bench": str(experiment.out.absolute()),
        "conditions": {**asdict(experiment.conditions), "seeds": experiment.seeds},
        "feature_sets": {name: asdict(experiment.feature_sets[name]) for name in table.feature_sets},
        "columns": {name: {"pairs": column.pairs, "of_the_paper": column.in_paper} for name, column in columns.items()},
        "rows": {
            row.name: {
                "label": row.label,
                "feature_set": row.feature_set,
                "kind": row.kind,
                **_describe_method(row, "paper"),
                "cells": group_cells(row),
            }
            for row in table.select_rows("entry", "floor", "ceiling")
        },
        "not_shown": [str(spec) for spec in table.not_shown],
        "shared": list_shared_recordings(table.shared_recordings),
        "constants": {
            row.name: {"label": row.label, "cells": group_cells(row)} for row in table.select_rows("constant")
        },
        "missing": {
            "cells": sum(gap.run_count for gap in table.gaps),
            "gaps": [
                {
                    "why": gap.reason,
                    "tasks": gap.tasks,
                    "rows": [str(spec) for spec in gap.methods],
                    "pairs": gap.pairs,
                    "seeds": gap.seeds,
                    "error": gap.error,
                }
                for gap in table.gaps
            ],
            "corpora": table.absent,
            "command": make_command(table),
        },
    }


def format_csv(table: "Table") -> str:
    """Return a table as CSV, one line per number; numbers are unrounded, missing ones are empty.

    Blanks separate `seeds`; `shared` is the number of recordings of the targets that are also in their sources.
    """
    shared_recordings = table.shared_recordings
    lines = [
        {
            "table": table.name,
            "task": task,
            "kind": row.kind,
            "row": row.name,
            "label": row.label,
            "feature_set": row.feature_set or "",
            **_describe_method(row, "paper_row"),
            "column": column.name,
            "metric": score,
            **_describe_cell(cell, column),
            "seeds": " ".join(map(str, cell.seeds)),
            "shared": sum(shared_recordings.get(pair, 0) for pair in cell.pairs),
        }
        for row in table.rows
        for (task, column, score), cell in row.cells.items()
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(lines[0])
    for line in lines:
        cells = [str(each).lower() if isinstance(each, bool) else common.to_csv_cell(each) for each in line.values()]
        writer.writerow(cells)
    return stream.getvalue()


def _describe_method(row: "TableRow", paper_key: str) -> dict[str, Any]:
    info = row.info
    return {
        paper_key: row.paper_name,
        "our_reading": info.our_reading if info else None,
        "supervision": info.supervision if info else None,
    }


def _describe_cell(cell: "Cell", column: "Column") -> dict[str, Any]:
    paper_score = cell.paper_score
    return {
        "mean": cell.mean,
        "std": cell.std,
        "seeds": cell.seeds,
        "pairs": len(cell.pairs),
        "of": len(column.pairs),
        "constant": cell.constant,
        "mark": cell.mark,
        "exposure": cell.exposure,
        "best": cell.best,
        "paper_mean": paper_score.mean if paper_score else None,
        "paper_std": paper_score.std if paper_score else None,
        "comparable": cell.comparable,
        "difference": cell.difference,
        "gain": cell.gain,
        "paper_gain": cell.paper_gain,
    }
