"""Write benchmark folders of plain files, as emodna-bench leaves them, for the golden files.

Nothing of the benchmark's own code is used: what lies on disk must be read by whatever code comes next. Names of cells,
which end in a hash of all that decides a run, are worked out here anew. All numbers are drawn from seeds.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: A formula, markup of HTML, of rich and of LaTeX: what a corpus of one's own may be called in an edited file.
HOSTILE = "=<b>[red]&$x_1"
#: What an error may hold.
NASTY = "no such thing: </script> [bold]| \u2028 50 % of $x_1"
#: Class 0 and 1 of the full corpora: arousal, then valence.
CLASSES: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "casia": ((400, 800), (600, 600)),
    "emodb": ((222, 313), (385, 150)),
    "emovo": ((168, 420), (336, 252)),
    "iemocap": ((2792, 2739), (2187, 3344)),
    "ravdess": ((480, 960), (768, 672)),
    "savee": ((180, 300), (240, 240)),
    HOSTILE: ((20, 30), (0, 0)),
}
LANGUAGES: Mapping[str, str | None] = {
    "casia": "zh",
    "emodb": "de",
    "emovo": "it",
    "iemocap": "en",
    "ravdess": "en",
    "savee": "en",
    HOSTILE: None,
}
#: How far above chance the rows lie, about; of others, 4 points.
BETTER: Mapping[str, float] = {"source-only": 2.0, "emo-dna": 9.0, "upper-bound": 25.0, "dann:add=scl": 6.0}
UPPER = "upper-bound"
TASKS = ("arousal", "valence")

Asked = tuple[str, str, str, str, int]
"""Source, target, task, row, seed."""


@dataclass(frozen=True)
class Store:
    """A prepared corpus that is really there: its labels make confusion matrices."""

    corpus: str
    path: Path
    fingerprint: str
    ids: Sequence[str]


@dataclass(frozen=True)
class Row:
    """A row by its spelling, and what is known of it."""

    text: str
    label: str
    supervision: str = "source"
    our_reading: bool = False

    @property
    def method(self) -> str:
        return self.text.partition(":")[0]

    @property
    def settings(self) -> dict[str, str]:
        pairs = (part.partition("=") for part in self.text.partition(":")[2].split(",") if part)
        return {key: value for key, _, value in pairs}


@dataclass
class Folder:
    """A benchmark's folder: what it is asked for, and where its files are."""

    out: Path
    corpora: Sequence[str]
    rows: Sequence[Row]
    cells: Sequence[Asked]
    steps: int = 1000
    settings: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    shared: Sequence[tuple[str, str, int]] = ()
    store: Store | None = None
    feature_set: str = "mfcc40-22050hz-1d163ad7"

    def row(self, text: str) -> Row:
        return next(row for row in self.rows if row.text == text)

    def name(self, asked: Asked) -> str:
        """The cell's name."""
        src, tgt, task, text, seed = asked
        row = self.row(text)
        own = {key: value for key, value in row.settings.items() if key != "steps"}
        arguments = {
            "src": src,
            "tgt": tgt,
            "task": task,
            "method": row.method,
            "settings": {**self.settings, **own},
            "seed": seed,
            "steps": int(row.settings.get("steps", self.steps)),
            "device": "cpu",
            "feature_set": self.feature_set,
            "fingerprints": [fingerprint(src), fingerprint(tgt)],
            **({} if self.threads == 1 else {"threads": self.threads}),
        }
        digits = hashlib.sha256(json.dumps([arguments], sort_keys=True).encode()).hexdigest()[:8]
        return f"{src}-{tgt}-{task}-{row.method}-s{seed}-{digits}"

    def run(self, asked: Asked) -> Path:
        return self.out / "runs" / self.name(asked)

    def write_plan(self) -> None:
        """Write bench.json."""
        write(
            self.out / "bench.json",
            {
                "version": 1,
                "conditions": {
                    "steps": self.steps,
                    "feature_set": self.feature_set,
                    "settings": dict(self.settings),
                    "device": "cpu",
                    "threads": self.threads,
                },
                "corpora": {
                    name: {
                        "name": name,
                        "store": f"/stores/{name}/{self.feature_set}",
                        "fingerprint": fingerprint(name),
                        "language": LANGUAGES[name],
                        "utterances": sum(CLASSES[name][0]),
                        "classes": dict(zip(TASKS, CLASSES[name], strict=True)),
                    }
                    for name in self.corpora
                },
                "rows": {
                    row.text: {"label": row.label, "our_reading": row.our_reading, "supervision": row.supervision}
                    for row in self.rows
                },
                "cells": [list(asked) for asked in self.cells],
                "shared": [list(each) for each in self.shared],
            },
        )

    def finish(self, asked: Asked, *, log: bool = True, predict: bool = True, **changed: Any) -> None:
        """Write what a finished run leaves behind, but for its model; `changed` stands in result.json instead."""
        run = self.run(asked)
        run.mkdir(parents=True, exist_ok=True)
        self.begin(asked)
        write(run / "result.json", {**self.result(asked), **changed})
        if log:
            (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in logged(asked)))
        if predict:
            self.predict(asked)
        (run / "done").touch()

    def begin(self, asked: Asked) -> None:
        """Write a run's config.json."""
        src, tgt, task, text, seed = asked
        row = self.row(text)
        known = {"threshold": "adaptive", "threshold_momentum": 0.99, "padding": "silence", "channels": 64}
        fingerprints, stores = {}, {}
        for name in (src, tgt):
            here = self.store if self.store is not None and self.store.corpus == name else None
            fingerprints[name] = here.fingerprint if here else fingerprint(name)
            stores[name] = str(here.path) if here else f"/stores/{name}/{self.feature_set}"
        write(
            self.run(asked) / "config.json",
            {
                "decisive": {
                    "src": src,
                    "tgt": tgt,
                    "task": task,
                    "method": row.method,
                    "seed": seed,
                    "steps": int(row.settings.get("steps", self.steps)),
                    "select": "last",
                    "train": {"batch_size": 64, "frames": 188, "learning_rate": 0.001},
                    "method_config": {**known, **self.settings, **row.settings},
                    "fingerprints": fingerprints,
                    "device": "cpu",
                    "threads": self.threads,
                },
                "supervision": row.supervision,
                "label": row.label,
                "folds": None,
                "stores": stores,
                "remarks": [],
                "versions": {"emodna": "0.1.0", "torch": "2.0.0", "numpy": "2.0.0"},
            },
        )

    def result(self, asked: Asked) -> dict[str, Any]:
        """What a run writes into result.json."""
        src, tgt, task, text, seed = asked
        row, counts = self.row(text), CLASSES[tgt][TASKS.index(task)]
        drawn = random.Random(repr(asked))
        recalls = [min(max(0.5 + (BETTER.get(text, 4.0) + drawn.gauss(0, 5)) / 100, 0), 1) for _ in counts]
        right = [round(recall * count) for recall, count in zip(recalls, counts, strict=True)]
        high = scores(0, counts[0], 0, counts[1])
        low = scores(counts[0], 0, counts[1], 0)
        constants = {"always_high": high, "always_low": low, "majority": high if counts[1] >= counts[0] else low}
        found = scores(right[0], counts[0] - right[0], counts[1] - right[1], right[1])
        between = {key: None if value is None else [round(value - 3, 3), value + 3] for key, value in found.items()}
        return {
            "src": src,
            "tgt": tgt,
            "task": task,
            "method": row.method,
            "seed": seed,
            "steps": int(row.settings.get("steps", self.steps)),
            "supervision": row.supervision,
            "label": row.label,
            "select": "last",
            "selected_step": int(row.settings.get("steps", self.steps)),
            **found,
            "constant": constants,
            "intervals": {
                "level": 95.0,
                "resamples": 10000,
                "seed": 0,
                **{unit: {"n": sum(counts), **between, "why": None} for unit in ("utterances", "speakers")},
            },
            "wall_seconds": round(drawn.uniform(20, 90), 2),
            "steps_per_second": 20.0,
            "blocked_seconds": 0.01,
            "run": f"/elsewhere/{self.name(asked)}",
        }

    def predict(self, asked: Asked) -> None:
        """Write predictions.parquet, of the target's own utterances where it is there."""
        tgt, drawn = asked[1], random.Random(f"predictions {asked!r}")
        here = self.store is not None and self.store.corpus == tgt
        ids = list(self.store.ids) if self.store is not None and here else [f"{tgt} {place}" for place in range(15)]
        probabilities = [round(drawn.random(), 3) for _ in ids]
        labels = pa.array([int(each >= 0.5) for each in probabilities], pa.int8())
        table = pa.table({"id": ids, "probability": probabilities, "label": labels})
        pq.write_table(table, self.run(asked) / "predictions.parquet", compression=None)

    def fail(self, asked: Asked, error: str, **more: str) -> None:
        """Write why a cell came to nothing."""
        when = {"when": "2026-01-01T00:00:00+00:00"}
        write(self.out / "failures" / f"{self.name(asked)}.json", {"error": error, **when, **more})


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def fingerprint(corpus: str) -> str:
    """That of a corpus's store, in these folders."""
    return hashlib.sha256(f"store of {corpus}".encode()).hexdigest()


def scores(right_low: int, wrong_low: int, wrong_high: int, right_high: int) -> dict[str, float | None]:
    """WAR, F1, UAR and macro-F1 in percent of the confusions of two classes; null without any."""
    low, high, wrong = right_low + wrong_low, right_high + wrong_high, wrong_low + wrong_high
    if not low + high:
        return dict.fromkeys(("war", "f1", "uar", "macro_f1"))
    f1, f1_low = (200 * right / max(2 * right + wrong, 1) for right in (right_high, right_low))
    found = {
        "war": 100 * (right_low + right_high) / (low + high),
        "f1": f1,
        "uar": 50 * (right_low / low + right_high / high),
        "macro_f1": (f1 + f1_low) / 2,
    }
    return {key: round(value, 3) for key, value in found.items()}


def logged(asked: Asked) -> Iterator[dict[str, Any]]:
    """Lines of metrics.jsonl: terms of the loss, their total, then what the method monitors."""
    row, drawn = asked[3], random.Random(f"log {asked!r}")
    ours = row.partition(":")[0] == "emo-dna"
    for step in (10, 20, 30)[: 2 if asked[4] == 1 else 3]:
        terms = {"emotion": round(7 / step + drawn.random() / 10, 3)}
        if ours:
            terms |= {"corpus": round(drawn.random(), 3), "decouple": 1e-19, "mmd": round(drawn.random(), 3)}
        if ours or "add=scl" in row:
            terms["scl"] = round(drawn.random(), 3)
        line: dict[str, Any] = {"step": step, **terms, "total": round(sum(terms.values()), 3)}
        if ours:
            line["threshold"] = None if "oracle" in row else round(0.5 + step / 100 + drawn.random() / 10, 3)
        if ours or "add=scl" in row:
            line["confident"] = round(drawn.random(), 3)
        if ours:
            pairs = ("emotion", "source", "target")
            line |= {f"prototypes_{pair}": round(drawn.uniform(-1, 1), 3) for pair in pairs}
        yield line


def grid(corpora: Sequence[str], asked: Iterable[tuple[str, str, int]]) -> Iterator[Asked]:
    """Cells of all ordered pairs by task, row and seed: the upper bound's from one source per target."""
    for task, row, seed in asked:
        done: set[str] = set()
        for src, tgt in itertools.permutations(corpora, 2):
            place = TASKS.index(task)
            learnt_from = tgt if row == UPPER else src
            if not all(CLASSES[learnt_from][place]) or not all(CLASSES[src][place]) or (row == UPPER and tgt in done):
                continue
            done.add(tgt)
            yield src, tgt, task, row, seed


SOURCE_ONLY = Row("source-only", "source-only")
TARGET_BN = Row("source-only:target_bn=true", "source-only (target_bn=true)")
EMO_DNA = Row("emo-dna", "emo-dna")
CEILING = Row(UPPER, "upper-bound (oracle)", "oracle-folds")
ADDI = Row("addi", "addi (our reading)", our_reading=True)


def paper_folder(out: Path) -> Folder:
    """The six corpora of the paper, nearly all of which is done: something of each of its tables, and no failure."""
    whole = [SOURCE_ONLY, TARGET_BN, Row("dann", "dann"), Row("dann:add=scl", "dann + scl"), EMO_DNA, CEILING]
    part = [
        Row("cdan", "cdan"),
        ADDI,
        Row("v3", "v3"),
        Row("emo-dna:threshold=none", "emo-dna (threshold=none)"),
        Row("emo-dna:steps=1000", "emo-dna (steps=1000)"),  # whose runs are those of emo-dna
    ]
    corpora = [name for name in CLASSES if name != HOSTILE]
    asked = [(task, row.text, seed) for seed in (0, 1) for task in TASKS for row in whole]
    asked[len(whole) : len(whole)] = [("arousal", row.text, 0) for row in part]
    folder = Folder(out, corpora, [*whole, *part], list(grid(corpora, asked)), shared=[("savee", "emodb", 1)])
    folder.write_plan()
    lacking = {("casia", "savee", "arousal", "emo-dna", 1), ("emovo", "emodb", "valence", "dann", 0)}
    for cell in folder.cells:
        if cell not in lacking and cell[3] != "emo-dna:steps=1000":
            folder.finish(cell, log=False, predict=False)
    return folder


def own_folder(out: Path, store: Store | None = None) -> Folder:
    """Three of the paper's corpora and one of one's own that has labels of arousal alone: cells in all states."""
    both = [SOURCE_ONLY, Row("dan", "dan"), Row("dan:add=scl", "dan + scl"), EMO_DNA, CEILING]
    oracle = Row("emo-dna:threshold=oracle-labels", "emo-dna (oracle) (threshold=oracle-labels)", "oracle-labels")
    gone = Row("studio-net:depth=3", "studio-net (our reading) (depth=3)", our_reading=True)  # of no package here
    rows = [*both[:2], ADDI, *both[2:4], oracle, CEILING, gone]
    asked: list[tuple[str, str, int]] = []
    for seed in (0, 1, 2):
        asked += [("arousal", row.text, seed) for row in rows if seed < 2 or row in (SOURCE_ONLY, EMO_DNA)]
        asked += [("valence", row.text, seed) for row in both if seed < 2]
    corpora = [HOSTILE, "emodb", "ravdess", "savee"]
    shared = [(HOSTILE, "savee", 1), ("ravdess", HOSTILE, 3)]
    folder = Folder(out, corpora, rows, list(grid(corpora, asked)), 300, {"frames": "64"}, shared=shared, store=store)
    folder.write_plan()
    changed: dict[Asked, dict[str, Any]] = {
        ("emodb", "savee", "arousal", "dan", 1): {"uar": None},
        ("emodb", "ravdess", "arousal", "addi", 1): {"f1": float("nan")},
        ("savee", "emodb", "arousal", "dan", 0): constant("emodb", "arousal"),
        ("savee", "emodb", "arousal", "dan", 1): constant("emodb", "arousal"),
        ("ravdess", "savee", "valence", "emo-dna", 0): {"wall_seconds": None},
    }
    begun: list[Asked] = [("savee", "emodb", "valence", "dan:add=scl", 1), ("ravdess", "savee", "arousal", "addi", 1)]
    failed: list[Asked] = [
        ("ravdess", "savee", "arousal", "addi", 1),
        ("emodb", HOSTILE, "arousal", "dan", 0),
        ("emodb", HOSTILE, "arousal", "dan", 1),
    ]
    waiting: list[Asked] = [("savee", "ravdess", "arousal", "addi", 0), folder.cells[-1]]
    for cell in folder.cells:
        if cell in begun:
            folder.run(cell).mkdir(parents=True)
            folder.begin(cell)
        elif cell not in (*failed, *waiting):
            there = cell[3] != "dan:add=scl" and not (cell[3] == "emo-dna" and cell[1] == HOSTILE and cell[4] == 1)
            folder.finish(cell, predict=there, **changed.get(cell, {}))
    folder.fail(failed[0], NASTY)
    folder.fail(failed[1], "the loss is not finite", traceback="Traceback ...")
    folder.fail(failed[2], "the loss is not finite")
    damaged = folder.run((HOSTILE, "savee", "arousal", "dan:add=scl", 1)) / "result.json"
    damaged.write_text(damaged.read_text().replace('"macro_f1"', '"macro F1"'))
    (folder.run(("ravdess", "emodb", "arousal", gone.text, 0)) / "result.json").write_text("nonsense")
    with (folder.run(("emodb", "ravdess", "arousal", "emo-dna", 0)) / "metrics.jsonl").open("a") as log:
        log.write('{"step": 40, "emot')  # as a kill leaves it
    return folder


def settings_folder(out: Path) -> Folder:
    """One setting of Emo-DNA at a time, on two pairs, with two threads each."""
    changed = (
        "padding=mask",
        "normalisation=none",
        "threshold_momentum=0.9",
        "threshold_momentum=0.999",
        "mmd_estimator=linear-ring",
        "steps=1000",
    )
    rows = [EMO_DNA, *(Row(f"emo-dna:{each}", f"emo-dna ({each})") for each in changed)]
    corpora = [HOSTILE, "emodb"]
    cells = list(grid(corpora, [("arousal", row.text, seed) for seed in (0, 1) for row in rows]))
    folder = Folder(out, corpora, rows, cells, 300, threads=2)
    folder.write_plan()
    lacking = {("emodb", HOSTILE, "arousal", "emo-dna:normalisation=none", 1)}
    for cell in cells:
        if cell not in lacking:
            folder.finish(cell, log=False)
    return folder


def constant(corpus: str, task: str) -> dict[str, float | None]:
    """Scores of calling everything class 1."""
    low, high = CLASSES[corpus][TASKS.index(task)]
    return scores(0, low, 0, high)


def leave_behind(folder: Folder) -> None:
    """Put in what no cell needs any more, and what looks alike but is somebody's."""
    old = "emodb-ravdess-arousal-dan-s0-00000000"
    for number in range(3):
        write(folder.out / "runs" / f"{old[:-1]}{number}" / "result.json", {"uar": 50.0})
    (folder.out / "runs" / f"{old[:-1]}1" / "notes.txt").write_text("mine")
    (folder.out / "runs" / "mine").mkdir()
    write(folder.out / "failures" / f"{old}.json", {"error": "of old", "when": "2026-01-01T00:00:00+00:00"})
    write(folder.out / "analysis" / f"{old}.json", {})
    write(folder.out / "analysis" / "input-emodb-ravdess-arousal.json", {})
    (folder.out / "failures" / "mine.json").write_text("{}")
    (folder.run(folder.cells[0]) / "result.json.77.tmp").write_text("{")
    (folder.out / "bench.json.78.tmp").write_text("{")
