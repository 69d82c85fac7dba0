"""A benchmark that nobody ran, with names and errors that no page should trust, and a picture of every mark."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from emodna.model.bench.figure_data import DotMark, FigureData, HeatmapMark, LineMark, Panel, ScatterMark
from emodna.model.bench.spec import Conditions, Experiment
from tests.model.bench.builders import fail_run, write_experiment, write_run

#: Longer than any sensible name, and HTML.
HOSTILE = "<img src=x onerror=alert(1)>"
#: Ends a script, begins a comment, and has a character that JavaScript once took for a line's end.
NASTY = "</script><script>alert(2)</script><!-- <b>x</b> &amp; \u2028 '\""
ROWS = ("source-only", "dan", "emo-dna:threshold=fixed:0.9", "upper-bound")


def make_experiment(out: Path, corpora: Sequence[str] = ("emodb", HOSTILE), seeds: int = 2) -> Experiment:
    """All pairs of some corpora, arousal and valence: the last cell failed, the one before it is not there yet."""
    bench = write_experiment(
        out,
        ROWS,
        corpora=corpora,
        tasks=("valence", "arousal"),
        seeds=seeds,
        classes=dict.fromkeys(corpora, ((40, 60), (70, 30))),
        languages=dict.fromkeys(corpora, "de"),
        conditions=Conditions(60, "mfcc40-22050hz-1d163ad7", {"frames": "32"}),
    )
    drawn = random.Random(0)
    for place, run in enumerate(bench.runs[:-2]):
        uar = round(drawn.uniform(11, 99) if place % 5 else 1 + place / 5, 3)
        scores = {"uar": uar, "war": uar + 1, "f1": uar / 2, "macro_f1": uar - 1}
        write_run(bench, run, {**scores, "wall_seconds": 5.0})
    fail_run(bench, bench.runs[-1], f"no such thing: {NASTY}")
    return bench


def pictures() -> list[FigureData]:
    """Every mark, alone and among its like, with names from outside in all places."""
    steps = [float(step) for step in range(0, 200, 10)]
    falling = [math.exp(-step / 60) for step in steps]
    drawn = random.Random(0)

    def cloud(name: str, at: float, number: int) -> ScatterMark:
        x, y = ([drawn.gauss(at, 0.6) for _ in range(60)] for _ in range(2))
        return ScatterMark(name, x, y, [f"{name} {place} {NASTY}" for place in range(60)], colour=number, marker=number)

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
        Panel(title, [cloud(f"{HOSTILE}, low", 0, 0), cloud("emodb, high", 2, 1)], bare=True)
        for title in ("dan", "emo-dna")
    ]
    return [
        FigureData("curves", f"Curves {HOSTILE}", [curves], f"A note with {NASTY}"),
        FigureData("dots", "DotMark", [dots]),
        FigureData("matrix", "HeatmapMark", [Panel("pairs", [matrix], "target", "source")]),
        FigureData("clouds", "Clouds", clouds),
    ]
