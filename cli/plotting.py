"""The parts of matplotlib that draw figures, set up to draw the same files in any environment.

A notebook exports its own backend, which is invalid in other processes. A user's configuration of matplotlib is for
screens and papers, and may be damaged. Only its choice of fonts is kept, because scripts need them.
"""

import logging
import os
import sys
from typing import Any, Final

from emodna.pipeline.errors import EmodnaError

os.environ["MPLBACKEND"] = "agg"
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if it cannot write its cache
try:
    import matplotlib
except (ValueError, OSError):
    os.environ["MATPLOTLIBRC"] = os.devnull  # in place of a damaged one
    for name in [each for each in sys.modules if each.startswith("matplotlib")]:
        del sys.modules[name]
    try:
        import matplotlib
    except (ValueError, OSError) as error:  # the working folder has one, too
        raise EmodnaError(f"cannot be read: {error}", where="matplotlibrc", remedy="mend or remove it") from error

from matplotlib import colormaps, rc_context  # noqa: E402
from matplotlib.artist import Artist  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = ["Artist", "Axes", "Figure", "colormaps", "rc_context"]

_FONTS: Final = ("family", "serif", "sans-serif", "cursive", "fantasy", "monospace")

_settings: Any = matplotlib.rcParams
_fonts = {name: _settings[name] for name in (f"font.{font}" for font in _FONTS)}
matplotlib.rcdefaults()
_settings.update(_fonts)
