"""Tables of an experiment: the paper's, ours beside it; the study of sensitivity; every method by pair.

In each seed, a mean is taken over the targets of a source, then over the sources, as in the paper. Its standard
deviation is that of this mean over the seeds, and not a mean of standard deviations. With all 30 pairs present, the
mean over the sources is the mean over the pairs. It needs no torch.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean, stdev
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.bench import paper
from emodna.model.bench.paper import (
    AVERAGE,
    BASELINES,
    PAPER_TABLES,
    SENSITIVITY_METHODS,
    UPPER_BOUND,
    PaperRow,
    PaperScore,
    PaperScoreKey,
)
from emodna.model.bench.results import CLASS_1_SHARE, CONSTANTS, Gap, collect_results, find_gaps, select_scores
from emodna.model.bench.spec import Experiment, MethodInfo, MethodSpec, Pair
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import CLASS_NAMES, TASKS, Task

RowKind = Literal["entry", "floor", "ceiling", "constant"]

TABLE_NAMES: Final = (*PAPER_TABLES, "sensitivity", "pairs")
DIFFERENCE: Final = "difference"
"""Beside the scores, in the study of sensitivity: UAR less that of the first method, in the same seeds."""

#: In percent: scores are floats, of sums in another order.
_SAME: Final = 1e-9
#: In percent: scores that are nearer to each other read alike, with one decimal.
_SHOWN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Column:
    """A mean over pairs."""

    name: str
    """`casia`, `average_by_source`, or `own ->` and `-> own` of a corpus of one's own, or `a -> b` of a single pair."""
    pairs: tuple[Pair, ...]
    """Pairs that belong to it, present or not."""
    in_paper: bool = False
    """True if the paper has it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean in a table, in percent, and all that has to be known of it."""

    mean: float | None = None
    """None where nothing is done."""
    std: float | None = None
    """Sample standard deviation (n - 1) of this mean over the seeds; None for one seed and for constants."""
    seeds: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()
    """Pairs over which it is taken."""
    complete: bool = False
    """True if these are all that belong into the column."""
    constant: float | None = None
    """The best constant predictor on exactly these pairs."""
    paper_score: PaperScore | None = None
    """The paper's number."""
    gain: float | None = None
    """Table 5: gain from L_SCL, over exactly these pairs and seeds."""
    paper_gain: float | None = None
    """The same in the paper."""
    best: bool = False
    """True of the best of the column's entries, where all are of the same pairs."""
    paper_best: bool = False
    """The same in the paper."""

    @property
    def mark(self) -> Literal["same", "below"] | None:
        """Relation to the best constant predictor, unless it is visibly above it."""
        if self.mean is None or self.constant is None or self.mean > self.constant + _SHOWN:
            return None
        return "below" if self.mean < self.constant - _SHOWN else "same"

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where both are of the same pairs."""
        return (
            self.mean - self.paper_score.mean if self.paper_score and self.mean is not None and self.complete else None
        )

    @property
    def comparable(self) -> bool:
        """True if ours and the paper's number are of the same pairs."""
        return self.difference is not None


CellPosition = tuple[Task, Column, str]
"""Place of a cell in its line: task, column, score."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table: a method or a constant predictor."""

    kind: RowKind
    name: str
    """The method spec as text, or a constant's name."""
    label: str
    """With (our reading) and (oracle)."""
    paper_name: str | None
    """Its name in the paper."""
    info: MethodInfo | None
    """None of a constant, and of a method that the experiment does not have."""
    cells: Mapping[CellPosition, Cell]


@dataclass(frozen=True, slots=True)
class Block:
    """Columns by scores that stand side by side."""

    title: str
    columns: tuple[tuple[Task, Column], ...]
    scores: tuple[str, ...]

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings over each of a column's numbers."""
        with_class_1_share = f"% {_join_class_names((task for task, _ in self.columns), 1)}"
        names = {**SCORE_NAMES, DIFFERENCE: "difference", CLASS_1_SHARE: with_class_1_share}
        return tuple(names[score] for score in self.scores)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with all that has to be known beside it."""

    name: str
    title: str
    experiment: Experiment
    blocks: tuple[Block, ...]
    rows: tuple[TableRow, ...]
    gaps: tuple[Gap, ...]
    absent: tuple[str, ...]
    """The paper's corpora that the experiment does not have."""
    not_shown: tuple[MethodSpec, ...]
    """Methods of the experiment that have finished runs of its tasks, and no line in it."""

    @property
    def shared_recordings(self) -> Mapping[Pair, int]:
        """Recordings of the target that the source has, too, of its pairs that have runs."""
        spots = {(task, pair) for block in self.blocks for task, column in block.columns for pair in column.pairs}
        run = {run.pair for run in self.experiment.runs if (run.task, run.pair) in spots}
        return {pair: count for pair, count in self.experiment.shared_recordings.items() if pair in run}

    def select_rows(self, *kinds: RowKind) -> Iterator[TableRow]:
        """Yield its lines of some kinds."""
        return (line for line in self.rows if line.kind in kinds)


def make_table(experiment: Experiment, name: str, found: pa.Table | None = None) -> Table:
    """Make a table of an experiment, by its name in `TABLE_NAMES`.

    `found` holds the results of all runs, with those of `CLASS_1_SHARE`, if they have been read already.
    """
    found = collect_results(experiment, with_class_1_share=name == "pairs") if found is None else found
    if name in PAPER_TABLES:
        return _make_paper_table(experiment, found, name)
    return _make_sensitivity_table(experiment, found) if name == "sensitivity" else _make_pairs_table(experiment, found)


def _make_paper_table(experiment: Experiment, found: pa.Table, name: str) -> Table:
    preset = PAPER_TABLES[name]
    columns = [each for each in make_columns(experiment) if preset.layout == "sources" or each.name == AVERAGE]
    maker = _TableBuilder(experiment, found, name, preset.tasks, columns)
    lines = [maker.line("entry", entry.method, entry=entry) for entry in preset.entries]
    done = {entry.method for entry in preset.entries}
    lines += [maker.line("floor", spec) for spec in BASELINES if spec not in done]
    lines.append(maker.line("ceiling", UPPER_BOUND))
    tasks = " and ".join(preset.tasks)
    scores = {"WAR and F1": paper.SCORES, "UAR and macro-F1": ("uar", "macro_f1")}
    blocks = [Block(f"{tasks}: {title}", tuple(maker.columns), each) for title, each in scores.items()]
    return maker.table(preset.title, blocks, lines, preset.methods)


def _make_sensitivity_table(experiment: Experiment, found: pa.Table) -> Table:
    first, *others = SENSITIVITY_METHODS
    # The first method is that of other tables, too: where it alone is run is no place of the study.
    runs = [run for run in experiment.runs if run.method in others]
    runs = runs or [run for run in experiment.runs if run.method == first]
    tasks = [task for task in TASKS if any(run.task == task for run in runs)] or list(TASKS)
    pairs = tuple(dict.fromkeys(run.pair for run in runs)) or tuple(itertools.permutations(experiment.corpora, 2))
    maker = _TableBuilder(experiment, found, "sensitivity", tasks, _make_pair_columns(pairs))
    lines = [maker.line("entry", spec, minus=first) for spec in SENSITIVITY_METHODS]
    return maker.table(
        "One setting at a time", maker.blocks("uar", DIFFERENCE, "war", "f1"), lines, SENSITIVITY_METHODS
    )


def _make_pairs_table(experiment: Experiment, found: pa.Table) -> Table:
    """Make the table of every method, with a block for each task and pair, and their mean."""
    pairs = tuple(dict.fromkeys(run.pair for run in experiment.runs))
    maker = _TableBuilder(experiment, found, "pairs", experiment.tasks, _make_pair_columns(pairs))
    specs = sorted(experiment.methods, key=lambda spec: spec == UPPER_BOUND)
    scores = (*SCORE_NAMES, CLASS_1_SHARE)
    lines = [
        maker.line("ceiling" if experiment.methods[spec].oracle else "entry", spec, scores=scores) for spec in specs
    ]
    return maker.table("All pairs", maker.blocks(*scores), lines, specs)


def make_columns(experiment: Experiment) -> list[Column]:
    """Return the columns of the paper's tables for an experiment, the average last.

    They are the paper's six source corpora, each over its five targets among the six, and their average. Corpora of
    one's own have further columns: from each over all its targets, and to each over all its sources. Those are not in
    the average, which stays the paper's. An experiment with no pair of the paper's corpora has a column for each of its
    own, and their average.
    """

    def from_(src: str, name: str, pairs: Sequence[Pair], *, cited: bool = False) -> Column:
        return Column(name, tuple(pair for pair in pairs if pair[0] == src), cited)

    ours = set(experiment.corpora)
    cited = list(itertools.permutations(paper.CORPORA, 2))
    if not any(set(pair) <= ours for pair in cited):
        pairs = list(itertools.permutations(experiment.corpora, 2))
        return [*(from_(name, f"{name} ->", pairs) for name in experiment.corpora), Column(AVERAGE, tuple(pairs))]
    own = [name for name in experiment.corpora if name not in paper.CORPORA]
    pairs = [pair for pair in itertools.permutations([*paper.CORPORA, *own], 2) if set(pair) <= ours]
    return [
        *(from_(name, name, cited, cited=True) for name in paper.CORPORA),
        *(from_(name, f"{name} ->", pairs) for name in own),
        *(Column(f"-> {name}", tuple(pair for pair in pairs if pair[1] == name)) for name in own),
        Column(AVERAGE, tuple(cited), in_paper=True),
    ]


def _make_pair_columns(pairs: tuple[Pair, ...]) -> list[Column]:
    """Return a column for each pair, and one for their mean if there are several."""
    columns = [Column(f"{src} -> {tgt}", ((src, tgt),)) for src, tgt in pairs]
    return [*columns, Column(AVERAGE, pairs)] if len(pairs) > 1 else columns


def choose_pairs_and_seeds(
    have: Mapping[Pair, Collection[int]], pairs: Sequence[Pair]
) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """Choose pairs and seeds for a mean: as many of some pairs as one seed has; none if nothing is there.

    Seeds are comparable over the same pairs only. So the seed that has most pairs decides, the lowest of several, and
    a seed that lacks one of those does not count.

    `have` maps each pair to the seeds with a score.
    """
    seeds = sorted({seed for pair in pairs for seed in have.get(pair, ())})
    there = {seed: tuple(pair for pair in pairs if seed in have.get(pair, ())) for seed in seeds}
    chosen = max(there.values(), key=len, default=())  # the first of several
    return chosen, tuple(seed for seed, own in there.items() if set(own).issuperset(chosen))


def average_by_source(scores: Mapping[Pair, float]) -> float:
    """Return the mean over the targets of each source, then over the sources."""
    by_source: dict[str, list[float]] = {}
    for (src, _), score in scores.items():
        by_source.setdefault(src, []).append(score)
    return fmean(map(fmean, by_source.values()))


class _TableBuilder:
    """Makes the lines of one table from the results of an experiment."""

    def __init__(
        self, experiment: Experiment, found: pa.Table, name: str, tasks: Sequence[Task], columns: list[Column]
    ) -> None:
        self.experiment, self.name, self.tasks = experiment, name, tuple(tasks)
        self.columns = [(task, column) for task in tasks for column in columns]
        self._found = found.filter(pc.field("task").isin(self.tasks))
        self._scores: dict[tuple[str, Task, str], dict[Pair, dict[int, float]]] = {}
        self._constants: dict[tuple[Task, str, str], dict[str, float]] = {}
        for row in select_scores(self._found).to_pylist():
            key = (row["spec"], row["task"], row["metric"])
            self._scores.setdefault(key, {}).setdefault((row["src"], row["tgt"]), {})[row["seed"]] = row["value"]
        for row in self._found.to_pylist():
            if row["majority"] is not None:
                self._constants[row["task"], row["tgt"], row["metric"]] = {name: row[name] for name in CONSTANTS}

    def blocks(self, *scores: str) -> list[Block]:
        """Return a block with some scores for each task and column."""
        return [Block(task, ((task, column),), scores) for task, column in self.columns]

    def line(
        self,
        kind: RowKind,
        spec: MethodSpec,
        *,
        scores: Iterable[str] = SCORE_NAMES,
        entry: PaperRow | None = None,
        minus: MethodSpec | None = None,
    ) -> TableRow:
        """Make the line of a method.

        With the paper's `entry`, it has the paper's numbers; with another method as `minus`, the `DIFFERENCE` to its
        UAR.
        """
        cells = {
            (task, column, score): self._make_cell(spec, task, column, score, entry)
            for (task, column), score in itertools.product(self.columns, scores)
        }
        for task, column in self.columns if minus is not None else ():
            gains = self._compute_gains(spec, minus, task, column, "uar") if minus not in (None, spec) else {}
            uar = cells[task, column, "uar"]
            cells[task, column, DIFFERENCE] = (
                Cell(fmean(gains.values()), _compute_std(gains.values()), tuple(gains), uar.pairs, uar.complete)
                if gains
                else Cell()
            )
        info = self.experiment.methods.get(spec)
        return TableRow(
            kind, str(spec), info.label if info else str(spec), entry.paper_name if entry else None, info, cells
        )

    def table(self, title: str, blocks: Sequence[Block], lines: list[TableRow], methods: Sequence[MethodSpec]) -> Table:
        """Put the table together, with the constants below the methods."""
        corpora = self.experiment.corpora
        columns = [column for _, column in self.columns]
        pairs = list(dict.fromkeys(pair for column in columns for pair in column.pairs if set(pair) <= set(corpora)))
        done = set(self._found.filter(pc.equal(self._found["state"], "done"))["spec"].to_pylist())
        return Table(
            self.name,
            title,
            self.experiment,
            tuple(blocks),
            (*_mark_best(lines), *self._make_constant_rows()),
            find_gaps(self.experiment, self._found, self.tasks, methods, pairs),
            tuple(each for each in paper.CORPORA if each not in corpora)
            if any(each.in_paper for each in columns)
            else (),
            tuple(spec for spec in self.experiment.methods if str(spec) in done - {line.name for line in lines}),
        )

    def _compute_means(
        self, spec: MethodSpec, task: Task, column: Column, score: str
    ) -> tuple[tuple[Pair, ...], dict[int, float]]:
        """Return the pairs of a mean, and the mean over them by seed; both are empty where there is none."""
        pairs, seeds = choose_pairs_and_seeds(self._scores.get((str(spec), task, "uar"), {}), column.pairs)
        found = self._scores.get((str(spec), task, score), {})
        if not all(seed in found.get(pair, ()) for pair in pairs for seed in seeds):
            return (), {}
        return pairs, {seed: average_by_source({pair: found[pair][seed] for pair in pairs}) for seed in seeds}

    def _make_cell(self, spec: MethodSpec, task: Task, column: Column, score: str, entry: PaperRow | None) -> Cell:
        cell = Cell()
        pairs, means = self._compute_means(spec, task, column, score)
        if means:
            constant = max(self._compute_constant_means(task, pairs, score).values(), default=None)
            complete = len(pairs) == len(column.pairs)
            cell = Cell(fmean(means.values()), _compute_std(means.values()), tuple(means), pairs, complete, constant)
        if entry is None:
            return cell
        cited = (
            paper.load_paper_scores().get(PaperScoreKey(self.name, task, entry.paper_name, column.name, score))
            if column.in_paper
            else None
        )
        if entry.base is None:
            return replace(cell, paper_score=cited)
        gains = self._compute_gains(spec, entry.base, task, column, score)
        before = paper.find_paper_score(task, entry.base.name, score)
        paper_gain = cited.mean - before.mean if cited and before else None
        return replace(cell, paper_score=cited, gain=fmean(gains.values()) if gains else None, paper_gain=paper_gain)

    def _compute_gains(
        self, spec: MethodSpec, base: MethodSpec, task: Task, column: Column, score: str
    ) -> dict[int, float]:
        """Return how far a method is above another one on the same pairs, by seed; empty where nothing is common."""
        pairs, ours = self._compute_means(spec, task, column, score)
        same_pairs, others = self._compute_means(base, task, column, score)
        return {seed: ours[seed] - others[seed] for seed in ours if seed in others} if pairs == same_pairs else {}

    def _compute_constant_means(self, task: Task, pairs: Sequence[Pair], score: str) -> dict[str, float]:
        """Return the means of the constants over the pairs whose targets have labels."""
        found = [(pair, self._constants.get((task, pair[1], score))) for pair in pairs]
        known = {pair: constants for pair, constants in found if constants}
        return {
            name: average_by_source({pair: each[name] for pair, each in known.items()}) for name in CONSTANTS if known
        }

    def _make_constant_rows(self) -> Iterator[TableRow]:
        """Make the lines of the constants, on all pairs of a column that have runs in the task.

        The upper bound is run from one source per target: its runs are of pairs that other methods have, too.
        """
        ran = {(run.task, run.pair) for run in self.experiment.runs}
        high, low = (f"always {_join_class_names(self.tasks, label)}" for label in (1, 0))
        for name, label in zip(CONSTANTS, (high, low, "target majority (oracle)"), strict=True):
            cells = {}
            for (task, column), score in itertools.product(self.columns, SCORE_NAMES):
                pairs = tuple(
                    pair for pair in column.pairs if (task, pair) in ran and (task, pair[1], score) in self._constants
                )
                mean = self._compute_constant_means(task, pairs, score).get(name)
                complete = bool(pairs) and len(pairs) == len(column.pairs)
                cells[task, column, score] = Cell(mean, pairs=pairs, complete=complete)
            yield TableRow("constant", name, label, None, None, cells)


def _compute_std(values: Collection[float]) -> float | None:
    """Return the standard deviation of a sample (n - 1), None of fewer than two.

    The paper does not say which it has: of three seeds, that of a population is 0.82 times this one.
    """
    return stdev(values) if len(values) > 1 else None


def _join_class_names(tasks: Iterable[Task], label: int) -> str:
    """Return a class in words: `high` in arousal, `positive` in valence, `high / positive` in both."""
    there = set(tasks)
    return " / ".join(CLASS_NAMES[task][label] for task in TASKS if task in there)


def _mark_best(lines: Sequence[TableRow]) -> list[TableRow]:
    """Mark the best entry of each column, if no constant is as good; and the paper's best."""
    cells = [dict(line.cells) for line in lines]
    entries = [mine for line, mine in zip(lines, cells, strict=True) if line.kind == "entry"]
    for spot in lines[0].cells if lines else ():
        if spot[2] not in SCORE_NAMES:
            continue
        ours = [each[spot] for each in entries if each[spot].mean is not None]
        alike = len({cell.pairs for cell in ours}) == 1
        top = max(cell.mean or 0.0 for cell in ours) - _SAME if alike and len(ours) > 1 else inf
        cited_top = max((cited.mean for each in entries if (cited := each[spot].paper_score)), default=inf)
        for each in entries:
            cell = each[spot]
            best = cell.mean is not None and cell.mean >= top and cell.mark is None
            paper_best = cell.paper_score is not None and cell.paper_score.mean >= cited_top
            each[spot] = replace(cell, best=best, paper_best=paper_best)
    return [replace(line, cells=mine) for line, mine in zip(lines, cells, strict=True)]
