"""Pictures as plotly draws them in the page.

Colours are names of page.css, as `var(--series-1)` or with an opacity `var(--series-1, 0.2)`: page.js puts in what they
are in the theme at hand. Text from outside is escaped, since plotly reads some HTML.
"""

import html
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from emodna.cli.bench.report.page import Figure, Plot
from emodna.cli.bench.report.sheets import MISSING, Column, Item, Sheet, number, text
from emodna.model.bench.pictures import Dots, Line, Mark, Matrix, Panel, Picture, Points

_SERIES: Final = 7
"""Colours in page.css."""
_MARKERS: Final = ("circle", "triangle-up", "square", "diamond", "cross", "star")
_DASHES: Final = ("dot", "dash", "dashdot", "longdash")
_LABEL: Final = 24
"""Letters of a category on a line."""

Trace = dict[str, Any]


def figure(identity: str, picture: Picture) -> Figure:
    """A picture as a part of the page."""
    plots = [Plot(panel.title, _document(panel), _words(panel)) for panel in picture.panels]
    numbers = [sheet for place, panel in enumerate(picture.panels) for sheet in _numbers(f"{identity}-{place}", panel)]
    return Figure(identity, picture.title, plots, picture.note, numbers)


def _document(panel: Panel) -> dict[str, Any]:
    matrix = next((mark for mark in panel.marks if isinstance(mark, Matrix)), None)
    if matrix is not None:
        return _matrix(panel, matrix)
    dots = [mark for mark in panel.marks if isinstance(mark, Dots)]
    return _dots(panel, dots) if dots else _curves(panel)


def _curves(panel: Panel) -> dict[str, Any]:
    """Lines and clouds of points."""
    traces = [trace for mark in panel.marks for trace in _curve(mark)]
    along = [x for mark in panel.marks if isinstance(mark, Line | Points) for x in mark.x if math.isfinite(x)]
    ends = (min(along), max(along)) if along else (0.0, 1.0)
    for place, (name, value) in enumerate(panel.references):
        traces.append(_reference(place, name, value, {"x": _finite(ends), "y": [value, value]}))
    layout = _layout(panel, traces)
    if panel.widened is not None:
        layout["yaxis"]["range"] = _finite(panel.widened)
    if panel.bare:
        layout["xaxis"] = {"visible": False}
        layout["yaxis"] = {"visible": False, "scaleanchor": "x"}
    return {"data": traces, "layout": layout, "height": 380}


def _curve(mark: Mark) -> Iterator[Trace]:
    if isinstance(mark, Line):
        if mark.low is not None and mark.high is not None:
            yield {
                "type": "scatter",
                "mode": "lines",
                "x": _finite([*mark.x, *reversed(mark.x)]),
                "y": _finite([*mark.high, *reversed(mark.low)]),
                "fill": "toself",
                "fillcolor": _colour(mark.colour, 0.18),
                "line": {"width": 0},
                "hoverinfo": "skip",
                "showlegend": False,
                "legendgroup": _escaped(mark.name),
            }
        yield {
            "type": "scatter",
            "mode": "lines",
            "name": _escaped(mark.name),
            "legendgroup": _escaped(mark.name),
            "x": _finite(mark.x),
            "y": _finite(mark.y),
            "line": {"color": _colour(mark.colour), "width": 2, "dash": "dash" if mark.dashed else "solid"},
            "hovertemplate": "%{x}: %{y:.4g}",
        }
    elif isinstance(mark, Points):
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": _escaped(mark.name),
            "x": _finite(mark.x),
            "y": _finite(mark.y),
            "marker": {
                "color": _colour(mark.colour),
                "symbol": _MARKERS[mark.marker % len(_MARKERS)],
                "size": 6,
                "opacity": 0.7,
            },
            **(
                {"text": [_escaped(each) for each in mark.texts], "hovertemplate": "%{text}"}
                if mark.texts is not None
                else {"hovertemplate": "%{x:.4g}, %{y:.4g}"}
            ),
        }


def _dots(panel: Panel, marks: Sequence[Dots]) -> dict[str, Any]:
    """Values by category; marks that share one lie a little below each other, but for bars."""
    categories = list(dict.fromkeys(category for mark in marks for category in mark.categories))
    places = {category: place for place, category in enumerate(categories)}
    apart = [mark for mark in marks if not mark.joined]
    traces: list[Trace] = []
    for mark in marks:
        shift = 0.0 if mark.joined else 0.5 * ((apart.index(mark) + 0.5) / len(apart) - 0.5)
        trace: Trace = {
            "type": "scatter",
            "mode": "lines" if mark.joined else "markers",
            "name": _escaped(mark.name),
            "x": _finite(mark.values),
            "y": [places[category] + shift for category in mark.categories],
            "text": [_escaped(category) for category in mark.categories],
            "marker": {"color": _colour(mark.colour), "symbol": _MARKERS[mark.colour % len(_MARKERS)], "size": 9},
            "line": {"color": _colour(mark.colour), "width": 5},
            "hovertemplate": "%{text}: %{x:.4g}",
        }
        if mark.low is not None and mark.high is not None:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": _finite(_less(mark.high, mark.values)),
                "arrayminus": _finite(_less(mark.values, mark.low)),
                "color": _colour(mark.colour),
                "thickness": 1.5,
                "width": 4,
            }
            trace["customdata"] = list(zip(_finite(mark.low), _finite(mark.high), strict=True))
            trace["hovertemplate"] = "%{text}: %{x:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})"
        traces.append(trace)
    ends = [-0.5, len(categories) - 0.5]
    for place, (name, value) in enumerate(panel.references):
        traces.append(_reference(place, name, value, {"x": [value, value], "y": ends}))
    layout = _layout(panel, traces)
    if panel.widened is not None:
        layout["xaxis"]["range"] = _finite(panel.widened)
    layout["yaxis"] |= {
        "range": ends[::-1],
        "tickvals": list(places.values()),
        "ticktext": [_folded(category) for category in categories],
        "zeroline": False,
    }
    return {"data": traces, "layout": layout, "height": 130 + max(34, 16 * len(apart)) * len(categories)}


def _matrix(panel: Panel, mark: Matrix) -> dict[str, Any]:
    shown = [["" if value is None else f"{value:.{mark.digits}f}" for value in row] for row in mark.values]
    trace: Trace = {
        "type": "heatmap",
        "z": [_finite(row) for row in mark.values],
        "x": list(range(len(mark.columns))),
        "y": list(range(len(mark.rows))),
        "text": shown,
        "texttemplate": "%{text}",
        "textfont": {"color": "var(--ink)"},
        "customdata": [[[_escaped(row), _escaped(column)] for column in mark.columns] for row in mark.rows],
        "hovertemplate": "%{customdata[0]}, %{customdata[1]}: %{text}<extra></extra>",
        "zmin": mark.low,
        "zmax": mark.high,
        "colorscale": _scale(mark),
        "colorbar": {"thickness": 12, "outlinewidth": 0, "tickfont": {"color": "var(--ink)"}},
        "xgap": 2,
        "ygap": 2,
    }
    layout = _layout(panel, [])
    layout["xaxis"] |= {
        "tickvals": list(range(len(mark.columns))),
        "ticktext": [_folded(each) for each in mark.columns],
        "showgrid": False,
        "zeroline": False,
    }
    layout["yaxis"] |= {
        "tickvals": list(range(len(mark.rows))),
        "ticktext": [_folded(each) for each in mark.rows],
        "range": [len(mark.rows) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
    }
    return {"data": [trace], "layout": layout, "height": 150 + 38 * len(mark.rows)}


def _scale(mark: Matrix) -> list[list[Any]]:
    """Colours from the lowest to the highest; those below the middle of a diverging scale have another hue."""
    ends = [[0, "var(--matrix-below)"], [0.5, "var(--matrix-low)"]] if mark.diverging else [[0, "var(--matrix-low)"]]
    return [*ends, [1, "var(--matrix-high)"]]


def _reference(place: int, name: str, value: float, ends: dict[str, Any]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{_escaped(name)}: {value:.4g}",
        "line": {"color": "var(--muted)", "width": 1.5, "dash": _DASHES[place % len(_DASHES)]},
        "hovertemplate": f"{value:.4g}",
        **ends,
    }


def _layout(panel: Panel, traces: Sequence[Trace]) -> dict[str, Any]:
    return {
        "xaxis": _axis(panel.x_label),
        "yaxis": _axis(panel.y_label),
        "showlegend": sum(bool(trace.get("name")) for trace in traces) > 1,
    }


def _axis(label: str) -> dict[str, Any]:
    return {"title": {"text": _escaped(label), "standoff": 8}, "automargin": True}


def _colour(number: int, opacity: float | None = None) -> str:
    name = f"--series-{number % _SERIES + 1}"
    return f"var({name})" if opacity is None else f"var({name}, {opacity})"


def _finite(values: Sequence[float | None]) -> list[float | None]:
    """Six digits of each: more are not seen, and the page is a third of the size."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values]


def _less(values: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    return [
        None if None in (value, other) else value - other  # type: ignore[operator]
        for value, other in zip(values, others, strict=True)
    ]


def _escaped(words: str) -> str:
    """As plotly shows it letter by letter."""
    return html.escape(words, quote=False).replace("\n", "<br>")


def _folded(words: str) -> str:
    return "<br>".join(_escaped(line) for line in textwrap.wrap(words, _LABEL)) or " "


def _words(panel: Panel) -> str:
    """What a panel shows, to be read out."""
    kinds = {"line": "curve", "points": "points", "dots": "values", "matrix": "matrix"}
    marks = [
        kinds[mark.kind] if isinstance(mark, Matrix) else f"{kinds[mark.kind]} {mark.name}".strip()
        for mark in panel.marks
    ]
    axes = " by ".join(filter(None, [panel.y_label, panel.x_label]))
    return ". ".join(filter(None, [panel.title, axes, ", ".join(marks)]))


def _numbers(identity: str, panel: Panel) -> Iterator[Sheet]:
    """The numbers of what has few of them: they can be read without the picture."""
    caption = panel.title
    for mark in panel.marks:
        if isinstance(mark, Matrix):
            columns = [Column(""), *(Column(name, numeric=True) for name in mark.columns)]
            rows = [
                [text(name), *(number(value, mark.digits) for value in values)]
                for name, values in zip(mark.rows, mark.values, strict=True)
            ]
            yield Sheet(identity, caption, columns, rows)
    dots = [mark for mark in panel.marks if isinstance(mark, Dots)]
    if dots:
        columns = [Column(""), Column("series"), *(Column(name, numeric=True) for name in ("value", "from", "to"))]
        rows = [
            [text(category), text(mark.name or MISSING), *values] for mark in dots for category, values in _each(mark)
        ]
        yield Sheet(identity, caption, columns, rows)


def _each(mark: Dots) -> Iterator[tuple[str, list[Item]]]:
    nothing: list[float | None] = [None] * len(mark.categories)
    for category, *values in zip(mark.categories, mark.values, mark.low or nothing, mark.high or nothing, strict=True):
        yield category, [number(value, 2) for value in values]
