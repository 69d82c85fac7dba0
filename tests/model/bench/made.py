"""Benchmarks without training: bench.json, and the result of each cell, written by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from emodna.model.bench.presets import CEILING
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, MethodInfo, MethodSpec, RunSpec
from emodna.model.run_folder import write_json
from emodna.pipeline.emotions import TASKS, Task

#: Utterances of class 0 and 1 in the full corpora, METHODS 1.2: arousal, then valence.
CLASSES: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "casia": ((400, 800), (600, 600)),
    "emodb": ((222, 313), (385, 150)),
    "emovo": ((168, 420), (336, 252)),
    "iemocap": ((2792, 2739), (2187, 3344)),
    "ravdess": ((480, 960), (768, 672)),
    "savee": ((180, 300), (240, 240)),
}

Score = Callable[[RunSpec], float | None]


def named(row: MethodSpec) -> MethodInfo:
    """What a row is called, near enough."""
    oracle = row == CEILING
    label = f"{row.name}{' (our reading)' * (row.name == 'addi')}{' (oracle)' * oracle}"
    settings = f" ({', '.join(f'{key}={value}' for key, value in row.settings)})" if row.settings else ""
    return MethodInfo(label + settings, row.name == "addi", "oracle-folds" if oracle else "source")


def planned(
    out: Path,
    rows: Sequence[str | MethodSpec],
    *,
    corpora: Sequence[str] = tuple(CLASSES),
    tasks: Sequence[Task] = TASKS,
    seeds: int = 2,
    classes: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = CLASSES,
    conditions: Conditions | None = None,
) -> Experiment:
    """A benchmark of which nothing is run; corpora that are not known have 10 utterances of either class."""
    asked = [row if isinstance(row, MethodSpec) else MethodSpec.parse(row) for row in rows]
    facts = {}
    for name in corpora:
        arousal, valence = classes.get(name, ((10, 10), (10, 10)))
        counts: dict[Task, tuple[int, int]] = {"arousal": arousal, "valence": valence}
        facts[name] = CorpusSummary(name, f"/caches/one/{name}/mfcc40-x", f"{name}-1", "en", sum(arousal), counts)
    first: dict[str, str] = {}
    cells = tuple(
        RunSpec(src, tgt, task, row, seed)
        for seed, task, row in itertools.product(range(seeds), tasks, asked)
        for src, tgt in itertools.permutations(corpora, 2)
        if row != CEILING or first.setdefault(tgt, src) == src
    )
    conditions = conditions or Conditions(1000, "mfcc40-x")
    bench = Experiment(out, conditions, facts, {row: named(row) for row in asked}, cells)
    bench.write()
    return bench


def finish(bench: Experiment, score: Score, but: Collection[RunSpec] = ()) -> None:
    """Write the results of all cells but some: a score's WAR, F1 = WAR + 1, UAR = WAR + 2, macro-F1 = WAR + 3."""
    for cell in bench.runs:
        if cell not in but:
            folder, war = bench.run_folder(cell), score(cell)
            folder.path.mkdir(parents=True)
            keys = ("war", "f1", "uar", "macro_f1")
            scores = {key: None if war is None else war + more for more, key in enumerate(keys)}
            folder.result.write_text(json.dumps(scores))  # not flushed to the disk, as runs are: there are many
            folder.done.touch()


def fail(bench: Experiment, cell: RunSpec, error: str) -> None:
    """Write that a cell came to nothing."""
    bench.failure(cell).parent.mkdir(parents=True, exist_ok=True)
    write_json(bench.failure(cell), {"error": error, "when": "2026-01-01T00:00:00+00:00"})
