"""Lines of a table: a benchmark's means, beside the paper's numbers and the constants. It needs no torch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from statistics import fmean

from emodna.model.bench import paper
from emodna.model.bench.paper import Place
from emodna.model.bench.presets import Entry
from emodna.model.bench.results import Outcome, read_outcomes
from emodna.model.bench.scores import Mean, Pair, ScenarioScores, Scores, averaged, mean_over, scenario_scores, spread
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.bench.tables.columns import Column
from emodna.model.bench.tables.constants import CONSTANTS, constant_labels, constant_scores
from emodna.model.bench.tables.data import DIFFERENCE, SAME, Figure, Kind, Line, Spot
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import Task


@dataclass(frozen=True, slots=True)
class Work:
    """A benchmark's scores, and the constants on its pairs."""

    bench: Experiment
    tasks: tuple[Task, ...]
    outcomes: list[Outcome]
    scores: ScenarioScores
    means: dict[tuple[MethodSpec, Task, Column], Mean | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bench: Experiment,
        tasks: Sequence[Task],
        rows: Sequence[MethodSpec],
        more: Callable[[RunSpec], Scores] = lambda _cell: {},
    ) -> "Work":
        """What some tasks and rows of a benchmark have come to; `more` as in `scenario_scores`."""
        found = read_outcomes(bench, [cell for cell in bench.runs if cell.task in tasks and cell.method in rows])
        return cls(bench, tuple(tasks), found, scenario_scores(bench, found, more))

    def mean(self, row: MethodSpec, task: Task, column: Column) -> Mean | None:
        """Mean of a row in a column."""
        key = (row, task, column)
        if key not in self.means:
            of_row = self.scores.get(row, {})
            found = {pair: of_row[task, *pair] for pair in column.pairs if (task, *pair) in of_row}
            self.means[key] = mean_over(found, column.pairs)
        return self.means[key]

    def constants(self, task: Task, pairs: Sequence[Pair]) -> Mapping[str, Scores]:
        """Means of the constants over pairs whose targets have labels; none without such a pair."""
        known = {}
        for pair in pairs:
            found = constant_scores(self.bench.corpora[pair[1]].classes[task])
            if found is not None:
                known[pair] = found
        if not known:
            return {}
        return {name: averaged({pair: each[name] for pair, each in known.items()}) for name in CONSTANTS}


def line_of(
    work: Work,
    kind: Kind,
    row: MethodSpec,
    spots: Sequence[tuple[Task, Column]],
    cited_as: str | None = None,
    scores: Collection[str] = SCORE_NAMES,
) -> Line:
    """A row of ours, without the paper's numbers."""
    figures = {}
    for task, column in spots:
        mean = work.mean(row, task, column)
        for score in scores:
            known = mean is not None and all(score in each for each in mean.by_seed.values())
            figures[task, column, score] = _figure(work, task, column, mean, score) if mean and known else Figure()
    named = work.bench.methods.get(row)
    return Line(kind, str(row), named.label if named else str(row), cited_as, named, figures)


def _figure(work: Work, task: Task, column: Column, mean: Mean, score: str) -> Figure:
    constants = work.constants(task, mean.pairs)
    return Figure(
        mean=mean.mean(score),
        std=mean.std(score),
        seeds=tuple(mean.by_seed),
        pairs=mean.pairs,
        complete=len(mean.pairs) == len(column.pairs),
        constant=max((each[score] for each in constants.values() if score in each), default=None),
    )


def entry_line(work: Work, name: str, entry: Entry, spots: Sequence[tuple[Task, Column]]) -> Line:
    """A row of the paper: ours with the paper's numbers."""
    line = line_of(work, "entry", entry.method, spots, entry.paper)
    figures = dict(line.figures)
    for task, column, score in line.figures:
        cited = paper.cited().get(Place(name, task, entry.paper, column.name, score)) if column.cited else None
        gain = cited_gain = None
        if entry.base is not None:
            gain = _gain(work, entry.method, entry.base, task, column, score)
            before = paper.in_tables_2_and_3(task, entry.base.name, score)
            cited_gain = cited.mean - before.mean if cited and before else None
        figures[task, column, score] = replace(
            line.figures[task, column, score],
            cited=cited,
            gain=None if gain is None else gain[0],
            cited_gain=cited_gain,
        )
    return replace(line, figures=figures)


def _gain(
    work: Work, row: MethodSpec, base: MethodSpec, task: Task, column: Column, score: str
) -> tuple[float, float | None, tuple[int, ...]] | None:
    """How far a row is above another on the same pairs and seeds: mean, deviation over the seeds, and those."""
    with_it, without = work.mean(row, task, column), work.mean(base, task, column)
    if with_it is None or without is None or with_it.pairs != without.pairs:
        return None
    seeds = tuple(seed for seed in with_it.by_seed if seed in without.by_seed)
    gains = [with_it.by_seed[seed][score] - without.by_seed[seed][score] for seed in seeds]
    return (fmean(gains), spread(gains), seeds) if gains else None


def differences(
    work: Work, row: MethodSpec, first: MethodSpec, spots: Sequence[tuple[Task, Column]]
) -> dict[Spot, Figure]:
    """UAR of a row less that of the first one."""
    found = {}
    for task, column in spots:
        gain = None if row == first else _gain(work, row, first, task, column, "uar")
        mean = work.mean(row, task, column)
        found[task, column, DIFFERENCE] = (
            Figure(gain[0], gain[1], gain[2], mean.pairs, len(mean.pairs) == len(column.pairs))
            if gain and mean
            else Figure()
        )
    return found


def with_best(lines: Sequence[Line]) -> list[Line]:
    """Lines with the best figure of each column marked, if a constant is not as good; and the best of the paper's."""
    figures = [dict(line.figures) for line in lines]
    for spot in lines[0].figures if lines else ():
        if spot[2] not in SCORE_NAMES:
            continue
        entries = [each for line, each in zip(lines, figures, strict=True) if line.kind == "entry"]
        ours = [mean for each in entries if (mean := each[spot].mean) is not None]
        alike = len({each[spot].pairs for each in entries if each[spot].mean is not None}) == 1
        top = max(ours) - SAME if alike and len(ours) > 1 else inf
        cited_top = max((cited.mean for each in entries if (cited := each[spot].cited)), default=inf)
        for each in entries:
            figure = each[spot]
            best = figure.mean is not None and figure.mean >= top and figure.mark is None
            cited_best = figure.cited is not None and figure.cited.mean >= cited_top
            each[spot] = replace(figure, best=best, cited_best=cited_best)
    return [replace(line, figures=each) for line, each in zip(lines, figures, strict=True)]


def constant_lines(work: Work, spots: Sequence[tuple[Task, Column]]) -> list[Line]:
    """The constants on all pairs of a column that the benchmark has cells for in the task.

    The upper bound is run from one source per target: its cells are of pairs that other rows have, too.
    """
    ours = {(cell.task, cell.src, cell.tgt) for cell in work.bench.runs}
    figures: dict[str, dict[Spot, Figure]] = {name: {} for name in CONSTANTS}
    for task, column in spots:
        pairs = tuple(
            (src, tgt)
            for src, tgt in column.pairs
            if (task, src, tgt) in ours and any(work.bench.corpora[tgt].classes[task])
        )
        found = work.constants(task, pairs)
        for name in CONSTANTS:
            for score in SCORE_NAMES:
                figures[name][task, column, score] = (
                    Figure(found[name][score], pairs=pairs, complete=len(pairs) == len(column.pairs))
                    if found
                    else Figure()
                )
    labels = constant_labels(task for task, _ in spots)
    return [Line("constant", name, labels[name], None, None, figures[name]) for name in CONSTANTS]
