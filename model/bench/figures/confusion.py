"""Confusion matrices of a pair of corpora."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import at_most, done_cells, nothing, omitted_note, pair_name
from emodna.model.bench.pictures import Matrix, Panel, Picture
from emodna.model.bench.presets import CEILING
from emodna.model.bench.scores import Pair
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.errors import RunError
from emodna.model.metrics import confusions
from emodna.model.runs.compare import predictions, truth_of
from emodna.model.runs.listing import open_run
from emodna.pipeline.emotions import CLASS_NAMES


def picture(bench: Experiment, choice: Choice) -> Picture:
    """How often each class of the target was called what, in percent of the class, a panel per row."""
    there = [
        cell for cell in done_cells(bench, choice) if choice.rows is not None or not bench.methods[cell.method].oracle
    ]
    if not there:
        raise nothing(choice, "with predictions")
    src, tgt = pair = _pair(there, choice)
    cells = [cell for cell in there if cell.tgt == tgt and (cell.src == src or cell.method == CEILING)]
    have = list(dict.fromkeys(cell.method for cell in cells))
    rows = at_most([row for row in choice.rows or have if row in have], choice)
    panels: list[Panel] = []
    counts: dict[str, Any] = {}
    seeds: dict[str, list[int]] = {}
    problems: list[str] = []
    for row in rows:
        found = {cell.seed: _confusion(bench, cell) for cell in cells if cell.method == row}
        problems += [each for each in found.values() if isinstance(each, str)]
        known = {seed: each for seed, each in found.items() if not isinstance(each, str)}
        if known:
            pooled = np.sum(list(known.values()), axis=0)
            panels.append(_panel(bench, row, pooled, CLASS_NAMES[choice.task]))
            counts[str(row)], seeds[str(row)] = pooled.tolist(), sorted(known)
    if not panels:
        raise NothingToShow(f"no confusion matrix: {problems[0]}")
    note = (
        "Percent of the utterances of each true class; a class that does not occur is empty. Counts of all seeds are "
        f"added.{omitted_note(bench, choice, have, [row for row in rows if str(row) in counts])}"
    )
    facts = {"task": choice.task, "src": src, "tgt": tgt, "counts": counts, "seeds": seeds, "left_out": problems}
    title = f"Confusion, {pair_name(pair)}, {choice.task}"
    return Picture("confusion", title, panels, note, facts)


def _pair(cells: Sequence[RunSpec], choice: Choice) -> Pair:
    """The chosen pair, or the first one; the upper bound was run from one source for all."""
    first = next((cell for cell in cells if cell.method != CEILING), cells[0])
    return choice.src or first.src, first.tgt


def _confusion(bench: Experiment, cell: RunSpec) -> NDArray[np.int64] | str:
    """Counts (2, 2), true class by called class, over the labelled utterances; or why there are none."""
    try:
        run = open_run(bench.run_folder(cell).path)
    except RunError as error:
        return str(error)
    table = predictions(run)
    if not isinstance(table, pa.Table):
        return table
    truth = truth_of(run, table["id"])
    if truth is None:
        return f"{cell}: the store of {cell.tgt} is gone or has changed: it has the labels"
    rows = truth >= 0
    called = np.asarray(table["label"])
    return confusions(truth[rows].astype(np.int64), called[rows].astype(np.int64)).reshape(2, 2)


def _panel(bench: Experiment, row: MethodSpec, counts: NDArray[np.int64], classes: Sequence[str]) -> Panel:
    values = [[100 * count / sum(own) if sum(own) else None for count in own] for own in counts.tolist()]
    matrix = Matrix(classes, classes, values, 0.0, 100.0)
    return Panel(bench.methods[row].label, [matrix], x_label="called", y_label="true")
