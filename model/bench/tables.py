"""Tables of an experiment: those of the paper with our scores, the sensitivity study, and all methods by pair.

As in the paper, a mean of scores is over the targets of each source, then over the sources, separately for each seed.
The standard deviation is that of these means over the seeds. This module needs no torch.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import fmean, stdev
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from emodna.model.bench import paper
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import (
    AVERAGE,
    BASELINES,
    PAPER_TABLES,
    SENSITIVITY_METHODS,
    SVM,
    UPPER_BOUND,
    PaperRow,
    PaperScoreKey,
    is_upper_bound,
)
from emodna.model.bench.results import (
    CLASS_1_SHARE,
    CONSTANTS,
    collect_results,
    find_exposures,
    find_gaps,
    select_feature_set,
    select_scores,
)
from emodna.model.bench.spec import Experiment, Pair
from emodna.model.bench.table_data import (
    DIFFERENCE,
    Block,
    Cell,
    Column,
    Pairs,
    RowKind,
    Table,
    TableRow,
    join_class_names,
)
from emodna.model.label import SEMI_SUPERVISED, combine_exposures, merge_exposures
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.features import DEFAULT_FEATURE_SET
from emodna.pipeline.tasks import TASKS

TABLE_NAMES: Final = (*PAPER_TABLES, "sensitivity", "pairs")

_BySeed = dict[int, float]
#: Rounding error of scores, in points.
_ROUNDING_ERROR: Final = 1e-9


def make_table(
    experiment: Experiment, name: str, results: pa.Table | None = None, feature_set: str | None = None
) -> Table:
    """Make a table of `TABLE_NAMES` from the results of all runs, by default read from their files.

    Given results must have the metric `CLASS_1_SHARE` for the table `pairs`. A table has one feature set: by default
    MFCC-40, as in the paper, or the experiment's default one if it has no MFCC-40. By default, the table `pairs` has
    all feature sets. Raises BenchError if the experiment lacks the feature set.
    """
    if results is None:
        results = collect_results(experiment, with_class_1_share=name == "pairs")
    if feature_set is None and name != "pairs":
        names = experiment.feature_sets
        feature_set = DEFAULT_FEATURE_SET if DEFAULT_FEATURE_SET in names else experiment.conditions.feature_set
    if feature_set is None or (len(experiment.feature_sets) == 1 and name != "pairs"):
        return _make_table(experiment, name, results)
    view = experiment.select_feature_set(feature_set)
    others = tuple(each for each in experiment.feature_sets if each not in view.feature_sets)
    return replace(_make_table(view, name, select_feature_set(results, *view.feature_sets)), other_feature_sets=others)


def _make_table(experiment: Experiment, name: str, results: pa.Table) -> Table:
    if name in PAPER_TABLES:
        return _make_paper_table(experiment, results, name)
    if name == "sensitivity":
        return _make_sensitivity_table(experiment, results)
    return _make_pairs_table(experiment, results)


def _make_paper_table(experiment: Experiment, results: pa.Table, name: str) -> Table:
    paper_table = PAPER_TABLES[name]
    columns = [each for each in make_columns(experiment) if paper_table.layout == "sources" or each.name == AVERAGE]
    builder = _TableBuilder(experiment, results, name, paper_table.tasks, columns)
    rows = [builder.make_row("entry", paper_row.method, paper_row=paper_row) for paper_row in paper_table.rows]
    done = {paper_row.method for paper_row in paper_table.rows}
    machines = [spec for spec in experiment.methods if spec.name == SVM]
    baselines = _leave_out(experiment, BASELINES)
    rows += [builder.make_row("floor", spec) for spec in (*baselines, *machines) if spec not in done]
    rows.append(builder.make_row("ceiling", UPPER_BOUND))
    tasks = " and ".join(paper_table.tasks)
    scores = {"WAR and F1": paper.SCORES, "UAR and macro-F1": ("uar", "macro_f1")}
    blocks = [Block(f"{tasks}: {title}", tuple(builder.columns), each) for title, each in scores.items()]
    return builder.build(paper_table.title, blocks, rows, [*_leave_out(experiment, paper_table.methods), *machines])


def _make_sensitivity_table(experiment: Experiment, results: pa.Table) -> Table:
    first, *others = methods = _leave_out(experiment, SENSITIVITY_METHODS)
    # The first method is part of other tables, too, so runs of the others determine the tasks and pairs.
    runs = [run for run in experiment.runs if run.method in others]
    runs = runs or [run for run in experiment.runs if run.method == first]
    tasks = [task for task in experiment.tasks if any(run.task == task for run in runs)] or list(TASKS)
    pairs = tuple(dict.fromkeys(run.pair for run in runs)) or tuple(itertools.permutations(experiment.corpora, 2))
    builder = _TableBuilder(experiment, results, "sensitivity", tasks, _make_pair_columns(pairs))
    rows = [builder.make_row("entry", spec, reference=first) for spec in methods]
    blocks = builder.make_blocks("uar", DIFFERENCE, "war", "f1")
    return builder.build("One setting at a time", blocks, rows, methods)


def _leave_out(experiment: Experiment, methods: Iterable[MethodSpec]) -> list[MethodSpec]:
    """Return the methods of a table without those whose settings have no effect on its feature set."""
    return [spec for spec in methods if spec in experiment.methods or experiment.gives_effect(spec)]


def _make_pairs_table(experiment: Experiment, results: pa.Table) -> Table:
    pairs = tuple(dict.fromkeys(run.pair for run in experiment.runs))
    builder = _TableBuilder(experiment, results, "pairs", experiment.tasks, _make_pair_columns(pairs))
    names = list(experiment.feature_sets)
    specs = sorted(
        experiment.methods, key=lambda spec: (names.index(experiment.name_feature_set(spec)), is_upper_bound(spec))
    )
    scores = (*SCORE_NAMES, CLASS_1_SHARE)
    kinds: list[RowKind] = ["ceiling" if experiment.methods[spec].uses_target_labels else "entry" for spec in specs]
    rows = [builder.make_row(kind, spec, scores=scores) for kind, spec in zip(kinds, specs, strict=True)]
    return builder.build("All pairs", builder.make_blocks(*scores), rows, specs)


def make_columns(experiment: Experiment) -> list[Column]:
    """Make the columns of the paper's tables for an experiment, with the average last.

    The paper has a column for each of its six corpora as a source, over the five others as targets, and their average.
    A corpus outside the paper adds two columns, as the source and as the target of all pairs. The average omits them.
    An experiment without a pair of the paper's corpora has a column for each corpus as a source, and the average.
    """

    def make_source_column(src: str, name: str, pairs: Sequence[Pair], *, in_paper: bool = False) -> Column:
        return Column(name, tuple(pair for pair in pairs if pair[0] == src), in_paper)

    ours = set(experiment.corpora)
    paper_pairs = list(itertools.permutations(paper.CORPORA, 2))
    if not any(set(pair) <= ours for pair in paper_pairs):
        pairs = list(itertools.permutations(experiment.corpora, 2))
        columns = [make_source_column(name, f"{name} ->", pairs) for name in experiment.corpora]
        return [*columns, Column(AVERAGE, tuple(pairs))]
    own = [name for name in experiment.corpora if name not in paper.CORPORA]
    pairs = [pair for pair in itertools.permutations([*paper.CORPORA, *own], 2) if set(pair) <= ours]
    return [
        *(make_source_column(name, name, paper_pairs, in_paper=True) for name in paper.CORPORA),
        *(make_source_column(name, f"{name} ->", pairs) for name in own),
        *(Column(f"-> {name}", tuple(pair for pair in pairs if pair[1] == name)) for name in own),
        Column(AVERAGE, tuple(paper_pairs), in_paper=True),
    ]


def _make_pair_columns(pairs: tuple[Pair, ...]) -> list[Column]:
    columns = [Column(f"{src} -> {tgt}", ((src, tgt),)) for src, tgt in pairs]
    return [*columns, Column(AVERAGE, pairs)] if len(pairs) > 1 else columns


def choose_pairs_and_seeds(
    seeds_by_pair: Mapping[Pair, Collection[int]], pairs: Sequence[Pair]
) -> tuple[Pairs, tuple[int, ...]]:
    """Choose the pairs and seeds of a mean, given the seeds with a score by pair.

    Only means over the same pairs are comparable between seeds. So the pairs are those of the seed with the most pairs
    (the lowest such seed), and the seeds are those that have all of these pairs.
    """
    seeds = sorted({seed for pair in pairs for seed in seeds_by_pair.get(pair, ())})
    pairs_by_seed = {seed: tuple(pair for pair in pairs if seed in seeds_by_pair.get(pair, ())) for seed in seeds}
    chosen = max(pairs_by_seed.values(), key=len, default=())  # the first if several are equal
    return chosen, tuple(seed for seed, own in pairs_by_seed.items() if set(own).issuperset(chosen))


def average_by_source(scores: Mapping[Pair, float]) -> float:
    """Average scores over the targets of each source, then over the sources."""
    by_source: dict[str, list[float]] = {}
    for (src, _), score in scores.items():
        by_source.setdefault(src, []).append(score)
    return fmean(map(fmean, by_source.values()))


class _TableBuilder:
    def __init__(
        self, experiment: Experiment, results: pa.Table, name: str, tasks: Sequence[str], columns: list[Column]
    ) -> None:
        self.experiment, self.name, self.tasks = experiment, name, tuple(tasks)
        self.columns = [(task, column) for task in tasks for column in columns]
        self._results = results.filter(pc.field("task").isin(self.tasks))
        self._scores: dict[tuple[str, str, str], dict[Pair, dict[int, float]]] = {}
        self._constants: dict[tuple[str, str, Pair, str], dict[str, float]] = {}
        rows = select_scores(self._results).to_pylist()
        self._exposures = {task: find_exposures(row for row in rows if row["task"] == task) for task in self.tasks}
        for row in rows:
            key = (row["spec"], row["task"], row["metric"])
            self._scores.setdefault(key, {}).setdefault((row["src"], row["tgt"]), {})[row["seed"]] = row["value"]
        # Those of all labelled utterances come last and stay: semi-supervised runs leave some out.
        for row in sorted(self._results.to_pylist(), key=lambda row: not self._is_semi_supervised(row["spec"])):
            if row["majority"] is not None:
                place = (row["feature_set"], row["task"], (row["src"], row["tgt"]), row["metric"])
                self._constants[place] = {name: row[name] for name in CONSTANTS if row[name] is not None}

    def _is_semi_supervised(self, spec: str) -> bool:
        return self.experiment.methods[MethodSpec.parse_unchecked(spec)].supervision == SEMI_SUPERVISED

    def _has_two_classes(self, task: str) -> bool:
        return len(self.experiment.find_task(task) or EMOTIONS) == 2

    def make_blocks(self, *scores: str) -> list[Block]:
        def select(task: str) -> tuple[str, ...]:
            return tuple(each for each in scores if self._has_two_classes(task) or each not in ("f1", CLASS_1_SHARE))

        return [Block(task, ((task, column),), select(task)) for task, column in self.columns]

    def make_row(
        self,
        kind: RowKind,
        spec: MethodSpec,
        *,
        scores: Iterable[str] = SCORE_NAMES,
        paper_row: PaperRow | None = None,
        reference: MethodSpec | None = None,
    ) -> TableRow:
        """Make the row of a method, with the paper's scores of `paper_row`, and `DIFFERENCE` from `reference`."""
        cells = {
            (task, column, score): self._make_cell(spec, task, column, score, paper_row)
            for (task, column), score in itertools.product(self.columns, scores)
        }
        for task, column in self.columns if reference is not None else ():
            gains = self._compute_gains(spec, reference, task, column, "uar") if reference not in (None, spec) else {}
            uar, difference = cells[task, column, "uar"], Cell()
            if gains:
                std = _compute_std(gains.values())
                mean = fmean(gains.values())
                difference = Cell(mean, std, tuple(gains), uar.pairs, uar.complete, exposure=uar.exposure)
            cells[task, column, DIFFERENCE] = difference
        info = self.experiment.methods.get(spec)
        paper_name = paper_row.paper_name if paper_row else None
        feature_set = self.experiment.name_feature_set(spec)
        return TableRow(kind, str(spec), info.label if info else str(spec), paper_name, info, cells, feature_set)

    def build(self, title: str, blocks: Sequence[Block], rows: list[TableRow], methods: Sequence[MethodSpec]) -> Table:
        """Make the table, with the constant predictors below the methods."""
        corpora = self.experiment.corpora
        columns = [column for _, column in self.columns]
        pairs = list(dict.fromkeys(pair for column in columns for pair in column.pairs if set(pair) <= set(corpora)))
        done = set(self._results.filter(pc.equal(self._results["state"], "done"))["spec"].to_pylist())
        return Table(
            self.name,
            title,
            self.experiment,
            tuple(blocks),
            (*_mark_best(rows), *self._make_constant_rows()),
            find_gaps(self.experiment, self._results, self.tasks, methods, pairs),
            tuple(name for name in paper.CORPORA if name not in corpora and any(each.in_paper for each in columns)),
            tuple(spec for spec in self.experiment.methods if str(spec) in done - {row.name for row in rows}),
            self._find_exposures({row.name for row in rows}),
        )

    def _find_exposures(self, names: Collection[str]) -> dict[str, Exposure]:
        """Return the exposure of each target over the methods with these names and all tasks of the table."""
        every = (item for each in self._exposures.values() for item in each.items())
        return merge_exposures(exposures for spec, exposures in every if str(spec) in names)

    def _compute_means(self, spec: MethodSpec, task: str, column: Column, score: str) -> tuple[Pairs, _BySeed]:
        """Return the pairs of a mean, and the mean by seed; both are empty without scores."""
        pairs, seeds = choose_pairs_and_seeds(self._scores.get((str(spec), task, "uar"), {}), column.pairs)
        found = self._scores.get((str(spec), task, score), {})
        if not all(seed in found.get(pair, ()) for pair in pairs for seed in seeds):
            return (), {}
        return pairs, {seed: average_by_source({pair: found[pair][seed] for pair in pairs}) for seed in seeds}

    def _make_cell(self, spec: MethodSpec, task: str, column: Column, score: str, paper_row: PaperRow | None) -> Cell:
        cell = Cell()
        pairs, means = self._compute_means(spec, task, column, score)
        if means:
            feature_set = self.experiment.name_feature_set(spec)
            constant = max(self._compute_constant_means(task, pairs, score, feature_set).values(), default=None)
            complete = len(pairs) == len(column.pairs)
            targets = self._exposures[task].get(spec, {})
            exposure = combine_exposures(targets.get(target, "no") for _, target in pairs)
            mean, std = fmean(means.values()), _compute_std(means.values())
            cell = Cell(mean, std, tuple(means), pairs, complete, constant, exposure=exposure)
        if paper_row is None:
            return cell
        key = PaperScoreKey(self.name, task, paper_row.paper_name, column.name, score)
        paper_score = paper.load_paper_scores().get(key) if column.in_paper else None
        if paper_row.base is None:
            return replace(cell, paper_score=paper_score)
        gains = self._compute_gains(spec, paper_row.base, task, column, score)
        gain = fmean(gains.values()) if gains else None
        base = paper.find_paper_score(task, paper_row.base.name, score)
        paper_gain = paper_score.mean - base.mean if paper_score and base else None
        return replace(cell, paper_score=paper_score, gain=gain, paper_gain=paper_gain)

    def _compute_gains(self, spec: MethodSpec, base: MethodSpec, task: str, column: Column, score: str) -> _BySeed:
        """Return the gains over another method by seed; empty unless both have the same pairs."""
        pairs, ours = self._compute_means(spec, task, column, score)
        same_pairs, others = self._compute_means(base, task, column, score)
        return {seed: ours[seed] - others[seed] for seed in ours if seed in others} if pairs == same_pairs else {}

    def _find_constants(self, task: str, pair: Pair, score: str, feature_set: str) -> Mapping[str, float] | None:
        """Return the scores of the constant predictors, else those on another feature set; None without labels."""
        names = (feature_set, *self.experiment.feature_sets)
        return next(
            (found for name in names if (found := self._constants.get((name, task, pair, score))) is not None), None
        )

    def _compute_constant_means(
        self, task: str, pairs: Sequence[Pair], score: str, feature_set: str
    ) -> dict[str, float]:
        """Return the mean of each constant predictor over the pairs with labelled targets."""
        found = {pair: self._find_constants(task, pair, score, feature_set) for pair in pairs}
        known = {pair: each for pair, each in found.items() if each}
        names = [name for name in CONSTANTS if known and all(name in each for each in known.values())]
        return {name: average_by_source({pair: each[name] for pair, each in known.items()}) for name in names}

    def _make_constant_rows(self) -> Iterator[TableRow]:
        """Make the rows of the constant predictors, over the pairs of a column that have runs in the task."""
        ran = {(run.task, run.pair) for run in self.experiment.runs}
        feature_set = next(iter(self.experiment.feature_sets))
        two_classes = list(filter(self._has_two_classes, self.tasks))
        high, low = (f"always {join_class_names(two_classes, label)}" for label in (1, 0))
        labels = (high, low, "target majority (oracle)", "guesses by target shares (oracle)")
        for name, label in zip(CONSTANTS, labels, strict=True):
            cells = {}
            for (task, column), score in itertools.product(self.columns, SCORE_NAMES):
                pairs = tuple(
                    pair
                    for pair in column.pairs
                    if (task, pair) in ran and self._find_constants(task, pair, score, feature_set)
                )
                mean = self._compute_constant_means(task, pairs, score, feature_set).get(name)
                complete = bool(pairs) and len(pairs) == len(column.pairs)
                cells[task, column, score] = Cell(mean, pairs=pairs, complete=complete)
            is_usual = name in CONSTANTS[:3] and not {*TASKS}.isdisjoint(self.tasks)
            if is_usual or any(cell.mean is not None for cell in cells.values()):
                yield TableRow("constant", name, label, None, None, cells)


def _compute_std(values: Collection[float]) -> float | None:
    """Return the sample standard deviation (n - 1); None for fewer than two values.

    The paper does not say if its deviations divide by n. With three seeds, those would be 0.82 times as large.
    """
    return stdev(values) if len(values) > 1 else None


def _mark_best(rows: Sequence[TableRow]) -> list[TableRow]:
    """Mark the best method of each column, if it beats all constant predictors, and the best one in the paper."""
    cells = [dict(row.cells) for row in rows]
    entries = [mine for row, mine in zip(rows, cells, strict=True) if row.kind == "entry"]
    for position in rows[0].cells if rows else ():
        if position[2] not in SCORE_NAMES:
            continue
        ours = [each[position] for each in entries if each[position].mean is not None]
        same_pairs = len({cell.pairs for cell in ours}) == 1
        top = max(cell.mean or 0.0 for cell in ours) - _ROUNDING_ERROR if same_pairs and len(ours) > 1 else inf
        paper_top = max((score.mean for each in entries if (score := each[position].paper_score)), default=inf)
        for each in entries:
            cell = each[position]
            best = cell.mean is not None and cell.mean >= top and cell.mark is None
            paper_best = cell.paper_score is not None and cell.paper_score.mean >= paper_top
            each[position] = replace(cell, best=best, paper_best=paper_best)
    return [replace(row, cells=mine) for row, mine in zip(rows, cells, strict=True)]
