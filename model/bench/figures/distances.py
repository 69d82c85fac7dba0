"""Proxy A-distance and MMD between source and target, before adaptation (Source Only) and after, by method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Final, Literal

from emodna.model.bench.comparing.comparison import SOURCE_ONLY
from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import done_cells, listed, nothing, pair_name
from emodna.model.bench.pictures import Dots, Panel, Picture
from emodna.model.bench.results import read_outcome
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.bench.wording import few
from emodna.model.errors import TrainingError

if TYPE_CHECKING:
    from emodna.model.bench.analysis.distances import Distance, Distances

_NAME: Final = "distances"
_Key = Literal["pad", "mmd"]
_BEFORE: Final = SOURCE_ONLY
#: Least width of each one's axis, in its unit.
_LEAST: Final[Mapping[_Key, float]] = {"pad": 0.2, "mmd": 0.1}
_NOTE: Final = (
    "Before: Source Only of the same pairs and seeds, from the "
    "same first weights where a method has its encoder. Within classes: each class of the source against the same of "
    "the target, by the target's true labels, which no method sees. Proxy A-distance: 0 where a linear classifier "
    "cannot tell the corpora apart, 2 where it never errs. Squared MK-MMD of standardised features, unbiased: about 0 "
    "for like samples."
)


def picture(bench: Experiment, choice: Choice) -> Picture:
    """The figure: of one pair, or over all that are finished; of the first seed unless another is chosen.

    Raises
    ------
    NothingToShow
        No finished cell of the choice, or none whose method has features.
    BenchError
        A store has changed since the benchmark was planned.
    """
    seed = min((cell.seed for cell in bench.runs), default=0) if choice.seed is None else choice.seed
    asked = replace(choice, seed=seed)
    found = {cell: each for cell in done_cells(bench, asked) if (each := _found(bench, cell)) is not None}
    if not found:
        raise nothing(asked, "of a method with features" if choice.rows is None else f"of {listed(choice.rows)}")
    rows = [row for row in choice.rows or bench.methods if any(cell.method == row for cell in found)]
    have = {row: {(cell.src, cell.tgt) for cell in found if cell.method == row} for row in rows}
    there = list(dict.fromkeys((cell.src, cell.tgt) for cell in found))
    pairs = [pair for pair in there if all(pair in own for own in have.values())]
    if not pairs:
        raise NothingToShow(f"no pair of corpora is finished by all of {listed(rows)}")
    left = [pair_name(pair) for pair in there if pair not in pairs]
    found = {cell: each for cell, each in found.items() if (cell.src, cell.tgt) in pairs}
    before = {cell: _found(bench, partner) for cell in found if (partner := _partner(bench, cell)) is not None}
    inputs = _inputs(bench, choice, pairs)
    names = [bench.methods[row].label for row in rows]
    panels = []
    measures: Sequence[tuple[str, _Key]] = (("proxy A-distance", "pad"), ("squared MK-MMD", "mmd"))
    for title, key in measures:
        for where, within in (("", False), (", within classes", True)):
            value = _reader(key, within=within)
            groups = [[cell for cell in found if cell.method == row] for row in rows]
            series = [
                _dots("before: Source Only", names, [[value(before.get(cell)) for cell in each] for each in groups], 0),
                _dots(
                    "after: the method",
                    names,
                    [[value(found[cell]) for cell in each if cell.method != _BEFORE] for each in groups],
                    1,
                ),
            ]
            outside = [each for each in map(value, inputs) if each is not None]
            references = [("the input itself (mean per utterance)", fmean(outside))] if outside else []
            panels.append(
                Panel(f"{title}{where}", series, x_label=title, references=references, least_width=_LEAST[key])
            )
    among = pair_name(pairs[0]) if len(pairs) == 1 else f"{len(pairs)} pairs"
    return Picture(
        _NAME,
        f"Distance of source and target features, {among}, {choice.task}, seed {seed}",
        panels,
        note=("Means over the pairs, lines from the least to the largest. " if len(pairs) > 1 else "")
        + _NOTE
        + (f" Only pairs that all methods have are compared; left out: {few(left)}." if left else ""),
        facts={
            "task": choice.task,
            "seed": seed,
            "pairs": [list(pair) for pair in pairs],
            "left_out": left,
            "cells": {bench.run_name(cell): distances for cell, distances in found.items()},
            "before": {bench.run_name(cell): distances for cell, distances in before.items()},
            "inputs": {f"{src}-{tgt}": each for (src, tgt), each in zip(pairs, inputs, strict=True)},
        },
    )


def _partner(bench: Experiment, cell: RunSpec) -> RunSpec | None:
    """The finished cell of Source Only beside a row's; beside its own it is itself."""
    partner = RunSpec(cell.src, cell.tgt, cell.task, _BEFORE, cell.seed)
    there = partner in bench.runs and read_outcome(bench, partner).state == "done"
    return partner if there else None


def _found(bench: Experiment, cell: RunSpec) -> "Distances | None":
    from emodna.model.bench.analysis.distances import distances_of

    try:
        return distances_of(bench, cell)
    except TrainingError:  # it diverged
        return None


def _inputs(bench: Experiment, choice: Choice, pairs: Sequence[tuple[str, str]]) -> "list[Distances]":
    from emodna.model.bench.analysis.distances import distances_of_input

    return [distances_of_input(bench, src, tgt, choice.task) for src, tgt in pairs]


def _reader(key: _Key, *, within: bool) -> "Callable[[Distances | None], float | None]":
    """One number of some distances: of the corpora, or the mean of that of their classes."""

    def read(found: "Distances | None") -> float | None:
        if found is None:
            return None
        asked: Sequence[Distance] = found["classes"] if within else [found["all"]]
        values: list[float] = [value for each in asked if (value := each[key]) is not None]
        return fmean(values) if len(values) == len(asked) else None

    return read


def _dots(name: str, rows: Sequence[str], groups: Sequence[Sequence[float | None]], colour: int) -> Dots:
    known = [[value for value in group if value is not None] for group in groups]
    return Dots(
        name,
        rows,
        [fmean(each) if each else None for each in known],
        low=[min(each) if len(each) > 1 else None for each in known],
        high=[max(each) if len(each) > 1 else None for each in known],
        colour=colour,
    )
