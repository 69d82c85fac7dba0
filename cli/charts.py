"""Draw charts in the terminal: curves of block characters, and features as images."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from emodna.pipeline.features import FeatureSet
from emodna.pipeline.inspect.spectra import has_spectrum

#: Fill levels of a character cell, in eighths, and an ASCII substitute.
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"
#: Characters from light to dark, for terminals without colours.
_SHADES: Final = " .:-=+*#%@"
#: 256-colour codes from dark blue to yellow, readable on dark and light terminals.
_COLOURS: Final = (17, 18, 54, 55, 91, 127, 163, 162, 198, 203, 209, 215, 221, 227)
#: Rows of an image in the terminal: one for each of 40 coefficients, two per line of text.
_ROWS: Final = 40


def draw_sparkline(values: Sequence[float], width: int, *, ascii_only: bool) -> str:
    """Draw a curve in one line."""
    return draw_curve(values, width, 1, ascii_only=ascii_only)[0]


def draw_curve(values: Sequence[float], width: int, height: int, *, ascii_only: bool) -> list[str]:
    """Draw a filled curve over its own range, top line first; each of at most `width` columns is a mean."""
    means = _average_columns(values, width)
    cells = _ASCII if ascii_only else _BLOCKS
    full = len(cells) - 1
    finite = [value for value in means if value is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (full * height - 1) / (high - low) if high > low else 0.0  # the lowest value is not an empty cell
    levels = [0 if value is None else 1 + round((value - low) * scale) for value in means]
    return [
        "".join(cells[min(max(level - line * full, 0), full)] for level in levels) for line in reversed(range(height))
    ]


def _average_columns(values: Sequence[float], width: int) -> list[float | None]:
    """Return the mean of the finite values of each column; None if there are none."""
    columns = min(len(values), width)
    edges = [len(values) * column // max(columns, 1) for column in range(columns + 1)]
    parts = [[value for value in values[start:stop] if math.isfinite(value)] for start, stop in pairwise(edges)]
    return [math.fsum(part) / len(part) if part else None for part in parts]


def draw_features(features: NDArray[np.float32], feature_set: FeatureSet, width: int, *, coloured: bool) -> Text:
    """Draw features (frames, dim) in less than `width` columns, in colours or shades of characters.

    The x axis is time. The y axis is the values of a frame, two per line of text. A waveform is a curve. Values of
    different scales, such as c0, are scaled to their own ranges; of more than 40, as many are shown, evenly spaced. A
    single frame is a curve over its values.
    """
    is_vector = len(features) == 1 and not has_spectrum(feature_set)
    columns = min(features.size if is_vector else len(features), max(width - 1, 1))
    is_curve = is_vector or features.shape[1] == 1
    if is_curve:
        image = _draw_waveform(features.ravel(), columns)
    else:
        if not feature_set.has_one_scale and features.shape[1] > _ROWS:  # neighbours have nothing in common
            features = features[:, np.linspace(0, features.shape[1] - 1, _ROWS).round().astype(int)]
        image = np.stack([part.mean(axis=0) for part in np.array_split(features, columns)], axis=1)  # (dim, columns)
        if feature_set.has_one_scale:
            image = np.stack([part.mean(axis=0) for part in np.array_split(image, min(len(image), _ROWS))])
    axis = None if is_curve or feature_set.has_one_scale else 1
    low, high = image.min(axis=axis, keepdims=True), image.max(axis=axis, keepdims=True)
    palette = _COLOURS if coloured else _SHADES
    level = ((image - low) / np.maximum(high - low, 1e-6) * (len(palette) - 1)).round().astype(int)
    if len(level) % 2:
        level = np.vstack([level, level[-1:]])
    if not coloured:  # the darker of two rows, since a curve may be in either
        lines = np.maximum(level[::-2], level[-2::-2])
        return Text("\n".join("".join(_SHADES[each] for each in line) for line in lines))
    text = Text()
    for upper, lower in zip(level[::-2], level[-2::-2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("\u2580", style=f"color({_COLOURS[top]}) on color({_COLOURS[bottom]})")
        text.append("\n")
    return text


def _draw_waveform(samples: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return an image (rows, columns) of a waveform around zero: 1 on the curve, else 0."""
    scale = max(float(np.abs(samples).max()), 1e-6)
    envelope = np.stack(compute_envelope(samples, columns))
    low, high = np.minimum((_ROWS / 2 * (1 + envelope / scale)).astype(int), _ROWS - 1)
    rows = np.arange(_ROWS)[:, None]
    return np.where((low <= rows) & (rows <= high), np.float32(1), np.float32(0))


def compute_envelope(samples: NDArray[np.float32], columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lowest and highest sample of each column."""
    starts = np.arange(columns) * len(samples) // columns
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
