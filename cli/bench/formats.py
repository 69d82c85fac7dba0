"""Forms of a table of an experiment: text for the terminal, Markdown and LaTeX."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from emodna.cli import common
from emodna.cli.bench import format_count
from emodna.cli.bench.notes import caption, missing, notes
from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE
from emodna.model.bench.tables import DIFFERENCE, Block, Cell, CellPosition, Column, Table, TableRow
from emodna.pipeline.emotions import Task

#: Wider than any table: a file has no width.
_WIDE: Final = 1000
#: The column of labels folds where not even one group of columns fits beside it.
_LEAST: Final = 16
_LATEX: Final = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "\u00b1": r"$\pm$",
    "\u2191": r"$\uparrow$",
    "\u2193": r"$\downarrow$",
    "[": "{[}",
    "]": "{]}",
    '"': r"\textquotedbl{}",
    "->": r"$\rightarrow$",
    "--": "-{}-",
}
_LATEX_SPECIAL: Final = re.compile("|".join(re.escape(each) for each in sorted(_LATEX, key=len, reverse=True)))

#: In place of a mark, so that numbers stand below each other.
_UNMARKED: Final = "\u2007"
#: Signs of each form in numbers.
_TEXT_SIGNS: Final = str.maketrans({"\u2212": "-", _UNMARKED: " "})
_MARKDOWN_SIGNS: Final = str.maketrans(
    {
        "[": r"\[",
        "=": " =",
        "<": " &lt;",
        _UNMARKED: "",
        **{sign: f" {sign}" for sign in "\u2191\u2193"},
        "\u00b1": " \u00b1 ",
    }
)
_LATEX_SIGNS: Final = str.maketrans(
    {
        **{sign: _LATEX[sign] for sign in "\u2191\u2193"},
        "\u00b1": r"\,$\pm$\,",
        "\u2212": "$-$",
        "=": "$^{=}$",
        "<": "$^{<}$",
        _UNMARKED: "",
    }
)


class Number(NamedTuple):
    """A number of a table in Unicode, with the signs around it."""

    text: str = ""
    after: str = ""
    """Mark, arrow, and what the number lacks; a figure space is where a mark might be."""
    bold: bool = False
    before: str = ""

    def written(self, signs: Mapping[int, str], bold: str = "{}") -> str:
        """Return it in one form, with the signs of that form in place of those in Unicode."""
        text = self.text.translate(signs)
        text = bold.format(text) if self.bold else text
        return f"{self.before.translate(signs)}{text}{self.after.translate(signs)}"


class FormattedRow(NamedTuple):
    """A line of a block; the paper's numbers and differences stand below a line of ours."""

    label: str
    numbers: Sequence[Number]
    below: bool = False
    rule_above: bool = False


# Numbers


def count_known_pairs(table: Table, column: Column) -> int:
    """Return how many of a column's pairs the experiment's corpora make."""
    return sum(set(pair) <= set(table.experiment.corpora) for pair in column.pairs)


def describe_hidden_columns(table: Table) -> Iterator[str]:
    """Yield a note on the columns without a pair, if there are any."""
    columns = [column for block in table.blocks for _, column in block.columns]
    if names := dict.fromkeys(column.name for column in columns if not count_known_pairs(table, column)):
        yield f"Columns without a pair here are left out: {', '.join(names)}."


def format_heading(table: Table, block: Block, task: Task, column: Column) -> str:
    """Return the heading of a column: its name, and how many of its pairs there can be; an arrow tells sources."""
    name = f"{column.name.upper()} ->" if column.name in paper.CORPORA else column.name
    name = "Average" if name == AVERAGE else name
    if len({task for task, _ in block.columns}) > 1:
        name = task if column.name == AVERAGE else f"{task}, {name}"
    known = count_known_pairs(table, column)
    return name if known == len(column.pairs) else f"{name} {known}/{len(column.pairs)}"


def format_our_number(table: Table, line: TableRow, spot: CellPosition) -> Number:
    """Return our number with deviation, mark, arrow and what it lacks."""
    cell, (_, column, score) = line.cells.get(spot), spot
    if cell is None:
        return Number()
    if cell.mean is None:
        return Number("-", _UNMARKED)
    number = format_signed(cell.mean) if score == DIFFERENCE else _format_number(cell.mean)
    known = count_known_pairs(table, column)
    fewer = [f"{len(cell.pairs)}/{known}"] if len(cell.pairs) < known else []
    if cell.seeds and len(cell.seeds) < len(table.experiment.seeds):
        fewer.append(format_count(cell.seeds, "seed"))
    mark = {"same": "=", "below": "<", None: _UNMARKED}[cell.mark]
    lacks = f" ({', '.join(fewer)})" if fewer else ""
    after = f"{mark}{_choose_arrow(cell.gain)}{lacks}"
    return Number(number + _format_std(cell.std), after, cell.best)


def format_paper_number(cell: Cell) -> Number:
    """Return the paper's number, in brackets if ours cannot be compared with it."""
    if cell.paper_score is None:
        return Number()
    text, arrow = (
        f"{_format_number(cell.paper_score.mean)}{_format_std(cell.paper_score.std)}",
        _choose_arrow(cell.paper_gain),
    )
    before, after = ("", arrow) if cell.comparable else ("[", f"{arrow}]")
    return Number(text, after + _UNMARKED, cell.paper_best, before)


def format_signed(value: float) -> str:
    """Return a difference."""
    return f"{value:+.1f}".replace("-", "\u2212")


def _format_number(value: float) -> str:
    return f"{value:.1f}".replace("-", "\u2212")


def _format_std(value: float | None) -> str:
    return "" if value is None else f"\u00b1{value:.1f}"


def _choose_arrow(gain: float | None) -> str:
    return "" if not gain else "\u2191" if gain > 0 else "\u2193"


def format_rows(table: Table, block: Block) -> Iterator[FormattedRow]:
    """Yield the lines of a block: ours, and below each the paper's numbers and the differences."""
    spots = [(task, column, score) for task, column in block.columns for score in block.scores]
    before = None
    for line in table.rows:
        part = "bounds" if line.kind in ("floor", "ceiling") else line.kind
        cells = [line.cells.get(spot, Cell()) for spot in spots]
        yield FormattedRow(
            line.label, [format_our_number(table, line, spot) for spot in spots], rule_above=before not in (None, part)
        )
        if any(cell.paper_score for cell in cells):
            called = f"paper: {line.paper_name}" if line.paper_name not in (None, line.name) else "paper"
            yield FormattedRow(called, [format_paper_number(cell) for cell in cells], below=True)
        if any(cell.comparable for cell in cells):
            differences = [cell.difference for cell in cells]
            numbers = [Number() if each is None else Number(format_signed(each), _UNMARKED) for each in differences]
            yield FormattedRow("difference", numbers, below=True)
        before = part


# Text


def print_text(table: Table, console: Console) -> None:
    """Print a table; columns of corpora that the experiment does not have are left out, and a line says so."""
    console.print(f"[bold]{common.escape(caption(table))}[/bold]")
    for block in table.blocks:
        shown = tuple(each for each in block.columns if count_known_pairs(table, each[1]))
        console.print(f"\n{common.escape(block.title)}")
        for band in _split_block(table, replace(block, columns=shown or block.columns), console):
            console.print(band)
    console.print()
    for note in describe_hidden_columns(table):
        console.print(f"{common.escape(note)} Other forms have them (--format).")
    for note in notes(table):
        console.print(common.escape(note))
    for gap in missing(table):
        console.print(f"[yellow]-[/yellow] {common.escape(gap)}")


def text(table: Table) -> str:
    """Return a table as text for a file, of any width."""
    console = Console(file=io.StringIO(), width=_WIDE, soft_wrap=True, highlight=False, emoji=False)
    with console.capture() as captured:
        print_text(table, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _split_block(table: Table, block: Block, console: Console) -> Iterator[Grid]:
    """Cut a block between its columns so that each part fits the terminal."""
    columns = list(block.columns)
    while columns:
        for count in range(len(columns), 0, -1):
            grid = _make_grid(table, replace(block, columns=tuple(columns[:count])))
            width = Measurement.get(console, console.options.update(width=_WIDE), grid).maximum
            if not console.is_terminal or width <= console.width:
                break
        yield grid
        columns = columns[count:]


def _make_grid(table: Table, block: Block) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("", overflow="fold", min_width=_LEAST)
    for task, column in block.columns:
        group = format_heading(table, block, task, column)
        for place, head in enumerate(block.headings):
            title = common.visible(group) if place == 0 else ""
            grid.add_column(Text(f"{title}\n{head} "), justify="right", no_wrap=True)
    for line in format_rows(table, block):
        if line.rule_above:
            grid.add_section()
        numbers = [Text(number.written(_TEXT_SIGNS), style="bold" if number.bold else "") for number in line.numbers]
        label = Text(f"{'  ' * line.below}{common.visible(line.label)}")
        grid.add_row(label, *numbers, style="dim" if line.below else "")
    return grid


# Markdown and LaTeX


def format_markdown(table: Table) -> str:
    """Return a table in Markdown, as GitHub reads it."""

    def escape(words: str) -> str:
        words = common.visible(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", words)

    return _render("table.md.j2", table, escape, lambda number: number.written(_MARKDOWN_SIGNS, "**{}**"))


def format_latex(table: Table) -> str:
    """Return a table in LaTeX with booktabs, as the paper prints it: a float with a tabular for each block."""

    def escape(words: str) -> str:
        return _LATEX_SPECIAL.sub(lambda found: _LATEX[found.group()], common.visible(words))

    return _render("table.tex.j2", table, escape, lambda number: number.written(_LATEX_SIGNS, r"\textbf{{{}}}"))


def _render(template: str, table: Table, escape: Callable[[str], str], written: Callable[[Number], str]) -> str:
    """Render a table by a template, all texts of which are escaped."""
    import jinja2
    from markupsafe import Markup

    def finalise(value: object) -> object:
        if isinstance(value, Number):
            return written(value)
        return value if isinstance(value, Markup) else escape(str(value))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalise,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it is no HTML
    )
    environment.filters["visible"] = lambda words: Markup(common.visible(words))  # noqa: S704
    runs = sum(gap.run_count for gap in table.gaps)
    incomplete = [f"{format_count(runs, 'cell')} {'is' if runs == 1 else 'are'} missing"] if runs else []
    incomplete += [f"corpora that are missing: {', '.join(table.absent)}"] if table.absent else []
    return environment.get_template(template).render(
        name=table.name,
        caption=caption(table),
        blocks=[
            {
                "title": block.title,
                "groups": [format_heading(table, block, task, column) for task, column in block.columns],
                "heads": block.headings,
                "lines": list(format_rows(table, block)),
            }
            for block in table.blocks
        ],
        notes=list(notes(table)),
        missing=list(missing(table)),
        incomplete="; ".join(incomplete),
    )
