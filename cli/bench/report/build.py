"""What stands on the page of a benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version

from emodna.cli.bench.report import plotly_pictures
from emodna.cli.bench.report.comparison import comparison
from emodna.cli.bench.report.overview import cells, overview
from emodna.cli.bench.report.page import Figure, Page, Section
from emodna.cli.bench.report.paper_tables import paper_tables
from emodna.model.bench import figures
from emodna.model.bench.results import read_outcomes
from emodna.model.bench.spec import Experiment
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import EmodnaError


def build(bench: Experiment, tasks: Sequence[Task], tell: Callable[[str], None], *, features: bool) -> Page:
    """The page of a benchmark.

    Parameters
    ----------
    tasks
        What to show; empty: all that the benchmark has.
    tell
        Is told what is being computed, where that takes long.
    features
        Whether to show what has to be computed from the trained models.
    """
    wanted = [task for task in TASKS if task in (tasks or {cell.task for cell in bench.runs})]
    found = read_outcomes(bench, [cell for cell in bench.runs if cell.task in wanted])
    done = sum(outcome.state == "done" for outcome in found)
    return Page(
        f"Benchmark {bench.out.absolute().name}",
        f"Cross-corpus speech emotion recognition: {len(bench.corpora)} corpora, {len(bench.methods)} methods, "
        f"{done} of {len(found)} cells done.",
        [
            overview(bench, found, wanted),
            paper_tables(bench, wanted),
            comparison(bench, found, wanted),
            pictures(bench, wanted, tell, features=features),
            cells(bench, found),
        ],
        f"Made by emodna {version('emodna')}, emodna-bench report. This page loads nothing from anywhere.",
    )


def pictures(bench: Experiment, tasks: Sequence[Task], tell: Callable[[str], None], *, features: bool) -> Section:
    """All figures that the finished cells allow."""
    shown: list[Figure] = []
    missing: list[str] = []
    for name in figures.names():
        if not features and name in figures.OF_MODELS:
            missing.append(f"{name}: left out by --no-features")
            continue
        for task in tasks:
            if name in figures.OF_MODELS:
                tell(f"{name}, {task}: computing features, minutes the first time (--no-features leaves them out)")
            try:
                picture = figures.figure(name, bench, figures.Choice(task=task))
            except EmodnaError as error:
                missing.append(f"{name}, {task}: {error}")
            else:
                title = picture.title if task in picture.title.lower() else f"{picture.title}, {task}"
                shown.append(plotly_pictures.figure(f"figure-{name}-{task}", replace(picture, title=title)))
    return Section("figures", "Figures", figures=shown, missing=missing)
