"""What the figures of emotion features have in common: a panel for each row, all of the same pair and seed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import done_cells, listed, nothing, pair_name
from emodna.model.bench.pictures import Panel, Picture, Points
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.bench.wording import NAMED
from emodna.model.errors import TrainingError
from emodna.pipeline.emotions import CLASS_NAMES

if TYPE_CHECKING:  # they need torch
    from emodna.model.bench.analysis.reduction import Place

#: The pair of the paper's figures.
_PAPER: Final = ("casia", "emodb")
_SOURCE, _TARGET = 0, 1


def feature_panels(
    name: str, title: str, bench: Experiment, choice: Choice, usual: Mapping[MethodSpec, str]
) -> Picture:
    """UMAP of the emotion features of some rows, corpora by marker and classes by colour.

    Unless the choice says more, the pair is the paper's, CASIA -> EMODB, if any of the rows is finished there; else the
    first of those where most are.

    Parameters
    ----------
    usual
        The rows, with the titles of their panels, unless others are chosen.

    Raises
    ------
    NothingToShow
        None of the rows is finished, or none has such features.
    BenchError
        UMAP is not installed, or a store has changed.
    """
    from emodna.model.bench.analysis import reduction
    from emodna.model.bench.analysis.features import DRAWN

    wanted = (
        usual if choice.rows is None else {row: bench.methods[row].label for row in choice.rows if row in bench.methods}
    )
    there = _cells(bench, choice, wanted)
    first = next(iter(there.values()))
    if choice.rows is None and len(there) == 1:
        raise NothingToShow(_alone(bench, first, wanted))
    panels, missing = [], {str(row): "not finished" for row in choice.rows or usual if row not in there}
    for row, cell in there.items():
        try:
            places = reduction.places_of(bench, cell)
        except TrainingError as error:
            missing[str(row)] = str(error)
            continue
        if places is None:
            missing[str(row)] = "has no features of both corpora in one space"
            continue
        panels.append(Panel(wanted[row], [_points(cell, place) for place in places], bare=True))
    if not panels:
        raise NothingToShow(f"none of the finished cells has what is shown: {_listed(missing)}")
    return Picture(
        name,
        f"{title}, {pair_name((first.src, first.tgt))}, {first.task}, seed {first.seed}",
        panels,
        note=_note(missing),
        facts={
            **_facts(first),
            "cells": {str(row): bench.run_name(cell) for row, cell in there.items()},
            "umap": dict(reduction.SETTINGS),
            "sample": dict(DRAWN),
            "missing": missing,
        },
    )


def _cells(bench: Experiment, choice: Choice, wanted: Mapping[MethodSpec, str]) -> dict[MethodSpec, RunSpec]:
    """The finished cells of one pair and seed, in the order of the rows."""
    found: dict[tuple[str, str, int], dict[MethodSpec, RunSpec]] = {}
    for cell in done_cells(bench, replace(choice, rows=tuple(wanted))):
        found.setdefault((cell.src, cell.tgt, cell.seed), {})[cell.method] = cell
    if not found:
        raise nothing(choice, f"of {listed(wanted or choice.rows or ())}")
    best = min(found, key=lambda key: (key[:2] != _PAPER, -len(found[key])))  # the first of equals
    return {row: found[best][row] for row in wanted if row in found[best]}


def _alone(bench: Experiment, only: RunSpec, wanted: Mapping[MethodSpec, str]) -> str:
    """Why one row is no comparison, and what there is to compare it with."""
    here = Choice(task=only.task, src=only.src, tgt=only.tgt, seed=only.seed)
    there = list(dict.fromkeys(cell.method for cell in done_cells(bench, here)))
    asked = " ".join(f"--methods {row}" for row in there[:NAMED])
    return f"only {only.method} is finished of {listed(wanted)}, and alone it shows little; what is there: {asked}"


def _points(cell: RunSpec, place: "Place") -> Points:
    source = place.corpus == cell.src
    label = CLASS_NAMES[cell.task][place.label] if place.label >= 0 else "unlabelled"
    return Points(
        f"{place.corpus} ({'source' if source else 'target'}), {label}",
        place.x,
        place.y,
        texts=place.ids,
        colour=place.label if place.label >= 0 else 2,
        marker=_SOURCE if source else _TARGET,
    )


def _facts(cell: RunSpec) -> dict[str, Any]:
    return {"src": cell.src, "tgt": cell.tgt, "task": cell.task, "seed": cell.seed}


def _note(missing: Mapping[str, str]) -> str:
    from emodna.model.bench.analysis.features import LIMIT
    from emodna.model.bench.analysis.reduction import SETTINGS

    note = (
        f"UMAP ({SETTINGS['metric']}, {SETTINGS['n_neighbors']} neighbours, min_dist {SETTINGS['min_dist']}, seed "
        f"{SETTINGS['random_state']}) of each model's emotion features in evaluation mode, fitted on both corpora "
        f"together; at most {LIMIT} utterances of each. Distances between clusters mean little."
    )
    return f"{note} Left out: {_listed(missing)}." if missing else note


def _listed(missing: Mapping[str, str]) -> str:
    return "; ".join(f"{row} ({why})" for row, why in missing.items())
