"""An invented experiment with hostile names and errors, and figures of all kinds of marks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Panel, ScatterMark
from emodna.model.bench.spec import Conditions, Experiment
from tests.model.bench.builders import fail_run, write_experiment, write_run

#: A corpus name that is HTML.
HOSTILE = "<img src=x onerror=alert(1)>"
#: An error that ends a script, starts a comment, and contains a line separator of JavaScript.
HOSTILE_ERROR = "</script><script>alert(2)</script><!-- <b>x</b> &amp; \u2028 '\""
METHODS = ("source-only", "dan", "emo-dna:threshold=fixed:0.9", "upper-bound")


def make_experiment(out: Path, corpora: Sequence[str] = ("emodb", HOSTILE), seeds: int = 2) -> Experiment:
    """Write an experiment on all pairs of some corpora; its last run failed, the one before is waiting."""
    experiment = write_experiment(
        out,
        METHODS,
        corpora=corpora,
        tasks=("valence", "arousal"),
        seeds=seeds,
        classes=dict.fromkeys(corpora, ((40, 60), (70, 30))),
        languages=dict.fromkeys(corpora, "de"),
        conditions=Conditions(60, "mfcc40-22050hz-1d163ad7", {"frames": "32"}),
    )
    rng = random.Random(0)
    for index, run in enumerate(experiment.runs[:-2]):
        uar = round(rng.uniform(11, 99) if index % 5 else 1 + index / 5, 3)
        scores = {"uar": uar, "war": uar + 1, "f1": uar / 2, "macro_f1": uar - 1}
        write_run(experiment, run, {**scores, "wall_seconds": 5.0})
    fail_run(experiment, experiment.runs[-1], f"no such thing: {HOSTILE_ERROR}")
    return experiment


def make_figures() -> list[FigureData]:
    """Return figures of all kinds of marks, with hostile names in all places."""
    steps = [float(step) for step in range(0, 200, 10)]
    falling = [math.exp(-step / 60) for step in steps]
    rng = random.Random(0)

    def make_cloud(name: str, centre: float, number: int) -> ScatterMark:
        x, y = ([rng.gauss(centre, 0.6) for _ in range(60)] for _ in range(2))
        return ScatterMark(
            name, x, y, [f"{name} {index} {HOSTILE_ERROR}" for index in range(60)], colour=number, marker=number
        )

    curves = Panel(
        "threshold",
        [
            LineMark("dan", steps, falling, [y - 0.1 for y in falling], [y + 0.1 for y in falling]),
            LineMark(HOSTILE, steps, [1 - y for y in falling], colour=1, dashed=True),
        ],
        "step",
        "share",
        references=[("fixed", 0.9), (HOSTILE, 0.5)],
    )
    names = ["source-only", "emo-dna (threshold=fixed:0.9, and a long label)", HOSTILE]
    dots = Panel(
        "UAR",
        [
            DotMark("arousal", names, [61.0, 72.5, None], [58.0, 70.0, None], [64.0, 76.0, None]),
            DotMark("valence", names, [55.0, 51.0, 49.0], colour=1),
            DotMark("alike", names[:2], [78.0, 78.0], colour=2, joined=True),
        ],
        "UAR in %",
        references=[("constant", 50.0)],
    )
    matrix = HeatmapMark(["emodb", HOSTILE, "ravdess"], ["emodb", HOSTILE, "ravdess"],
                    [[None, 61.25, 70.0], [55.5, None, 48.0], [80.0, 66.0, None]], 40, 90, diverging=True)  # fmt: skip
    clouds = [
        Panel(title, [make_cloud(f"{HOSTILE}, low", 0, 0), make_cloud("emodb, high", 2, 1)], bare=True)
        for title in ("dan", "emo-dna")
    ]
    return [
        FigureData("curves", f"Curves {HOSTILE}", [curves], f"A note with {HOSTILE_ERROR}"),
        FigureData("dots", "DotMark", [dots]),
        FigureData("matrix", "HeatmapMark", [Panel("pairs", [matrix], "target", "source")]),
        FigureData("clouds", "Clouds", clouds),
    ]
