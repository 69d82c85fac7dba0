"""A table of a benchmark as CSV, in long form: a line for each number."""

import csv
import io

from emodna.cli import common
from emodna.cli.bench.formats.document import numbers
from emodna.model.bench.tables.data import Table


def values(table: Table) -> str:
    """All numbers, none rounded; what there is not is empty. Seeds are joined by blanks.

    `shared` counts the recordings of the targets that are in their sources, too, over the pairs of a mean.
    """
    shared = table.shared
    lines = [
        {
            "table": table.name,
            "task": task,
            "kind": line.kind,
            "row": line.name,
            "label": line.label,
            "paper_row": line.paper,
            "our_reading": line.named.our_reading if line.named else None,
            "supervision": line.named.supervision if line.named else None,
            "column": column.name,
            "metric": score,
            **numbers(figure, column),
            "seeds": " ".join(map(str, figure.seeds)),
            "shared": sum(shared.get(pair, 0) for pair in figure.pairs),
        }
        for line in table.lines
        for (task, column, score), figure in line.figures.items()
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in line.items()} for line in lines)
    return stream.getvalue()


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else common.csv_cell(value)
