"""What the benchmark consists of, how far it is, and each of its cells."""

import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from emodna.cli.bench.report.page import Section
from emodna.cli.bench.report.sheets import MISSING, Column, Item, Sheet, number, text
from emodna.model.bench.results import Outcome
from emodna.model.bench.spec import Experiment
from emodna.model.bench.wording import shared_notes
from emodna.model.errors import RunError
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import read_json
from emodna.pipeline.emotions import CLASS_NAMES, Task

#: Rows that are read without a filter.
_FEW: Final = 12
_LOOKS: Final[Mapping[str, str]] = {"done": "", "failed": "bad"}


def overview(bench: Experiment, found: Sequence[Outcome], tasks: Sequence[Task]) -> Section:
    """What this is: corpora, rows, conditions, states."""
    pairs = {(outcome.run.src, outcome.run.tgt) for outcome in found}
    states = Counter(outcome.state for outcome in found)
    facts = {
        "tasks": ", ".join(tasks),
        "ordered pairs": str(len(pairs)),
        "seeds": ", ".join(map(str, sorted({outcome.run.seed for outcome in found}))),
        "training steps": str(bench.conditions.steps),
        "settings for all": ", ".join(f"{key}={value}" for key, value in bench.conditions.settings.items())
        or "the defaults",
        "feature set": bench.conditions.feature_set,
        "device": bench.conditions.device,
        "cells": ", ".join(f"{count} {state}" for state, count in states.most_common()) or "none",
        "training time of all cells": _duration(sum(_seconds(outcome) for outcome in found)),
        "versions": _versions(bench, found),
    }
    return Section(
        "about",
        "What this is",
        [
            "Each cell is one run: trained on all labelled utterances of a source corpus and all utterances of a "
            "target corpus without their labels, and scored on the target. All scores are in percent. UAR is the mean "
            "recall of the two classes, 50 for every constant answer; WAR is accuracy; F1 is that of the class high "
            "or positive; macro-F1 is the mean over both classes. WAR and F1 of a constant answer can be high, so the "
            "best constant stands beside them."
        ],
        list(facts.items()),
        [_corpora(bench, tasks), _rows(bench, found)],
        notes=[
            f"{note}." for note in shared_notes({pair: count for pair, count in bench.shared.items() if pair in pairs})
        ],
    )


def cells(bench: Experiment, found: Sequence[Outcome]) -> Section:
    """All cells, and those that are missing or failed with the reason."""
    columns = [
        Column("source", filtered=True),
        Column("target", filtered=True),
        Column("task", filtered=True),
        Column("method", filtered=True),
        Column("seed", numeric=True, filtered=True),
        Column("state", filtered=True),
        *(Column(name, numeric=True) for name in SCORE_NAMES.values()),
        Column("best constant WAR", numeric=True),
        Column("best constant F1", numeric=True),
        Column("seconds", numeric=True),
    ]
    rows = [_cell(bench, outcome) for outcome in found]
    sheets = [Sheet("all-cells", "All cells", columns, rows, tall=True)]
    undone = [outcome for outcome in found if outcome.state != "done"]
    if undone:
        sheets.insert(0, _undone(bench, undone))
    return Section("cells", "All cells", sheets=sheets)


def _undone(bench: Experiment, found: Sequence[Outcome]) -> Sheet:
    rows = [
        [
            text(outcome.run.src),
            text(outcome.run.tgt),
            text(outcome.run.task),
            text(bench.methods[outcome.run.method].label),
            number(outcome.run.seed, 0),
            text(outcome.state, _LOOKS.get(outcome.state, "muted")),
            text(outcome.error or MISSING, "prose"),
        ]
        for outcome in found
    ]
    columns = [
        *(Column(name, filtered=True) for name in ("source", "target", "task", "method")),
        Column("seed", numeric=True),
        Column("state", filtered=True),
        Column("error"),
    ]
    return Sheet("undone", "Missing and failed cells", columns, rows, tall=len(rows) > _FEW)


def _cell(bench: Experiment, outcome: Outcome) -> list[Item]:
    cell, result = outcome.run, outcome.result or {}
    named = bench.methods[cell.method]
    return [
        text(cell.src),
        text(cell.tgt),
        text(cell.task),
        text(named.label),
        number(cell.seed, 0),
        text(outcome.state, _LOOKS.get(outcome.state, "muted")),
        *(number(result.get(metric)) for metric in SCORE_NAMES),
        *(number(_best_constant(result, metric)) for metric in ("war", "f1")),
        number(result.get("wall_seconds")),
    ]


def _best_constant(result: Mapping[str, Any], metric: str) -> float | None:
    constants = result.get("constant")
    values = [each.get(metric) for each in constants.values()] if isinstance(constants, dict) else []
    return max((value for value in values if isinstance(value, int | float)), default=None)


def _corpora(bench: Experiment, tasks: Sequence[Task]) -> Sheet:
    columns = [Column("corpus"), Column("languages"), Column("utterances", numeric=True)]
    for task in tasks:
        columns += [Column(f"{task} {name}", numeric=True) for name in CLASS_NAMES[task]]
        columns.append(Column(f"{task} % {CLASS_NAMES[task][1]}", numeric=True))
    rows = []
    for corpus in bench.corpora.values():
        row = [text(corpus.name), text(corpus.language or "unknown"), number(corpus.utterances, 0)]
        for task in tasks:
            low, high = corpus.classes[task]
            row += [number(low, 0), number(high, 0), number(100 * high / (low + high) if low + high else None)]
        rows.append(row)
    return Sheet("corpora", "Corpora", columns, rows)


def _rows(bench: Experiment, found: Sequence[Outcome]) -> Sheet:
    columns = [
        Column("method"),
        Column("as --methods spells it"),
        Column("uses target labels"),
        Column("our reading"),
        Column("cells done", numeric=True),
        Column("cells", numeric=True),
        Column("seconds per cell", numeric=True),
    ]
    rows = []
    for row, named in bench.methods.items():
        own = [outcome for outcome in found if outcome.run.method == row]
        done = [outcome for outcome in own if outcome.state == "done"]
        mean = sum(map(_seconds, done)) / len(done) if done else None
        rows.append(
            [
                text(named.label),
                text(row),
                text("yes" if named.oracle else "no", "bad" if named.oracle else ""),
                text("yes" if named.our_reading else "no"),
                number(len(done), 0),
                number(len(own), 0),
                number(mean),
            ]
        )
    return Sheet("methods", "Methods", columns, rows)


def _seconds(outcome: Outcome) -> float:
    found = (outcome.result or {}).get("wall_seconds")
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else 0.0


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def _versions(bench: Experiment, found: Sequence[Outcome]) -> str:
    """All that cells were made with: more than one of a package is worth knowing."""
    seen: set[str] = set()
    for outcome in found:
        if outcome.state == "done":
            try:
                versions = read_json(bench.run_folder(outcome.run).config).get("versions", {})
            except RunError:
                continue
            seen |= {f"{package} {version}" for package, version in versions.items()}
    return ", ".join([*sorted(seen), f"page made with Python {platform.python_version()}"])
