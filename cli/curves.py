"""Curves in the terminal, in block characters, or in ASCII where a terminal has no others."""

import math
from collections.abc import Sequence
from typing import Final

#: A cell filled from below by eighths, and its poor relation.
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool) -> str:
    """A curve in one line: its lowest point is a low block, not an empty cell."""
    return curve(values, width, 1, ascii_only=ascii_only)[0]


def curve(values: Sequence[float], width: int, height: int, *, ascii_only: bool) -> list[str]:
    """A filled curve over its own range, from the top line down.

    Parameters
    ----------
    values
        In their order; each column shows the mean of its share of them, and values that are not finite count for
        nothing. Fewer values than columns make a narrower curve.
    width, height
        Columns at most, and lines.
    ascii_only
        Whether the terminal has no block characters.
    """
    means = _means(values, width)
    cells = _ASCII if ascii_only else _BLOCKS
    full = len(cells) - 1
    finite = [value for value in means if value is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (full * height - 1) / (high - low) if high > low else 0.0
    levels = [0 if value is None else 1 + round((value - low) * scale) for value in means]
    return [
        "".join(cells[min(max(level - line * full, 0), full)] for level in levels) for line in reversed(range(height))
    ]


def _means(values: Sequence[float], width: int) -> list[float | None]:
    """The mean of each column's share of the values; None where nothing is finite."""
    columns = min(len(values), width)
    means: list[float | None] = []
    for column in range(columns):
        start, stop = (len(values) * edge // columns for edge in (column, column + 1))
        share = [value for value in values[start:stop] if math.isfinite(value)]
        means.append(math.fsum(share) / len(share) if share else None)
    return means
