"""MFCCs as a picture: in the terminal, and as PNG."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

#: Without colours: light to dark.
_SHADES: Final = " .:-=+*#%@"
#: Dark blue to yellow, as 256-colour codes: readable on dark and light terminals alike.
_COLOURS: Final = (17, 18, 54, 55, 91, 127, 163, 162, 198, 203, 209, 215, 221, 227)


def terminal_picture(features: NDArray[np.float32], width: int, *, coloured: bool) -> Text:
    """Coefficients upwards, time to the right, two coefficients per line of text.

    Each coefficient is scaled to its own range: c0 would drown the others.

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
    slots = np.array_split(features, columns)
    image = np.stack([slot.mean(axis=0) for slot in slots], axis=1)  # (dim, columns)
    low, high = image.min(axis=1, keepdims=True), image.max(axis=1, keepdims=True)
    palette = _COLOURS if coloured else _SHADES
    level = ((image - low) / np.maximum(high - low, 1e-6) * (len(palette) - 1)).round().astype(int)
    if len(level) % 2:
        level = np.vstack([level, level[-1:]])
    if not coloured:
        return Text("\n".join("".join(_SHADES[each] for each in row) for row in level[::-2]))
    text = Text()
    for upper, lower in zip(level[::-2], level[-2::-2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("\u2580", style=f"color({_COLOURS[top]}) on color({_COLOURS[bottom]})")
        text.append("\n")
    return text


def write_png(path: Path, features: NDArray[np.float32], parameters: Mapping[str, Any], title: str) -> None:
    """Draw features [frames, dim] with axes in s and coefficients."""
    from matplotlib.figure import Figure

    seconds = len(features) * parameters["hop_length"] / parameters["sample_rate"]
    figure = Figure(figsize=(8, 4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 3])
    times = np.linspace(0, seconds, len(features))
    upper.plot(times, features[:, 0], linewidth=1)
    upper.set(ylabel="c0")
    upper.set_title(title, parse_math=False)
    image = lower.imshow(
        features[:, 1:].T, origin="lower", aspect="auto", extent=(0, seconds, 0.5, features.shape[1] - 0.5)
    )
    lower.set(xlabel="time (s)", ylabel="coefficient")
    figure.colorbar(image, ax=lower)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an id in a script that the font lacks
        figure.savefig(path, format="png", dpi=150)
