"""Heat maps of the pairs of corpora: UAR, and what is gained over Source Only."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from emodna.model.bench.comparing.comparison import SOURCE_ONLY
from emodna.model.bench.figures import Choice
from emodna.model.bench.figures.choosing import at_most, chosen_scores, omitted_note, pair_name, rows_with_scores
from emodna.model.bench.pictures import Matrix, Panel, Picture
from emodna.model.bench.scores import Pair, Scenario, Scores
from emodna.model.bench.spec import Experiment, MethodSpec

_CHANCE: Final = 50.0
#: In points, from the middle of the colours to their ends: less would paint what is noise.
_REACH: Final = 5.0
Cells = Mapping[Pair, float]


def picture(bench: Experiment, choice: Choice) -> Picture:
    """UAR of each source on each target, a panel per row, and the same less Source Only's."""
    scores = chosen_scores(bench, choice)
    there = rows_with_scores(bench, choice, scores)
    rows = at_most(there, choice)
    floor = scores.get(SOURCE_ONLY, {})
    uars = {row: {key[1:]: fmean(_uars(seeds).values()) for key, seeds in scores[row].items()} for row in rows}
    gains = {row: _gains(scores[row], floor) for row in rows if row != SOURCE_ONLY}
    gains = {row: found for row, found in gains.items() if found}
    sources = [name for name in bench.corpora if choice.src in (None, name)]
    targets = [name for name in bench.corpora if choice.tgt in (None, name)]

    def panels(found: Mapping[MethodSpec, Cells], title: str, middle: float) -> list[Panel]:
        reach = max([_REACH, *(abs(value - middle) for cells in found.values() for value in cells.values())])
        return [
            Panel(
                f"{bench.methods[row].label}: {title}",
                [_matrix(cells, sources, targets, middle, reach)],
                x_label="target",
                y_label="source",
            )
            for row, cells in found.items()
        ]

    asked = [(src, tgt) for src in sources for tgt in targets if src != tgt]
    missing = {str(row): [pair_name(pair) for pair in asked if pair not in found] for row, found in uars.items()}
    missing = {row: pairs for row, pairs in missing.items() if pairs}
    seeds = {str(row): {pair_name(key[1:]): sorted(scores[row][key]) for key in scores[row]} for row in rows}
    lacking = "".join(f" {row} lacks {len(pairs)} of {len(asked)} pairs." for row, pairs in missing.items())
    without = "" if gains or rows == [SOURCE_ONLY] else " No gain is shown: source-only has no finished cell of these."
    note = (
        "Percent, mean over the seeds; the middle of the scale is chance (50) for UAR and 0 for the gain over "
        f"source-only, which is taken over the seeds that both have.{lacking}{without}"
        f"{omitted_note(bench, choice, there, rows)}"
    )
    return Picture(
        "pairs",
        f"Pairs of corpora, {choice.task}",
        [*panels(uars, "UAR", _CHANCE), *panels(gains, "gain over source-only", 0.0)],
        note,
        {"task": choice.task, "seeds": seeds, "missing": missing},
    )


def _matrix(cells: Cells, sources: Sequence[str], targets: Sequence[str], middle: float, reach: float) -> Matrix:
    values = [[cells.get((src, tgt)) for tgt in targets] for src in sources]
    return Matrix(sources, targets, values, middle - reach, middle + reach, diverging=True)


def _gains(
    mine: Mapping[Scenario, Mapping[int, Scores]], floor: Mapping[Scenario, Mapping[int, Scores]]
) -> dict[Pair, float]:
    """UAR less that of Source Only with the same seeds."""
    found = {}
    for key in mine:
        own, other = _uars(mine[key]), _uars(floor.get(key, {}))
        if common := own.keys() & other.keys():
            found[key[1:]] = fmean(own[seed] - other[seed] for seed in sorted(common))
    return found


def _uars(by_seed: Mapping[int, Scores]) -> dict[int, float]:
    return {seed: scores["uar"] for seed, scores in by_seed.items()}
