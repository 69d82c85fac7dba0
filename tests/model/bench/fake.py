"""Benchmarks that nobody ran: scores, logs and predictions as they are wished for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, MethodInfo, MethodSpec, RunSpec
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import Task
from emodna.pipeline.store import FeatureStore

Asked = tuple[str, str, Task, str, int]
"""Source, target, task, row, seed."""
LANGUAGES: Mapping[str, str] = {"ravdess": "en", "savee": "en", "emodb": "de"}


def fake_bench(
    out: Path,
    uars: Mapping[Asked, float | None],
    *,
    languages: Mapping[str, str | None] = LANGUAGES,
    stores: Mapping[str, FeatureStore] | None = None,
) -> Experiment:
    """A benchmark with these cells, done with these UARs; of None, not yet begun. All scores are the same."""
    corpora = {
        name: CorpusSummary(name, f"cache/{name}", "0" * 64, language, 10, {"arousal": (5, 5), "valence": (5, 5)})
        for name, language in languages.items()
    }
    cells = {asked: RunSpec(*asked[:3], MethodSpec.parse(asked[3]), asked[4]) for asked in uars}
    rows = {
        cell.method: MethodInfo(
            str(cell.method), False, "oracle-folds" if cell.method.name == "upper-bound" else "source"
        )
        for cell in cells.values()
    }
    bench = Experiment(out, Conditions(60, "mfcc40-x"), corpora, rows, tuple(cells.values()))
    bench.write()
    for asked, uar in uars.items():
        if uar is not None:
            _finish(bench, cells[asked], uar, stores or {})
    return bench


def same_everywhere(
    rows: Mapping[str, float], pairs: Sequence[tuple[str, str]], tasks: Sequence[Task] = ("arousal",), seeds: int = 1
) -> dict[Asked, float | None]:
    """The cells of a grid in which each row has one UAR in all of them."""
    return {
        (src, tgt, task, row, seed): uar
        for seed in range(seeds)
        for task in tasks
        for row, uar in rows.items()
        for src, tgt in pairs
    }


def log(bench: Experiment, asked: Asked, lines: Sequence[Mapping[str, Any]]) -> None:
    """Let a cell have logged these lines."""
    run = bench.run_folder(RunSpec(*asked[:3], MethodSpec.parse(asked[3]), asked[4]))
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def predict(bench: Experiment, asked: Asked, ids: Sequence[str], labels: Sequence[int]) -> None:
    """Let a cell have called these utterances so."""
    run = bench.run_folder(RunSpec(*asked[:3], MethodSpec.parse(asked[3]), asked[4]))
    pq.write_table(pa.table({"id": ids, "label": pa.array(labels, pa.int8())}), run.predictions)


def _finish(bench: Experiment, cell: RunSpec, uar: float, stores: Mapping[str, FeatureStore]) -> None:
    run, settings = bench.run_folder(cell), {"threshold_momentum": 0.99, "padding": "silence"}
    decisive = {
        "src": cell.src,
        "tgt": cell.tgt,
        "task": cell.task,
        "method": cell.method.name,
        "seed": cell.seed,
        "steps": cell.method.steps or bench.conditions.steps,
        "method_config": {**settings, **cell.method.overrides},
        "fingerprints": {name: store.fingerprint for name, store in stores.items()},
    }
    paths = {name: str(store.path) for name, store in stores.items()}
    scores = dict.fromkeys(SCORE_NAMES, uar)
    run.path.mkdir(parents=True)
    run.config.write_text(json.dumps({"decisive": decisive, "stores": paths}))
    run.result.write_text(json.dumps({**scores, "constant": {"always_high": scores}}))
    run.done.touch()
