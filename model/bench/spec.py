"""Specification of an experiment, a grid of runs, in its folder.

::

    <out>/bench.json                conditions, corpora, methods and runs
    <out>/runs/<run name>/          folder of a run; `done` marks a finished run
    <out>/failures/<run name>.json  error of a failed run: {"error": ..., "when": ...}

This module needs no torch.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from emodna.model.bench.feature_sets import FeatureSetSummary, find_short_name, make_short_name
from emodna.model.bench.method_spec import MethodInfo, MethodSpec
from emodna.model.errors import BenchError, RunError, RunExperiment
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.errors import Remedy, format_count
from emodna.pipeline.tasks import BUILT_IN_TASKS, EMOTION_TASK, TASKS, Task, read_task

Pair = tuple[str, str]
"""Source and target."""

_VERSION: Final = 1
_FILE: Final = "bench.json"
MAX_NAMES: Final = 6
"""Most names in a sentence; `shorten_list` counts the others."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that all runs of an experiment share, unless their method specs set others."""

    steps: int | None
    """Training steps; None: the default of each feature set."""
    feature_set: str
    """Full name of the default feature set, as in the stores' folders."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of every run; settings of a method spec override them."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """CPU threads of each run, 1 on CUDA. Their number affects the rounding of sums."""


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """Counts and names of a prepared corpus for tables and figures."""

    name: str
    store: str
    """Path of its store."""
    fingerprint: str
    language: str | None
    """ISO 639-1 codes joined by "+"; None if the language of some utterances is unknown."""
    utterances: int
    classes: Mapping[str, tuple[int, ...]]
    """Utterances of each class by task; of each of `EMOTIONS` for the task emotion if its classes vary by pair."""
    others: Mapping[str, "CorpusSummary"] = field(default_factory=dict)
    """Its stores of other feature sets than the default one, by their full names."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Hash of the labels by task, for tasks on a column that the fingerprint leaves out."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CorpusSummary":
        """Rebuild a summary from its JSON object; raises KeyError or TypeError if it is damaged."""
        classes = {task: tuple(counts) for task, counts in content["classes"].items()}
        if missing := [task for task in TASKS if task not in classes]:
            raise KeyError(missing[0])
        others = {name: cls.from_json(each) for name, each in content.get("others", {}).items()}
        return cls(**{**content, "classes": classes, "others": others})

    def find_missing_labels(self, task: str) -> str | None:
        """Describe the labels of a task that the corpus lacks as a source; None if it lacks none, or is not counted."""
        if (counts := self.classes.get(task)) is None:
            return None
        present = sum(count > 0 for count in counts)
        if present < 2:
            return f"labels of only one class of {task}" if present else f"no labels of {task}"
        is_shared = task == EMOTION_TASK and len(counts) == len(EMOTIONS)
        missing = len(counts) - present
        return None if is_shared or not missing else f"no labels of {format_count(missing, 'class')} of {task}"


@dataclass(frozen=True, slots=True, order=True)
class RunSpec:
    """One run of an experiment."""

    src: str
    tgt: str
    task: str
    method: MethodSpec
    seed: int

    def __str__(self) -> str:
        return f"{self.src} -> {self.tgt}, {self.task}, {self.method}, seed {self.seed}"

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.src, self.tgt


@dataclass(frozen=True, slots=True)
class Experiment:
    """A grid of runs in its folder."""

    out: Path
    conditions: Conditions
    corpora: Mapping[str, CorpusSummary]
    methods: Mapping[MethodSpec, MethodInfo]
    runs: tuple[RunSpec, ...]
    """Runs in execution order."""
    shared_recordings: Mapping[Pair, int] = field(default_factory=dict)
    """Number of target recordings that the source contains with a label, without pairs that have none."""
    feature_sets: Mapping[str, FeatureSetSummary] = field(default_factory=dict)
    """Feature sets by short name, the default one first."""
    definitions: Mapping[str, Task] = field(default_factory=dict)
    """Tasks that are not built in, by name. Without one for the task emotion, its classes depend on the pair."""

    def __post_init__(self) -> None:
        """Add the default feature set, which older files do not list."""
        default = self.conditions.feature_set
        if default not in (each.folder for each in self.feature_sets.values()):
            name = make_short_name(default, self.feature_sets)
            object.__setattr__(self, "feature_sets", {name: FeatureSetSummary.of(default), **self.feature_sets})

    @classmethod
    def read(cls, out: Path) -> "Experiment":
        """Read the experiment in a folder; raises BenchError if it is missing or damaged."""
        path = out / _FILE
        if not path.exists():
            problem, remedy = "contains no experiment", Remedy("run one", RunExperiment(out))
            if out.is_dir() and any(each.name != ".lock" for each in out.iterdir()):
                problem, remedy = "contains other files, no experiment", Remedy("choose another {out}")
            raise BenchError(problem, field="out", value=out, remedy=remedy)
        content = read_json(path)
        try:
            if content["version"] != _VERSION:
                raise BenchError(f"unknown format version {content['version']!r:.20}", where=path, valid=[_VERSION])
            corpora = {name: CorpusSummary.from_json(summary) for name, summary in content["corpora"].items()}
            # Results of a method stay readable after its package is uninstalled.
            specs = {text: MethodSpec.parse_unchecked(text) for text in content["rows"]}
            runs = tuple(RunSpec(src, tgt, task, specs[text], seed) for src, tgt, task, text, seed in content["cells"])
            if unknown := {name for run in runs for name in run.pair} - corpora.keys():
                raise KeyError(*unknown)  # noqa: TRY301
            experiment = cls(
                out,
                Conditions(**content["conditions"]),
                corpora,
                {specs[text]: MethodInfo(**info) for text, info in content["rows"].items()},
                runs,
                # Older files lack these keys.
                {(src, tgt): int(count) for src, tgt, count in content.get("shared", [])},
                {name: FeatureSetSummary(**each) for name, each in content.get("feature_sets", {}).items()},
                {name: Task.from_json(each) for name, each in content.get("tasks", {}).items()},
            )
            for run in runs:
                experiment.arguments(run)  # raises KeyError if its feature set or a store is not listed
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchError(f"damaged: {error!r:.80}", where=path) from error
        return experiment

    @staticmethod
    def exists(out: Path) -> bool:
        """Return True if a folder contains an experiment."""
        return (out / _FILE).exists()

    def write(self) -> None:
        """Write `bench.json`, atomically."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(
            self.out / _FILE,
            {
                "version": _VERSION,
                "conditions": asdict(self.conditions),
                "corpora": {name: asdict(corpus) for name, corpus in self.corpora.items()},
                "rows": {str(spec): asdict(info) for spec, info in self.methods.items()},
                "cells": [[run.src, run.tgt, run.task, str(run.method), run.seed] for run in self.runs],
                "shared": [[*pair, count] for pair, count in self.shared_recordings.items()],
                "feature_sets": {name: asdict(each) for name, each in self.feature_sets.items()},
                **({"tasks": tasks} if (tasks := {n: task.to_json() for n, task in self.definitions.items()}) else {}),
            },
        )

    def check_conditions(self, conditions: Conditions) -> None:
        """Raise a BenchError for the first condition that differs from those of this experiment."""
        for (key, here), there in zip(asdict(self.conditions).items(), asdict(conditions).values(), strict=True):
            if here != there:
                problem, value = f"the experiment has {_format_condition(here)}", _format_condition(there)
                remedy = Remedy("use the same value, or choose another {out}")
                raise BenchError(problem, where=self.out, field=key, value=value, remedy=remedy)

    def merge(self, other: "Experiment", runs: Iterable[RunSpec]) -> "Experiment":
        """Return this experiment with the corpora and methods of another one and with further runs.

        Raises BenchError if two method specs have the same meaning, or two definitions of a task the same name.
        """
        known = set(self.tasks)
        for name in dict.fromkeys([*other.tasks, *other.definitions]):
            if name in known and self.definitions.get(name) != other.definitions.get(name):
                problem, remedy = "the experiment has a task of this name with other classes", "choose another {out}"
                raise BenchError(problem, where=self.out, field="tasks", value=name, remedy=Remedy(remedy))

        def merge_corpus(name: str, corpus: CorpusSummary) -> CorpusSummary:
            if (earlier := self.corpora.get(name)) is None:
                return corpus
            classes, labels = {**earlier.classes, **corpus.classes}, {**earlier.labels, **corpus.labels}
            return replace(corpus, classes=classes, labels=labels, others={**earlier.others, **corpus.others})

        # The other experiment has the newer counts of its own corpora.
        kept = {pair: count for pair, count in self.shared_recordings.items() if not set(pair) <= other.corpora.keys()}
        return replace(
            self,
            corpora={**self.corpora, **{name: merge_corpus(name, corpus) for name, corpus in other.corpora.items()}},
            methods=check_distinct({**self.methods, **other.methods}),
            runs=tuple(dict.fromkeys([*self.runs, *runs])),
            shared_recordings={**kept, **other.shared_recordings},
            feature_sets={**self.feature_sets, **other.feature_sets},
            definitions={**self.definitions, **other.definitions},
        )._forget_unused_definitions()

    def _forget_unused_definitions(self) -> "Experiment":
        """Return this experiment without definitions that no run has, and without the class counts by them."""
        unused = self.definitions.keys() - set(self.tasks)

        def forget(corpus: CorpusSummary) -> CorpusSummary:
            classes = {task: counts for task, counts in corpus.classes.items() if task not in unused}
            return replace(corpus, classes=classes, others={key: forget(each) for key, each in corpus.others.items()})

        return replace(
            self,
            corpora={name: forget(corpus) for name, corpus in self.corpora.items()},
            definitions={name: task for name, task in self.definitions.items() if name not in unused},
        )

    def drop(self, methods: Collection[MethodSpec], corpora: Collection[str], seeds: int | None = None) -> "Experiment":
        """Return this experiment without some methods, some corpora and the seeds from `seeds` on; delete no files.

        Raises BenchError if no run is left.
        """
        runs = tuple(
            run
            for run in self.runs
            if run.method not in methods and not {*run.pair} & set(corpora) and (seeds is None or run.seed < seeds)
        )
        if not runs:
            raise BenchError("no run would be left", where=self.out, remedy="delete the folder instead")
        used = {name for run in runs for name in run.pair}
        specs = {run.method for run in runs}
        folders = {self.conditions.feature_set, *(self.find_feature_set(spec).folder for spec in specs)}
        return replace(
            self,
            corpora={
                name: replace(corpus, others={key: each for key, each in corpus.others.items() if key in folders})
                for name, corpus in self.corpora.items()
                if name in used
            },
            methods={spec: info for spec, info in self.methods.items() if spec in specs},
            runs=runs,
            shared_recordings={pair: count for pair, count in self.shared_recordings.items() if used >= set(pair)},
            feature_sets={name: each for name, each in self.feature_sets.items() if each.folder in folders},
        )._forget_unused_definitions()

    def select_feature_set(self, name: str) -> "Experiment":
        """Return a view of the runs on one feature set, which is the default one of the view; for reading only.

        `name` is a short name, a folder or a beginning of one. Runs keep their names. Raises BenchError if the
        experiment has no such feature set.
        """
        specs = {spec: spec.on(None) for spec in self.list_specs(name)}
        short_name = self._find_short_name(name)
        chosen = self.feature_sets[short_name]
        corpora = {
            each: self.find_corpus(each, chosen.folder) for each in self.corpora if self.has(each, chosen.folder)
        }
        return replace(
            self,
            conditions=replace(self.conditions, feature_set=chosen.folder),
            corpora=corpora,
            methods={specs[spec]: info for spec, info in self.methods.items() if spec in specs},
            runs=tuple(replace(run, method=specs[run.method]) for run in self.runs if run.method in specs),
            feature_sets={short_name: chosen},
        )

    def list_specs(self, feature_set: str) -> list[MethodSpec]:
        """Return the method specs on a feature set; the name and errors are those of `select_feature_set`."""
        chosen = self.feature_sets[self._find_short_name(feature_set)]
        return [spec for spec in self.methods if self.find_feature_set(spec) == chosen]

    def _find_short_name(self, name: str) -> str:
        short_name = find_short_name(self.feature_sets, name)
        if short_name is None:
            raise BenchError("not in the experiment", field="feature_set", value=name, valid=self.feature_sets)
        return short_name

    def resolve_spec(self, spec: MethodSpec) -> MethodSpec:
        """Return a method spec with the short name of its feature set, or without the default one.

        A feature set that is not in the experiment stays as it is. Raises BenchError if a beginning of a name fits
        several feature sets.
        """
        if spec.feature_set is None:
            return spec
        name = find_short_name(self.feature_sets, spec.feature_set)
        is_default = name is not None and self.feature_sets[name].folder == self.conditions.feature_set
        return spec.on(None if is_default else name or spec.feature_set)

    def find_feature_set(self, spec: MethodSpec) -> FeatureSetSummary:
        """Return the feature set of a method spec."""
        if spec.feature_set is not None:
            return self.feature_sets[spec.feature_set]
        return next(each for each in self.feature_sets.values() if each.folder == self.conditions.feature_set)

    def gives_effect(self, spec: MethodSpec) -> bool:
        """Return True if the settings of a method spec change its runs, see `FeatureSetSummary.gives_effect`."""
        return self.find_feature_set(spec).gives_effect(spec.overrides, self.conditions.settings)

    def name_feature_set(self, spec: MethodSpec) -> str:
        """Return the short name of a method spec's feature set."""
        features = self.find_feature_set(spec)
        return next(name for name, each in self.feature_sets.items() if each == features)

    def has(self, corpus: str, folder: str) -> bool:
        """Return True if a corpus has a store of a feature set, given by its full name."""
        return folder in (self.conditions.feature_set, *self.corpora[corpus].others)

    def find_corpus(self, name: str, folder: str) -> CorpusSummary:
        """Return the summary of a corpus in a feature set, given by its full name."""
        corpus = self.corpora[name]
        return corpus if folder == self.conditions.feature_set else corpus.others[folder]

    @property
    def runs_folder(self) -> Path:
        """Folder of the runs."""
        return self.out / "runs"

    @property
    def tasks(self) -> list[str]:
        """Tasks of the runs, the built-in ones first."""
        found = dict.fromkeys(run.task for run in self.runs)
        return [*(task for task in TASKS if task in found), *(task for task in found if task not in TASKS)]

    def find_task(self, name: str) -> Task | None:
        """Return a task by its name; None for the task emotion if its classes depend on the pair."""
        return self.definitions.get(name) or BUILT_IN_TASKS.get(name)

    def read_task(self, run: RunSpec) -> Task:
        """Return the task of a finished run, whose classes may depend on the pair; raise a RunError if damaged."""
        if (task := self.find_task(run.task)) is not None:
            return task
        config = self.run_folder(run).config
        try:
            return read_task(read_json(config)["decisive"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"damaged: {error!r:.80}", where=config) from error

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs, ascending."""
        return tuple(sorted({run.seed for run in self.runs}))

    def run_folder(self, run: RunSpec) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.runs_folder / self.run_name(run))

    def failure_file(self, run: RunSpec) -> Path:
        """Return the path of a failed run's error."""
        return self.out / "failures" / f"{self.run_name(run)}.json"

    def run_name(self, run: RunSpec) -> str:
        """Return the name of a run, which ends with a hash of its arguments."""
        arguments = json.dumps([self.arguments(run)], sort_keys=True)
        digits = hashlib.sha256(arguments.encode()).hexdigest()[:8]
        return f"{run.src}-{run.tgt}-{run.task}-{run.method.name}-s{run.seed}-{digits}"

    def arguments(self, run: RunSpec) -> dict[str, Any]:
        """Return all arguments that affect the weights of a run."""
        features = self.find_feature_set(run.method)
        corpora = [self.find_corpus(name, features.folder) for name in run.pair]
        labels = [corpus.labels[run.task] for corpus in corpora if run.task in corpus.labels]
        return {
            "src": run.src,
            "tgt": run.tgt,
            "task": run.task,
            **({"task_definition": self.definitions[run.task].to_json()} if run.task in self.definitions else {}),
            "method": run.method.name,
            "settings": {**self.conditions.settings, **run.method.overrides},
            "seed": run.seed,
            "steps": run.method.steps or self.conditions.steps or features.steps,
            "device": self.conditions.device,
            "feature_set": features.folder,
            "fingerprints": [corpus.fingerprint for corpus in corpora],
            **({"labels": labels} if labels else {}),
            # Omitted for 1 thread and for the usual defaults, so that the names of older runs stay valid.
            **({} if self.conditions.threads == 1 else {"threads": self.conditions.threads}),
            **({"defaults": dict(features.defaults)} if features.defaults else {}),
        }


def find_uneven_corpora(experiment: Experiment) -> list[str]:
    """Return the corpora whose stores of several feature sets have other numbers of utterances or classes."""

    def differ(a: CorpusSummary, b: CorpusSummary) -> bool:
        # Stores of earlier calls may not be counted by later tasks.
        tasks = a.classes.keys() & b.classes.keys()
        return a.utterances != b.utterances or any(a.classes[task] != b.classes[task] for task in tasks)

    return [
        name
        for name, corpus in experiment.corpora.items()
        if any(differ(corpus, each) for each in corpus.others.values())
    ]


def check_distinct(methods: Mapping[MethodSpec, MethodInfo]) -> Mapping[MethodSpec, MethodInfo]:
    """Return the methods; raise a BenchError if two have the same label, such as `dan` and one that sets a default."""
    known: dict[str, MethodSpec] = {}
    for spec, info in methods.items():
        if known.setdefault(info.label, spec) != spec:
            problem = f"has the same meaning as {known[info.label]}"
            raise BenchError(problem, field="methods", value=spec, remedy="leave one out")
    return methods


def _format_condition(value: object) -> str:
    if value is None:
        return "the default of each feature set"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text}" for key, text in value.items()) or "none"
    return str(value)


def shorten_list(names: Sequence[object]) -> str:
    """Return the first `MAX_NAMES` names and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(str, names[:MAX_NAMES])) + more


def note_shared_recordings(shared_recordings: Mapping[Pair, int]) -> list[str]:
    """Return a note on each pair of `Experiment.shared_recordings`."""
    return [
        f"{src} -> {tgt}: the source contains {count} labelled recording{'s' * (count > 1)} of the target; "
        "its scores overestimate those on unseen speech"
        for (src, tgt), count in shared_recordings.items()
    ]


def list_shared_recordings(shared_recordings: Mapping[Pair, int]) -> list[dict[str, object]]:
    """Return the shared recordings of each pair for a JSON document."""
    return [{"src": src, "tgt": tgt, "recordings": count} for (src, tgt), count in shared_recordings.items()]
