"""From what a user asks for to a benchmark: every ordered pair of corpora, by tasks, rows and seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from emodna.model.bench.presets import CEILING
from emodna.model.bench.spec import (
    Conditions,
    CorpusSummary,
    Experiment,
    MethodInfo,
    MethodSpec,
    RunSpec,
    check_distinct,
)
from emodna.model.config import RecordConfig, TrainConfig, apply_settings, as_settings
from emodna.model.errors import BenchError, ConfigError
from emodna.model.label import labelled
from emodna.model.methods import blaming, method
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.store import FeatureStore


def plan_experiment(
    out: Path,
    stores: Sequence[FeatureStore],
    tasks: Sequence[Task],
    rows: Sequence[MethodSpec],
    seeds: int,
    conditions: Conditions,
) -> Experiment:
    """The benchmark of all ordered pairs of some corpora; seed 0 of everything comes first.

    A corpus of which a task cannot be learnt (see `Corpus.lacks`) is no source of it, and has no upper bound.

    Raises
    ------
    BenchError, ConfigError, PluginError
        Corpora that make no pair, or a row whose method or settings do not exist; says what is valid.
    """
    corpora = {store.snapshot.corpus: summarise(store) for store in stores}
    if len(corpora) < 2:
        raise BenchError(f"--corpora {' '.join(corpora)}: a pair needs two prepared corpora")
    named = check_distinct({row: describe_method(row, conditions) for row in rows})
    return Experiment(
        out, conditions, corpora, named, tuple(_cells(corpora, tasks, rows, seeds)), shared_recordings(stores)
    )


def summarise(store: FeatureStore) -> CorpusSummary:
    """What a benchmark needs to know of a corpus."""
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


def shared_recordings(stores: Sequence[FeatureStore]) -> dict[tuple[str, str], int]:
    """How many utterances of each target each source has, too, byte by byte, with a label of some task.

    Returns
    -------
    dict
        (source, target) -> count, of the ordered pairs that share any.
    """
    audio = {
        store.snapshot.corpus: store.columns(["audio_sha256"])["audio_sha256"].combine_chunks() for store in stores
    }
    labelled = {
        store.snapshot.corpus: audio[store.snapshot.corpus].take(
            np.flatnonzero(np.any([store.labels(task) >= 0 for task in TASKS], axis=0))
        )
        for store in stores
    }
    counts = {
        (src, tgt): int(pc.sum(pc.is_in(audio[tgt], value_set=labelled[src])).as_py() or 0)
        for src, tgt in itertools.permutations(audio, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def describe_method(row: MethodSpec, conditions: Conditions) -> MethodInfo:
    """What a row is called beside its scores; checks its settings on the way.

    Raises
    ------
    ConfigError, PluginError
        As `grid`.
    """
    kind = method(row.name)
    try:
        shared = apply_settings(conditions.settings, TrainConfig(), kind.defaults, RecordConfig())
    except ConfigError as error:
        raise ConfigError(f"{error} (of {row.name}, one of the methods that are to be run)") from error
    try:
        train, config, _ = apply_settings({**conditions.settings, **row.overrides}, *shared)
    except ConfigError as error:
        raise ConfigError(f"--methods {row}: {error}") from error
    if train.frames < kind.min_frames:
        whose = f"--methods {row}: frames" if "frames" in row.overrides else "--set frames"
        raise ConfigError(f"{whose}={train.frames}: {row.name} needs at least {kind.min_frames}")
    usual, used = ({**as_settings(each[0]), **as_settings(each[1])} for each in (shared, (train, config)))
    changed = {key: used[key] for key in row.overrides if key in used and used[key] != usual[key]}
    if row.steps is not None:
        changed["steps"] = row.steps
    # Whose labels it learns from depends on the configuration, so it is asked of a method, which takes no memory here.
    with blaming(row.name, "()"), torch.device("meta"):
        supervision = kind(kind.min_dim, config, 0).supervision
    label = labelled(row.name, changed, our_reading=kind.our_reading, supervision=supervision)
    return MethodInfo(label, kind.our_reading, supervision)


def _cells(
    corpora: Mapping[str, CorpusSummary], tasks: Sequence[Task], rows: Sequence[MethodSpec], seeds: int
) -> Iterator[RunSpec]:
    first_source: dict[tuple[Task, str], str] = {}
    for seed, task, row in itertools.product(range(seeds), tasks, rows):
        for src, tgt in itertools.permutations(corpora, 2):
            if corpora[src].lacks(task) or (row == CEILING and corpora[tgt].lacks(task)):
                continue
            if row != CEILING or first_source.setdefault((task, tgt), src) == src:
                yield RunSpec(src, tgt, task, row, seed)


def open_store(experiment: Experiment, name: str) -> FeatureStore:
    """Open the store of one of an experiment's corpora.

    Raises
    ------
    BenchError
        It has changed since the experiment was planned.
    StoreError
        It is gone.
    """
    corpus = experiment.corpora[name]
    store = FeatureStore(Path(corpus.store))
    if store.fingerprint != corpus.fingerprint:
        raise BenchError(f"{corpus.store}: has changed since the benchmark was planned; start emodna-bench run anew")
    return store
