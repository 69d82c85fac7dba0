"""Specification of an experiment, a grid of runs, in its folder.

::

    <out>/bench.json                conditions, corpora, methods and runs
    <out>/runs/<run name>/          folder of a run; `done` marks a finished run
    <out>/failures/<run name>.json  error of a failed run: {"error": ..., "when": ...}

This module needs no torch.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from emodna.model.errors import BenchError, ConfigError, RunExperiment
from emodna.model.label import is_oracle
from emodna.model.methods import check_method_name
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import TASKS, Task
from emodna.pipeline.errors import Remedy

Pair = tuple[str, str]
"""Source and target."""

_VERSION: Final = 1
_FILE: Final = "bench.json"
#: Text of a valid number of training steps.
_STEPS: Final = re.compile("0*[1-9][0-9]{0,8}")
MAX_NAMES: Final = 6
"""Most names in a sentence; `shorten_list` counts the others."""


@dataclass(frozen=True, slots=True, order=True)
class MethodSpec:
    """A method with its own settings, as text `dan`, `dan:add=scl` or `emo-dna:threshold=none`.

    Specs that differ only in the order of their settings are equal.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    """Settings of a fit request, and `steps`, sorted by key."""

    @classmethod
    def parse(cls, text: str) -> "MethodSpec":
        """Parse METHOD[:KEY=VALUE[,KEY=VALUE...]].

        Raises ConfigError for another form, a repeated key, or an unknown method.
        """
        spec = cls.parse_unchecked(text)
        check_method_name(spec.name, in_spec=True)
        return spec

    @classmethod
    def parse_unchecked(cls, text: str) -> "MethodSpec":
        """Parse a spec like `parse`, but accept methods that are not installed.

        Raises ConfigError for another form, a repeated key, or an invalid number of steps.
        """
        name, colon, rest = text.strip().partition(":")
        form, remedy = "must be METHOD or METHOD:KEY=VALUE,KEY=VALUE", Remedy("repeat {methods} for several methods")
        if "," in name:
            raise ConfigError(form, field="methods", value=text, remedy=remedy)
        settings: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = (each.strip() for each in part.partition("="))
            if not (key and equals and value):
                raise ConfigError(form, field="methods", value=text, remedy=remedy)
            if key in settings:
                raise ConfigError(f"contains {key} twice", field="methods", value=text)
            settings[key] = value
        spec, steps = cls(name, tuple(sorted(settings.items()))), settings.get("steps", "1")
        if not _STEPS.fullmatch(steps):
            raise ConfigError(f"steps must be a whole number from 1 to {10**9 - 1}", field="methods", value=spec)
        return spec

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.name}:{settings}" if settings else self.name

    @property
    def steps(self) -> int | None:
        """Training steps of this spec; None: those of the experiment."""
        text = dict(self.settings).get("steps")
        return None if text is None else int(text)

    @property
    def overrides(self) -> Mapping[str, str]:
        """Settings of a fit request, without `steps`."""
        return {key: value for key, value in self.settings if key != "steps"}


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Label and supervision of a method spec, for tables and figures."""

    label: str
    """Label from `emodna.model.label.make_label`."""
    our_reading: bool
    """True if the method is our reading of its paper."""
    supervision: str
    """Labels that the method learns from, as `Method.supervision`."""

    @property
    def oracle(self) -> bool:
        """True if the method learns from target labels."""
        return is_oracle(self.supervision)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that all runs of an experiment share."""

    steps: int
    feature_set: str
    """Full name of the feature set, as in the stores' folders."""
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
    classes: Mapping[Task, tuple[int, int]]
    """Utterances of class 0 (low, negative) and class 1 (high, positive) by task."""

    def find_missing_labels(self, task: Task) -> str | None:
        """Describe the labels of a task that the corpus lacks as a source; None if it lacks none."""
        present = sum(count > 0 for count in self.classes[task])
        return {0: f"no labels of {task}", 1: f"labels of only one class of {task}"}.get(present)


@dataclass(frozen=True, slots=True, order=True)
class RunSpec:
    """One run of an experiment."""

    src: str
    tgt: str
    task: Task
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
            corpora = {
                name: CorpusSummary(**{**summary, "classes": {task: tuple(summary["classes"][task]) for task in TASKS}})
                for name, summary in content["corpora"].items()
            }
            # Results of a method stay readable after its package is uninstalled.
            specs = {text: MethodSpec.parse_unchecked(text) for text in content["rows"]}
            runs = tuple(RunSpec(src, tgt, task, specs[text], seed) for src, tgt, task, text, seed in content["cells"])
            if unknown := {name for run in runs for name in run.pair} - corpora.keys():
                raise KeyError(*unknown)  # noqa: TRY301
            return cls(
                out,
                Conditions(**content["conditions"]),
                corpora,
                {specs[text]: MethodInfo(**info) for text, info in content["rows"].items()},
                runs,
                {(src, tgt): int(count) for src, tgt, count in content.get("shared", [])},  # absent in older files
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchError(f"damaged: {error!r:.80}", where=path) from error

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

        Raises BenchError if two method specs have the same meaning.
        """
        # The other experiment has the newer counts of its own corpora.
        kept = {pair: count for pair, count in self.shared_recordings.items() if not set(pair) <= other.corpora.keys()}
        return replace(
            self,
            corpora={**self.corpora, **other.corpora},
            methods=check_distinct({**self.methods, **other.methods}),
            runs=tuple(dict.fromkeys([*self.runs, *runs])),
            shared_recordings={**kept, **other.shared_recordings},
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
        return replace(
            self,
            corpora={name: corpus for name, corpus in self.corpora.items() if name in used},
            methods={spec: info for spec, info in self.methods.items() if spec in specs},
            runs=runs,
            shared_recordings={pair: count for pair, count in self.shared_recordings.items() if used >= set(pair)},
        )

    @property
    def runs_folder(self) -> Path:
        """Folder of the runs."""
        return self.out / "runs"

    @property
    def tasks(self) -> list[Task]:
        """Tasks of the runs, arousal first."""
        return [task for task in TASKS if any(run.task == task for run in self.runs)]

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
        return {
            "src": run.src,
            "tgt": run.tgt,
            "task": run.task,
            "method": run.method.name,
            "settings": {**self.conditions.settings, **run.method.overrides},
            "seed": run.seed,
            "steps": run.method.steps or self.conditions.steps,
            "device": self.conditions.device,
            "feature_set": self.conditions.feature_set,
            "fingerprints": [self.corpora[run.src].fingerprint, self.corpora[run.tgt].fingerprint],
            # Omitted for 1 thread, so that the names of older runs stay valid.
            **({} if self.conditions.threads == 1 else {"threads": self.conditions.threads}),
        }


def check_distinct(methods: Mapping[MethodSpec, MethodInfo]) -> Mapping[MethodSpec, MethodInfo]:
    """Return the methods; raise a BenchError if two have the same label, such as `dan` and one that sets a default."""
    known: dict[str, MethodSpec] = {}
    for spec, info in methods.items():
        if known.setdefault(info.label, spec) != spec:
            problem = f"has the same meaning as {known[info.label]}"
            raise BenchError(problem, field="methods", value=spec, remedy="leave one out")
    return methods


def _format_condition(value: object) -> str:
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
