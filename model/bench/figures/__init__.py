"""Figures of an experiment, by name. A new one is a function in a module here, and a line of `FIGURES`."""

import importlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from emodna.model.bench.figure_data import FigureData
from emodna.model.bench.figures.selection import FigureOptions as FigureOptions
from emodna.model.bench.figures.selection import NoFigureDataError as NoFigureDataError
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError


class FigureInfo(NamedTuple):
    """A figure: its function has its name, with _ for -."""

    module: str
    """Module in this folder; imported when the figure is made."""
    summary: str
    """Content in a line."""
    uses_models: bool = False
    """True if it is computed from the trained models, which takes long the first time."""


FIGURES: Final[Mapping[str, FigureInfo]] = {
    "ranks": FigureInfo(
        "scores", "Critical-difference plot: mean ranks of the methods, those that do not differ joined by a bar."
    ),
    "pairs": FigureInfo("scores", "Heat maps of the pairs of corpora: UAR, and what is gained over Source Only."),
    "languages": FigureInfo("scores", "Pairs of corpora of one language against pairs of two."),
    "confusion": FigureInfo("runs", "Confusion matrices of a pair of corpora."),
    "threshold": FigureInfo("runs", "The adaptive threshold of the pseudo-labels, and how many pass it."),
    "prototypes": FigureInfo("runs", "How the prototypes of Emo-DNA lie to each other while it is trained."),
    "losses": FigureInfo("runs", "The terms of the objective while a method is trained."),
    "sensitivity": FigureInfo("scores", "One setting at a time: how far UAR moves from that of the defaults."),
    "features-methods": FigureInfo(
        "features",
        "UMAP of the emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2).",
        uses_models=True,
    ),
    "features-parts": FigureInfo(
        "features",
        "UMAP of the emotion features of Emo-DNA without some of its parts (the paper's Figure 3).",
        uses_models=True,
    ),
    "distances": FigureInfo(
        "features",
        "Proxy A-distance and MMD between source and target, before adaptation (Source Only) and after, by method.",
        uses_models=True,
    ),
}
"""Every figure, in display order."""


def make_figure(name: str, experiment: Experiment, choice: FigureOptions) -> FigureData:
    """Make a figure.

    Raises NothingToShow if no finished run has what it shows, and BenchError for an unknown name or a changed store.
    """
    check_figure_name(name)
    module = importlib.import_module(f"{__name__}.{FIGURES[name].module}")
    picture: FigureData = getattr(module, name.replace("-", "_"))(experiment, choice)
    return picture


def check_figure_name(name: str) -> None:
    """Raise BenchError, which lists the valid names, for an unknown name."""
    if name not in FIGURES:
        raise BenchError(f"figure {name}: unknown; valid: {', '.join(FIGURES)}")
