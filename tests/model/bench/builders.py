"""Builders of experiments for tests: with given files of each run, or trained."""

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emodna.model.bench.grid import plan_experiment
from emodna.model.bench.method_spec import MethodInfo, MethodSpec
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, RunSpec
from emodna.model.bench.worker import train_run
from emodna.model.config import DEFAULT_STEPS
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import write_json
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS
from tests.model.small import SETTINGS

#: Utterances of class 0 and 1 in the full corpora, METHODS 1.2: arousal, then valence.
CLASSES: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "casia": ((400, 800), (600, 600)),
    "emodb": ((222, 313), (385, 150)),
    "emovo": ((168, 420), (336, 252)),
    "iemocap": ((2792, 2739), (2187, 3344)),
    "ravdess": ((480, 960), (768, 672)),
    "savee": ((180, 300), (240, 240)),
}
LANGUAGES: Mapping[str, str | None] = {"casia": "zh", "emodb": "de", "emovo": "it"}
#: Methods of `train_experiment`.
TRAINED = ("source-only", "emo-dna", "v2", "upper-bound")

Score = Callable[[RunSpec], float | None]
RunKey = tuple[str, str, str, str, int]
"""Source, target, task, method, seed."""


def make_info(spec: MethodSpec, conditions: Conditions) -> MethodInfo:
    """Return a method's info without its class; each shared setting counts as other than its default."""
    steps = {} if conditions.steps == DEFAULT_STEPS else {"steps": conditions.steps}
    own = dict(spec.settings)
    our_reading, settings = spec.name in ("addi", "studio-net"), {**own, **steps, **conditions.settings, **own}
    supervision = "oracle-labels" if settings.get("threshold") == "oracle-labels" else "source"
    supervision = "oracle-folds" if spec == UPPER_BOUND else supervision
    label = f"{spec.name}{' (our reading)' * our_reading}{' (oracle)' * (supervision != 'source')}"
    if "add" in settings:
        label += f" + {settings.pop('add')}"
    if settings:
        label += f" ({', '.join(f'{key}={value}' for key, value in settings.items())})"
    return MethodInfo(label, our_reading, supervision)


def write_experiment(
    out: Path,
    methods: Sequence[str | MethodSpec],
    *,
    corpora: Sequence[str] = tuple(CLASSES),
    tasks: Sequence[str] = TASKS,
    seeds: int = 2,
    classes: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = CLASSES,
    languages: Mapping[str, str | None] = LANGUAGES,
    conditions: Conditions | None = None,
    shared_recordings: Mapping[tuple[str, str], int] | None = None,
    wanted: Callable[[RunSpec], bool] = lambda _: True,
) -> Experiment:
    """Write an experiment without runs; corpora outside `classes` have 10 utterances of each class."""
    conditions = conditions or Conditions(1000, "mfcc40-22050hz-1d163ad7")
    specs = [spec if isinstance(spec, MethodSpec) else MethodSpec.parse_unchecked(spec) for spec in methods]
    summaries = {}
    for name in corpora:
        arousal, valence = classes.get(name, ((10, 10), (10, 10)))
        counts: dict[str, tuple[int, int]] = {"arousal": arousal, "valence": valence}
        store, digest = f"/stores/{name}/{conditions.feature_set}", sha256(f"store of {name}".encode()).hexdigest()
        summaries[name] = CorpusSummary(name, store, digest, languages.get(name, "en"), sum(arousal), counts)
    first: dict[tuple[str, str], str] = {}
    grid = (
        RunSpec(src, tgt, task, spec, seed)
        for seed, task, spec in itertools.product(range(seeds), tasks, specs)
        for src, tgt in itertools.permutations(corpora, 2)
    )
    runs = tuple(
        run
        for run in grid
        if wanted(run) and (run.method != UPPER_BOUND or first.setdefault((run.task, run.tgt), run.src) == run.src)
    )
    experiment = Experiment(
        out, conditions, summaries, {spec: make_info(spec, conditions) for spec in specs}, runs, shared_recordings or {}
    )
    experiment.write()
    return experiment


def finish_runs(experiment: Experiment, score: Score, excluded: Collection[RunSpec] = ()) -> None:
    """Write the results of all runs but `excluded`: WAR by `score`, F1 = WAR + 1, UAR = WAR + 2, macro-F1 = WAR + 3."""
    for run in experiment.runs:
        if run not in excluded:
            war = score(run)
            scores = {key: None if war is None else war + more for more, key in enumerate(("war", "f1", "uar"))}
            write_run(experiment, run, {**scores, "macro_f1": None if war is None else war + 3})


def fail_run(experiment: Experiment, run: RunSpec, error: str) -> None:
    experiment.failure_file(run).parent.mkdir(parents=True, exist_ok=True)
    write_json(experiment.failure_file(run), {"error": error, "when": "2026-01-01T00:00:00+00:00"})


def fake_experiment(
    out: Path,
    uars: Mapping[RunKey, float | None],
    *,
    languages: Mapping[str, str | None] = {"ravdess": "en", "savee": "en", "emodb": "de"},
    stores: Mapping[str, FeatureStore] | None = None,
) -> Experiment:
    """Write an experiment with finished runs; each has its UAR as all scores. None: not started."""
    corpora = {
        name: CorpusSummary(name, f"cache/{name}", "0" * 64, language, 10, {"arousal": (5, 5), "valence": (5, 5)})
        for name, language in languages.items()
    }
    runs = {key: make_run(key) for key in uars}
    methods = {
        run.method: MethodInfo(str(run.method), False, "oracle-folds" if run.method.name == "upper-bound" else "source")
        for run in runs.values()
    }
    experiment = Experiment(out, Conditions(60, "mfcc40-22050hz-1d163ad7"), corpora, methods, tuple(runs.values()))
    experiment.write()
    for key, uar in uars.items():
        if uar is not None:
            write_run(experiment, runs[key], dict.fromkeys(SCORE_NAMES, uar), stores)
    return experiment


def repeat_uars(
    methods: Mapping[str, float], pairs: Sequence[tuple[str, str]], tasks: Sequence[str] = ("arousal",), seeds: int = 1
) -> dict[RunKey, float | None]:
    """Return the UAR of each run of a grid, the same in all runs of a method."""
    grid = itertools.product(range(seeds), tasks, methods.items(), pairs)
    return {(src, tgt, task, name, seed): uar for seed, task, (name, uar), (src, tgt) in grid}


def make_run(key: RunKey) -> RunSpec:
    return RunSpec(*key[:3], MethodSpec.parse_unchecked(key[3]), key[4])


def write_log(experiment: Experiment, key: RunKey, lines: Sequence[Mapping[str, Any]]) -> None:
    folder = experiment.run_folder(make_run(key))
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_predictions(experiment: Experiment, key: RunKey, ids: Sequence[str], labels: Sequence[int]) -> None:
    folder = experiment.run_folder(make_run(key))
    pq.write_table(pa.table({"id": ids, "label": pa.array(labels, pa.int8())}), folder.predictions)


def train_experiment(
    out: Path, source: FeatureStore, target: FeatureStore, *methods: str, steps: int = 2
) -> Experiment:
    """Write an experiment of `TRAINED` in both directions, and train some methods from source to target."""
    conditions = Conditions(steps, source.snapshot.feature_set, SETTINGS)
    group = (["arousal"], list(map(MethodSpec.parse_unchecked, TRAINED)))
    experiment = plan_experiment(out, [source, target], [group], 1, conditions)
    experiment.write()
    for run in experiment.runs:
        if run.src == source.snapshot.corpus and str(run.method) in methods:
            train_run(experiment, run)
    return experiment


def begin_run(experiment: Experiment, run: RunSpec, stores: Mapping[str, FeatureStore] | None = None) -> None:
    """Write a run's config.json with the keys that experiments read."""
    decisive = {
        "src": run.src,
        "tgt": run.tgt,
        "task": run.task,
        "method": run.method.name,
        "seed": run.seed,
        "steps": run.method.steps or experiment.conditions.steps,
        "method_config": {"threshold_momentum": 0.99, "padding": "silence", **run.method.overrides},
        "fingerprints": {name: store.fingerprint for name, store in (stores or {}).items()},
    }
    paths = {name: str(store.path) for name, store in (stores or {}).items()}
    folder = experiment.run_folder(run)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(json.dumps({"decisive": decisive, "stores": paths, "versions": {"emodna": "0.1.0"}}))


def write_run(
    experiment: Experiment, run: RunSpec, result: Mapping[str, Any], stores: Mapping[str, FeatureStore] | None = None
) -> None:
    """Write a finished run, without flushing it to the disk."""
    begin_run(experiment, run, stores)
    folder = experiment.run_folder(run)
    folder.result.write_text(json.dumps({"constant": {}, **result}))
    folder.done.touch()
