"""Adaptation without the source against training with it, on real corpora.

::

    python -m tests.benchmarks.adapt --cache cache --feature-set encoder --out adapt emodb ravdess

For each ordered pair of the corpora, task and seed: Source Only, each method of adaptation from it, and Emo-DNA with
the data of both corpora. Prints mean and standard deviation of UAR over the seeds, also of the mean of the pairs.
Finished runs are kept, so the command continues after an interruption.
"""

import argparse
import itertools
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import torch

from emodna.model.adaptation import ADAPTATIONS
from emodna.model.adaptation.run import AdaptRequest, adapt
from emodna.model.errors import ConfigError
from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.model.run_folder import RunFolder, read_json
from emodna.pipeline.catalogue import find_stores
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL, VALENCE, make_emotion_task
from tests.model.small import SilentCallback

_TASKS: Final = (AROUSAL, VALENCE, make_emotion_task(["emobox4"]))
_WITH_SOURCE: Final = "emo-dna"
_BASE: Final = "source-only"


def compute_uar(folder: Path, request: FitRequest | AdaptRequest) -> float | None:
    """Return the UAR of a run in a folder, trained if it is not finished; None if a method cannot adapt the run."""
    run = RunFolder(folder)
    if not run.done.exists():
        try:
            if isinstance(request, FitRequest):
                fit(request, SilentCallback())
            else:
                adapt(request, SilentCallback())
        except ConfigError as error:
            print(f"{folder.name}: {error}")
            return None
    uar: float = read_json(run.result)["uar"]
    return uar


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--feature-set", default="encoder")
    parser.add_argument("--out", type=Path, default=Path("adapt"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of Source Only and Emo-DNA")
    parser.add_argument("corpora", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    names = [_BASE, *(f"{_BASE} -> {name}" for name in ADAPTATIONS), _WITH_SOURCE]
    paths = find_stores(options.cache, options.corpora, options.feature_set)
    stores = dict(zip(options.corpora, map(FeatureStore, paths), strict=True))
    for task in _TASKS:
        found: dict[str, dict[tuple[str, str], list[float | None]]] = {name: {} for name in names}
        for pair in itertools.permutations(options.corpora, 2):
            source, target = (stores[name] for name in pair)
            for seed in range(options.seeds):
                shared: dict[str, Any] = {"seed": seed, "resume": True}
                of_fit = {"task": task, "steps": options.steps, **shared}
                place = options.out / f"{options.feature_set}-{'-'.join(pair)}-{task.name}-s{seed}"
                base = Path(f"{place}-{_BASE}")
                for name in names:
                    method = name.removeprefix(f"{_BASE} -> ")
                    folder = Path(f"{place}-{method}")
                    if name in (_BASE, _WITH_SOURCE):
                        uar = compute_uar(folder, FitRequest([source], target, method=name, out=folder, **of_fit))
                    else:
                        uar = compute_uar(folder, AdaptRequest(base, target, method=method, out=folder, **shared))
                    found[name].setdefault(pair, []).append(uar)
        print(f"\n{task.name} ({', '.join(task.classes)}), {options.feature_set}: UAR in percent")
        for name, by_pair in found.items():
            cells = [f"{source} -> {target} {_describe(values)}" for (source, target), values in by_pair.items()]
            by_seed = [[each for each in row if each is not None] for row in zip(*by_pair.values(), strict=True)]
            print(f"{name:24} mean {_describe([fmean(row) if row else None for row in by_seed])}; {'; '.join(cells)}")
    print(f"\n{time.perf_counter() - start:.0f} s")


def _describe(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{fmean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


if __name__ == "__main__":
    main()
