"""Tables of runs for the terminal, and their cells."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from emodna.cli import common
from emodna.cli.scores import format_percent, format_scores
from emodna.model.label import name_scores
from emodna.model.runs.listing import Run
from emodna.pipeline.tasks import TASKS

#: Widths of the padding of a column and of the edge of a table.
_PADDING: Final = 3
_EDGE: Final = 1
#: Width of a column that wraps its lines: enough to hide no other column, and the smallest one.
_FOLDED: Final = 24
_MIN_FOLDED: Final = 16

_STYLES: Final = {"done": "green", "running": "cyan", "interrupted": "yellow", "damaged": "red"}
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    cells: Sequence[Text]
    rank: int = 0
    """Order of hiding: a narrow terminal hides the highest ranks first, and never rank 0."""
    right: bool = False
    folds: bool = False
    intact: bool = False
    """True if its cells are never broken, so that they can be copied: the table may be wider than the terminal."""

    @property
    def full_width(self) -> int:
        """Width of the widest cell with padding, in columns of the terminal."""
        return _PADDING + max(cell.cell_len for cell in (Text(self.heading), *self.cells))

    @property
    def width(self) -> int:
        """Width that the column needs to be shown, in columns of the terminal."""
        return min(self.full_width, _PADDING + _FOLDED) if self.folds or self.intact else self.full_width

    @property
    def least_width(self) -> int:
        """Smallest width of the column in a table, in columns of the terminal."""
        return min(self.full_width, _PADDING + _MIN_FOLDED) if self.folds else self.full_width


def print_table(columns: Sequence[Column]) -> None:
    """Print a table; on a narrow terminal, without the columns of the highest ranks."""
    visible, before = list(columns), common.out.width
    if common.out.is_terminal:
        while _EDGE + sum(column.width for column in visible) > before and any(each.rank for each in visible):
            visible.remove(max(visible, key=lambda column: column.rank))
    table = Table(box=box.SIMPLE_HEAD)
    for column in visible:
        table.add_column(
            column.heading, justify="right" if column.right else "left", overflow="fold", no_wrap=not column.folds
        )
    for row in zip(*(column.cells for column in visible), strict=True):
        table.add_row(*row)
    widths = (column.least_width if common.out.is_terminal else column.full_width for column in visible)
    common.out.width = max(before, _EDGE + sum(widths))
    try:
        common.out.print(table)
    finally:
        common.out.width = before
    if hidden := [column.heading for column in columns if column not in visible]:
        common.note(f"hidden in a terminal of {before} columns: {', '.join(hidden)}")


def make_score_columns(runs: Sequence[Run], ranks: Mapping[str, int]) -> list[Column]:
    """Return a column for each score that a run can have, and one for the best scores of constant predictors.

    `ranks` has ranks of the columns, by score and of `constants`. A score is yellow if the best constant predictor is
    at least as good.
    """
    names = name_scores(min((len(run.classes) for run in runs if run.classes is not None), default=2))
    constants = [
        "-" if run.best_constant["uar"] is None else " ".join(format_scores(run.best_constant, names)) for run in runs
    ]
    return [
        *(
            Column(heading, [_format_score(run, key) for run in runs], ranks.get(key, 0), right=True)
            for key, heading in names.items()
        ),
        Column("best constants", [Text(cell) for cell in constants], ranks["constants"], right=True),
    ]


def describe_run(run: Run) -> dict[str, Any]:
    """Return the JSON document of a run."""
    return {
        "run": str(run.folder.path.absolute()),
        "state": run.state,
        "problem": run.problem,
        **run.identity,
        "classes": run.classes,
        "supervision": run.supervision,
        "label": run.label,
        "exposure": run.exposure,
        "step": run.step,
        **run.scores,
        "best_constant": run.best_constant,
        "changed": datetime.fromtimestamp(run.changed, UTC).isoformat(timespec="seconds"),
        "bytes": run.bytes,
    }


def format_state(run: Run) -> Text:
    """Return the state and the steps of a run."""
    steps = {"done": f" {run.step}", "damaged": ""}.get(run.state, f" {run.step}/{run.identity['steps']}")
    return Text(run.state + steps, style=_STYLES[run.state])


def format_pair(run: Run) -> Text:
    """Return "source -> target" of a run."""
    return make_text("-" if run.identity["src"] is None else f"{run.identity['src']} -> {run.identity['tgt']}")


def format_task(run: Run) -> Text:
    """Return the task of a run, with the number of its classes unless it is built in: equal names can differ."""
    name = run.identity["task"]
    count = "" if run.classes is None or name in TASKS else f" ({len(run.classes)} classes)"
    return make_text("-" if name is None else f"{name}{count}")


def _format_score(run: Run, key: str) -> Text:
    value, constant = run.scores[key], run.best_constant[key]
    beaten = value is not None and constant is not None and value <= constant
    return Text(format_percent(value), style="yellow" if beaten else "")


def format_age(run: Run) -> str:
    """Return the time since the last change of a run."""
    seconds = max(time.time() - run.changed, 0)
    name, unit = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return f"{seconds / unit:.0f} {name}"


def make_text(value: object) -> Text:
    """Return a value from outside as text with unprintable characters escaped."""
    return Text.from_markup(common.escape(value))


def format_value(value: object) -> str:
    """Return a value of the configuration in the form of `--set`."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
