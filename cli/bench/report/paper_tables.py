"""The paper's tables: our numbers in a column, and the paper's in one beside it, so that both can be sorted."""

from collections.abc import Sequence

from emodna.cli.bench.formats import heading, known_pairs, our_number, paper_number, signed
from emodna.cli.bench.notes import caption, missing, notes
from emodna.cli.bench.report.page import Section
from emodna.cli.bench.report.sheets import MISSING, Column, Item, Sheet
from emodna.model.bench.presets import PRESETS
from emodna.model.bench.spec import Experiment
from emodna.model.bench.tables import DIFFERENCE, TABLE_NAMES, Block, Cell, Line, Table, table
from emodna.pipeline.emotions import Task


def paper_tables(bench: Experiment, tasks: Sequence[Task]) -> Section:
    """All tables in which at least one of our cells stands."""
    parts: list[Section] = []
    empty: list[str] = []
    for name in TABLE_NAMES:
        of_paper = name in PRESETS
        if of_paper and not set(PRESETS[name].tasks) & set(tasks):
            continue
        made = table(bench, name)
        there = [line for line in made.of("entry") if any(each.mean is not None for each in line.cells.values())]
        if len(there) >= (1 if of_paper else 2):  # one setting alone is no study of settings
            parts.append(_part(made))
        else:
            empty.append(f"{caption(made)} Too few of its cells are done.")
    return Section("tables", "The paper's tables", missing=empty, parts=parts)


def _part(made: Table) -> Section:
    sheets = [_sheet(f"table-{made.name}-{place}", made, block) for place, block in enumerate(made.blocks)]
    hidden = {
        column.name: None for block in made.blocks for _, column in block.columns if not known_pairs(made, column)
    }
    left_out = [f"Columns without a pair here are left out: {', '.join(hidden)}."] if hidden else []
    title = f"Table {made.name}: {made.title}" if made.name in PRESETS else made.title
    return Section(
        f"table-{made.name}",
        title,
        [caption(made)] if made.name in PRESETS else [],
        sheets=sheets,
        notes=[*left_out, *notes(made)],
        missing=list(missing(made)),
    )


def _sheet(identity: str, made: Table, block: Block) -> Sheet:
    columns = [Column("method")]
    groups = [("", 1)]
    rows: list[list[Item]] = [[_label(line)] for line in made.lines]
    for task, column in block.columns:
        if not known_pairs(made, column):
            continue
        name = heading(made, block, task, column)
        before = len(columns)
        for score, head in zip(block.scores, block.headings, strict=True):
            spot = (task, column, score)
            figures = [line.cells.get(spot, Cell()) for line in made.lines]
            columns.append(Column(head, numeric=True, whole_name=f"{name} {head}"))
            for row, line, figure in zip(rows, made.lines, figures, strict=True):
                shown = MISSING if figure.mean is None else our_number(made, line, spot).written({})
                row.append(Item(shown, figure.mean, "best" if figure.best else ""))
            if any(figure.cited for figure in figures):
                columns.append(Column("paper", numeric=True, whole_name=f"{name} {head} of the paper"))
                for row, figure in zip(rows, figures, strict=True):
                    row.append(_paper(figure))
            if any(figure.comparable for figure in figures):
                columns.append(Column(DIFFERENCE, numeric=True, whole_name=f"{name} {head} {DIFFERENCE} to the paper"))
                for row, figure in zip(rows, figures, strict=True):
                    row.append(_difference(figure))
        groups.append((name, len(columns) - before))
    return Sheet(identity, block.title, columns, rows, groups)


def _label(line: Line) -> Item:
    return Item(line.label, look="" if line.kind == "entry" else "muted")


def _paper(figure: Cell) -> Item:
    if figure.cited is None:
        return Item(MISSING)
    return Item(paper_number(figure).written({}), figure.cited.mean, "muted best" if figure.cited_best else "muted")


def _difference(figure: Cell) -> Item:
    value = figure.difference
    return Item(MISSING) if value is None else Item(signed(value), value, "muted")
