"""Parts of the HTML page of an experiment: cells, tables, figures and sections."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from emodna.model.bench.figure_data import FigureData
from emodna.model.bench.results import RunResult
from emodna.model.bench.spec import Experiment

MISSING: Final = "–"  # noqa: RUF001 - a dash as wide as a digit


class PageCell(NamedTuple):
    """A cell of a table."""

    text: str
    number: float | None = None
    """Sort key; None sorts last."""
    css_class: str = ""


def make_cell(value: PageCell | str | float | None, digits: int = 1) -> PageCell:
    """Return a cell of a text or number; integers have no decimals, missing values become a dash."""
    match value:
        case PageCell():
            return value
        case str():
            return PageCell(value)
        case int():
            return PageCell(str(value), float(value))
        case float() if math.isfinite(value):
            return PageCell(f"{value:.{digits}f}", value)
    return PageCell(MISSING)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A sortable table; its first column names the rows."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[PageCell]]
    groups: Sequence[tuple[str, int]] = ()
    """Headings above the columns, each with its column span."""
    full_names: Sequence[str] = ()
    """Full names of the columns, for CSV and screen readers; empty if `columns` suffices."""
    filter_columns: Sequence[str] = ()
    """Columns with a filter, if the table has many rows."""

    @property
    def numeric(self) -> list[bool]:
        """Flags of the columns that hold only numbers and missing values."""
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        return [all(each.text == MISSING or each.number is not None for each in column) for column in columns]


class PageFigure(NamedTuple):
    """A figure, with its numbers as tables if they are few."""

    id: str
    title: str
    data: FigureData
    tables: Sequence[PageTable]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with its own heading."""

    id: str
    title: str
    lead: str = ""
    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[PageTable] = ()
    figures: Sequence[PageFigure] = ()
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()
    """Missing parts of the section, with reasons."""
    parts: Sequence["Section"] = ()


class Page(NamedTuple):
    """The whole page."""

    experiment: Experiment
    results: Sequence[RunResult]
    """Results of the shown runs."""
    sections: Sequence[Section]
