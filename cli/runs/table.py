"""Tables of runs for the terminal, and their cells; a table leaves out its least columns where there is no room."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from emodna.cli import common
from emodna.cli.scores import cells, format_percent
from emodna.model.label import SCORE_NAMES
from emodna.model.runs.listing import Run

#: Width of a column's padding, and of the table's edge.
_PADDING: Final = 3
_EDGE: Final = 1
#: Least width of a column that folds.
_LEAST: Final = 24

_STYLES: Final = {"done": "green", "running": "cyan", "interrupted": "yellow", "damaged": "red"}
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Column:
    """A column, by its heading."""

    heading: str
    cells: Sequence[Text]
    rank: int = 0
    """Columns of the highest rank are left out first, those of rank 0 never."""
    right: bool = False
    folds: bool = False

    @property
    def full_width(self) -> int:
        """Columns of the terminal for the widest cell."""
        return _PADDING + max(cell.cell_len for cell in (Text(self.heading), *self.cells))

    @property
    def width(self) -> int:
        """Columns of the terminal that it needs."""
        return min(self.full_width, _PADDING + _LEAST) if self.folds else self.full_width


def print_table(columns: Sequence[Column]) -> None:
    """Print a table on standard output: whole into a file, as wide as there is room on a terminal."""
    shown, before = list(columns), common.out.width
    if common.out.is_terminal:
        while _EDGE + sum(column.width for column in shown) > before and any(each.rank for each in shown):
            shown.remove(max(shown, key=lambda column: column.rank))
    table = Table(box=box.SIMPLE_HEAD)
    for column in shown:
        table.add_column(
            column.heading, justify="right" if column.right else "left", overflow="fold", no_wrap=not column.folds
        )
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*row)
    if common.out.is_terminal:
        common.out.print(table)
    else:
        common.out.width = max(before, _EDGE + sum(column.full_width for column in shown))
        try:
            common.out.print(table)
        finally:
            common.out.width = before
    if left_out := [column.heading for column in columns if column not in shown]:
        common.note(f"not shown in {before} columns: {', '.join(left_out)}")


def score_columns(runs: Sequence[Run], ranks: Mapping[str, int] | None = None) -> list[Column]:
    """Return a column for each score of some runs; yellow where the best constant predictor is as good."""
    return [
        Column(heading, [_format_score(run, key) for run in runs], (ranks or {}).get(key, 0), right=True)
        for key, heading in SCORE_NAMES.items()
    ]


def as_json(run: Run) -> dict[str, Any]:
    """Return a run as `--json` shows it."""
    return {
        "run": str(run.folder.path.absolute()),
        "state": run.state,
        "problem": run.problem,
        **run.identity,
        "supervision": run.supervision,
        "label": run.label,
        "step": run.step,
        **run.scores,
        "best_constant": run.best_constant,
        "changed": datetime.fromtimestamp(run.changed, UTC).isoformat(timespec="seconds"),
        "bytes": run.bytes,
    }


def state(run: Run) -> Text:
    """Return the state of a run, and its steps."""
    steps = {"done": f" {run.step}", "damaged": ""}.get(run.state, f" {run.step}/{run.identity['steps']}")
    return Text(run.state + steps, style=_STYLES[run.state])


def pair(run: Run) -> Text:
    """Return source and target."""
    return make_text("-" if run.identity["src"] is None else f"{run.identity['src']} -> {run.identity['tgt']}")


def _format_score(run: Run, key: str) -> Text:
    value, constant = run.scores[key], run.best_constant[key]
    beaten = value is not None and constant is not None and value <= constant
    return Text(format_percent(value), style="yellow" if beaten else "")


def format_best_constants(run: Run) -> Text:
    """Return the best constant predictor's scores in one cell."""
    return Text("-" if run.best_constant["uar"] is None else " ".join(cells(run.best_constant)))


def age(run: Run) -> str:
    """Return the time since a run last wrote."""
    seconds = max(time.time() - run.changed, 0)
    name, unit = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return f"{seconds / unit:.0f} {name}"


def make_text(value: object) -> Text:
    """Return text from outside, harmless for the terminal."""
    return Text.from_markup(common.escape(value))


def value(found: object) -> str:
    """Return a value of the configuration as `--set` takes it."""
    return "-" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
