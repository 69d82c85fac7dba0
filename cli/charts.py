"""Charts in the terminal: curves in block characters, and features as a picture."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from emodna.pipeline.features import FeatureSet

#: A cell filled from below by eighths, and its poor relation.
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"
#: Without colours: light to dark.
_SHADES: Final = " .:-=+*#%@"
#: Dark blue to yellow, as 256-colour codes: readable on dark and light terminals alike.
_COLOURS: Final = (17, 18, 54, 55, 91, 127, 163, 162, 198, 203, 209, 215, 221, 227)
#: Rows of a picture in the terminal, two per line of text: the 40 coefficients, or as many bands.
_ROWS: Final = 40


def draw_sparkline(values: Sequence[float], width: int, *, ascii_only: bool) -> str:
    """Draw a curve in one line: its lowest point is a low block, not an empty cell."""
    return draw_curve(values, width, 1, ascii_only=ascii_only)[0]


def draw_curve(values: Sequence[float], width: int, height: int, *, ascii_only: bool) -> list[str]:
    """Draw a filled curve over its own range, top line first, in at most `width` columns: means of finite values."""
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
    """Return the mean of each column's share of the values; None where nothing is finite."""
    columns = min(len(values), width)
    means: list[float | None] = []
    for column in range(columns):
        start, stop = (len(values) * edge // columns for edge in (column, column + 1))
        share = [value for value in values[start:stop] if math.isfinite(value)]
        means.append(math.fsum(share) / len(share) if share else None)
    return means


def terminal_picture(features: NDArray[np.float32], feature_set: FeatureSet, width: int, *, coloured: bool) -> Text:
    """Draw features [frames, dim] in `width` columns, in colours or shades of characters, as for a file.

    Time goes to the right, the values of a frame upwards, two per line of text; a waveform is a curve. Values on
    different scales are each scaled to their own range: c0 would drown the others.
    """
    columns = min(len(features), max(width - 1, 1))
    if features.shape[1] == 1:
        image = _waveform(features[:, 0], columns)
    else:
        image = np.stack([slot.mean(axis=0) for slot in np.array_split(features, columns)], axis=1)  # (dim, columns)
        if feature_set.has_one_scale:  # then neighbours can be averaged, too
            image = np.stack([slot.mean(axis=0) for slot in np.array_split(image, min(len(image), _ROWS))])
    across = None if feature_set.has_one_scale else 1
    low, high = image.min(axis=across, keepdims=True), image.max(axis=across, keepdims=True)
    palette = _COLOURS if coloured else _SHADES
    level = ((image - low) / np.maximum(high - low, 1e-6) * (len(palette) - 1)).round().astype(int)
    if len(level) % 2:
        level = np.vstack([level, level[-1:]])
    if not coloured:  # the stronger of two: a curve may pass through either
        lines = np.maximum(level[::-2], level[-2::-2])
        return Text("\n".join("".join(_SHADES[each] for each in line) for line in lines))
    text = Text()
    for upper, lower in zip(level[::-2], level[-2::-2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("\u2580", style=f"color({_COLOURS[top]}) on color({_COLOURS[bottom]})")
        text.append("\n")
    return text


def _waveform(samples: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return an image (rows, columns) of a waveform about zero: 1 where the curve passes, else 0."""
    scale = max(float(np.abs(samples).max()), 1e-6)
    low, high = (
        np.minimum((_ROWS / 2 * (1 + bound / scale)).astype(int), _ROWS - 1) for bound in envelope(samples, columns)
    )
    rows = np.arange(_ROWS)[:, None]
    return np.where((low <= rows) & (rows <= high), np.float32(1), np.float32(0))


def envelope(samples: NDArray[np.float32], columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and highest sample in each of some columns."""
    starts = np.arange(columns) * len(samples) // columns
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
