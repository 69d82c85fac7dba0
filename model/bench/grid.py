"""Planning of experiments: all ordered pairs of some corpora, by tasks, methods and seeds."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc

from emodna.model.bench.feature_sets import FeatureSetSummary, name_folders
from emodna.model.bench.method_spec import MethodInfo, MethodSpec
from emodna.model.bench.paper import is_upper_bound
from emodna.model.bench.spec import Conditions, CorpusSummary, Experiment, Pair, RunSpec, check_distinct
from emodna.model.changed_settings import find_non_defaults
from emodna.model.errors import BenchError, ConfigError, RunExperiment
from emodna.model.feature_defaults import apply_run_settings
from emodna.model.label import SEMI_SUPERVISED, make_label
from emodna.model.methods import get_method
from emodna.model.methods.base import DirectMethod
from emodna.model.methods.catalog import find_supervision
from emodna.model.request import check_target_labels
from emodna.model.task import digest_labels, find_published_emotions
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.errors import PluginError, Remedy
from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import read_snapshot
from emodna.pipeline.tasks import BUILT_IN_TASKS, EMOTION_TASK, TASKS, Task, make_emotion_task

MethodGroup = tuple[Sequence[str], Sequence[MethodSpec]]
"""Tasks, and the methods to run in them."""


def plan_experiment(
    out: Path,
    stores: Sequence[FeatureStore],
    method_groups: Sequence[MethodGroup],
    seeds: int,
    conditions: Conditions,
    feature_sets: Mapping[str, FeatureSetSummary] | None = None,
    definitions: Mapping[str, Task] = MappingProxyType({}),
) -> Experiment:
    """Plan an experiment of all ordered pairs of some corpora, with all runs of seed 0 first.

    Each corpus has a store of the default feature set (that of the conditions), and of each feature set that a method
    spec names. `feature_sets` are those of the stores by short name, as `summarise_feature_sets` makes them, and
    `definitions` as in `Experiment`. A corpus that lacks labels of a task (see `CorpusSummary.find_missing_labels`) is
    only a target in that task, and has no upper bound. Raises BenchError if there are fewer than two corpora, and
    ConfigError or PluginError for an unknown method or setting.
    """
    default_stores = [store for store in stores if store.snapshot.feature_set == conditions.feature_set]
    corpora = {store.snapshot.corpus: summarise_corpus(store, definitions) for store in default_stores}
    if len(corpora) < 2:
        raise BenchError("needs at least two corpora", field="corpora", value=" ".join(corpora))
    for store in stores:
        if store.snapshot.feature_set != conditions.feature_set:
            corpus = corpora[store.snapshot.corpus]
            others = {**corpus.others, store.snapshot.feature_set: summarise_corpus(store, definitions)}
            corpora[corpus.name] = replace(corpus, others=others)
    specs = dict.fromkeys(spec for _, methods in method_groups for spec in methods)
    shared_recordings = count_shared_recordings(default_stores, definitions)
    sets = summarise_feature_sets(stores, conditions.feature_set) if feature_sets is None else feature_sets
    experiment = Experiment(out, conditions, corpora, {}, (), shared_recordings, sets, definitions)
    runs = [run for tasks, methods in method_groups for run in _generate_runs(experiment, tasks, methods, seeds)]
    runs_by_seed = tuple(sorted(dict.fromkeys(runs), key=lambda run: run.seed))
    methods = check_distinct({spec: describe_spec(experiment, spec) for spec in specs})
    return replace(experiment, methods=methods, runs=runs_by_seed)


def summarise_feature_sets(
    stores: Sequence[FeatureStore], default: str, known: Mapping[str, FeatureSetSummary] | None = None
) -> dict[str, FeatureSetSummary]:
    """Return the feature sets of stores by short name, the default one (by its full name) first.

    `known` are those of an experiment, which keep their short names. Raises EmodnaError if this version, or its
    installed packages, cannot rebuild one of the feature sets.
    """
    for parameters in {store.snapshot.feature_set: store.snapshot.parameters for store in stores}.values():
        rebuild_feature_set(parameters)
    folders = sorted(dict.fromkeys(store.snapshot.feature_set for store in stores), key=lambda name: name != default)
    names = name_folders(folders, known or {})
    return {names[folder]: FeatureSetSummary.of(folder) for folder in folders}


def summarise_corpus(store: FeatureStore, definitions: Mapping[str, Task] = MappingProxyType({})) -> CorpusSummary:
    """Summarise a prepared corpus, with the class counts of tasks that are not built in by `definitions`."""
    languages = pc.unique(store.columns(["language"])["language"]).to_pylist()
    tasks: dict[str, Task] = {EMOTION_TASK: make_emotion_task(EMOTIONS), **BUILT_IN_TASKS, **definitions}
    labels = {name: store.labels(task) for name, task in tasks.items()}
    counts = {name: np.bincount(found[found >= 0], minlength=len(tasks[name])) for name, found in labels.items()}
    return CorpusSummary(
        store.snapshot.corpus,
        str(store.path.absolute()),
        store.fingerprint,
        "+".join(sorted(languages)) if languages and all(languages) else None,
        len(store),
        {name: tuple(each.tolist()) for name, each in counts.items()},
        labels={name: each for name, task in definitions.items() for each in digest_labels([store], task).values()},
    )


def count_shared_recordings(
    stores: Sequence[FeatureStore], definitions: Mapping[str, Task] = MappingProxyType({})
) -> dict[Pair, int]:
    """Count the recordings of each target that a source contains with a label, byte for byte; omit pairs with none."""
    audio, labelled_audio = {}, {}
    tasks: list[Task | str] = [*TASKS, *definitions.values()]
    for store in stores:
        own = store.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
        rows = np.flatnonzero(np.any([store.labels(task) >= 0 for task in tasks], axis=0))
        audio[store.snapshot.corpus], labelled_audio[store.snapshot.corpus] = own, own.take(rows)
    counts = {
        (src, tgt): int(pc.sum(pc.is_in(audio[tgt], value_set=labelled_audio[src])).as_py() or 0)
        for src, tgt in itertools.permutations(audio, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def describe_spec(experiment: Experiment, spec: MethodSpec) -> MethodInfo:
    """Return the info of a method spec of an experiment; raises as `describe_method`."""
    features, name = experiment.find_feature_set(spec), experiment.name_feature_set(spec)
    return describe_method(spec, experiment.conditions, features, name)


def describe_method(
    spec: MethodSpec, conditions: Conditions, features: FeatureSetSummary | None = None, feature_set: str | None = None
) -> MethodInfo:
    """Return the info of a method spec on a feature set, by default that of the conditions.

    `feature_set` is the short name of the feature set in labels. Raises ConfigError or PluginError for an unknown
    method or setting.
    """
    features = features or FeatureSetSummary.of(conditions.feature_set)
    method, settings = get_method(spec.name), {**conditions.settings, **spec.overrides}
    try:
        apply_run_settings(conditions.settings, method, features.folder)
    except ConfigError as error:
        error.where = f"method {spec.name}"
        raise
    try:
        train, config, _ = apply_run_settings(settings, method, features.folder)
    except ConfigError as error:
        if error.field == "settings":
            error.field, error.problem = None, f"unknown setting {error.value}"
        raise ConfigError(str(error), field="methods", value=spec) from error
    if train.frames < method.min_frames and "frames" not in method.unused_settings:
        problem = f"must be at least {method.min_frames} for {spec.name}"
        if "frames" in spec.overrides:
            raise ConfigError(f"frames {problem}", field="methods", value=spec)
        raise ConfigError(problem, field="frames", value=train.frames)
    if issubclass(method, DirectMethod):
        _check_effect(spec, method)
    steps = conditions.steps or features.steps
    usual = find_non_defaults(method, conditions.settings, steps, features.folder)
    changed = find_non_defaults(method, settings, spec.steps or steps, features.folder)
    if spec.steps is not None:  # also if it is the default, as in the sensitivity study
        changed["steps"] = spec.steps
    if "feature_set" in changed and feature_set is not None:
        changed["feature_set"] = usual["feature_set"] = feature_set
    # The settings of the spec come first, as they tell the rows of a table apart.
    changed = dict(sorted(changed.items(), key=lambda setting: setting[1] == usual.get(setting[0])))
    supervision = find_supervision(spec.name, method, config)
    if train.target_labels:
        check_target_labels(str(spec), train.target_labels, supervision)
        supervision = SEMI_SUPERVISED
    marks: dict[str, Any] = {"our_reading": method.our_reading, "supervision": supervision}
    short = {**spec.overrides, **changed}
    short.pop("feature_set", None)
    return MethodInfo(
        make_label(spec.name, changed, **marks), method.our_reading, supervision, make_label(spec.name, short, **marks)
    )


def _check_effect(spec: MethodSpec, method: type[DirectMethod]) -> None:
    """Raise a ConfigError for a setting of a spec that has no effect on a method without training steps."""
    for key, value in spec.settings:
        if key in ("steps", *method.unused_settings):
            problem = f"{key}={value} has no effect, as {spec.name} is fitted at once"
            raise ConfigError(problem, field="methods", value=spec)


def update_labels(experiment: Experiment) -> Experiment:
    """Return an experiment with the labels of this version for its methods, except for methods that are not installed.

    Labels of earlier versions lack the settings that all runs share.
    """
    infos = dict(experiment.methods)
    for spec in infos:
        with suppress(ConfigError, PluginError):
            infos[spec] = describe_spec(experiment, spec)
    return replace(experiment, methods=infos)


def open_store(
    experiment: Experiment,
    name: str,
    method: MethodSpec,
    open_snapshot: Callable[[Path, str], FeatureStore] | None = None,
) -> FeatureStore:
    """Open the store of a corpus of an experiment, of the feature set of a method spec.

    `open_snapshot` opens the store at a path with a fingerprint, or returns the open one.

    Raises BenchError if the store has changed since the experiment was planned, and StoreError if it is missing.
    """
    corpus = experiment.find_corpus(name, experiment.find_feature_set(method).folder)
    path = Path(corpus.store)
    if open_snapshot is not None and read_snapshot(path).fingerprint == corpus.fingerprint:
        return open_snapshot(path, corpus.fingerprint)
    store = FeatureStore(path)
    if store.fingerprint != corpus.fingerprint:
        remedy = Remedy("run the experiment again", RunExperiment(experiment.out))
        raise BenchError("changed since the experiment was planned", where=corpus.store, remedy=remedy)
    return store


def _generate_runs(
    experiment: Experiment, tasks: Sequence[str], methods: Sequence[MethodSpec], seeds: int
) -> Iterator[RunSpec]:
    corpora = experiment.corpora
    first_source: dict[tuple[str, MethodSpec, str], str] = {}
    for seed, task, spec in itertools.product(range(seeds), tasks, methods):
        of_pairs = task == EMOTION_TASK and experiment.find_task(task) is None
        for src, tgt in itertools.permutations(corpora, 2):
            if any(
                corpora[name].find_missing_labels(task) for name in ((src, tgt) if is_upper_bound(spec) else (src,))
            ):
                continue
            if of_pairs and not share_emotions(corpora[src], tgt):
                continue
            # The upper bound does not use its source, unless the classes depend on it.
            if not is_upper_bound(spec) or of_pairs or first_source.setdefault((task, spec, tgt), src) == src:
                yield RunSpec(src, tgt, task, spec, seed)


def share_emotions(source: CorpusSummary, target: str) -> bool:
    """Return True if a source has labels of two emotions of the target's published ones."""
    if (published := find_published_emotions(target)) is None:
        return True
    counts = zip(EMOTIONS, source.classes[EMOTION_TASK], strict=True)
    return len(published & {emotion for emotion, count in counts if count}) >= 2
