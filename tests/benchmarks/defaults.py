"""Compare settings that features could have as defaults, on real EMODB and RAVDESS, without a target label.

::

    python -m tests.benchmarks.defaults --cache CACHE --feature-set encoder

Each run holds out a fifth of the speakers of its source. A row has the mean UAR of the held-out speakers, and criteria
of the predictions for the target that need no labels. docs/FEATURES.md has the table.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from statistics import mean

import click
import torch

from emodna.model.evaluation.criteria import SOURCE_ACCURACY
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder, read_json
from emodna.pipeline.catalogue import find_stores
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS
from tests.model.small import SilentCallback

_CORPORA = ("emodb", "ravdess")
#: Criteria of selection.json; the others say nothing about a single snapshot.
_CRITERIA = (SOURCE_ACCURACY, "information-maximisation", "snd")
#: Changes of the defaults, one row each.
_VARIANTS: tuple[Mapping[str, str], ...] = (
    {},
    {"normalisation": "source"},
    {"normalisation": "per-speaker"},
    {"class_weights": "none"},
    {"steps": "100"},
    {"steps": "600"},
    {"steps": "1000"},
    {"channels": "32"},
    {"channels": "128"},
    {"dropout": "0"},
    {"dropout": "0.3"},
    {"learning_rate": "3e-4"},
    {"learning_rate": "3e-3"},
    {"network": "paper", "steps": "200"},
)


def measure(
    stores: Mapping[str, FeatureStore], settings: Mapping[str, str], method: str, seeds: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the task and the criteria of each run of a variant."""
    rest = {key: value for key, value in settings.items() if key != "steps"}
    steps = int(settings["steps"]) if "steps" in settings else None
    for task, src, seed in product(TASKS, _CORPORA, range(seeds)):
        (tgt,) = set(_CORPORA) - {src}
        with tempfile.TemporaryDirectory() as folder:
            request = FitRequest(
                [stores[src]],
                stores[tgt],
                task,
                method,
                steps,
                seed,
                torch.device("cpu"),
                1,
                {"validation": "0.2", "snapshot_every": str(steps or 10**6), "tensorboard": "false", **rest},
                Path(folder) / "run",
                select=SOURCE_ACCURACY,
            )
            fit(request, SilentCallback())
            yield task, read_json(RunFolder(Path(folder) / "run").selection)["snapshots"][-1]


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--feature-set", "feature_sets", multiple=True, default=("encoder",))
@click.option("--method", default="emo-dna")
@click.option("--seeds", default=3)
@click.option("--only", default="", help="Only the rows whose change contains this text.")
def main(cache: Path, feature_sets: tuple[str, ...], method: str, seeds: int, only: str) -> None:
    """Print a row per feature set and variant."""
    logging.disable()
    columns = [f"{task} {name}" for task in TASKS for name in _CRITERIA]
    print(f"| features | change of the defaults | {' | '.join(columns)} |")
    print("|" + " --- |" * (2 + len(columns)))
    for feature_set in feature_sets:
        stores = dict(zip(_CORPORA, map(FeatureStore, find_stores(cache, _CORPORA, feature_set)), strict=True))
        for settings in _VARIANTS:
            change = " ".join(f"{key}={value}" for key, value in settings.items()) or "the defaults"
            if only not in change:
                continue
            rows = list(measure(stores, settings, method, seeds))
            cells = [f"{mean(row[name] for of, row in rows if of == task):.3f}" for task in TASKS for name in _CRITERIA]
            print(f"| {feature_set} | {change} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
