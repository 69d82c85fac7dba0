"""Cells and headings of a table of a benchmark, in the signs of one form of writing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE
from emodna.model.bench.tables.columns import Column
from emodna.model.bench.tables.data import DIFFERENCE, Block, Figure, Line, Spot, Table
from emodna.pipeline.emotions import Task


@dataclass(frozen=True, slots=True)
class Signs:
    """How one form writes things."""

    escape: Callable[[str], str]
    """Makes a string from outside harmless in it."""
    bold: Callable[[str], str]
    plus_minus: str
    minus: str
    same: str
    below: str
    up: str
    down: str
    unmarked: str
    """In place of `same` and `below`, so that numbers stand below each other."""
    indent: str
    """Before the labels of the paper's lines."""


@dataclass(frozen=True, slots=True)
class Written:
    """A line, ready to be put together."""

    label: str
    cells: tuple[str, ...]
    new_part: bool
    """Whether a rule stands above it."""


@dataclass(frozen=True, slots=True)
class Laid:
    """A block, ready to be put together."""

    title: str
    groups: tuple[str, ...]
    """A heading over each group of columns."""
    heads: tuple[str, ...]
    """Headings of the columns of one group."""
    lines: tuple[Written, ...]


def laid_out(table: Table, block: Block, signs: Signs) -> Laid:
    """Headings and lines of a block."""
    lines: list[Written] = []
    kind = None
    for line in table.lines:
        # The floor and the ceiling belong together.
        part = {"floor": "bounds", "ceiling": "bounds"}.get(line.kind, line.kind)
        for place, (label, cells) in enumerate(_written(table, block, line, signs)):
            lines.append(Written(label, cells, place == 0 and kind not in (None, part)))
        kind = part
    groups = tuple(signs.escape(heading(table, block, task, column)) for task, column in block.columns)
    heads = tuple(map(signs.escape, block.headings))
    return Laid(signs.escape(block.title), groups, heads, tuple(lines))


def known_pairs(table: Table, column: Column) -> int:
    """How many of a column's pairs the benchmark's corpora make."""
    return sum(set(pair) <= set(table.bench.corpora) for pair in column.pairs)


def heading(table: Table, block: Block, task: Task, column: Column) -> str:
    """Over a column of a block: its name, and how many of its pairs there can be; an arrow tells sources."""
    name = f"{column.name.upper()} ->" if column.name in paper.CORPORA else column.name
    name = "Average" if name == AVERAGE else name
    if len({task for task, _ in block.columns}) > 1:
        name = task if column.name == AVERAGE else f"{task}, {name}"
    known = known_pairs(table, column)
    return name if known == len(column.pairs) else f"{name} {known}/{len(column.pairs)}"


def _written(table: Table, block: Block, line: Line, signs: Signs) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A line of ours, and those of the paper's numbers and of the differences below it."""
    spots = [(task, column, score) for task, column in block.columns for score in block.scores]
    yield signs.escape(line.label), tuple(ours(table, line, spot, signs) for spot in spots)
    figures = [line.figures.get(spot, Figure()) for spot in spots]
    if any(figure.cited for figure in figures):
        called = f"paper: {line.paper}" if line.paper not in (None, line.name) else "paper"
        yield signs.indent + signs.escape(called), tuple(cited(figure, signs) for figure in figures)
    if any(figure.comparable for figure in figures):
        differences = [figure.difference for figure in figures]
        yield (
            f"{signs.indent}difference",
            tuple("" if each is None else signed(each, signs) + signs.unmarked for each in differences),
        )


def ours(table: Table, line: Line, spot: Spot, signs: Signs) -> str:
    """Our number, with all that has to be known of it."""
    figure, (_, column, score) = line.figures.get(spot), spot
    if figure is None:
        return ""
    if figure.mean is None:
        return "-" + signs.unmarked
    number = signed if score == DIFFERENCE else _number
    text = number(figure.mean, signs) + _std(figure.std, signs)
    text = signs.bold(text) if figure.best else text
    text += {"same": signs.same, "below": signs.below, None: signs.unmarked}[figure.mark] + _arrow(figure.gain, signs)
    known = known_pairs(table, column)
    fewer = [f"{len(figure.pairs)}/{known}"] if len(figure.pairs) < known else []
    if figure.seeds and len(figure.seeds) < len(table.seeds):
        fewer.append(f"{len(figure.seeds)} {'seed' if len(figure.seeds) == 1 else 'seeds'}")
    return f"{text} ({', '.join(fewer)})" if fewer else text


def cited(figure: Figure, signs: Signs) -> str:
    """The paper's number, in brackets where ours cannot be compared with it."""
    if figure.cited is None:
        return ""
    text = _number(figure.cited.mean, signs) + _std(figure.cited.std, signs)
    text = (signs.bold(text) if figure.cited_best else text) + _arrow(figure.cited_gain, signs)
    return (text if figure.comparable else f"[{text}]") + signs.unmarked


def signed(value: float, signs: Signs) -> str:
    """A difference."""
    return f"{value:+.1f}".replace("-", signs.minus)


def _number(value: float, signs: Signs) -> str:
    return f"{value:.1f}".replace("-", signs.minus)


def _std(value: float | None, signs: Signs) -> str:
    return "" if value is None else f"{signs.plus_minus}{value:.1f}"


def _arrow(gain: float | None, signs: Signs) -> str:
    if not gain:
        return ""
    return signs.up if gain > 0 else signs.down
