"""Content of a picture, apart from how it is drawn: plain numbers and text.

`dataclasses.asdict` of a picture is the JSON that lies beside it. Series of one colour or marker number look alike in
all panels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class LineMark:
    """A curve, with a band about it if `low` and `high` are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: int = 0
    dashed: bool = False
    kind: Literal["line"] = "line"


@dataclass(frozen=True, slots=True)
class ScatterMark:
    """A cloud of points, each with a text of its own."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str] | None = None
    colour: int = 0
    marker: int = 0
    kind: Literal["points"] = "points"


@dataclass(frozen=True, slots=True)
class DotMark:
    """A value per category, with the ends of a bar; categories stand below each other, the first on top."""

    name: str
    categories: Sequence[str]
    values: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    colour: int = 0
    joined: bool = False
    """True if a bar goes from each dot to the next, such as down the methods of a group."""
    kind: Literal["dots"] = "dots"


@dataclass(frozen=True, slots=True)
class HeatmapMark:
    """Values by row and column, the first row on top; None where nothing is known."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    low: float
    """Value at the lower end of the colour scale."""
    high: float
    diverging: bool = False
    """True if values are read from the middle of the scale, such as the 0 of a gain."""
    digits: int = 1
    """Decimals of the numbers in the cells."""
    kind: Literal["matrix"] = "matrix"


Mark = LineMark | ScatterMark | DotMark | HeatmapMark


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. A matrix has its panel to itself; dots share one with dots alone."""

    title: str
    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    references: Sequence[tuple[str, float]] = ()
    """Named values that are marked by a thin line: across a panel of dots, along one of lines."""
    bare: bool = False
    """True if the axes mean nothing, as those of a UMAP do not."""
    least_width: float = 0.0
    """Smallest span of the axis of values, in its unit: on a narrower one, small differences would look large."""


@dataclass(frozen=True, slots=True)
class FigureData:
    """Panels side by side, wrapped where there is no room."""

    name: str
    """Name of its files."""
    title: str
    panels: Sequence[Panel]
    note: str = ""
    """Facts needed to read it, in a sentence or two."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts to be saved with its numbers: seeds, settings, what was left out."""
