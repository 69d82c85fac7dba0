"""Figures of an experiment by name. A new figure is a function here and an item of `FIGURES`."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from emodna.model.bench.figure_data import FigureData
from emodna.model.bench.figures.selection import FigureOptions as FigureOptions
from emodna.model.bench.figures.selection import NoFigureDataError as NoFigureDataError
from emodna.model.bench.figures.selection import select_finished_runs
from emodna.model.bench.results import read_run_results
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from emodna.model.label import merge_exposures, note_exposure, read_exposure


class FigureInfo(NamedTuple):
    """A figure. The function `draw_<name>` draws it, with each - of the name replaced by _."""

    module: str
    """Module of the function, in this folder."""
    summary: str
    """Content in one line."""
    uses_models: bool = False
    """True if the figure evaluates trained models, which takes minutes the first time."""


FIGURES: Final[Mapping[str, FigureInfo]] = {
    "ranks": FigureInfo("scores", "Critical-difference plot: mean ranks; bars join methods without a difference."),
    "pairs": FigureInfo("scores", "Heatmaps over pairs of corpora: UAR, and the gain over Source Only."),
    "languages": FigureInfo("scores", "UAR over pairs of one language and over pairs of two languages."),
    "confusion": FigureInfo("runs", "Confusion matrices of a pair of corpora."),
    "threshold": FigureInfo("runs", "Adaptive pseudo-label threshold, and the share above it, over training steps."),
    "prototypes": FigureInfo("runs", "Cosines between the prototypes of Emo-DNA over training steps."),
    "losses": FigureInfo("runs", "Terms of the loss over training steps."),
    "sensitivity": FigureInfo("scores", "UAR with one setting changed, compared with the defaults."),
    "learning-curve": FigureInfo(
        "learning_curve", "UAR over the number of target labels per class that methods are trained with."
    ),
    "features-methods": FigureInfo(
        "features", "UMAP of emotion features of CDAN, ADDi, DIFL and Emo-DNA (the paper's Figure 2).", uses_models=True
    ),
    "features-parts": FigureInfo(
        "features", "UMAP of emotion features of Emo-DNA without some parts (the paper's Figure 3).", uses_models=True
    ),
    "distances": FigureInfo(
        "features", "Proxy A-distance and MMD of source and target, before and after adaptation.", uses_models=True
    ),
}
"""Every figure, in display order."""


def make_figure(name: str, experiment: Experiment, options: FigureOptions) -> FigureData:
    """Make a figure. Its note tells the exposure of the finished runs that the options select.

    Raises NoFigureDataError if no finished run has its data, and BenchError for an unknown name or a changed store.
    """
    check_figure_name(name)
    module = importlib.import_module(f"{__name__}.{FIGURES[name].module}")
    figure: FigureData = getattr(module, f"draw_{name.replace('-', '_')}")(experiment, options)
    results = read_run_results(experiment, select_finished_runs(experiment, options))
    exposures = merge_exposures({each.run.tgt: read_exposure(each.result or {}, each.run.tgt)} for each in results)
    note = " ".join([figure.note, *(f"{each[0].upper()}{each[1:]}." for each in note_exposure(exposures))]).strip()
    return replace(figure, note=note, facts={**figure.facts, "exposure": exposures})


def check_figure_name(name: str) -> None:
    """Raise a BenchError for an unknown name."""
    if name not in FIGURES:
        raise BenchError("unknown", field="figure", value=name, valid=FIGURES)
