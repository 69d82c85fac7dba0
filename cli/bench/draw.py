"""A picture of the benchmark, drawn by matplotlib: every mark, and around the panels title, legend and note."""

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emodna.cli.common import visible
from emodna.cli.picture import NEUTRAL, STORES, save
from emodna.model.bench.pictures import Dots, Line, Mark, Matrix, Panel, Picture, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito's, told apart by everybody, the pale ones last. Beyond them colours return with another dash or marker.
COLOURS: Final = (*STORES, "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
#: Filled ones first: small and many, they are what is seen.
_MARKERS: Final = ("o", "^", "s", "D", "v", "P", "X")
_DASHES: Final = ("-", "--", ":", "-.")
#: Sizes in inches: of panels, and of what stands around them.
_PANEL: Final = (4.2, 3.4)
_LINE: Final = 0.19
_GAP: Final = 0.12
#: Characters of 8 point to an inch, about.
_PER_INCH: Final = 15
#: Longest lines of a label before it is folded, and of a column's before it is turned.
_LABEL: Final = 30
_TURNED: Final = 8
#: Longest name in the legend.
_NAME: Final = 60
#: Inches that panels share side by side.
_ROOM: Final = 13.0
_SMALL: Final = 8
#: What no line may end between.
_TOGETHER: Final = re.compile(r"\b(seeds?) (?=\d)")


def drawn(picture: Picture) -> "Figure":
    """The picture; nothing in its texts is taken for a formula or moves a terminal."""
    from matplotlib.figure import Figure

    columns, rows = _shape(picture.panels)
    width, height = columns * _width(picture.panels), rows * _height(picture.panels)
    title = _folded(picture.title, int(width * 11))
    note = _folded(picture.note, int(width * _PER_INCH))
    entries = list(_entries(picture.panels))
    per_row = _per_row([entry.name for entry in entries], width)
    above = _LINE * 1.5 * len(title) + _GAP
    legend = _LINE * math.ceil(len(entries) / per_row) + _GAP if entries else 0.0
    below = legend + (_LINE * 0.9 * len(note) + _GAP if note else 0.0)
    figure = Figure(figsize=(width, height + above + below), layout="constrained")
    whole = height + above + below
    figure.get_layout_engine().set(rect=(0, below / whole, 1, height / whole), w_pad=0.08, h_pad=0.08)  # type: ignore[call-arg, union-attr]
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    references = _references(picture.panels)
    for axes, panel in zip(grid, picture.panels, strict=False):
        _draw(axes, panel, references)
    for axes in grid[len(picture.panels) :]:
        axes.set_axis_off()
    figure.text(
        0.5,
        1 - _GAP / 2 / whole,
        "\n".join(title),
        ha="center",
        va="top",
        fontsize=12,
        parse_math=False,
        in_layout=False,
    )
    figure.text(
        0.02,
        _GAP / 2 / whole,
        "\n".join(note),
        ha="left",
        va="bottom",
        fontsize=_SMALL,
        parse_math=False,
        in_layout=False,
    )
    if entries:
        _legend(figure, entries, per_row, (below - _GAP / 2) / whole)
    return figure


def content(picture: Picture, format: str) -> bytes:
    """The picture as a file: png, svg or pdf; a png by a palette, in half the bytes."""
    from PIL import Image

    file = BytesIO()
    save(drawn(picture), file, format)
    if format == "png":
        with Image.open(file) as image:
            small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(file := BytesIO(), format, optimize=True)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the legend: what looks alike in all panels is named once."""

    name: str
    look: tuple[tuple[str, Any], ...]
    """Properties of the line that shows it."""


def _draw(axes: "Axes", panel: Panel, references: Sequence[str]) -> None:
    dots = [mark for mark in panel.marks if isinstance(mark, Dots)]
    apart = [mark for mark in dots if not mark.joined]
    categories = _categories_of(dots)
    for mark in panel.marks:
        match mark:
            case Line():
                _line(axes, mark)
            case Points():
                _points(axes, mark, sum(len(each.x) for each in panel.marks if isinstance(each, Points)))
            case Dots():
                shift = 0.0 if mark.joined else _shift(apart.index(mark), len(apart))
                _dots(axes, mark, _places(mark, categories), shift)
            case Matrix():
                _matrix(axes, mark)
    for name, value in panel.references:
        if math.isfinite(value):
            along = axes.axvline if dots else axes.axhline
            along(value, **dict(_reference_look(references.index(name))), zorder=0.5)
    if categories:
        _categories(axes, categories)
    axes.set_title(
        "\n".join(_folded(panel.title, int(10 * axes.get_window_extent().width / axes.figure.dpi))),
        fontsize=10,
        parse_math=False,
    )
    axes.set_xlabel(visible(panel.x_label), fontsize=9, parse_math=False)
    axes.set_ylabel(visible(panel.y_label), fontsize=9, parse_math=False)
    axes.tick_params(labelsize=_SMALL)
    if (ends := panel.widened) is not None:
        (axes.set_xlim if dots else axes.set_ylim)(*ends)
    if panel.bare:
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")


def _line(axes: "Axes", mark: Line) -> None:
    x, y = _finite(mark.x), _finite(mark.y)
    if mark.low is not None and mark.high is not None:
        colour = COLOURS[mark.colour % len(COLOURS)]
        axes.fill_between(x, _finite(mark.low), _finite(mark.high), color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, y, **dict(_look(mark)))
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)


def _points(axes: "Axes", mark: Points, together: int) -> None:
    look = dict(_look(mark))
    # The more, the smaller.
    size = min(max(8000 / max(together, 1), 7.0), 36.0)
    axes.scatter(
        _finite(mark.x), _finite(mark.y), s=size, c=look["color"], marker=look["marker"], alpha=0.6, linewidths=0
    )


def _dots(axes: "Axes", mark: Dots, places: "np.ndarray[Any, np.dtype[np.float64]]", shift: float) -> None:
    """One series, beside the others of each category."""
    values, places = _finite(mark.values), places + shift
    look = dict(_look(mark))
    if mark.low is not None and mark.high is not None:
        axes.hlines(places, _finite(mark.low), _finite(mark.high), color=look["color"], linewidth=1.4, alpha=0.7)
    axes.plot(values, places, **look)


def _shift(number: int, of: int) -> float:
    """How much lower than the middle of its category a series lies."""
    return (number - (of - 1) / 2) * min(0.7 / of, 0.25)


def _categories_of(dots: Sequence[Dots]) -> list[str]:
    """Those of the first series, then what others add."""
    found: list[str] = []
    for mark in dots:
        found += mark.categories if not found else [name for name in mark.categories if name not in found]
    return found


def _places(mark: Dots, categories: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Of a series' categories among all: one after the other, where two have the same name."""
    if list(mark.categories) == list(categories[: len(mark.categories)]):
        return np.arange(len(mark.categories), dtype=np.float64)
    return np.array([categories.index(name) for name in mark.categories], np.float64)


def _categories(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)))
    for text in axes.set_yticklabels(["\n".join(_folded(name, _LABEL)) for name in names], fontsize=_SMALL):
        text.set_parse_math(False)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)
    axes.margins(x=0.06)


def _matrix(axes: "Axes", mark: Matrix) -> None:
    from matplotlib import colormaps

    values = np.array([_finite(row) for row in mark.values]).reshape(len(mark.rows), len(mark.columns))
    if not values.size:
        return
    scale = colormaps["RdBu" if mark.diverging else "cividis"].with_extremes(bad="#EEEEEE")
    image = axes.imshow(
        np.ma.masked_invalid(values), vmin=mark.low, vmax=max(mark.high, mark.low + 1e-9), cmap=scale, aspect="auto"
    )
    for (row, column), value in np.ndenumerate(values):
        known = math.isfinite(value)
        text = f"{value:.{mark.digits}f}" if known else "\u2013"
        red, green, blue, _ = image.cmap(image.norm(value)) if known else (1.0, 1.0, 1.0, 1.0)
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        axes.text(column, row, text, ha="center", va="center", fontsize=_SMALL, color="black" if light else "white")
    turned = max((len(name) for name in mark.columns), default=0) > _TURNED
    turn: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(range(len(mark.columns)))
    axes.set_yticks(range(len(mark.rows)))
    for label in [
        *axes.set_xticklabels(["\n".join(_folded(name, _LABEL)) for name in mark.columns], **turn),
        *axes.set_yticklabels(["\n".join(_folded(name, _LABEL)) for name in mark.rows]),
    ]:
        label.set_parse_math(False)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=_SMALL)


def _look(mark: Line | Points | Dots) -> tuple[tuple[str, Any], ...]:
    """How a series is told from others, as properties of a line."""
    colour, lap = COLOURS[mark.colour % len(COLOURS)], mark.colour // len(COLOURS)
    match mark:
        case Line():
            style = _DASHES[(2 * lap + mark.dashed) % len(_DASHES)]
            look = {"color": colour, "linestyle": style, "linewidth": 1.6}
        case Points():
            look = {"color": colour, "linestyle": "", "marker": _MARKERS[mark.marker % len(_MARKERS)], "markersize": 6}
        case Dots():
            marker = _MARKERS[(mark.colour + lap) % len(_MARKERS)]
            look = {"color": colour, "linestyle": "", "marker": marker, "markersize": 6}
            if mark.joined:
                look = {"color": colour, "linestyle": "-", "linewidth": 4, "solid_capstyle": "butt"}
    return tuple(look.items())


def _references(panels: Sequence[Panel]) -> list[str]:
    """Names of all, once."""
    return list(dict.fromkeys(name for panel in panels for name, value in panel.references if math.isfinite(value)))


def _reference_look(number: int) -> tuple[tuple[str, Any], ...]:
    return (("color", NEUTRAL), ("linestyle", _DASHES[(number + 1) % len(_DASHES)]), ("linewidth", 1.2))


def _entries(panels: Sequence[Panel]) -> Iterator[_Entry]:
    """What the legend names, each once: marks in order, then references."""
    marks: list[Mark] = [mark for panel in panels for mark in panel.marks]
    of_marks = [_Entry(mark.name, _look(mark)) for mark in marks if not isinstance(mark, Matrix)]
    references = _references(panels)
    of_references = [_Entry(name, _reference_look(number)) for number, name in enumerate(references)]
    yield from (entry for entry in dict.fromkeys([*of_marks, *of_references]) if entry.name)


def _legend(figure: "Figure", entries: Sequence[_Entry], columns: int, top: float) -> None:
    from matplotlib.lines import Line2D

    legend = figure.legend(
        [Line2D([], [], **dict(entry.look)) for entry in entries],
        [_shortened(entry.name) for entry in entries],
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=columns,
        fontsize=_SMALL,
        frameon=False,
        borderaxespad=0,
        labelspacing=0.35,
    )
    legend.set_in_layout(False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _per_row(names: Sequence[str], width: float) -> int:
    """Columns of the legend: as many as find room."""
    widest = max((min(len(name), _NAME) for name in names), default=0)
    return max(min(len(names), int(width * _PER_INCH / (widest + 8))), 1)


def _shape(panels: Sequence[Panel]) -> tuple[int, int]:
    """Columns and rows of panels: four make a square, unless they are small."""
    count, width = max(len(panels), 1), _width(panels)
    columns = min(count, max(int(_ROOM / width), 1), 4)
    if count == 4 and columns == 3:
        columns = 2
    return columns, math.ceil(count / columns)


def _width(panels: Sequence[Panel]) -> float:
    """Of each panel: long categories take room from what is drawn."""
    marks = [mark for panel in panels for mark in panel.marks]
    needed = 2.9 if marks and all(isinstance(mark, Matrix) for mark in marks) else _PANEL[0]
    for mark in marks:
        if isinstance(mark, Matrix):
            needed = max(needed, 0.6 * len(mark.columns) + _text_width(mark.rows) + 1.3)
        elif isinstance(mark, Dots):
            needed = max(needed, 3.2 + _text_width(mark.categories))
    return needed if len(panels) > 1 else max(needed, 5.5)


def _height(panels: Sequence[Panel]) -> float:
    needed = _PANEL[1] if any(not isinstance(m, Dots | Matrix) for p in panels for m in p.marks) else 2.2
    for mark in (mark for panel in panels for mark in panel.marks):
        if isinstance(mark, Matrix):
            turned = max((len(name) for name in mark.columns), default=0) > _TURNED
            needed = max(needed, 0.36 * len(mark.rows) + 1.0 + turned * 0.7 * _text_width(mark.columns))
        elif isinstance(mark, Dots):
            lines = sum(max(len(_folded(name, _LABEL)), 1.5) for name in mark.categories)
            needed = max(needed, _LINE * lines + 0.9)
    return needed


def _text_width(names: Sequence[str]) -> float:
    return max((min(len(name), _LABEL) for name in names), default=0) / _PER_INCH


def _folded(text: str, width: int) -> list[str]:
    """Lines of a text from outside, harmless."""
    together = _TOGETHER.sub("\\1\u00a0", visible(text))
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(together, max(width, 10))]


def _shortened(name: str) -> str:
    """A name for the legend, on one line."""
    name = visible(name)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}\u2026"


def _finite(values: Sequence[float | None]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """As numbers, with NaN, which is not drawn, in place of what is not known or not finite."""
    return np.array([math.nan if value is None or not math.isfinite(value) else value for value in values], np.float64)
