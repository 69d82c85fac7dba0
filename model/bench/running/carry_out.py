"""One cell, in the process that calls."""

from typing import Any

import torch

from emodna.model.bench.grid import open_store
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.model.training.log import Watcher
from emodna.model.training.loop import Listening, never_stopping


def carry_out_cell(
    bench: Experiment,
    cell: RunSpec,
    watcher: Watcher,
    *,
    threads: int | None = 1,
    device: str | None = None,
    listening: Listening = never_stopping,
) -> dict[str, Any]:
    """Train and evaluate a cell, or go on with it, or find it done: content of its result.json.

    Parameters
    ----------
    device
        As torch names it, such as cuda:1; by default that of the benchmark's conditions.

    Raises
    ------
    BenchError
        A store is no longer the one that the cell was planned for.
    ConfigError, RunError, TrainingError, StoreError
        As `fit`.
    """
    arguments, folder = bench.arguments(cell), bench.run_folder(cell)
    stores = [open_store(bench, name) for name in (cell.src, cell.tgt)]
    request = FitRequest(
        sources=stores[:1],
        target=stores[1],
        task=cell.task,
        method=arguments["method"],
        steps=arguments["steps"],
        seed=cell.seed,
        device=torch.device(device or bench.conditions.device),
        threads=threads,
        settings=arguments["settings"],
        out=folder.path,
        resume=folder.config.exists(),
    )
    return fit(request, watcher, listening)
