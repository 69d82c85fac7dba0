"""The specification of an experiment: a grid of runs in its folder, read from and written to `bench.json`.

::

    <out>/bench.json                conditions, corpora, methods and runs: all that tables and figures need to know
    <out>/runs/<run name>/          a run of emodna-fit's own code; `done` marks a finished one
    <out>/failures/<run name>.json  why a run failed: {"error": ..., "when": ...}

It needs no torch.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from emodna.model.errors import BenchError, ConfigError
from emodna.model.label import is_oracle
from emodna.model.methods import check_method_name
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import TASKS, Task

Pair = tuple[str, str]
"""Source and target."""

_VERSION: Final = 1
_FILE: Final = "bench.json"
#: A number of training steps.
_STEPS: Final = re.compile("0*[1-9][0-9]{0,8}")
MAX_NAMES: Final = 6
"""Longest list of names in a sentence; of longer ones, the rest is counted."""


@dataclass(frozen=True, slots=True, order=True)
class MethodSpec:
    """A method and its own settings, as `--methods` spells them: `dan`, `dan:add=scl`, `emo-dna:threshold=none`.

    Two specs that differ only in the order of their settings are equal.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    """Keys of emodna-fit's --set, sorted, and `steps`."""

    @classmethod
    def parse(cls, text: str) -> "MethodSpec":
        """Read METHOD[:KEY=VALUE[,KEY=VALUE...]].

        Raises ConfigError for another form, a key given twice, or an unknown method.
        """
        spec = cls.parse_unchecked(text)
        check_method_name(spec.name, in_spec=True)
        return spec

    @classmethod
    def parse_unchecked(cls, text: str) -> "MethodSpec":
        """Read a spec like `parse`, but accept a method that is not installed (any more).

        Raises ConfigError for another form, a key given twice, or an invalid number of steps.
        """
        name, colon, rest = text.strip().partition(":")
        settings: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = (each.strip() for each in part.partition("="))
            if not (key and equals and value):
                raise ConfigError(f"--methods {text}: must be METHOD or METHOD:KEY=VALUE,KEY=VALUE")
            if key in settings:
                raise ConfigError(f"--methods {text}: {key} is given twice")
            settings[key] = value
        spec, steps = cls(name, tuple(sorted(settings.items()))), settings.get("steps", "1")
        if not _STEPS.fullmatch(steps):
            raise ConfigError(f"--methods {spec}: steps={steps:.40}: must be a whole number from 1 to {10**9 - 1}")
        return spec

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.name}:{settings}" if settings else self.name

    @property
    def steps(self) -> int | None:
        """Training steps of its own; None: those of the experiment."""
        text = dict(self.settings).get("steps")
        return None if text is None else int(text)

    @property
    def overrides(self) -> Mapping[str, str]:
        """Its settings for emodna-fit's --set."""
        return {key: value for key, value in self.settings if key != "steps"}


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """Facts about a method spec that stand beside its scores."""

    label: str
    """See `emodna.model.label.labelled`."""
    our_reading: bool
    supervision: str
    """Whose labels it learns from, as `Method.supervision`."""

    @property
    def oracle(self) -> bool:
        """True if it learns from the target's labels."""
        return is_oracle(self.supervision)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that all runs of an experiment share: scores of different ones do not belong in one table."""

    steps: int
    feature_set: str
    """Full name of the stores' folders."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of every run; a method spec's own settings win over them."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """CPU threads of each run, which decide how sums are rounded; on CUDA always 1."""


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """Facts about a prepared corpus that tables and figures need."""

    name: str
    store: str
    """Path of its store."""
    fingerprint: str
    language: str | None
    """ISO 639-1; several are joined by "+". None: that of some utterances is unknown."""
    utterances: int
    classes: Mapping[Task, tuple[int, int]]
    """Utterances of class 0 (low, negative) and of class 1 (high, positive) by task."""

    def find_missing_labels(self, task: Task) -> str | None:
        """Return why a task cannot be learnt from it, in words; None if it can."""
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
    """In the order in which they are executed."""
    shared_recordings: Mapping[Pair, int] = field(default_factory=dict)
    """Recordings of the target that the source has, too, with labels; pairs without any are not named."""

    @classmethod
    def read(cls, out: Path) -> "Experiment":
        """Read the experiment in a folder; raises BenchError if there is none, or its file is damaged."""
        path = out / _FILE
        if not path.exists():
            raise BenchError(f"--out {out}: no benchmark there; emodna-bench run makes one")
        content = read_json(path)
        try:
            if content["version"] != _VERSION:
                raise BenchError(f"{path}: of version {content['version']!r:.20}, this emodna reads {_VERSION}")
            corpora = {
                name: CorpusSummary(**{**facts, "classes": {task: tuple(facts["classes"][task]) for task in TASKS}})
                for name, facts in content["corpora"].items()
            }
            # Finished runs can be shown without the package that their method came from.
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
            raise BenchError(f"{path}: damaged ({error!r:.80})") from error

    @staticmethod
    def exists(out: Path) -> bool:
        """Return True if there is an experiment in a folder."""
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

    def check_conditions(self, asked: Conditions) -> None:
        """Raise BenchError, which names the first condition that differs, unless all are those of this experiment."""
        for (key, here), there in zip(asdict(self.conditions).items(), asdict(asked).values(), strict=True):
            if here != there:
                option = "--set" if key == "settings" else f"--{key.replace('_', '-')}"
                begun, now = _option_text(here), _option_text(there)
                raise BenchError(
                    f"{option} {now}: the benchmark in {self.out} was begun with {begun}; give the same, or another "
                    "--out"
                )

    def merge(self, other: "Experiment", runs: Iterable[RunSpec]) -> "Experiment":
        """Return it with another one's corpora and methods and with further runs; present runs stay.

        Raises BenchError if two method specs are the same under two spellings.
        """
        return replace(
            self,
            corpora={**self.corpora, **other.corpora},
            methods=check_distinct({**self.methods, **other.methods}),
            runs=tuple(dict.fromkeys([*self.runs, *runs])),
            # The other one has just counted the recordings of its own corpora.
            shared_recordings={
                **{
                    pair: count
                    for pair, count in self.shared_recordings.items()
                    if not other.corpora.keys() >= set(pair)
                },
                **other.shared_recordings,
            },
        )

    def drop(self, methods: Collection[MethodSpec], corpora: Collection[str], seeds: int | None = None) -> "Experiment":
        """Return it without some methods, some corpora, and the seeds from a number on; files stay where they are.

        Raises BenchError if nothing is left.
        """
        runs = tuple(
            run
            for run in self.runs
            if run.method not in methods and not {*run.pair} & set(corpora) and (seeds is None or run.seed < seeds)
        )
        if not runs:
            raise BenchError(f"nothing would be left of the benchmark in {self.out}; delete the folder instead")
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
        """Folder of the runs, as emodna-runs reads it."""
        return self.out / "runs"

    @property
    def tasks(self) -> list[Task]:
        """Tasks of its runs, arousal first."""
        return [task for task in TASKS if any(run.task == task for run in self.runs)]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs, ascending."""
        return tuple(sorted({run.seed for run in self.runs}))

    def run_folder(self, run: RunSpec) -> RunFolder:
        """Return a run's folder, which is named by all that decides the run: another store is another run."""
        return RunFolder(self.runs_folder / self.run_name(run))

    def failure_file(self, run: RunSpec) -> Path:
        """Return the file that records why a run failed."""
        return self.out / "failures" / f"{self.run_name(run)}.json"

    def run_name(self, run: RunSpec) -> str:
        """Return a run's name: readable, and ending in a hash of its arguments."""
        arguments = json.dumps([self.arguments(run)], sort_keys=True)
        digits = hashlib.sha256(arguments.encode()).hexdigest()[:8]
        return f"{run.src}-{run.tgt}-{run.task}-{run.method.name}-s{run.seed}-{digits}"

    def arguments(self, run: RunSpec) -> dict[str, Any]:
        """Return all that decides a run."""
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
            # One is left out, so that runs that are older than this condition keep their names.
            **({} if self.conditions.threads == 1 else {"threads": self.conditions.threads}),
        }


def check_distinct(methods: Mapping[MethodSpec, MethodInfo]) -> Mapping[MethodSpec, MethodInfo]:
    """Return the methods if all have labels of their own: no table could tell others apart.

    Raises BenchError, which names the first two that are the same, such as a setting's default spelt out.
    """
    known: dict[str, MethodSpec] = {}
    for spec, info in methods.items():
        if known.setdefault(info.label, spec) != spec:
            raise BenchError(f"--methods {spec}: the same as {known[info.label]}; leave one out")
    return methods


def _option_text(value: object) -> str:
    """Return a condition as its option spells it."""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text}" for key, text in value.items()) or "none"
    return str(value)


def shorten_list(names: Sequence[object]) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(str, names[:MAX_NAMES])) + more


def note_shared_recordings(shared_recordings: Mapping[Pair, int]) -> list[str]:
    """Return a note on each pair whose target is partly in the source, from its number of recordings."""
    one, many = "recording of the target is", "recordings of the target are"
    return [
        f"{src} -> {tgt}: {count} {one if count == 1 else many} in the source, too, with "
        f"{'its label' if count == 1 else 'their labels'}; its scores say little of unheard speech"
        for (src, tgt), count in shared_recordings.items()
    ]


def list_shared_recordings(shared_recordings: Mapping[Pair, int]) -> list[dict[str, object]]:
    """Return the same as `note_shared_recordings` for a JSON document."""
    return [{"src": src, "tgt": tgt, "recordings": count} for (src, tgt), count in shared_recordings.items()]
