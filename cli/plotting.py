"""The parts of matplotlib that draw figures, set up to draw the same files in any environment.

A notebook exports its own backend, which is invalid in other processes. A user's configuration of matplotlib is for
screens and papers, and may be damaged. Only its choice of fonts is kept, because scripts need them.
"""

import logging
import os
from typing import Any, Final

from emodna.pipeline.errors import EmodnaError

os.environ["MPLBACKEND"] = "agg"
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if it cannot write its cache
try:
    import matplotlib
    from matplotlib import colormaps, rc_context
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except (ValueError, OSError) as error:
    remedy = "mend or remove the file matplotlibrc, or name another one with $MATPLOTLIBRC"
    raise EmodnaError(f"its configuration cannot be read: {error}", where="matplotlib", remedy=remedy) from error

__all__ = ["Artist", "Axes", "Figure", "colormaps", "rc_context"]

_FONTS: Final = ("family", "serif", "sans-serif", "cursive", "fantasy", "monospace")

_settings: Any = matplotlib.rcParams
_fonts = {name: _settings[name] for name in (f"font.{font}" for font in _FONTS)}
matplotlib.rcdefaults()
_settings.update(_fonts)
