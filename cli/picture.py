"""Features as a picture: in the terminal, and as a file."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from emodna.pipeline.features import FeatureSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Without colours: light to dark.
_SHADES: Final = " .:-=+*#%@"
#: Dark blue to yellow, as 256-colour codes: readable on dark and light terminals alike.
_COLOURS: Final = (17, 18, 54, 55, 91, 127, 163, 162, 198, 203, 209, 215, 221, 227)
#: Rows of a picture in the terminal, two per line of text: the 40 coefficients, or as many bands.
_ROWS: Final = 40
#: Points of a waveform in a PNG: more than it has pixels, and no more than a line can have.
_PNG_COLUMNS: Final = 2000


def terminal_picture(features: NDArray[np.float32], feature_set: FeatureSet, width: int, *, coloured: bool) -> Text:
    """Values of a frame upwards, time to the right, two values per line of text; a waveform as a curve.

    Values on different scales are each scaled to their own range: c0 would drown the others.

    Parameters
    ----------
    features
        [frames, dim]
    width
        Columns of the terminal.
    coloured
        Whether it shows colours; shades of characters otherwise, as in a file.
    """
    columns = min(len(features), max(width - 1, 1))
    if features.shape[1] == 1:
        image = _curve(features[:, 0], columns)
    else:
        image = np.stack([slot.mean(axis=0) for slot in np.array_split(features, columns)], axis=1)  # (dim, columns)
        if feature_set.one_scale:  # then neighbours can be averaged, too
            image = np.stack([slot.mean(axis=0) for slot in np.array_split(image, min(len(image), _ROWS))])
    across = None if feature_set.one_scale else 1
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


def write_png(path: Path, features: NDArray[np.float32], feature_set: FeatureSet, title: str) -> None:
    """Draw features [frames, dim] as a PNG."""
    save(features_figure(features, feature_set, title), path, "png")


def features_figure(features: NDArray[np.float32], feature_set: FeatureSet, title: str) -> "Figure":
    """Features [frames, dim] over time in s: as a curve, a heat map, or one below the other."""
    from matplotlib.figure import Figure

    seconds = len(features) * feature_set.hop_length / feature_set.sample_rate
    figure = Figure(figsize=(8, 4), layout="constrained")
    # What has a scale of its own, c0 or a waveform, is a curve; the rest, if there is any, a heat map.
    curves = 1 if features.shape[1] == 1 or not feature_set.one_scale else 0
    maps = int(features.shape[1] > curves)
    axes = figure.subplots(curves + maps, 1, sharex=True, squeeze=False, height_ratios=[1] * curves + [3] * maps)[:, 0]
    if curves:
        axes[0].plot(*_thinned(features[:, 0], seconds), linewidth=1)
        axes[0].set(ylabel="c0" if maps else feature_set.value)
    if maps:
        extent = (0, seconds, curves - 0.5, features.shape[1] - 0.5)
        image = axes[-1].imshow(features[:, curves:].T, origin="lower", aspect="auto", extent=extent)
        axes[-1].set(ylabel=feature_set.value)
        figure.colorbar(image, ax=axes[-1], label=feature_set.unit)
    axes[0].set_title(title, parse_math=False)
    axes[-1].set(xlabel="time (s)")
    return figure


def save(figure: "Figure", path: Path | BinaryIO, format: str) -> None:
    """Write a picture; whatever its names are written in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an id in a script that the font lacks
        figure.savefig(path, format=format, dpi=150)


def _curve(samples: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """An image (rows, columns) of a waveform about zero: 1 where the curve passes, else 0."""
    scale = max(float(np.abs(samples).max()), 1e-6)
    low, high = (
        np.minimum((_ROWS / 2 * (1 + bound / scale)).astype(int), _ROWS - 1) for bound in _envelope(samples, columns)
    )
    rows = np.arange(_ROWS)[:, None]
    return np.where((low <= rows) & (rows <= high), np.float32(1), np.float32(0))


def _thinned(samples: NDArray[np.float32], seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Times and values of a curve that looks like all samples, however many there are."""
    if len(samples) > 2 * _PNG_COLUMNS:
        samples = np.stack(_envelope(samples, _PNG_COLUMNS), axis=1).reshape(-1)
    return np.linspace(0, seconds, len(samples)), samples


def _envelope(samples: NDArray[np.float32], columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest sample in each of some columns."""
    starts = np.arange(columns) * len(samples) // columns
    return np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
