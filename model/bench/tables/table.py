"""The paper's tables, ours beside it; the study of sensitivity; every row by pair. It needs no torch."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from emodna.model.bench import paper
from emodna.model.bench.paper import AVERAGE
from emodna.model.bench.presets import CEILING, FLOOR, PRESETS, SENSITIVITY
from emodna.model.bench.results import read_outcome
from emodna.model.bench.scores import Pair, Scores
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.bench.tables.answers import called_class_1
from emodna.model.bench.tables.columns import Column, columns_of
from emodna.model.bench.tables.data import CALLED, DIFFERENCE, Block, Kind, Line, Table
from emodna.model.bench.tables.gaps import gaps
from emodna.model.bench.tables.lines import Work, constant_lines, differences, entry_line, line_of, with_best
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import TASKS, Task

TABLE_NAMES: Final = (*PRESETS, "sensitivity", "pairs")


def table(bench: Experiment, name: str) -> Table:
    """A table of a benchmark, by its name."""
    match name:
        case "sensitivity":
            return _sensitivity(bench)
        case "pairs":
            return _pairs(bench)
    return _of_the_paper(bench, name)


def _of_the_paper(bench: Experiment, name: str) -> Table:
    preset = PRESETS[name]
    columns = [each for each in columns_of(bench) if preset.layout == "sources" or each.name == AVERAGE]
    spots = [(task, column) for task in preset.tasks for column in columns]
    work = Work.of(bench, preset.tasks, preset.rows)
    lines = [entry_line(work, name, entry, spots) for entry in preset.entries]
    done = {entry.method for entry in preset.entries}
    kinds: list[tuple[Kind, MethodSpec]] = [("floor", row) for row in FLOOR if row not in done]
    lines += [line_of(work, kind, row, spots) for kind, row in [*kinds, ("ceiling", CEILING)]]
    lines = [*with_best(lines), *constant_lines(work, spots)]
    tasks = " and ".join(preset.tasks)
    blocks = tuple(
        Block(f"{tasks}: {title}", tuple(spots), scores)
        for title, scores in (("WAR and F1", paper.SCORES), ("UAR and macro-F1", ("uar", "macro_f1")))
    )
    return _finished(work, name, preset.title, blocks, lines, preset.rows, columns)


def _sensitivity(bench: Experiment) -> Table:
    rows, first = list(SENSITIVITY), SENSITIVITY[0]
    # The first row is that of other tables, too: where it alone is run is no place of the study.
    cells = [cell for cell in bench.runs if cell.method in rows[1:]] or [
        cell for cell in bench.runs if cell.method == first
    ]
    tasks = [task for task in TASKS if any(cell.task == task for cell in cells)] or list(TASKS)
    pairs = tuple(dict.fromkeys((cell.src, cell.tgt) for cell in cells)) or tuple(
        itertools.permutations(bench.corpora, 2)
    )
    columns = _by_pair(pairs)
    spots = [(task, column) for task in tasks for column in columns]
    work = Work.of(bench, tasks, rows)
    lines = [line_of(work, "entry", row, spots) for row in rows]
    lines = [
        replace(line, figures={**line.figures, **differences(work, row, first, spots)})
        for row, line in zip(rows, lines, strict=True)
    ]
    lines = [*with_best(lines), *constant_lines(work, spots)]
    blocks = tuple(Block(task, ((task, column),), ("uar", DIFFERENCE, "war", "f1")) for task, column in spots)
    return _finished(work, "sensitivity", "One setting at a time", blocks, lines, rows, columns)


def _pairs(bench: Experiment) -> Table:
    """Every row of a benchmark, a block for each task and pair, and their mean."""
    tasks = [task for task in TASKS if any(cell.task == task for cell in bench.runs)]
    pairs = tuple(dict.fromkeys((cell.src, cell.tgt) for cell in bench.runs))
    columns = _by_pair(pairs)
    spots = [(task, column) for task in tasks for column in columns]
    rows = [*(row for row in bench.methods if row != CEILING), *(row for row in bench.methods if row == CEILING)]
    shown = (*SCORE_NAMES, CALLED)
    work = Work.of(bench, tasks, rows, lambda cell: _called(bench, cell))
    kinds: list[tuple[Kind, MethodSpec]] = [("ceiling" if bench.methods[row].oracle else "entry", row) for row in rows]
    lines = with_best([line_of(work, kind, row, spots, scores=shown) for kind, row in kinds])
    blocks = tuple(Block(task, ((task, column),), shown) for task, column in spots)
    return _finished(work, "pairs", "All pairs", blocks, [*lines, *constant_lines(work, spots)], rows, columns)


def _called(bench: Experiment, cell: RunSpec) -> Scores:
    share = called_class_1(bench, cell)
    return {} if share is None else {CALLED: share}


def _by_pair(pairs: tuple[Pair, ...]) -> list[Column]:
    """A column for each pair, and one for their mean where there are several."""
    columns = [Column(f"{src} -> {tgt}", ((src, tgt),)) for src, tgt in pairs]
    return [*columns, Column(AVERAGE, pairs)] if len(pairs) > 1 else columns


def _finished(
    work: Work,
    name: str,
    title: str,
    blocks: Sequence[Block],
    lines: Sequence[Line],
    rows: Sequence[MethodSpec],
    columns: Sequence[Column],
) -> Table:
    bench = work.bench
    there = {line.name for line in lines}
    pairs = list(dict.fromkeys(pair for column in columns for pair in column.pairs))
    cited = any(column.cited for column in columns)
    return Table(
        name,
        title,
        bench,
        tuple(sorted({cell.seed for cell in bench.runs})),
        tuple(blocks),
        tuple(lines),
        gaps(bench, work.outcomes, work.tasks, rows, pairs),
        tuple(each for each in paper.CORPORA if each not in bench.corpora) if cited else (),
        tuple(rows),
        tuple(row for row in bench.methods if str(row) not in there and _any_done(bench, row, work.tasks)),
    )


def _any_done(bench: Experiment, row: MethodSpec, tasks: Sequence[Task]) -> bool:
    """Whether a row has a finished cell of some tasks."""
    cells = [cell for cell in bench.runs if cell.method == row and cell.task in tasks]
    return any(read_outcome(bench, cell).state == "done" for cell in cells)
