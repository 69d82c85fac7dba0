"""Scores on the screen: beside the constant answers, and between what they lie."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from emodna.cli import common
from emodna.model.label import SCORE_NAMES, marked


def score_table(result: Mapping[str, Any]) -> Table:
    """Scores of a run's result: the method's, the bounds of their intervals, the constants'."""
    scores = table("percent", *SCORE_NAMES.values())
    label = result.get("label") or marked(result["method"], result.get("supervision"))
    scores.add_row(common.safe(label), *cells(result), style="bold")
    intervals = result.get("intervals", {})  # a run may have been finished before there were any
    for unit in ("utterances", "speakers") if intervals else ():
        bounds = intervals[unit]
        between = ["-" if bounds[key] is None else "{:.1f}-{:.1f}".format(*bounds[key]) for key in SCORE_NAMES]
        scores.add_row(f"{intervals['level']:g} %, {bounds['n']} {unit}", *between)
    for name, row in result["constant"].items():
        scores.add_row(name.replace("_", " "), *cells(row))
    return scores


def cells(row: Mapping[str, Any]) -> Sequence[str]:
    """Scores in the order of their names."""
    return ["-" if row[key] is None else f"{row[key]:.1f}" for key in SCORE_NAMES]


def table(*headings: str) -> Table:
    """An empty table: a column of names, which give way in a narrow terminal, and figures, which do not."""
    empty = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    empty.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        empty.add_column(heading, justify="right", no_wrap=True)
    return empty
