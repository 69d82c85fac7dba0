"""What a method logs over its steps: a panel per pair of corpora and row, the mean over the seeds with a band."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from emodna.model.bench.comparing.comparison import EMO_DNA
from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.choosing import done_cells, listed, nothing, omitted_note, pair_name
from emodna.model.bench.pictures import Line, Panel, Picture
from emodna.model.bench.scores import Pair
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.bench.wording import few
from emodna.model.errors import RunError
from emodna.model.runs.listing import curves, open_run

#: Pairs that are shown unless one is chosen.
_PAIRS: Final = 6
_TOTAL: Final = "total"
_BAND: Final = " Mean over the seeds, and a band from the lowest to the highest."

Logged = Mapping[str, Mapping[int, float]]
"""Key of metrics.jsonl -> step -> value."""


def over_steps(
    bench: Experiment, choice: Choice, name: str, title: str, keys: Mapping[str, str] | None, *, y_label: str, note: str
) -> Picture:
    """What is logged under some keys, each of them called something; None: all terms of the loss, and their total.

    Rows are those chosen, else Emo-DNA, else the first one that logs any of the keys.

    Raises
    ------
    NothingToShow
        No finished cell logs any.
    """
    cells = done_cells(bench, choice)
    preferred = [cell for cell in cells if choice.rows is not None or cell.method == EMO_DNA]
    logged = _all_logged(bench, preferred, keys) or _all_logged(bench, cells, keys)
    if not logged:
        whose = f"of {listed(choice.rows)}" if choice.rows else "of any method"
        what = f"{' or '.join(keys)}: emo-dna and its variants of this version do" if keys else "terms of a loss"
        raise nothing(choice, f"{whose} logs {what}")
    there = dict.fromkeys(cell.method for cell in logged)
    rows = (
        [row for row in choice.rows if row in there]
        if choice.rows
        else [EMO_DNA if EMO_DNA in there else next(iter(there))]
    )
    of_rows = [cell for cell in logged if cell.method in rows]
    names = keys or _terms([logged[cell] for cell in of_rows])
    pairs = sorted({(cell.src, cell.tgt) for cell in of_rows})
    shown = pairs[:_PAIRS]
    panels, seeds = [], {}
    for row in rows:
        for pair in shown:
            mine = {cell.seed: logged[cell] for cell in of_rows if cell.method == row and (cell.src, cell.tgt) == pair}
            if mine:
                panels.append(_panel(bench, row, pair, mine, names, y_label))
                seeds[panels[-1].title] = sorted(mine)
    left = [pair_name(pair) for pair in pairs[_PAIRS:]]
    more = f" Pairs that are not shown: {few(left)}." if left else ""
    return Picture(
        name,
        f"{title}, {choice.task}",
        panels,
        f"{note}{_BAND if any(len(each) > 1 for each in seeds.values()) else ''}{more}"
        f"{omitted_note(bench, choice, rows, rows)}",
        {"task": choice.task, "seeds": seeds, "left_out": left},
    )


def _all_logged(bench: Experiment, cells: Sequence[RunSpec], keys: Mapping[str, str] | None) -> dict[RunSpec, Logged]:
    return {cell: found for cell in cells if (found := _logged(bench, cell, keys))}


def _terms(logged: Sequence[Logged]) -> dict[str, str]:
    """All terms, their total last."""
    found = dict.fromkeys(key for each in logged for key in each)
    return {key: key for key in sorted(found, key=lambda key: key == _TOTAL)}


def _logged(bench: Experiment, cell: RunSpec, keys: Mapping[str, str] | None) -> dict[str, dict[int, float]]:
    try:
        found = curves(open_run(bench.run_folder(cell).path))
    except RunError:
        return {}
    names = list(found)
    if keys is None:  # a line of the log has the terms, their total, and then what the method monitors
        wanted = names[: names.index(_TOTAL) + 1] if _TOTAL in found else []
    else:
        wanted = [key for key in keys if key in found]
    return {key: dict(found[key]) for key in wanted}


def _panel(
    bench: Experiment,
    row: MethodSpec,
    pair: Pair,
    by_seed: Mapping[int, Logged],
    names: Mapping[str, str],
    y_label: str,
) -> Panel:
    marks = []
    for colour, (key, called) in enumerate(names.items()):
        curves_of = [found[key] for found in by_seed.values() if key in found]
        if curves_of:
            steps = sorted(set.intersection(*(set(curve) for curve in curves_of)))
            values = [[curve[step] for curve in curves_of] for step in steps]
            band = len(curves_of) > 1
            low, high = ([end(each) for each in values] if band else None for end in (min, max))
            marks.append(Line(called, steps, [fmean(each) for each in values], low, high, colour))
    title = f"{bench.methods[row].label}, {pair_name(pair)}"
    return Panel(title, marks, x_label="step", y_label=y_label)
