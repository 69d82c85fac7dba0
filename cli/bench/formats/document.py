"""A table of a benchmark as a JSON document."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emodna.cli.bench.formats.words import command
from emodna.model.bench.tables.columns import Column
from emodna.model.bench.tables.data import Figure, Line, Spot, Table
from emodna.model.bench.wording import shared_facts


def document(table: Table) -> dict[str, Any]:
    """All of it, with nothing rounded."""
    columns: dict[str, Column] = {column.name: column for block in table.blocks for _, column in block.columns}
    return {
        "table": table.name,
        "title": table.title,
        "bench": str(table.bench.out.absolute()),
        "conditions": {**asdict(table.bench.conditions), "seeds": table.seeds},
        "columns": {name: {"pairs": column.pairs, "of_the_paper": column.cited} for name, column in columns.items()},
        "rows": {line.name: _row(line) for line in table.of("entry", "floor", "ceiling")},
        "not_shown": list(map(str, table.not_shown)),
        "shared": shared_facts(table.shared),
        "constants": {line.name: {"label": line.label, "cells": _cells(line.figures)} for line in table.of("constant")},
        "missing": {
            "cells": sum(gap.cells for gap in table.gaps),
            "gaps": [{**asdict(gap), "rows": list(map(str, gap.rows))} for gap in table.gaps],
            "corpora": table.absent,
            "command": command(table),
        },
    }


def numbers(figure: Figure, column: Column) -> dict[str, Any]:
    """A figure, by the names that JSON and CSV have."""
    return {
        "mean": figure.mean,
        "std": figure.std,
        "seeds": figure.seeds,
        "pairs": len(figure.pairs),
        "of": len(column.pairs),
        "constant": figure.constant,
        "mark": figure.mark,
        "best": figure.best,
        "paper_mean": figure.cited.mean if figure.cited else None,
        "paper_std": figure.cited.std if figure.cited else None,
        "comparable": figure.comparable,
        "difference": figure.difference,
        "gain": figure.gain,
        "paper_gain": figure.cited_gain,
    }


def _row(line: Line) -> dict[str, Any]:
    return {
        "label": line.label,
        "kind": line.kind,
        "paper": line.paper,
        "our_reading": line.named.our_reading if line.named else None,
        "supervision": line.named.supervision if line.named else None,
        "cells": _cells(line.figures),
    }


def _cells(figures: Mapping[Spot, Figure]) -> dict[str, Any]:
    """Task -> column -> score -> numbers."""
    found: dict[str, Any] = {}
    for (task, column, score), figure in figures.items():
        found.setdefault(task, {}).setdefault(column.name, {})[score] = numbers(figure, column)
    return found
