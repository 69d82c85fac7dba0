"""Figures of an experiment, drawn by matplotlib as files and as SVG elements of an HTML page."""

import math
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.cli.common import escape_controls
from emodna.cli.plotting import Artist, Axes, Figure, colormaps, rc_context
from emodna.cli.store_figures import NEUTRAL_COLOUR, STORE_COLOURS, save_figure
from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Panel, ScatterMark

COLOURS: Final = (*STORE_COLOURS, "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
"""Palette of Okabe & Ito, pale colours last. Further series repeat a colour with another marker or dash."""
#: Labels may contain "$", so matplotlib must not parse formulas.
_STYLE: Final[dict[Any, Any]] = {"font.size": 8, "text.parse_math": False}
#: Filled markers, which remain visible when small.
_MARKERS: Final = ("o", "^", "s", "D", "v", "P", "X")
_DASHES: Final = ("-", "--", ":", "-.")
#: Colour of a drawing -> CSS custom property, so that the theme of the page sets it.
_THEME: Final = {
    **{colour.lower(): f"var(--series-{number})" for number, colour in enumerate(COLOURS, 1)},
    NEUTRAL_COLOUR: "var(--muted)",
    "#b0b0b0": "var(--rule)",  # matplotlib's grid
}
#: True for a light heatmap cell -> colour of its text, in all themes.
_TEXT_COLOURS: Final = {True: "#111111", False: "#eeeeee"}

#: Inches: height of a text line, maximum width of a row of panels.
_LINE_HEIGHT: Final = 0.19
_MAX_WIDTH: Final = 13.0
#: Characters per inch at 8 pt, approximately.
_PER_INCH: Final = 15
#: Characters: widest label line, longest column name that is not rotated, longest name in the legend.
_MAX_LABEL: Final = 30
_MAX_UPRIGHT: Final = 8
_MAX_NAME: Final = 60
#: Words that stay on one line.
_UNBREAKABLE: Final = re.compile(r"\b(seeds?) (?=\d)")


def render_file(data: FigureData, format: str) -> bytes:
    """Return a figure as the bytes of a png, svg or pdf file."""
    file = BytesIO()
    with rc_context(_STYLE):
        save_figure(draw_figure(data), file, format)
    return file.getvalue()


def render_svg(panel: Panel, identity: str) -> str:
    """Return a panel without its title as an SVG element for the page, coloured by the page's theme.

    `identity` is unique on the page; the ids in the SVG derive from it.
    """
    file = BytesIO()
    style: dict[Any, Any] = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": identity}
    with rc_context({**_STYLE, **style, "savefig.transparent": True}):
        save_figure(draw_figure(FigureData("", "", [replace(panel, title="")]), least_width=4.2), file, "svg")
    root = ET.fromstring(file.getvalue())  # noqa: S314 - made by matplotlib
    used = set(re.findall(rb'(?:url\(|href=")#([\w-]+)', file.getvalue()))
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]  # HTML needs no namespaces
        for child in [child for child in element if child.tag.endswith(("}metadata", "}style"))]:
            element.remove(child)
        for key, value in element.attrib.copy().items():
            match key:
                case "id":
                    if value.encode() not in used:
                        del element.attrib[key]
                case "style":
                    element.set(key, re.sub("#[0-9a-f]{6}", lambda found: _THEME.get(found[0], found[0]), value))
                case "d" | "x" | "y":
                    element.set(key, re.sub(r"(\.\d\d)\d+", r"\1", value))
                case _ if key.endswith("}href"):
                    element.set("href", element.attrib.pop(key))
    width = float(root.attrib.pop("width").removesuffix("pt")) * 96 / 72
    del root.attrib["height"]
    root.set("style", f"width: {width:.0f}px; min-width: {0.75 * width:.0f}px")
    return ET.tostring(root, encoding="unicode")


def draw_figure(data: FigureData, *, least_width: float = 5.5) -> Figure:
    """Draw a figure; a single panel is at least `least_width` inches wide."""
    panels = data.panels
    width, height = (max(sizes) for sizes in zip(*map(_measure_panel, panels), strict=True))
    width = max(width, least_width) if len(panels) == 1 else width
    columns = min(len(panels), max(int(_MAX_WIDTH / width), 1), 4)
    columns = 2 if len(panels) == 4 and columns == 3 else columns
    rows = math.ceil(len(panels) / columns)
    figure = Figure(layout="constrained")
    references = list(dict.fromkeys(name for panel in panels for name, _ in panel.references))
    entries: dict[str, Artist] = {}
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, int(9 * width), references, entries)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    entries.pop("", None)
    names = [
        name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}\u2026" for name in map(escape_controls, entries)
    ]
    total_width = columns * width
    note_width = int(total_width * _PER_INCH)
    title, note = _wrap_text(data.title, int(total_width * 10)), _wrap_text(data.note, note_width)
    per_row = max(min(len(names), int(total_width * _PER_INCH / (max(map(len, names), default=0) + 8))), 1)
    lines = 1.5 * len(title) + math.ceil(len(names) / per_row) + len(note)
    figure.set_size_inches(total_width, rows * height + _LINE_HEIGHT * lines)
    if title or entries:
        style: dict[str, Any] = {"loc": "outside upper center", "frameon": False, "title_fontsize": "xx-large"}
        legend = figure.legend(list(entries.values()), names, title="\n".join(title), ncols=per_row, **style)
        legend.get_title().set_multialignment("center")
    if note:
        figure.supxlabel("\n".join(note), x=0.02, ha="left", size="medium")
    return figure


def _draw_panel(
    axes: Axes, panel: Panel, title_width: int, references: Sequence[str], entries: dict[str, Artist]
) -> None:
    """Draw a panel, and add its legend entries to `entries`."""
    dots = [mark for mark in panel.marks if isinstance(mark, DotMark)]
    separate_dots = [mark for mark in dots if not mark.joined]
    categories = _collect_categories(dots)
    for mark in panel.marks:
        match mark:
            case LineMark():
                entries.setdefault(mark.name, _draw_line(axes, mark))
            case ScatterMark():
                total = sum(len(each.x) for each in panel.marks if isinstance(each, ScatterMark))
                entries.setdefault(mark.name, _draw_scatter(axes, mark, total))
            case DotMark():
                position = 0.0 if mark.joined else separate_dots.index(mark) - (len(separate_dots) - 1) / 2
                shift = position * min(0.7 / max(len(separate_dots), 1), 0.25)
                entries.setdefault(mark.name, _draw_dots(axes, mark, categories, shift))
            case HeatmapMark():
                _draw_heatmap(axes, mark)
    for name, value in panel.references:
        if math.isfinite(value):
            dash = _DASHES[(references.index(name) + 1) % len(_DASHES)]
            draw_line = axes.axvline if dots else axes.axhline
            entries.setdefault(name, draw_line(value, color=NEUTRAL_COLOUR, linestyle=dash, linewidth=1.2, zorder=0.5))
    if categories:
        _label_ticks(axes, categories, [])
        axes.set_ylim(len(categories) - 0.5, -0.5)  # first category on top
        axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)
    axes.set_title("\n".join(_wrap_text(panel.title, title_width)), size="x-large")
    axes.set_xlabel(escape_controls(panel.x_label), size="large")
    axes.set_ylabel(escape_controls(panel.y_label), size="large")
    low, high = axes.get_xlim() if dots else axes.get_ylim()
    if abs(high - low) < panel.least_width:
        middle, half = (low + high) / 2, panel.least_width / 2
        (axes.set_xlim if dots else axes.set_ylim)(middle - half, middle + half)
    if panel.x_ticks:
        axes.set_xscale("symlog", linthresh=1)
        axes.autoscale(axis="x")  # margins in the new scale
        axes.set_xticks(panel.x_ticks, [f"{each:g}" for each in panel.x_ticks])
        axes.minorticks_off()
    if panel.bare:
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")


def _draw_line(axes: Axes, mark: LineMark) -> Artist:
    x, y, colour = _to_array(mark.x), _to_array(mark.y), _pick_colour(mark.colour)
    if mark.low is not None and mark.high is not None:
        axes.fill_between(x, _to_array(mark.low), _to_array(mark.high), color=colour, alpha=0.18, linewidth=0)
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    dash = _DASHES[(2 * (mark.colour // len(COLOURS)) + mark.dashed) % len(_DASHES)]
    return axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, marker="o" if mark.marked else "")[0]


def _draw_scatter(axes: Axes, mark: ScatterMark, total: int) -> Artist:
    marker = _MARKERS[mark.marker % len(_MARKERS)]
    style: dict[str, Any] = {"color": _pick_colour(mark.colour), "marker": marker, "linestyle": ""}
    size = min(max(8000 / max(total, 1), 7.0), 36.0) ** 0.5  # smaller if there are more points
    axes.plot(_to_array(mark.x), _to_array(mark.y), markersize=size, alpha=0.6, markeredgewidth=0, **style)
    return axes.plot([], [], markersize=6, **style)[0]


def _draw_dots(axes: Axes, mark: DotMark, categories: Sequence[str], shift: float) -> Artist:
    """Draw one series, `shift` below the centre of each category."""
    positions = np.arange(len(mark.categories), dtype=np.float64)
    if list(mark.categories) != list(categories[: len(positions)]):  # equal lists keep their order: names may repeat
        positions = np.array([categories.index(name) for name in mark.categories], np.float64)
    positions, values, colour = positions + shift, _to_array(mark.values), _pick_colour(mark.colour)
    if mark.low is not None and mark.high is not None:
        axes.hlines(positions, _to_array(mark.low), _to_array(mark.high), color=colour, linewidth=1.4, alpha=0.7)
    if mark.joined:
        return axes.plot(values, positions, color=colour, linewidth=4, solid_capstyle="butt")[0]
    marker = _MARKERS[(mark.colour + mark.colour // len(COLOURS)) % len(_MARKERS)]
    return axes.plot(values, positions, color=colour, linestyle="", marker=marker, markersize=6)[0]


def _draw_heatmap(axes: Axes, mark: HeatmapMark) -> None:
    values = np.array([_to_array(row) for row in mark.values]).reshape(len(mark.rows), len(mark.columns))
    if not values.size:
        return
    high, colour_map = max(mark.high, mark.low + 1e-9), colormaps["RdBu" if mark.diverging else "cividis"]
    cells = axes.pcolormesh(np.ma.masked_invalid(values), vmin=mark.low, vmax=high, cmap=colour_map)
    for (row, column), value in np.ndenumerate(values):
        text, colour = "\u2013", NEUTRAL_COLOUR
        if math.isfinite(value):
            red, green, blue, _ = cells.cmap(cells.norm(value))
            text, colour = f"{value:.{mark.digits}f}", _TEXT_COLOURS[0.299 * red + 0.587 * green + 0.114 * blue > 0.5]
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour)
    axes.invert_yaxis()  # first row on top
    _label_ticks(axes, mark.rows, mark.columns, middle=0.5)
    axes.figure.colorbar(cells, ax=axes, fraction=0.04, pad=0.02)


def _label_ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str], middle: float = 0.0) -> None:
    rotation: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if _is_long(columns) else {}
    axes.set_yticks(np.arange(len(rows)) + middle, ["\n".join(_wrap_text(name, _MAX_LABEL)) for name in rows])
    if columns:
        names = ["\n".join(_wrap_text(name, _MAX_LABEL)) for name in columns]
        axes.set_xticks(np.arange(len(columns)) + middle, names, **rotation)


def _measure_panel(panel: Panel) -> tuple[float, float]:
    """Return the width and height of a panel in inches, with room for long names."""
    match panel.marks:
        case [HeatmapMark() as mark]:
            label_height = 0.7 * _measure_text(mark.columns) if _is_long(mark.columns) else 0.0
            width = 0.6 * len(mark.columns) + _measure_text(mark.rows) + 1.3
            return max(width, 2.9), max(0.36 * len(mark.rows) + 1.0 + label_height, 2.2)
        case [DotMark(), *_]:
            names = _collect_categories([mark for mark in panel.marks if isinstance(mark, DotMark)])
            lines = sum(max(len(_wrap_text(name, _MAX_LABEL)), 1.5) for name in names)
            return max(3.2 + _measure_text(names), 4.2), max(_LINE_HEIGHT * lines + 0.9, 2.2)
    return 4.2, 3.4


def _collect_categories(dots: Sequence[DotMark]) -> list[str]:
    """Return the categories of the first series, then new ones of the other series."""
    found: list[str] = []
    for mark in dots:
        found += mark.categories if not found else [name for name in mark.categories if name not in found]
    return found


def _is_long(names: Sequence[str]) -> bool:
    return max(map(len, names), default=0) > _MAX_UPRIGHT


def _measure_text(names: Sequence[str]) -> float:
    return min(max(map(len, names), default=0), _MAX_LABEL) / _PER_INCH


def _wrap_text(text: str, width: int) -> list[str]:
    """Wrap a text into lines, with control characters escaped."""
    joined = _UNBREAKABLE.sub("\\1\u00a0", escape_controls(text))
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(joined, max(width, 10))]


def _pick_colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _to_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return the numbers with NaN, which is not drawn, in place of None and infinity."""
    found = np.array([math.nan if value is None else value for value in values], np.float64)
    return np.where(np.isfinite(found), found, math.nan)
