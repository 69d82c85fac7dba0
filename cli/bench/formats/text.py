"""A table of a benchmark for the terminal: as many columns side by side as there is room for."""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from emodna.cli import common
from emodna.cli.bench.formats.layout import Laid, Signs, known_pairs, laid_out
from emodna.cli.bench.formats.words import caption, missing, notes
from emodna.model.bench.tables.data import Block, Table

#: Wider than any table: a file has no width.
_WIDE: Final = 1000
#: The column of labels folds where not even one group of columns fits beside it.
_LEAST: Final = 16

SIGNS = Signs(
    escape=common.safe,
    bold=lambda text: f"[bold]{text}[/bold]",
    plus_minus="\u00b1",
    minus="-",
    same="=",
    below="<",
    up="\u2191",
    down="\u2193",
    unmarked=" ",
    indent="  ",
)


def print_text(table: Table, console: Console) -> None:
    """Print a table; columns of corpora that the benchmark does not have are left out, and it says so."""
    console.print(f"[bold]{common.safe(caption(table))}[/bold]")
    hidden: dict[str, None] = {}
    for block in table.blocks:
        shown = tuple(each for each in block.columns if known_pairs(table, each[1]))
        hidden |= dict.fromkeys(column.name for task, column in block.columns if (task, column) not in shown)
        console.print(f"\n{common.safe(block.title)}")
        for band in _bands(table, replace(block, columns=shown or block.columns), console):
            console.print(_grid(band))
    console.print()
    if hidden:
        names = common.safe(", ".join(hidden))
        console.print(f"Columns without a pair here are left out: {names}. Other forms have them (--format).")
    for note in notes(table):
        console.print(common.safe(note))
    for gap in missing(table):
        console.print(f"[yellow]-[/yellow] {common.safe(gap)}")


def _bands(table: Table, block: Block, console: Console) -> Iterator[Laid]:
    """A block, cut between its columns so that each part fits the width; a file has no width."""
    columns = list(block.columns)
    while columns:
        count = len(columns)
        laid = laid_out(table, replace(block, columns=tuple(columns)), SIGNS)
        while console.is_terminal and count > 1 and _width(laid, console) > console.width:
            count -= 1
            laid = laid_out(table, replace(block, columns=tuple(columns[:count])), SIGNS)
        yield laid
        columns = columns[count:]


def _width(laid: Laid, console: Console) -> int:
    """Columns of the terminal that it needs, whether there are so many or not."""
    return Measurement.get(console, console.options.update(width=_WIDE), _grid(laid)).maximum


def _grid(laid: Laid) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("", overflow="fold", min_width=_LEAST)
    for group in laid.groups:
        for place, head in enumerate(laid.heads):
            title = Text.from_markup(group) if place == 0 else Text("")
            heading = Text("\n").join([title, Text(head + SIGNS.unmarked)])
            grid.add_column(heading, justify="right", no_wrap=True)
    for line in laid.lines:
        if line.new_part:
            grid.add_section()
        indented = line.label.startswith(SIGNS.indent)
        cells = [Text.from_markup(cell) for cell in (line.label, *line.cells)]
        grid.add_row(*cells, style="dim" if indented else "")
    return grid


def text(table: Table) -> str:
    """The same for a file, of any width."""
    console = Console(file=io.StringIO(), width=_WIDE, soft_wrap=True, highlight=False, emoji=False)
    with console.capture() as captured:
        print_text(table, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
