"""Pairs of corpora of one language against pairs of two."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.comparing.comparison import SOURCE_ONLY
from emodna.model.bench.comparing.significance import LEAST, mean_interval
from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import (
    LEAST_POINTS,
    chosen_scores,
    facts_of,
    left_out_note,
    matched_rows,
    omitted_note,
    pair_name,
    rows_with_scores,
)
from emodna.model.bench.pictures import Dots, Panel, Picture
from emodna.model.bench.spec import Experiment
from emodna.model.evaluation.intervals import Resampling

#: Name -> how its pairs are spoken of.
_GROUPS: Final[Mapping[str, str]] = {"same language": "of one language", "different languages": "of two languages"}


def picture(bench: Experiment, choice: Choice) -> Picture:
    """UAR of each method in both groups, and its gain over Source Only."""
    scores = chosen_scores(bench, choice)
    rows = rows_with_scores(bench, choice, scores)
    floor = bool(scores.get(SOURCE_ONLY))
    found = matched_rows(scores, [*rows, *([SOURCE_ONLY] if floor else [])])
    languages = {name: corpus.language for name, corpus in bench.corpora.items()}
    spoken = [(languages[src], languages[tgt]) for _, src, tgt in found.scenarios]
    known = np.array([None not in pair for pair in spoken])
    same = np.array([src == tgt for src, tgt in spoken])
    unknown = sorted({name for _, *pair in found.scenarios for name in pair if languages[name] is None})
    if not known.any():
        raise NothingToShow(f"no pair of corpora of known languages; {_hint(unknown)}")
    members = dict(zip(_GROUPS, (np.flatnonzero(known & same), np.flatnonzero(known & ~same)), strict=True))
    counts = [f"{n} pair{'s' * (n > 1)} {_GROUPS[name]}" for name, places in members.items() if (n := len(places))]
    absent = [f" There is no pair {_GROUPS[name]}." for name, places in members.items() if not len(places)]

    def panel(title: str, table: NDArray[np.float64], places: Sequence[int], reference: tuple[str, float]) -> Panel:
        labels = [bench.methods[found.rows[place]].label for place in places]
        marks = [
            _dots(name, labels, table[members[name]][:, list(places)], colour)
            for colour, name in enumerate(_GROUPS)
            if len(members[name])
        ]
        return Panel(title, marks, x_label=title, references=[reference], least_width=LEAST_POINTS)

    shown = [found.rows.index(row) for row in rows]
    panels = [panel("UAR (%)", found.scores, shown, ("chance", 50.0))]
    adapting = [place for place in shown if found.rows[place] != SOURCE_ONLY]
    if floor and adapting:
        base = found.scores[:, [found.rows.index(SOURCE_ONLY)]]
        panels.append(panel("gain over source-only (points)", found.scores - base, adapting, ("source-only", 0.0)))
    note = (
        f"Means over {' and '.join(counts)}, each the mean over its seeds; bars: 95 % intervals of the bootstrap over "
        f"the pairs, where a group has {LEAST} or more; of few pairs they are too narrow. Pairs that share a "
        f"corpus are not independent.{''.join(absent)}"
        f"{left_out_note(found)}{omitted_note(bench, choice, rows, rows)}"
        f"{f' Without the pairs of corpora whose language is not known: {_hint(unknown)}.' if unknown else ''}"
    )
    groups = {name: [pair_name(found.scenarios[place][1:]) for place in places] for name, places in members.items()}
    return Picture(
        "languages",
        f"Same language against different languages, {choice.task}",
        panels,
        note,
        {"task": choice.task, "groups": groups, "languages": languages, **facts_of(found)},
    )


def _hint(unknown: Sequence[str]) -> str:
    """What makes languages known."""
    return f"{', '.join(unknown)} (a manifest names them in its column language)"


def _dots(name: str, labels: Sequence[str], table: NDArray[np.float64], colour: int) -> Dots:
    """Mean of each method over a group's scores (pairs, methods)."""
    intervals = [mean_interval(column, Resampling()) or (None, None) for column in table.T]
    low, high = zip(*intervals, strict=True)
    return Dots(name, labels, table.mean(axis=0).tolist(), low, high, colour)
