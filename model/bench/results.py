"""Results of an experiment as one long Arrow table, the input of tables, figures, comparisons and the report.

This module needs no torch.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model import metrics
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import find_paper_score, is_upper_bound
from emodna.model.bench.spec import Experiment, Pair, RunSpec
from emodna.model.errors import RunError
from emodna.model.label import SEMI_SUPERVISED, combine_exposures, name_scores, read_exposure
from emodna.model.metrics import SCORE_NAMES
from emodna.model.run_folder import read_json
from emodna.model.runs.listing import is_locked
from emodna.pipeline.encoders.known import Exposure
from emodna.pipeline.tasks import BUILT_IN_TASKS, CLASS_NAMES

RunState = Literal["done", "failed", "running", "interrupted", "waiting"]
Scenario = tuple[str, str, str]
"""Task, source, target."""

CLASS_1_SHARE: Final = "called_class_1"
"""Optional metric: percentage of the target that a run predicts as class 1."""
CONSTANTS: Final = ("always_high", "always_low", "majority", "prior_proportional")
"""Constant predictors: of two classes those that predict class 1 or class 0; the most frequent class; guesses by the
class shares, for more than two classes. The last two use target labels."""

SCHEMA: Final = pa.schema(
    [
        ("src", pa.string()),
        ("tgt", pa.string()),
        ("task", pa.string()),
        ("method", pa.string()),  # name
        ("spec", pa.string()),  # text form of its method spec
        ("label", pa.string()),  # with (our reading) and (oracle)
        ("feature_set", pa.string()),  # short name
        ("seed", pa.int64()),
        ("metric", pa.string()),  # war, f1, uar, macro_f1; optionally called_class_1
        ("value", pa.float64()),  # percent; null for unfinished runs and targets without labels
        ("always_high", pa.float64()),  # constant predictors on this target; null without labels
        ("always_low", pa.float64()),
        ("majority", pa.float64()),
        ("prior_proportional", pa.float64()),
        ("paper", pa.float64()),  # the paper's mean over the targets of this source, or null
        ("paper_std", pa.float64()),
        ("state", pa.string()),  # see `RunState`
        ("error", pa.string()),  # null unless the run failed
        ("seconds", pa.float64()),  # wall time; null for unfinished runs
        ("oracle", pa.bool_()),  # true if the method learns from target labels
        ("our_reading", pa.bool_()),
        ("exposure", pa.string()),  # of the target, see `find_exposure`; null for unfinished runs
    ]
)
"""One row per run and metric. `select_scores` repeats the rows of the upper bound for all sources."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """State and scores of a run, read from its files."""

    run: RunSpec
    state: RunState
    result: Mapping[str, Any] | None = None
    """Content of a finished run's result.json: scores in percent, null for targets without labels."""
    error: str | None = None
    """Error of a failed run."""

    @property
    def seconds(self) -> float | None:
        """Wall time of a finished run; None if unknown."""
        return to_finite_float((self.result or {}).get("wall_seconds"))


def read_run_result(experiment: Experiment, run: RunSpec) -> RunResult:
    """Read the result of a run. A run with damaged files counts as failed."""
    folder, failure_file = experiment.run_folder(run), experiment.failure_file(run)
    try:
        if folder.done.exists():
            result = read_json(folder.result)
            if missing := [key for key in SCORE_NAMES if key not in result]:
                return RunResult(run, "failed", error=f"{folder.result}: damaged: {missing[0]} is missing")
            return RunResult(run, "done", result)
        if is_locked(folder):
            return RunResult(run, "running")
        if failure_file.exists():
            return RunResult(run, "failed", error=str(read_json(failure_file).get("error")))
    except RunError as error:
        return RunResult(run, "failed", error=str(error))
    return RunResult(run, "interrupted" if folder.config.exists() else "waiting")


def read_run_results(experiment: Experiment, runs: Iterable[RunSpec] | None = None) -> list[RunResult]:
    """Read the results of all runs, or of some, in their order."""
    return [read_run_result(experiment, run) for run in (experiment.runs if runs is None else runs)]


def collect_results(
    experiment: Experiment,
    run_results: Sequence[RunResult] | None = None,
    *,
    tasks: Sequence[str] = (),
    with_class_1_share: bool = False,
) -> pa.Table:
    """Return the results of runs as a table of `SCHEMA`. By default, read all runs, or those of some tasks.

    `with_class_1_share` adds the metric `CLASS_1_SHARE` from predictions.
    """
    if run_results is None:
        run_results = read_run_results(experiment, [run for run in experiment.runs if not tasks or run.task in tasks])
    rows = []
    for result in run_results:
        run, info = result.run, experiment.methods[result.run.method]
        scores = {metric: to_finite_float((result.result or {}).get(metric)) for metric in SCORE_NAMES}
        classes = len((result.result or {}).get("classes", ())) or 2  # missing in earlier versions
        if any(scores[metric] is None for metric in name_scores(classes)):
            scores = dict.fromkeys(SCORE_NAMES)
        if with_class_1_share:
            is_known = scores["uar"] is not None and classes == 2
            scores[CLASS_1_SHARE] = compute_class_1_share(experiment, run) if is_known else None
        feature_set, folder = experiment.name_feature_set(run.method), experiment.find_feature_set(run.method).folder
        constants = find_constants(experiment, result, folder)
        common = {
            "src": run.src,
            "tgt": run.tgt,
            "task": run.task,
            "method": run.method.name,
            "spec": str(run.method),
            "label": info.label,
            "feature_set": feature_set,
            "seed": run.seed,
            "state": result.state,
            "error": result.error,
            "seconds": result.seconds,
            "oracle": info.oracle,
            "our_reading": info.our_reading,
            "exposure": None if result.result is None else read_exposure(result.result, run.tgt),
        }
        for metric, value in scores.items():
            score = None if run.method.settings else find_paper_score(run.task, run.method.name, metric, run.src)
            paper = {} if score is None else {"paper": score.mean, "paper_std": score.std}
            constant = {name: each.get(metric) for name, each in constants.items()}
            rows.append({**common, "metric": metric, "value": value, **constant, **paper})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def select_scores(table: pa.Table) -> pa.Table:
    """Return the rows that have a value, with those of the upper bound repeated for each source.

    The upper bound has one run per target, which counts for all sources of the experiment's pairs with this target, or
    one per pair if the classes depend on the pair. `table` must contain all runs of a task.
    """
    sources: dict[tuple[str, str], dict[str, None]] = {}
    rows = table.to_pylist()
    for row in rows:
        sources.setdefault((row["task"], row["tgt"]), {})[row["src"]] = None
    upper_bounds = {spec: is_upper_bound(MethodSpec.parse_unchecked(spec)) for spec in {row["spec"] for row in rows}}

    def make_key(row: Mapping[str, Any], src: str) -> tuple[object, ...]:
        return row["spec"], row["task"], src, row["tgt"], row["seed"], row["metric"]

    planned = {make_key(row, row["src"]) for row in rows}
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in rows:
        if row["value"] is None:
            continue
        for src in sources[row["task"], row["tgt"]] if upper_bounds[row["spec"]] else (row["src"],):
            if src == row["src"] or make_key(row, src) not in planned:
                found.setdefault(make_key(row, src), {**row, "src": src})
    return pa.Table.from_pylist(list(found.values()), schema=SCHEMA)


def select_feature_set(table: pa.Table, name: str) -> pa.Table:
    """Return the rows of a feature set, by its short name, with specs as in `Experiment.select_feature_set`."""
    rows = table.filter(pc.equal(table["feature_set"], name))
    specs = [str(MethodSpec.parse_unchecked(spec).on(None)) for spec in rows["spec"].to_pylist()]
    return rows.set_column(rows.schema.get_field_index("spec"), SCHEMA.field("spec"), pa.array(specs, pa.string()))


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one metric as an array."""

    methods: tuple[MethodSpec, ...]
    """Methods in the order of the table."""
    scenarios: tuple[Scenario, ...]
    """Scenarios, sorted."""
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    """Scores (methods, scenarios, seeds) in percent; NaN if missing."""
    exposures: "Exposures" = field(default_factory=dict)
    """Exposures of the targets by method; methods without one are missing."""

    @classmethod
    def from_table(cls, table: pa.Table, metric: str = "uar") -> "Scores":
        """Arrange the rows of one metric of a table of `select_scores`."""
        rows = table.filter(pc.equal(table["metric"], metric)).to_pylist()
        positions = [(row["spec"], (row["task"], row["src"], row["tgt"]), row["seed"]) for row in rows]
        specs = list(dict.fromkeys(spec for spec, _, _ in positions))
        scenarios = sorted({scenario for _, scenario, _ in positions})
        seeds = sorted({seed for _, _, seed in positions})
        values = np.full((len(specs), len(scenarios), len(seeds)), np.nan)
        for (spec, scenario, seed), row in zip(positions, rows, strict=True):
            values[specs.index(spec), scenarios.index(scenario), seeds.index(seed)] = row["value"]
        methods, exposures = tuple(map(MethodSpec.parse_unchecked, specs)), find_exposures(rows)
        return cls(methods, tuple(scenarios), tuple(seeds), values, exposures)


Exposures = Mapping[MethodSpec, Mapping[str, Exposure]]
"""Method -> target -> exposure of its features, except "no"."""


def find_exposures(rows: Iterable[Mapping[str, Any]]) -> Exposures:
    """Return the exposures of the finished runs among some rows of a table of `SCHEMA`."""
    found: dict[MethodSpec, dict[str, Exposure]] = {}
    for row in rows:
        if (exposure := row["exposure"]) not in (None, "no"):
            targets = found.setdefault(MethodSpec.parse_unchecked(row["spec"]), {})
            targets[row["tgt"]] = combine_exposures([exposure, targets.get(row["tgt"], "no")])
    return found


def compute_class_1_share(experiment: Experiment, run: RunSpec) -> float | None:
    """Return the percentage of all target utterances that a run predicts as class 1; None if unknown."""
    try:
        predictions = experiment.run_folder(run).predictions
        labels = pq.read_table(predictions, columns=["label"], use_threads=False)["label"].to_pylist()
        return float(100 * sum(labels) / len(labels))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def find_constants(experiment: Experiment, result: RunResult, folder: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the scores of the `CONSTANTS` on the target of a run, given the full name of its feature set."""
    run = result.run
    if run.task in BUILT_IN_TASKS and experiment.methods[run.method].supervision != SEMI_SUPERVISED:
        return constant_scores(experiment.find_corpus(run.tgt, folder).classes[run.task], run.task) or {}
    # The scores of a semi-supervised run leave out some utterances, and the classes of others may depend on the pair.
    document = result.result or {}
    found: dict[str, Mapping[str, Any]] = dict(document.get("constant") or {})
    names = document.get("classes", CLASS_NAMES.get(run.task, ()))
    if len(names) == 2:
        found.pop("prior_proportional", None)
        for name, of_class in (("always_low", names[0]), ("always_high", names[1])):
            found[name] = found.get(f"always_{of_class}", {})
    return {name: each for name, each in found.items() if name in CONSTANTS}


@cache
def constant_scores(classes: tuple[int, int], task: str) -> Mapping[str, Mapping[str, float | None]] | None:
    """Compute the scores of the `CONSTANTS` of a built-in task from a target's class counts; None without labels."""
    truth = np.repeat([0, 1], classes)
    low, high, majority, _ = map(asdict, metrics.constant_scores(truth, BUILT_IN_TASKS[task]).values())
    return {"always_high": high, "always_low": low, "majority": majority} if len(truth) else None


def to_finite_float(value: object) -> float | None:
    """Return a finite number as a float, and None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# Gaps

GapReason = Literal["failed", "unlabelled", "running", "interrupted", "waiting", "not planned"]
"""Reasons in display order."""
GAP_REASONS: Final[tuple[GapReason, ...]] = get_args(GapReason)
RUNNABLE_REASONS: Final[frozenset[GapReason]] = frozenset({"failed", "interrupted", "waiting", "not planned"})
"""Reasons that another execution of the experiment can remove."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Runs without scores for one reason: the product of tasks, methods, pairs and seeds."""

    reason: GapReason
    error: str | None
    """Error of failed runs."""
    tasks: tuple[str, ...]
    methods: tuple[MethodSpec, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]

    @property
    def run_count(self) -> int:
        """Number of runs."""
        return len(self.tasks) * len(self.methods) * len(self.pairs) * len(self.seeds)


def find_gaps(
    experiment: Experiment,
    results: pa.Table,
    tasks: Sequence[str],
    methods: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> tuple[Gap, ...]:
    """Return the missing runs of some tasks, methods and pairs, in all seeds of the experiment, as few gaps.

    `results` must contain all runs of these tasks.
    """
    found = list(_find_missing_runs(experiment, results, tasks, methods, pairs))
    positions = {spec: position for position, spec in enumerate(methods)}
    for axis in (5, 4, 3, 2):  # join gaps that differ only in seeds, then only in pairs, methods, tasks
        joined: dict[tuple[Any, ...], list[Any]] = {}
        for gap in found:
            joined.setdefault((*gap[:axis], *gap[axis + 1 :]), []).extend(gap[axis])
        found = [
            (*rest[:axis], tuple(sorted(values, key=positions.__getitem__ if axis == 3 else None)), *rest[axis:])
            for rest, values in joined.items()
        ]

    def sort_key(gap: Gap) -> tuple[Any, ...]:
        reason, method = GAP_REASONS.index(gap.reason), positions[gap.methods[0]]
        return reason, gap.tasks, method, gap.pairs, gap.seeds, gap.error or ""

    return tuple(sorted((Gap(*gap) for gap in found), key=sort_key))


def _find_missing_runs(
    experiment: Experiment,
    results: pa.Table,
    tasks: Sequence[str],
    methods: Sequence[MethodSpec],
    pairs: Sequence[Pair],
) -> Iterator[tuple[Any, ...]]:
    """Yield the fields of a `Gap` for each missing run."""
    corpora, specs = experiment.corpora, {str(spec): spec for spec in methods}
    for row in results.filter(pc.equal(results["metric"], "uar")).to_pylist():
        pair, task = (row["src"], row["tgt"]), row["task"]
        if row["spec"] not in specs or pair not in pairs or row["value"] is not None:
            continue
        reason, error = row["state"], row["error"]
        if reason == "done":
            labelled = any(corpora[row["tgt"]].classes.get(task, ()))
            reason, error = ("failed", "result.json has no scores") if labelled else ("unlabelled", None)
        yield reason, error, (task,), (specs[row["spec"]],), (pair,), (row["seed"],)

    def make_key(task: str, spec: MethodSpec, pair: Pair, seed: int) -> tuple[object, ...]:
        counts_for_all_sources = is_upper_bound(spec) and experiment.find_task(task) is not None
        return task, spec, seed, pair[1], None if counts_for_all_sources else pair[0]

    known_keys = {make_key(run.task, run.method, run.pair, run.seed) for run in experiment.runs}
    for seed, task, spec, pair in itertools.product(experiment.seeds, tasks, methods, pairs):
        key = make_key(task, spec, pair, seed)
        if key not in known_keys:
            known_keys.add(key)
            training_corpus = corpora[pair[1] if is_upper_bound(spec) else pair[0]]
            reason = "unlabelled" if training_corpus.find_missing_labels(task) else "not planned"
            yield reason, None, (task,), (spec,), (pair,), (seed,)
