"""What a benchmark consists of, and where it lies: `bench.json`, and a run's folder per cell. It needs no torch.

::

    <out>/bench.json                 conditions, corpora, rows and cells: all that tables and figures need to know
    <out>/runs/<cell>/               a run of emodna-fit's own code; `done` marks a finished one
    <out>/failures/<cell>.json       why a cell came to nothing: {"error": ..., "when": ...}
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from emodna.model.bench.rows import Row
from emodna.model.errors import BenchError
from emodna.model.label import is_oracle
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import TASKS, Task

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all cells of a benchmark share: scores of different conditions do not belong in one table."""

    steps: int
    feature_set: str
    """Full name of the stores' folders."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of emodna-fit's --set; a row's own win over them."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Of torch, of each run on the CPU, where they decide how sums are rounded; on CUDA always 1."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What tables and figures need to know of a prepared corpus."""

    name: str
    store: str
    """Its path."""
    fingerprint: str
    language: str | None
    """ISO 639-1; several, joined by "+", where its utterances differ. None: of some or all it is not known."""
    utterances: int
    classes: Mapping[Task, tuple[int, int]]
    """Utterances of class 0 (low, negative) and of class 1 (high, positive) by task."""

    def lacks(self, task: Task) -> str | None:
        """Why nothing of a task can be learnt from it, in words; None if something can."""
        low, high = self.classes[task]
        if low and high:
            return None
        return f"labels of only one class of {task}" if low or high else f"no labels of {task}"


@dataclass(frozen=True, slots=True)
class Named:
    """What a row is called, and what has to be known beside its scores."""

    label: str
    """See `emodna.model.label.labelled`."""
    our_reading: bool
    supervision: str
    """Whose labels it learns from, as `Method.supervision`."""

    @property
    def oracle(self) -> bool:
        """Whether it learns from the target's labels."""
        return is_oracle(self.supervision)


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One run."""

    src: str
    tgt: str
    task: Task
    row: Row
    seed: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.src} -> {self.tgt}, {self.task}, {self.row}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark in its folder."""

    out: Path
    conditions: Conditions
    corpora: Mapping[str, Corpus]
    rows: Mapping[Row, Named]
    cells: tuple[Cell, ...]
    """In the order in which they are run."""
    shared: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(source, target) -> recordings of the target that the source has, too, with labels; pairs without any are not
    named."""

    @classmethod
    def read(cls, out: Path) -> "Bench":
        """The benchmark in a folder.

        Raises
        ------
        BenchError
            There is none, or it is damaged.
        """
        path = _path(out)
        if not path.exists():
            raise BenchError(f"--out {out}: no benchmark there; emodna-bench run makes one")
        content = read_json(path)
        try:
            if content["version"] != _VERSION:
                raise BenchError(f"{path}: of version {content['version']!r:.20}, this emodna reads {_VERSION}")
            corpora = {
                name: Corpus(
                    **{**facts, "classes": {task: (low, high) for task, (low, high) in facts["classes"].items()}}
                )
                for name, facts in content["corpora"].items()
            }
            # What is finished can be shown without the package that its method came from.
            parsed = {text: Row.read(text) for text in content["rows"]}
            rows = {parsed[text]: Named(**named) for text, named in content["rows"].items()}
            cells = tuple(Cell(src, tgt, task, parsed[row], seed) for src, tgt, task, row, seed in content["cells"])
            # A bench.json of before they were counted has none.
            shared = {(src, tgt): count for src, tgt, count in content.get("shared", [])}
            bench = cls(out, Conditions(**content["conditions"]), corpora, rows, cells, shared)
            _check(bench)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchError(f"{path}: damaged ({error!r:.80})") from error
        return bench

    @staticmethod
    def exists(out: Path) -> bool:
        """Whether there is a benchmark in a folder."""
        return _path(out).exists()

    def check_conditions(self, asked: Conditions) -> None:
        """Refuse other conditions than these.

        Raises
        ------
        BenchError
            Names the first one that differs.
        """
        here, there = asdict(self.conditions), asdict(asked)
        for key in here:
            if here[key] != there[key]:
                option = "--set" if key == "settings" else f"--{key.replace('_', '-')}"
                raise BenchError(
                    f"{option} {_words(there[key])}: the benchmark in {self.out} was begun with {_words(here[key])}; "
                    "give the same, or another --out"
                )

    def write(self) -> None:
        """Write `bench.json`, atomically."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(
            _path(self.out),
            {
                "version": _VERSION,
                "conditions": asdict(self.conditions),
                "corpora": {name: asdict(corpus) for name, corpus in self.corpora.items()},
                "rows": {str(row): asdict(named) for row, named in self.rows.items()},
                "cells": [[cell.src, cell.tgt, cell.task, str(cell.row), cell.seed] for cell in self.cells],
                "shared": [[src, tgt, count] for (src, tgt), count in self.shared.items()],
            },
        )

    def extended(self, other: "Bench", cells: Iterable[Cell]) -> "Bench":
        """The same with the corpora and rows of another one in it, and these cells; what is there already stays.

        Raises
        ------
        BenchError
            Two rows are the same under two spellings, such as a setting's default spelt out.
        """
        return replace(
            self,
            corpora={**self.corpora, **other.corpora},
            rows=distinct({**self.rows, **other.rows}),
            cells=tuple(dict.fromkeys([*self.cells, *cells])),
            # Of corpora that are in both, the other one has just counted.
            shared={
                **{pair: count for pair, count in self.shared.items() if not other.corpora.keys() >= set(pair)},
                **other.shared,
            },
        )

    def without(self, rows: Collection[Row], corpora: Collection[str], seeds: int | None = None) -> "Bench":
        """The same without some rows, some corpora, and the seeds from a number on; runs stay where they are.

        A row or corpus that no cell is left of goes, too.

        Raises
        ------
        BenchError
            Nothing is left.
        """
        cells = tuple(
            cell
            for cell in self.cells
            if cell.row not in rows and not {cell.src, cell.tgt} & set(corpora) and (seeds is None or cell.seed < seeds)
        )
        if not cells:
            raise BenchError(f"nothing would be left of the benchmark in {self.out}; delete the folder instead")
        used_rows = {cell.row for cell in cells}
        used_corpora = {name for cell in cells for name in (cell.src, cell.tgt)}
        return replace(
            self,
            corpora={name: corpus for name, corpus in self.corpora.items() if name in used_corpora},
            rows={row: named for row, named in self.rows.items() if row in used_rows},
            cells=cells,
            shared={pair: count for pair, count in self.shared.items() if used_corpora >= set(pair)},
        )

    @property
    def runs(self) -> Path:
        """Folder of the runs, as emodna-runs reads it."""
        return self.out / "runs"

    @property
    def begun(self) -> bool:
        """Whether any of its cells has a run's folder, finished or not."""
        return any(self.folder(cell).path.exists() for cell in self.cells)

    def folder(self, cell: Cell) -> RunFolder:
        """Where a cell's run is: named by all that it is asked for, so that another store is another run."""
        return RunFolder(self.runs / self.name(cell))

    def failure(self, cell: Cell) -> Path:
        """Where it is written why a cell came to nothing."""
        return self.out / "failures" / f"{self.name(cell)}.json"

    def name(self, cell: Cell) -> str:
        """A cell's name: readable, and ending in a hash of its arguments."""
        arguments = json.dumps([self.arguments(cell)], sort_keys=True)
        digits = hashlib.sha256(arguments.encode()).hexdigest()[:8]
        return f"{cell.src}-{cell.tgt}-{cell.task}-{cell.row.method}-s{cell.seed}-{digits}"

    def arguments(self, cell: Cell) -> dict[str, Any]:
        """All that decides a cell's run."""
        return {
            "src": cell.src,
            "tgt": cell.tgt,
            "task": cell.task,
            "method": cell.row.method,
            "settings": {**self.conditions.settings, **cell.row.overrides},
            "seed": cell.seed,
            "steps": cell.row.steps or self.conditions.steps,
            "device": self.conditions.device,
            "feature_set": self.conditions.feature_set,
            "fingerprints": [self.corpora[cell.src].fingerprint, self.corpora[cell.tgt].fingerprint],
            # One is left out, so that runs keep their names that are older than this condition.
            **({} if self.conditions.threads == 1 else {"threads": self.conditions.threads}),
        }


def distinct(rows: Mapping[Row, Named]) -> Mapping[Row, Named]:
    """Rows, each of which is called something else: no table could tell others apart, and each would be run.

    Raises
    ------
    BenchError
        Names the first two that are the same.
    """
    known: dict[str, Row] = {}
    for row, named in rows.items():
        if known.setdefault(named.label, row) != row:
            raise BenchError(f"--methods {row}: the same as {known[named.label]}; leave one out")
    return rows


def _path(out: Path) -> Path:
    return out / "bench.json"


def _check(bench: Bench) -> None:
    """Refuse what an edited or damaged file may hold.

    Raises
    ------
    KeyError, TypeError, ValueError
        Names what is wrong.
    """
    conditions = bench.conditions
    texts = [conditions.feature_set, conditions.device, *conditions.settings, *conditions.settings.values()]
    for corpus in bench.corpora.values():
        texts += [corpus.name, corpus.store, corpus.fingerprint, "" if corpus.language is None else corpus.language]
        for task in TASKS:
            if any(type(count) is not int or count < 0 for count in corpus.classes[task]):
                raise ValueError(f"classes of {corpus.name}")
    for named in bench.rows.values():
        texts += [named.label, named.supervision]
    numbers = [conditions.steps, conditions.threads]
    if any(not isinstance(text, str) for text in texts) or any(type(number) is not int for number in numbers):
        raise TypeError("a text or a number of another type")
    for cell in bench.cells:
        if {cell.src, cell.tgt} - bench.corpora.keys() or cell.task not in TASKS or type(cell.seed) is not int:
            raise ValueError(f"cell {cell}")
    for pair, count in bench.shared.items():
        if set(pair) - bench.corpora.keys() or type(count) is not int or count < 1:
            raise ValueError(f"shared {pair}")


def _words(value: object) -> str:
    """A condition as its option spells it."""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text}" for key, text in value.items()) or "none"
    return str(value)
