"""Content of a figure as plain numbers and text, without its layout.

The JSON next to a figure file is `dataclasses.asdict` of its data. Marks with the same colour or marker number look the
same in all panels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class LineMark:
    """A curve, with a band from `low` to `high` if they are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: int = 0
    dashed: bool = False
    marked: bool = False
    """True to mark each point of the curve."""
    kind: Literal["line"] = "line"


@dataclass(frozen=True, slots=True)
class ScatterMark:
    """Points of one colour and marker, each with a text."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str] | None = None
    colour: int = 0
    marker: int = 0
    kind: Literal["points"] = "points"


@dataclass(frozen=True, slots=True)
class DotMark:
    """A value per category, with a bar from `low` to `high`; the first category is on top."""

    name: str
    categories: Sequence[str]
    values: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    colour: int = 0
    joined: bool = False
    """True if a bar joins the dots."""
    kind: Literal["dots"] = "dots"


@dataclass(frozen=True, slots=True)
class HeatmapMark:
    """Values by row and column, None if unknown; the first row is on top."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    low: float
    """Value at the lower end of the colour scale; `high` is at the upper end."""
    high: float
    diverging: bool = False
    """True if the middle of the colour scale has a meaning, such as a gain of 0."""
    digits: int = 1
    """Decimals of the numbers in the cells."""
    kind: Literal["matrix"] = "matrix"


Mark = LineMark | ScatterMark | DotMark | HeatmapMark


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. A heatmap is the only mark of its panel; dots share a panel with dots only."""

    title: str
    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    references: Sequence[tuple[str, float]] = ()
    """Names and values of thin reference lines on the axis of values."""
    x_ticks: Sequence[float] = ()
    """Ticks of a logarithmic x axis that is linear from 0 to 1; empty: a linear axis."""
    bare: bool = False
    """True if the axes have no meaning, as in UMAP."""
    least_width: float = 0.0
    """Smallest span of the axis of values, in its unit, so that small differences look small."""


@dataclass(frozen=True, slots=True)
class FigureData:
    """A figure: panels side by side, in rows if they do not fit in one."""

    name: str
    """Name of the figure, and of its files."""
    title: str
    panels: Sequence[Panel]
    note: str = ""
    """Explanation below the panels."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for the JSON: seeds, settings, omissions."""
