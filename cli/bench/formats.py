"""Tables of an experiment as text for the terminal, Markdown and LaTeX."""

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
from emodna.cli.bench.notes import EXPOSURE_SIGNS, format_caption, format_gaps, format_notes
from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE
from emodna.model.bench.table_data import DIFFERENCE, Block, Cell, CellPosition, Column, Table, TableRow

#: Characters per line of a file; no table is wider.
_FILE_WIDTH: Final = 1000
#: Characters of the label column in a narrow terminal, where labels are folded.
_LEAST_LABEL_WIDTH: Final = 16
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

#: A figure space in place of a mark, so that numbers line up.
_BLANK: Final = "\u2007"
#: Unicode sign in a number -> its replacement, by format.
_TEXT_SIGNS: Final = str.maketrans({"\u2212": "-", _BLANK: " "})
_MARKDOWN_SIGNS: Final = str.maketrans(
    {
        **{sign: f" {sign}" for sign in "=\u2191\u2193"},
        "[": r"\[",
        "*": r"\*",
        "<": " &lt;",
        _BLANK: "",
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
        "*": "$^{*}$",
        "?": "$^{?}$",
        _BLANK: "",
    }
)


class Number(NamedTuple):
    """A number of a table in Unicode, with its signs."""

    text: str = ""
    after: str = ""
    """Mark or figure space, arrow, and counts of pairs and seeds if some are missing."""
    bold: bool = False
    before: str = ""

    def widen(self, blank: str) -> "Number":
        """Return the number with a blank behind it, unless it is empty."""
        return self._replace(after=self.after + blank) if self.text else self

    def format(self, signs: Mapping[int, str], bold: str = "{}") -> str:
        """Return the number with its signs replaced by those of a format."""
        text = self.text.translate(signs)
        text = bold.format(text) if self.bold else text
        return f"{self.before.translate(signs)}{text}{self.after.translate(signs)}"


class FormattedRow(NamedTuple):
    """A row of a block, ready to print."""

    label: str
    numbers: Sequence[Number]
    below: bool = False
    """True for the paper's numbers and the differences, which follow a row of ours."""
    rule_above: bool = False
    features: str = ""
    """Short name of the feature set, if the table has several."""


def count_existing_pairs(table: Table, column: Column) -> int:
    """Return the number of a column's pairs whose corpora are in the experiment."""
    return sum(set(pair) <= set(table.experiment.corpora) for pair in column.pairs)


def note_hidden_columns(table: Table) -> Iterator[str]:
    """Yield a note on columns without a pair of this experiment, if there are any."""
    columns = [column for block in table.blocks for _, column in block.columns]
    if names := dict.fromkeys(column.name for column in columns if not count_existing_pairs(table, column)):
        yield f"Columns without a pair of this experiment are left out: {', '.join(names)}."


def format_heading(table: Table, block: Block, task: str, column: Column) -> str:
    """Return the heading of a column: its name, an arrow after a source, and k/n if only k of its n pairs exist."""
    name = f"{column.name.upper()} ->" if column.name in paper.CORPORA else column.name
    name = "Average" if name == AVERAGE else name
    if len({task for task, _ in block.columns}) > 1:
        name = task if column.name == AVERAGE else f"{task}, {name}"
    count = count_existing_pairs(table, column)
    return name if count == len(column.pairs) else f"{name} {count}/{len(column.pairs)}"


def format_our_number(table: Table, row: TableRow, position: CellPosition) -> Number:
    """Return our number with deviation, mark, arrow, and counts of missing pairs and seeds."""
    cell, (_, column, score) = row.cells.get(position), position
    if cell is None:
        return Number()
    if cell.mean is None:
        return Number("-", _BLANK)
    number = format_signed(cell.mean) if score == DIFFERENCE else _format_number(cell.mean)
    pairs = count_existing_pairs(table, column)
    counts = [f"{len(cell.pairs)}/{pairs}"] if len(cell.pairs) < pairs else []
    if cell.seeds and len(cell.seeds) < len(table.experiment.seeds):
        counts.append(format_count(cell.seeds, "seed"))
    mark = _choose_exposure_sign(table, cell) + {"same": "=", "below": "<", None: _BLANK}[cell.mark]
    suffix = f" ({', '.join(counts)})" if counts else ""
    return Number(number + _format_std(cell.std), f"{mark}{_choose_arrow(cell.gain)}{suffix}", cell.best)


def _choose_exposure_sign(table: Table, cell: Cell) -> str:
    """Return the sign of a cell's exposure, or a blank in a table where other cells have one."""
    return EXPOSURE_SIGNS.get(cell.exposure, _BLANK if table.exposures else "")


def format_paper_number(cell: Cell) -> Number:
    """Return the paper's number, in brackets if it is not comparable with ours."""
    if cell.paper_score is None:
        return Number()
    text = f"{_format_number(cell.paper_score.mean)}{_format_std(cell.paper_score.std)}"
    arrow = _choose_arrow(cell.paper_gain)
    before, after = ("", arrow) if cell.comparable else ("[", f"{arrow}]")
    return Number(text, after + _BLANK, cell.paper_best, before)


def format_signed(value: float) -> str:
    """Return a difference with its sign."""
    return f"{value:+.1f}".replace("-", "\u2212")


def _format_number(value: float) -> str:
    return f"{value:.1f}".replace("-", "\u2212")


def _format_std(value: float | None) -> str:
    return "" if value is None else f"\u00b1{value:.1f}"


def _choose_arrow(gain: float | None) -> str:
    return "" if not gain else "\u2191" if gain > 0 else "\u2193"


def format_rows(table: Table, block: Block) -> Iterator[FormattedRow]:
    """Yield the rows of a block: each of ours, followed by the paper's numbers and the differences."""
    positions = [(task, column, score) for task, column in block.columns for score in block.scores]
    several, group_before = len(table.feature_sets) > 1, None
    blank = _BLANK if table.exposures else ""
    for row in table.rows:
        group = (row.feature_set, "bounds" if row.kind in ("floor", "ceiling") else row.kind)
        cells = [row.cells.get(position, Cell()) for position in positions]
        yield FormattedRow(
            format_row_label(table, row),
            [format_our_number(table, row, position) for position in positions],
            rule_above=group_before not in (None, group),
            features=row.feature_set or "" if several else "",
        )
        if any(cell.paper_score for cell in cells):
            label = f"paper: {row.paper_name}" if row.paper_name not in (None, row.name) else "paper"
            yield FormattedRow(label, [format_paper_number(cell).widen(blank) for cell in cells], below=True)
        if any(cell.comparable for cell in cells):
            differences = [cell.difference for cell in cells]
            numbers = [
                Number() if each is None else Number(format_signed(each), _BLANK + blank) for each in differences
            ]
            yield FormattedRow("difference", numbers, below=True)
        group_before = group


def format_row_label(table: Table, row: TableRow) -> str:
    """Return the label of a row, without its feature set if the table has a column of feature sets."""
    short_label = row.info.short_label if row.info else None
    return short_label or row.label if len(table.feature_sets) > 1 else row.label


def print_text(table: Table, console: Console) -> None:
    """Print a table without the columns of corpora that are not in the experiment; a note lists those columns."""
    console.print(f"[bold]{common.escape(format_caption(table))}[/bold]")
    for block in table.blocks:
        visible_columns = tuple(each for each in block.columns if count_existing_pairs(table, each[1]))
        console.print(f"\n{common.escape(block.title)}")
        for part in _split_block(table, replace(block, columns=visible_columns or block.columns), console):
            console.print(part)
    console.print()
    for note in note_hidden_columns(table):
        console.print(f"{common.escape(note)} The other formats have them (--format).")
    for note in format_notes(table):
        console.print(common.escape(note))
    for gap in format_gaps(table):
        console.print(f"[yellow]-[/yellow] {common.escape(gap)}")


def format_text(table: Table) -> str:
    """Return a table as text for a file, with lines of any length."""
    console = Console(file=io.StringIO(), width=_FILE_WIDTH, soft_wrap=True, highlight=False, emoji=False)
    with console.capture() as captured:
        print_text(table, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _split_block(table: Table, block: Block, console: Console) -> Iterator[Grid]:
    """Split a block between columns into parts that fit the terminal."""
    columns = list(block.columns)
    while columns:
        for count in range(len(columns), 0, -1):
            grid = _make_grid(table, replace(block, columns=tuple(columns[:count])))
            width = Measurement.get(console, console.options.update(width=_FILE_WIDTH), grid).maximum
            if not console.is_terminal or width <= console.width:
                break
        yield grid
        columns = columns[count:]


def _make_grid(table: Table, block: Block) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    several = len(table.feature_sets) > 1
    if several:
        grid.add_column("features", overflow="fold", vertical="bottom")
    grid.add_column("", overflow="fold", min_width=_LEAST_LABEL_WIDTH)
    for task, column in block.columns:
        group = format_heading(table, block, task, column)
        for index, heading in enumerate(block.headings):
            title = common.escape_controls(group) if index == 0 else ""
            grid.add_column(Text(f"{title}\n{heading} "), justify="right", no_wrap=True)
    for row in format_rows(table, block):
        if row.rule_above:
            grid.add_section()
        numbers = [Text(number.format(_TEXT_SIGNS), style="bold" if number.bold else "") for number in row.numbers]
        label = Text(f"{'  ' * row.below}{common.escape_controls(row.label)}")
        features = [Text(common.escape_controls(row.features))] * several
        grid.add_row(*features, label, *numbers, style="dim" if row.below else "")
    return grid


def format_markdown(table: Table) -> str:
    """Return a table in GitHub-flavoured Markdown."""

    def escape(words: str) -> str:
        words = common.escape_controls(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", words)

    return _render("table.md.j2", table, escape, lambda number: number.format(_MARKDOWN_SIGNS, "**{}**"))


def format_latex(table: Table) -> str:
    """Return a table in LaTeX with booktabs: a float with one tabular per block."""

    def escape(words: str) -> str:
        return _LATEX_SPECIAL.sub(lambda found: _LATEX[found.group()], common.escape_controls(words))

    return _render("table.tex.j2", table, escape, lambda number: number.format(_LATEX_SIGNS, r"\textbf{{{}}}"))


def _render(template: str, table: Table, escape: Callable[[str], str], format_number: Callable[[Number], str]) -> str:
    import jinja2
    from markupsafe import Markup

    def finalise(value: object) -> object:
        if isinstance(value, Number):
            return format_number(value)
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
        autoescape=False,  # noqa: S701 - not HTML
    )
    environment.filters["escape_controls"] = lambda words: Markup(common.escape_controls(words))  # noqa: S704
    runs = sum(gap.run_count for gap in table.gaps)
    incomplete = [format_count(runs, "missing run")] if runs else []
    incomplete += [f"missing corpora: {', '.join(table.absent)}"] if table.absent else []
    return environment.get_template(template).render(
        name=table.name,
        several=len(table.feature_sets) > 1,
        caption=format_caption(table),
        blocks=[
            {
                "title": block.title,
                "groups": [format_heading(table, block, task, column) for task, column in block.columns],
                "headings": block.headings,
                "rows": list(format_rows(table, block)),
            }
            for block in table.blocks
        ],
        notes=list(format_notes(table)),
        gaps=list(format_gaps(table)),
        incomplete="; ".join(incomplete),
    )
