"""Content of the page, and one HTML file with all that it needs."""

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

MISSING: Final = "–"  # noqa: RUF001 - a dash as wide as a digit
_HERE: Final = Path(__file__).parent
#: Rows that are read without a filter.
_FEW: Final = 12


class Item(NamedTuple):
    """A cell of a table."""

    text: str
    number: float | None = None
    """Sort key; None comes last."""
    look: str = ""
    """Class of page.css."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that can be sorted; its first column names the rows."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Item]]
    groups: Sequence[tuple[str, int]] = ()
    """Headings above the columns, each with the number of columns that it spans."""
    whole_names: Sequence[str] = ()
    """Names of the columns in a file, or read out, if those above them do not say enough."""
    filtered: Sequence[str] = ()
    """Columns whose values can be chosen from a list, if there are many rows."""

    @property
    def tall(self) -> bool:
        """True if it scrolls in its own box, and is filtered by words."""
        return bool(self.filtered) and len(self.rows) > _FEW

    @property
    def numeric(self) -> list[bool]:
        """True of columns with numbers, or with nothing."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return [all(each.text == MISSING or each.number is not None for each in column) for column in columns]

    def choices(self, name: str) -> tuple[int, list[str]]:
        """Return the place of a filtered column, and the values that can be chosen in it."""
        place = self.columns.index(name)
        return place, sorted({row[place].text for row in self.rows})


class Plot(NamedTuple):
    """A panel of a figure."""

    title: str
    svg: str
    words: str
    """Content for those who do not see it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: plots side by side, and its numbers as tables if they are few."""

    id: str
    title: str
    plots: Sequence[Plot]
    note: str = ""
    numbers: Sequence[Sheet] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    sheets: Sequence[Sheet] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()
    """Parts that would stand here but are not there yet, and why."""
    parts: Sequence["Section"] = ()

    def with_parts(self) -> Iterator["Section"]:
        """Yield it, and all in it."""
        yield self
        for part in self.parts:
            yield from part.with_parts()


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page."""

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str = ""

    def every_section(self) -> list[Section]:
        """Return sections and their parts, in order."""
        return [part for section in self.sections for part in section.with_parts()]


def number(value: float | None, digits: int = 1) -> Item:
    """Return a cell with a number; a missing one is a dash."""
    if value is None or not math.isfinite(value):
        return Item(MISSING)
    return Item(f"{value:.{digits}f}", float(value))


def html(page: Page) -> str:
    """Return the page as one HTML document, which may load nothing and runs no script but its own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    # A browser hashes what lies between the tags, so nothing may be added to it there.
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    return environment.get_template("page.html").render(page=page, style=style, script=script, script_hash=digest)
