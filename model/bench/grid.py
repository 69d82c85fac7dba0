"""Plan an experiment: every ordered pair of some corpora, by tasks, methods and seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import (
    Conditions,
    CorpusSummary,
    Experiment,
    MethodInfo,
    MethodSpec,
    Pair,
    RunSpec,
    check_distinct,
)
from emodna.model.config import RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.errors import BenchError, ConfigError
from emodna.model.label import make_label
from emodna.model.methods import get_method, wrap_plugin_errors
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.store import FeatureStore

MethodGroup = tuple[Sequence[Task], Sequence[MethodSpec]]
"""Tasks, and the methods that are run in them."""


def plan_experiment(
    out: Path,
    stores: Sequence[FeatureStore],
    method_groups: Sequence[MethodGroup],
    seeds: int,
    conditions: Conditions,
) -> Experiment:
    """Plan the experiment of all ordered pairs of some corpora; seed 0 of everything comes first.

    A corpus from which a task cannot be learnt (see `CorpusSummary.find_missing_labels`) is no source of it, and has no upper bound.

    Raises BenchError, ConfigError or PluginError if the corpora make no pair, or a method or setting does not exist.
    """
    corpora = {store.snapshot.corpus: summarise_corpus(store) for store in stores}
    if len(corpora) < 2:
        raise BenchError(f"--corpora {' '.join(corpora)}: a pair needs two prepared corpora")
    specs = dict.fromkeys(spec for _, methods in method_groups for spec in methods)
    infos = check_distinct({spec: describe_method(spec, conditions) for spec in specs})
    runs = dict.fromkeys(
        run for tasks, methods in method_groups for run in _generate_runs(corpora, tasks, methods, seeds)
    )
    in_order = tuple(sorted(runs, key=lambda run: run.seed))
    return Experiment(out, conditions, corpora, infos, in_order, count_shared_recordings(stores))


def summarise_corpus(store: FeatureStore) -> CorpusSummary:
    """Return the facts about a prepared corpus that an experiment needs."""
    languages = pc.unique(store.columns(["language"])["language"]).to_pylist()
    labels = {task: store.labels(task) for task in TASKS}
    return CorpusSummary(
        store.snapshot.corpus,
        str(store.path.absolute()),
        store.fingerprint,
        "+".join(sorted(languages)) if languages and all(languages) else None,
        len(store),
        {task: (int(np.sum(found == 0)), int(np.sum(found == 1))) for task, found in labels.items()},
    )


def count_shared_recordings(stores: Sequence[FeatureStore]) -> dict[Pair, int]:
    """Count the utterances of each target that its source has, too, byte by byte, with a label of some task.

    Pairs that share none are not named.
    """
    audio, labelled_audio = {}, {}
    for store in stores:
        own = store.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
        rows = np.flatnonzero(np.any([store.labels(task) >= 0 for task in TASKS], axis=0))
        audio[store.snapshot.corpus], labelled_audio[store.snapshot.corpus] = own, own.take(rows)
    counts = {
        (src, tgt): int(pc.sum(pc.is_in(audio[tgt], value_set=labelled_audio[src])).as_py() or 0)
        for src, tgt in itertools.permutations(audio, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def describe_method(spec: MethodSpec, conditions: Conditions) -> MethodInfo:
    """Check a method's settings, and return the facts that stand beside its scores.

    Raises ConfigError or PluginError if a method or setting does not exist.
    """
    kind = get_method(spec.name)
    try:
        shared = apply_settings(conditions.settings, TrainConfig(), kind.defaults, RecordConfig())
    except ConfigError as error:
        raise ConfigError(f"{error} (of {spec.name}, one of the methods that are to be run)") from error
    try:
        train, config, _ = apply_settings({**conditions.settings, **spec.overrides}, *shared)
    except ConfigError as error:
        raise ConfigError(f"--methods {spec}: {error}") from error
    if train.frames < kind.min_frames:
        whose = f"--methods {spec}: frames" if "frames" in spec.overrides else "--set frames"
        raise ConfigError(f"{whose}={train.frames}: {spec.name} needs at least {kind.min_frames}")
    usual, used = ({**as_settings(each[0]), **as_settings(each[1])} for each in (shared, (train, config)))
    changed = {key: used[key] for key in spec.overrides if key in used and used[key] != usual[key]}
    if spec.steps is not None:
        changed["steps"] = spec.steps
    # Its supervision depends on the configuration, so a method is built, which takes no memory here.
    with wrap_plugin_errors(spec.name, "()"), torch.device("meta"):
        supervision = kind(kind.min_dim, config, 0).supervision
    label = make_label(spec.name, changed, our_reading=kind.our_reading, supervision=supervision)
    return MethodInfo(label, kind.our_reading, supervision)


def open_store(experiment: Experiment, name: str) -> FeatureStore:
    """Open the store of one of an experiment's corpora.

    Raises BenchError if it has changed since the experiment was planned, and StoreError if it is gone.
    """
    corpus = experiment.corpora[name]
    store = FeatureStore(Path(corpus.store))
    if store.fingerprint != corpus.fingerprint:
        raise BenchError(f"{corpus.store}: has changed since the benchmark was planned; start emodna-bench run anew")
    return store


def _generate_runs(
    corpora: Mapping[str, CorpusSummary], tasks: Sequence[Task], methods: Sequence[MethodSpec], seeds: int
) -> Iterator[RunSpec]:
    first_source: dict[tuple[Task, str], str] = {}
    for seed, task, spec in itertools.product(range(seeds), tasks, methods):
        for src, tgt in itertools.permutations(corpora, 2):
            if corpora[src].find_missing_labels(task) or (
                spec == UPPER_BOUND and corpora[tgt].find_missing_labels(task)
            ):
                continue
            if spec != UPPER_BOUND or first_source.setdefault((task, tgt), src) == src:
                yield RunSpec(src, tgt, task, spec, seed)
