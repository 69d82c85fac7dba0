"""What a picture shows, apart from how it is drawn: the same numbers become a file, a part of the page, and JSON.

Everything here is plain numbers and text, so that `dataclasses.asdict` of a picture is the JSON that lies beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

#: Of the colours and of the markers that whoever draws has; series of one number look alike in all panels.
Number = int


@dataclass(frozen=True, slots=True)
class Line:
    """A curve, with a band about it where `low` and `high` are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: Number = 0
    dashed: bool = False
    kind: Literal["line"] = "line"


@dataclass(frozen=True, slots=True)
class Points:
    """A cloud of points, each with a text of its own for whoever points at it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str] | None = None
    colour: Number = 0
    marker: Number = 0
    kind: Literal["points"] = "points"


@dataclass(frozen=True, slots=True)
class Dots:
    """A value per category, and between what it lies; categories stand below each other, the first on top."""

    name: str
    categories: Sequence[str]
    values: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    colour: Number = 0
    joined: bool = False
    """Whether a bar goes from each dot to the next, such as down the methods of a group."""
    kind: Literal["dots"] = "dots"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Values by row and column, the first row on top; None where nothing is known."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    low: float
    """What the ends of the colour scale stand for."""
    high: float
    diverging: bool = False
    """Whether the middle of the scale is what all is seen from, as the 0 of a gain."""
    digits: int = 1
    """Decimals of the numbers that are written into the cells."""
    kind: Literal["matrix"] = "matrix"


Mark = Line | Points | Dots | Matrix


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. A matrix has its panel to itself; dots share one with dots alone."""

    title: str
    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    references: Sequence[tuple[str, float]] = ()
    """MethodInfo values that are marked by a thin line: across a panel of dots, along one of lines."""
    bare: bool = False
    """Whether the axes mean nothing, as those of a UMAP do not."""
    least_width: float = 0.0
    """Of the axis of values, in its unit: on a narrower one, small differences would look large."""

    @property
    def widened(self) -> tuple[float, float] | None:
        """Ends of the axis of values where what is drawn is narrower than `least_width`; None where it is not."""
        found: list[float] = [value for _, value in self.references if math.isfinite(value)]
        for mark in self.marks:
            if isinstance(mark, Line | Dots):
                values = mark.values if isinstance(mark, Dots) else mark.y
                drawn = (*values, *(mark.low or ()), *(mark.high or ()))
                found += [each for each in drawn if each is not None and math.isfinite(each)]
        if not found or max(found) - min(found) >= self.least_width:
            return None
        middle = (max(found) + min(found)) / 2
        return middle - self.least_width / 2, middle + self.least_width / 2


@dataclass(frozen=True, slots=True)
class Picture:
    """Panels side by side, wrapped where there is no room."""

    name: str
    """Of its files."""
    title: str
    panels: Sequence[Panel]
    note: str = ""
    """What has to be known to read it, in a sentence or two."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is to be saved with its numbers: seeds, settings, what was left out."""
