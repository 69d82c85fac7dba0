"""One setting at a time: how far UAR moves from that of the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Final

from emodna.model.bench.comparing.comparison import EMO_DNA, Matched
from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import (
    LEAST_POINTS,
    chosen_scores,
    done_cells,
    facts_of,
    left_out_note,
    matched_rows,
    nothing,
)
from emodna.model.bench.pictures import Dots, Line, Panel, Picture
from emodna.model.bench.scores import ScenarioScores
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import RunError
from emodna.model.runs.listing import flat, open_run

#: Numeric values besides the default from which on a curve is drawn.
_CURVE: Final = 2

Spread = tuple[float, float | None, float | None]
"""Mean over pairs and seeds; the lowest and the highest seed's mean over the pairs, where there are several seeds."""


def picture(bench: Experiment, choice: Choice) -> Picture:
    """UAR of each changed setting beside the defaults', and curves over the numeric ones."""
    base = choice.rows[0] if choice.rows else EMO_DNA
    if base.settings:
        raise NothingToShow(f"sensitivity of {base}: a method without settings is what others are compared with")
    scores = chosen_scores(bench, choice)
    if not scores.get(base):
        raise nothing(choice, f"of {base}, with whose defaults settings are compared")
    changed = [row for row in bench.methods if row.name == base.name and len(row.settings) == 1 and scores.get(row)]
    if not changed:
        raise nothing(choice, f"of {base} with one setting changed, such as {base}:padding=mask")
    found = matched_rows(scores, [base, *changed])
    spreads = _spreads(scores, found)
    labels = {row: "=".join(row.settings[0]) for row in changed}
    values, low, high = zip(*(spreads[row] for row in [base, *changed]), strict=True)
    every = Dots("UAR", ["defaults", *labels.values()], values, low, high)
    reference = [("defaults", spreads[base][0])]
    panels = [Panel("one setting changed", [every], x_label="UAR (%)", references=reference, least_width=LEAST_POINTS)]
    panels += _curves(changed, spreads, base, _defaults(bench, choice, base))
    n = len(found.scenarios)
    bars = any(low is not None for _, low, _ in spreads.values())
    ends = "; bars: the lowest and the highest seed's mean over the pairs" if bars else ""
    seeds = set().union(*found.seeds.values())
    over = f"{n} pair{'s' * (n > 1)}{' and the seeds' * (len(seeds) > 1)}"
    note = f"{bench.methods[base].label}, mean over {over}{ends}.{left_out_note(found)}"
    return Picture(
        "sensitivity", f"Settings of {base}, {choice.task}", panels, note, {"task": choice.task, **facts_of(found)}
    )


def _spreads(scores: ScenarioScores, found: Matched) -> dict[MethodSpec, Spread]:
    seeds = set(found.seeds.values())
    alike = next(iter(seeds)) if len(seeds) == 1 else ()  # seeds can be told apart over the same pairs alone
    spreads: dict[MethodSpec, Spread] = {}
    for place, row in enumerate(found.rows):
        means = [fmean(scores[row][key][seed]["uar"] for key in found.scenarios) for seed in alike]
        ends = (min(means), max(means)) if len(means) > 1 else (None, None)
        spreads[row] = (float(found.scores[:, place].mean()), *ends)
    return spreads


def _curves(
    changed: Sequence[MethodSpec], spreads: Mapping[MethodSpec, Spread], base: MethodSpec, defaults: Mapping[str, float]
) -> list[Panel]:
    """A panel for each setting that is there with enough numeric values."""
    by_key: dict[str, dict[float, Spread]] = {}
    for row in changed:
        key, text = row.settings[0]
        if (value := _number(text)) is not None:
            by_key.setdefault(key, {})[value] = spreads[row]
    panels = []
    for key, points in by_key.items():
        if len(points) >= _CURVE:
            known = {**({defaults[key]: spreads[base]} if key in defaults else {}), **points}
            x = sorted(known)
            y, low, high = zip(*(known[value] for value in x), strict=True)
            band = None not in low
            line = Line("UAR by value", x, y, low if band else None, high if band else None)
            references = [("defaults", spreads[base][0])]
            panels.append(
                Panel(key, [line], x_label=key, y_label="UAR (%)", references=references, least_width=LEAST_POINTS)
            )
    return panels


def _defaults(bench: Experiment, choice: Choice, base: MethodSpec) -> dict[str, float]:
    """Numeric settings of the base, as one of its runs has them."""
    for cell in done_cells(bench, replace(choice, rows=(base,))):
        try:
            decisive = open_run(bench.run_folder(cell).path).decisive
        except RunError:
            continue
        names = {key.rpartition(".")[2]: value for key, value in flat(decisive).items()}
        return {key: float(value) for key, value in names.items() if type(value) in (int, float)}
    return {}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
