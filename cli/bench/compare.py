"""emodna-bench compare: test differences between methods for significance."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import check_tasks, format_count, out_option
from emodna.cli.options import Command, common_options
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.spec import Experiment, Pair, list_shared_recordings, note_shared_recordings
from emodna.model.errors import BenchError
from emodna.model.label import SCORE_NAMES, combine_exposures, mark_exposure, merge_exposures, note_exposure
from emodna.pipeline.errors import EmodnaError, Remedy

if TYPE_CHECKING:
    from emodna.model.bench.compare import Comparison
    from emodna.model.bench.results import Scores
    from emodna.model.evaluation.intervals import Resampling

HEADINGS: Final = ("difference", "95 % interval", "better", "worse", "Wilcoxon p", "Holm p")
"""Headings of the columns between mean score and mean rank."""
#: Maximum number of printed scenarios that are left out.
_MAX_LEFT_OUT: Final = 5
#: With fewer scenarios, a note says that the bootstrap intervals are too narrow.
_FEW_SCENARIOS: Final = 10
_DEPENDENT: Final = "scenarios that share a corpus are not independent, so p-values and intervals are too optimistic"


@click.command(
    cls=Command,
    groups={"Data": "out task methods feature_set against", "Output": "metric resamples seed"},
    examples=(
        "emodna-bench compare",
        "emodna-bench compare --task arousal --metric f1 --methods dann:add=scl --against dann",
    ),
)
@click.option("--metric", type=click.Choice(list(SCORE_NAMES)), default="uar", help="Metric to compare.")
@click.option("--task", metavar="TASK", help="Task to compare.  [default: all]")
@click.option(
    "--methods", multiple=True, metavar="SPEC", help="Method spec; repeatable.  [default: all with scores, no oracles]"
)
@click.option("--feature-set", metavar="NAME", help="Compare only methods on this feature set.  [default: all]")
@click.option("--against", metavar="SPEC", help="Reference method.  [default: emo-dna, else the first method]")
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, help="Bootstrap resamples of the intervals.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the bootstrap.")
@out_option
@common_options
def compare(
    metric: str,
    task: str | None,
    methods: tuple[str, ...],
    feature_set: str | None,
    against: str | None,
    resamples: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Compare methods with a reference method and with each other.

    SPEC is a method with optional settings, such as dan:add=scl. A scenario is an ordered pair of corpora and a task;
    its score is the mean over the seeds. The comparison uses the scenarios and seeds that all compared methods have.

    It prints for each method the mean difference to the reference with a 95 % interval (paired bootstrap over the
    scenarios), Wilcoxon's signed-rank test, and Holm's correction for the number of methods. It prints for all methods
    together the mean ranks, Friedman's test, and Nemenyi's critical difference at 5 %.

    All tests assume independent scenarios. Scenarios that share a corpus are not independent, so p-values and intervals
    are too optimistic.
    """
    from emodna.model.bench import compare as bench_compare
    from emodna.model.bench.results import Scores, collect_results, select_scores
    from emodna.model.evaluation.intervals import Resampling

    experiment = Experiment.read(out)
    check_tasks(experiment, [task] if task else [])
    if feature_set is not None:
        experiment = experiment.select_feature_set(feature_set)
    scores = Scores.from_table(select_scores(collect_results(experiment, tasks=[task] if task else [])), metric)
    specs = [experiment.resolve_spec(MethodSpec.parse(text)) for text in methods]
    try:
        reference = None if against is None else experiment.resolve_spec(MethodSpec.parse(against))
    except EmodnaError as error:
        error.field = "against"
        raise
    reference, specs = choose_methods(experiment, scores, specs, reference)
    resampling = Resampling(resamples, seed)
    comparison = bench_compare.compare(bench_compare.match_scores(scores, specs), reference, resampling)
    if as_json:
        common.print_json(_make_document(comparison, experiment, metric, task, resampling))
    else:
        _print_comparison(comparison, experiment, metric)


def choose_methods(
    experiment: Experiment, scores: "Scores", methods: list[MethodSpec], against: MethodSpec | None
) -> tuple[MethodSpec, list[MethodSpec]]:
    """Return the reference method and all methods to compare, including the reference.

    Raise BenchError if the experiment lacks one of the methods, or if fewer than two remain.
    """
    from emodna.model.bench.compare import EMO_DNA, list_default_methods

    for field, spec in [*(("methods", spec) for spec in methods), ("against", against)]:
        if spec is not None and spec not in experiment.methods:
            raise BenchError("not in the experiment", field=field, value=str(spec), valid=experiment.methods)
    candidates = methods or list_default_methods(experiment, scores)
    reference = against
    if reference is None:
        reference = EMO_DNA if EMO_DNA in scores.methods else next(iter(candidates), None)
    compared_methods = list(dict.fromkeys([*candidates, *([reference] if reference else [])]))
    if methods and compared_methods == [reference]:
        remedy = Remedy("choose another method, or another {against}")
        raise BenchError("is the reference", field="methods", value=str(reference), remedy=remedy)
    if reference is None or len(compared_methods) < 2:
        found = ", ".join(map(str, compared_methods)) or "none"
        raise BenchError(f"needs at least two methods with finished runs, found {found}", where=experiment.out)
    return reference, compared_methods


def format_comparison_title(comparison: "Comparison", experiment: Experiment, metric: str) -> str:
    """Return the title of a comparison."""
    reference = experiment.methods[comparison.reference].label
    scenarios = format_count(comparison.matched.scenarios, "scenario")
    return f"{SCORE_NAMES[metric]} over {scenarios}; differences to {reference}, in points"


def format_comparison_rows(comparison: "Comparison", experiment: Experiment) -> list[list[tuple[str, float | None]]]:
    """Return the rows of a comparison, best first: label, mean score, one cell per item of `HEADINGS`, mean rank.

    A cell is a text and its number. The reference has empty cells below `HEADINGS`.
    """
    matched, ranks = comparison.matched, comparison.ranking.mean_ranks
    comparisons = {each.method: each for each in comparison.methods}
    means = matched.scores.mean(axis=0).tolist()
    rows = []
    for index in sorted(range(len(ranks)), key=ranks.__getitem__):
        each = comparisons.get(matched.methods[index])
        cells: list[tuple[str, float | None]] = [("", None)] * len(HEADINGS)
        if each is not None:
            cells = [
                (_format_signed(each.difference), each.difference),
                (" to ".join(map(_format_signed, each.interval)), each.interval[0]) if each.interval else ("-", None),
                (str(each.better), each.better),
                (str(each.worse), each.worse),
                *(("-" if p is None else f"{p:.3g}", p) for p in (each.test.p, each.p_holm)),
            ]
        method = matched.methods[index]
        exposure = combine_exposures(matched.exposures.get(method, {}).values())
        label = mark_exposure(experiment.methods[method].label, exposure)
        score, rank = (f"{means[index]:.1f}", means[index]), (f"{ranks[index]:.2f}", ranks[index])
        rows.append([(label, None), score, *cells, rank])
    return rows


def format_comparison_notes(comparison: "Comparison", experiment: Experiment) -> Iterator[str]:
    """Yield the notes below a comparison."""
    matched, ranking = comparison.matched, comparison.ranking
    for reason in dict.fromkeys(each.test.why for each in comparison.methods if each.test.why is not None):
        labels = [experiment.methods[each.method].label for each in comparison.methods if each.test.why == reason]
        scope = "" if len(labels) == len(comparison.methods) else f" for {', '.join(labels)}"
        yield f"no Wilcoxon test{scope}: {reason}"
    scenario_count = len(matched.scenarios)
    if comparison.missing_interval_reason is not None:
        yield f"no interval: {comparison.missing_interval_reason}"
    elif scenario_count < _FEW_SCENARIOS:
        yield f"only {format_count(scenario_count, 'scenario')}: the bootstrap intervals are too narrow"
    if ranking.p is not None:
        yield f"Friedman: chi-squared {ranking.chi_squared:.2f}, p {ranking.p:.3g}"
    difference = ranking.critical_difference
    if difference is not None and not ranking.is_attainable:
        yield f"Nemenyi: critical difference {difference:.2f}; too few scenarios to reach it"
    elif difference is not None:
        yield f"Nemenyi: mean ranks differ significantly if they are at least {difference:.2f} apart"
        for group in ranking.groups:
            labels = [experiment.methods[matched.methods[index]].label for index in group]
            yield f"no significant difference between: {', '.join(labels)}"
    yield from note_shared_recordings(_select_shared(comparison, experiment))
    yield from note_exposure(merge_exposures(matched.exposures.values()))
    yield _DEPENDENT
    found = [experiment.find_task(name) for name in dict.fromkeys(task for task, _, _ in matched.scenarios)]
    if len({task and len(task) for task in found}) > 1:
        yield "the tasks differ in the number of classes, so the mean is over scores of different chance (100 / K)"
    yield from (f"left out: {each}" for each in matched.left_out[:_MAX_LEFT_OUT])
    if len(matched.left_out) > _MAX_LEFT_OUT:
        yield f"left out: {len(matched.left_out) - _MAX_LEFT_OUT} more; --json lists all"


def _select_shared(comparison: "Comparison", experiment: Experiment) -> dict[Pair, int]:
    pairs = {(src, tgt) for _, src, tgt in comparison.matched.scenarios}
    return {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}


def _format_signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # no -0.0


def _print_comparison(comparison: "Comparison", experiment: Experiment, metric: str) -> None:
    from rich.text import Text

    from emodna.cli.runs.table import Column, make_text, print_table

    common.out.print(common.escape(format_comparison_title(comparison, experiment, metric)))
    labels, *numbers = zip(*format_comparison_rows(comparison, experiment), strict=True)
    hidden_first = {"better": 3, "worse": 3, "Wilcoxon p": 2, "Holm p": 1}
    columns = [Column("method", [make_text(label) for label, _ in labels], folds=True)]
    for head, cells in zip((SCORE_NAMES[metric], *HEADINGS, "mean rank"), numbers, strict=True):
        columns.append(Column(head, [Text(text) for text, _ in cells], hidden_first.get(head, 0), right=True))
    print_table(columns)
    for line in format_comparison_notes(comparison, experiment):
        common.out.print(common.escape(line))


def _make_document(
    comparison: "Comparison", experiment: Experiment, metric: str, task: str | None, resampling: "Resampling"
) -> dict[str, Any]:
    from emodna.model.evaluation.intervals import LEVEL

    matched, ranking = comparison.matched, comparison.ranking
    rows = zip(matched.methods, matched.scores.mean(axis=0).tolist(), ranking.mean_ranks, strict=True)
    return {
        "metric": metric,
        "task": task,
        "against": str(comparison.reference),
        "scenarios": [
            {"task": task_, "src": src, "tgt": tgt, "seeds": seeds}
            for (task_, src, tgt), seeds in matched.seeds.items()
        ],
        "left_out": matched.left_out,
        "note": _DEPENDENT,
        "shared": list_shared_recordings(_select_shared(comparison, experiment)),
        "bootstrap": {"level": LEVEL, **asdict(resampling)},
        "wilcoxon": {"alternative": "two-sided", "zero_method": "wilcox"},
        "methods": [
            {
                "method": str(spec),
                "label": experiment.methods[spec].label,
                "oracle": experiment.methods[spec].oracle,
                "supervision": experiment.methods[spec].supervision,
                "exposure": matched.exposures.get(spec, {}),
                "mean": mean,
                "mean_rank": rank,
            }
            for spec, mean, rank in rows
        ],
        "comparisons": [
            {
                "method": str(each.method),
                "difference": each.difference,
                "interval": each.interval,
                "why_no_interval": comparison.missing_interval_reason,
                "better": each.better,
                "worse": each.worse,
                **asdict(each.test),
                "p_holm": each.p_holm,
            }
            for each in comparison.methods
        ],
        "friedman": {"chi_squared": ranking.chi_squared, "p": ranking.p},
        "nemenyi": {
            "critical_difference": ranking.critical_difference,
            "groups": [[str(matched.methods[index]) for index in group] for group in ranking.groups],
        },
    }
