"""Tables as the page shows them: text, and beside it the number by which a column is sorted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Where there is nothing to show.
MISSING: Final = "–"  # noqa: RUF001 - a dash as wide as a digit


@dataclass(frozen=True, slots=True)
class Item:
    """What stands in a cell of a table."""

    text: str
    number: float | None = None
    """What it is sorted by, in a column of numbers; None comes last."""
    look: str = ""
    """How it is told apart from others: a class of page.css."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, headed by its name."""

    name: str
    numeric: bool = False
    filtered: bool = False
    """Whether its values can be chosen from a list above the table."""
    whole_name: str = ""
    """Where the name alone does not say what it is: in a file, or read out."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that can be sorted; its first column names the rows."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Item]]
    groups: Sequence[tuple[str, int]] = ()
    """Headings above the columns, each with how many of them it spans."""
    tall: bool = False
    """Whether it may have too many rows to stand on the page: it scrolls in its own box, and is filtered by words."""

    def choices(self, place: int) -> list[str]:
        """What can be chosen in a filtered column."""
        return sorted({row[place].text for row in self.rows})


def text(value: object, look: str = "") -> Item:
    """A cell of text."""
    return Item(str(value), look=look)


def number(value: object, digits: int = 1) -> Item:
    """A cell with a number; a missing one, or one that is none, is a dash."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return Item(MISSING)
    return Item(f"{value:.{digits}f}", float(value))
