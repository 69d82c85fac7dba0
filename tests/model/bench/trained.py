"""A benchmark of the small stores with two trained cells, and one that was never begun."""

from __future__ import annotations

from pathlib import Path

from emodna.model.bench.grid import plan_experiment
from emodna.model.bench.spec import Conditions, Experiment, MethodSpec
from emodna.model.bench.worker import train_run
from emodna.pipeline.store import FeatureStore
from tests.model.small import SETTINGS, Silent

ROWS = ("source-only", "emo-dna", "v2", "upper-bound")


def trained_bench(out: Path, source: FeatureStore, target: FeatureStore, *rows: str, steps: int = 2) -> Experiment:
    """Of `ROWS` in both directions, of which these are done from source to target."""
    bench = plan_experiment(
        out,
        [source, target],
        ["arousal"],
        [MethodSpec.parse(row) for row in ROWS],
        1,
        Conditions(steps, source.snapshot.feature_set, SETTINGS),
    )
    bench.write()
    for cell in bench.runs:
        if cell.src == source.snapshot.corpus and str(cell.method) in rows:
            train_run(bench, cell, Silent())
    return bench
