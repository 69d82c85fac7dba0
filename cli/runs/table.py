"""A table that leaves out its least columns where the terminal is narrow, and says so."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from emodna.cli import common

#: Of each column, and of the whole table beside them.
_PADDING: Final = 3
_EDGE: Final = 1
#: A column that folds is given at least so much.
_LEAST: Final = 24


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
    def width(self) -> int:
        """Columns of the terminal that it needs."""
        return min(self.full_width, _PADDING + _LEAST) if self.folds else self.full_width

    @property
    def full_width(self) -> int:
        """The same, were it not to fold."""
        return _PADDING + max(cell.cell_len for cell in (Text(self.heading), *self.cells))


def print_table(columns: Sequence[Column]) -> None:
    """Print a table on standard output: whole into a file, as wide as there is room on a terminal."""
    shown = list(columns)
    if common.out.is_terminal:
        while _EDGE + sum(column.width for column in shown) > common.out.width and any(each.rank for each in shown):
            shown.remove(max(shown, key=lambda column: column.rank))
    table = Table(box=box.SIMPLE_HEAD)
    for column in shown:
        table.add_column(
            column.heading, justify="right" if column.right else "left", overflow="fold", no_wrap=not column.folds
        )
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*row)
    with _room(_EDGE + sum(column.full_width for column in shown)):
        common.out.print(table)
    if left_out := [column.heading for column in columns if column not in shown]:
        common.note(f"not shown in {common.out.width} columns: {', '.join(left_out)}")


@contextmanager
def _room(width: int) -> Iterator[None]:
    """Let a file have lines of any width."""
    before = common.out.width
    if not common.out.is_terminal:
        common.out.width = max(width, before)
    try:
        yield
    finally:
        if not common.out.is_terminal:
            common.out.width = before
