"""Planning of experiments: all ordered pairs of some corpora, by tasks, methods and seeds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
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
from emodna.model.errors import BenchError, ConfigError, RunExperiment
from emodna.model.feature_defaults import apply_run_settings
from emodna.model.label import make_label
from emodna.model.methods import get_method, wrap_plugin_errors
from emodna.model.request import find_non_defaults
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import PluginError, Remedy
from emodna.pipeline.store import FeatureStore

MethodGroup = tuple[Sequence[Task], Sequence[MethodSpec]]
"""Tasks, and the methods to run in them."""


def plan_experiment(
    out: Path, stores: Sequence[FeatureStore], method_groups: Sequence[MethodGroup], seeds: int, conditions: Conditions
) -> Experiment:
    """Plan an experiment of all ordered pairs of some corpora, with all runs of seed 0 first.

    A corpus that lacks labels of a task (see `CorpusSummary.find_missing_labels`) is only a target in that task, and
    has no upper bound. Raises BenchError if there are fewer than two corpora, and ConfigError or PluginError for an
    unknown method or setting.
    """
    corpora = {store.snapshot.corpus: summarise_corpus(store) for store in stores}
    if len(corpora) < 2:
        raise BenchError("needs at least two corpora", field="corpora", value=" ".join(corpora))
    specs = dict.fromkeys(spec for _, methods in method_groups for spec in methods)
    infos = check_distinct({spec: describe_method(spec, conditions) for spec in specs})
    runs = [run for tasks, methods in method_groups for run in _generate_runs(corpora, tasks, methods, seeds)]
    runs_by_seed = tuple(sorted(dict.fromkeys(runs), key=lambda run: run.seed))
    return Experiment(out, conditions, corpora, infos, runs_by_seed, count_shared_recordings(stores))


def summarise_corpus(store: FeatureStore) -> CorpusSummary:
    """Summarise a prepared corpus."""
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
    """Count the recordings of each target that a source contains with a label, byte for byte; omit pairs with none."""
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
    """Return the info of a method spec; raise a ConfigError or PluginError for an unknown method or setting."""
    method, settings = get_method(spec.name), {**conditions.settings, **spec.overrides}
    try:
        apply_run_settings(conditions.settings, method, conditions.feature_set)
    except ConfigError as error:
        error.where = f"method {spec.name}"
        raise
    try:
        train, config, _ = apply_run_settings(settings, method, conditions.feature_set)
    except ConfigError as error:
        if error.field == "settings":
            error.field, error.problem = None, f"unknown setting {error.value}"
        raise ConfigError(str(error), field="methods", value=spec) from error
    if train.frames < method.min_frames:
        problem = f"must be at least {method.min_frames} for {spec.name}"
        if "frames" in spec.overrides:
            raise ConfigError(f"frames {problem}", field="methods", value=spec)
        raise ConfigError(problem, field="frames", value=train.frames)
    usual = find_non_defaults(method, conditions.settings, conditions.steps, conditions.feature_set)
    changed = find_non_defaults(method, settings, spec.steps or conditions.steps, conditions.feature_set)
    if spec.steps is not None:  # also if it is the default, as in the sensitivity study
        changed["steps"] = spec.steps
    # The settings of the spec come first, as they tell the rows of a table apart.
    changed = dict(sorted(changed.items(), key=lambda setting: setting[1] == usual.get(setting[0])))
    # Supervision depends on the configuration, so this builds the method, without memory for its weights.
    with wrap_plugin_errors(spec.name, "()"), torch.device("meta"):
        supervision = method(method.min_dim, config, 0).supervision
    label = make_label(spec.name, changed, our_reading=method.our_reading, supervision=supervision)
    return MethodInfo(label, method.our_reading, supervision)


def update_labels(experiment: Experiment) -> Experiment:
    """Return an experiment with the labels of this version for its methods, except for methods that are not installed.

    Labels of earlier versions lack the settings that all runs share.
    """
    infos = dict(experiment.methods)
    for spec in infos:
        with suppress(ConfigError, PluginError):
            infos[spec] = describe_method(spec, experiment.conditions)
    return replace(experiment, methods=infos)


def open_store(experiment: Experiment, name: str) -> FeatureStore:
    """Open the store of a corpus of an experiment.

    Raises BenchError if the store has changed since the experiment was planned, and StoreError if it is missing.
    """
    corpus = experiment.corpora[name]
    store = FeatureStore(Path(corpus.store))
    if store.fingerprint != corpus.fingerprint:
        remedy = Remedy("run the experiment again", RunExperiment(experiment.out))
        raise BenchError("changed since the experiment was planned", where=corpus.store, remedy=remedy)
    return store


def _generate_runs(
    corpora: Mapping[str, CorpusSummary], tasks: Sequence[Task], methods: Sequence[MethodSpec], seeds: int
) -> Iterator[RunSpec]:
    first_source: dict[tuple[Task, str], str] = {}
    for seed, task, spec in itertools.product(range(seeds), tasks, methods):
        for src, tgt in itertools.permutations(corpora, 2):
            if any(corpora[name].find_missing_labels(task) for name in ((src, tgt) if spec == UPPER_BOUND else (src,))):
                continue
            if spec != UPPER_BOUND or first_source.setdefault((task, tgt), src) == src:
                yield RunSpec(src, tgt, task, spec, seed)
