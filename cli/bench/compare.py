"""emodna-bench compare: compare methods over all scenarios."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.bench import format_count, out_option
from emodna.cli.options import Command, common_options
from emodna.model.bench.spec import Experiment, MethodSpec, Pair, list_shared_recordings, note_shared_recordings
from emodna.model.errors import BenchError
from emodna.model.label import SCORE_NAMES
from emodna.pipeline.emotions import TASKS, Task

if TYPE_CHECKING:
    from emodna.model.bench.compare import Comparison
    from emodna.model.bench.results import Scores
    from emodna.model.evaluation.intervals import Resampling

HEADINGS: Final = ("difference", "95 % interval", "better", "worse", "Wilcoxon p", "Holm p")
"""Headings of the middle cells of `format_comparison_rows`."""
#: Lines of what was left out; --json has all.
_SHOWN: Final = 5
#: Scenarios below which intervals are said to be too narrow.
_FEW: Final = 10
_DEPENDENT: Final = "scenarios that share a corpus are not independent: p-values and intervals are too optimistic"


@click.command(cls=Command)
@click.option("--metric", type=click.Choice(list(SCORE_NAMES)), default="uar", help="Score that is compared.")
@click.option("--task", type=click.Choice(TASKS), help="Scenarios of one task.  [default: of both]")
@click.option(
    "--methods",
    "methods",
    multiple=True,
    metavar="ROW",
    help="METHOD or METHOD:KEY=VALUE,...; repeatable.  [default: all with scores, but no oracles]",
)
@click.option("--against", metavar="ROW", help="What the others are compared with.  [default: emo-dna, else the first]")
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the bootstrap.")
@out_option
@common_options
def compare(
    metric: str,
    task: Task | None,
    methods: tuple[str, ...],
    against: str | None,
    resamples: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Compare methods over scenarios: ordered pairs of corpora by tasks, each by its mean over the seeds.

    Each method against one: mean difference with its 95 % interval (paired bootstrap over the scenarios), Wilcoxon's
    signed-rank test, and Holm's correction for the number of methods. All methods among each other: mean ranks,
    Friedman's test, Nemenyi's critical difference (5 %).

    Only scenarios that all compared methods have count, with the seeds that all have. Scenarios that share a corpus are
    not independent, and all of this takes them as if they were: p-values and intervals are too optimistic.
    """
    from emodna.model.bench.compare import compare as made
    from emodna.model.bench.compare import match_scores
    from emodna.model.bench.results import Scores, collect_results, select_scores
    from emodna.model.evaluation.intervals import Resampling

    experiment = Experiment.read(out)
    scores = Scores.from_table(select_scores(collect_results(experiment, tasks=[task] if task else [])), metric)
    specs = [MethodSpec.parse(text) for text in methods]
    reference, specs = choose_methods(experiment, scores, specs, None if against is None else MethodSpec.parse(against))
    resampling = Resampling(resamples, seed)
    comparison = made(match_scores(scores, specs), reference, resampling)
    if as_json:
        common.print_json(_make_document(comparison, experiment, metric, task, resampling))
    else:
        _print_comparison(comparison, experiment, metric)


def choose_methods(
    experiment: Experiment, scores: "Scores", methods: list[MethodSpec], against: MethodSpec | None
) -> tuple[MethodSpec, list[MethodSpec]]:
    """Return the reference of a comparison, and all methods that are compared, with the reference.

    Raise BenchError of methods that the experiment does not have, or of fewer than two.
    """
    from emodna.model.bench.compare import EMO_DNA, list_default_methods

    for option, spec in [*(("--methods", spec) for spec in methods), *([("--against", against)] if against else [])]:
        if spec not in experiment.methods:
            valid = ", ".join(map(str, experiment.methods))
            raise BenchError(f"{option} {spec}: not in the benchmark; valid: {valid}")
    usual = methods or list_default_methods(experiment, scores)
    reference = against
    if reference is None:
        reference = EMO_DNA if EMO_DNA in scores.methods else next(iter(usual), None)
    together = list(dict.fromkeys([*usual, *([reference] if reference else [])]))
    if methods and together == [reference]:
        default = " (the default)" if against is None else ""
        raise BenchError(f"--methods {reference}: --against is the same one{default}, and nothing is left to compare")
    if reference is None or len(together) < 2:
        have = ", ".join(map(str, together)) or "none"
        raise BenchError(f"{experiment.out}: a comparison needs two methods with finished cells (here: {have})")
    return reference, together


def format_comparison_title(found: "Comparison", experiment: Experiment, metric: str) -> str:
    """Return the line above a comparison."""
    reference = experiment.methods[found.reference].label
    scenarios = format_count(found.matched.scenarios, "scenario")
    return f"{SCORE_NAMES[metric]} over {scenarios}; differences to {reference}, in points"


def format_comparison_rows(found: "Comparison", experiment: Experiment) -> list[list[tuple[str, float | None]]]:
    """Return the lines of a comparison, best first: label, mean score, one cell per `HEADINGS`, and mean rank.

    Each cell is its text and the number it is of; the reference has empty texts where it would be compared with itself.
    """
    matched, ranks = found.matched, found.ranking.mean_ranks
    against = {each.method: each for each in found.methods}
    means = matched.scores.mean(axis=0).tolist()
    lines = []
    for place in sorted(range(len(ranks)), key=ranks.__getitem__):
        each = against.get(matched.methods[place])
        compared: list[tuple[str, float | None]] = [("", None)] * len(HEADINGS)
        if each is not None:
            compared = [
                (_format_signed(each.difference), each.difference),
                (" to ".join(map(_format_signed, each.interval)), each.interval[0]) if each.interval else ("-", None),
                (str(each.better), each.better),
                (str(each.worse), each.worse),
                *(("-" if p is None else f"{p:.3g}", p) for p in (each.test.p, each.p_holm)),
            ]
        label = experiment.methods[matched.methods[place]].label
        score, rank = (f"{means[place]:.1f}", means[place]), (f"{ranks[place]:.2f}", ranks[place])
        lines.append([(label, None), score, *compared, rank])
    return lines


def format_remarks(found: "Comparison", experiment: Experiment) -> Iterator[str]:
    """Yield what has to be known of a comparison, in sentences."""
    matched, ranking = found.matched, found.ranking
    for why in dict.fromkeys(each.test.why for each in found.methods if each.test.why is not None):
        labels = [experiment.methods[each.method].label for each in found.methods if each.test.why == why]
        whom = "" if len(labels) == len(found.methods) else f" of {', '.join(labels)}"
        yield f"no Wilcoxon test{whom}: {why}"
    n = len(matched.scenarios)
    if found.missing_interval_reason is not None:
        yield f"no interval: {found.missing_interval_reason}"
    elif n < _FEW:
        yield f"{n} scenarios: too few for a bootstrap, whose intervals are too narrow then"
    if ranking.p is not None:
        yield f"Friedman: chi-squared {ranking.chi_squared:.2f}, p {ranking.p:.3g}"
    difference = ranking.critical_difference
    if difference is not None and not ranking.is_attainable:
        yield f"Nemenyi: critical difference {difference:.2f}, out of reach of mean ranks of so few scenarios"
    elif difference is not None:
        yield f"Nemenyi: mean ranks that are {difference:.2f} apart differ"
        for group in ranking.groups:
            labels = [experiment.methods[matched.methods[place]].label for place in group]
            yield f"not told apart: {', '.join(labels)}"
    yield from note_shared_recordings(_select_shared(found, experiment))
    yield _DEPENDENT
    yield from (f"left out: {left}" for left in matched.left_out[:_SHOWN])
    if len(matched.left_out) > _SHOWN:
        yield f"left out: {len(matched.left_out) - _SHOWN} more, see --json"


def _select_shared(found: "Comparison", experiment: Experiment) -> dict[Pair, int]:
    """Return the shared recordings of the pairs of its scenarios."""
    pairs = {(src, tgt) for _, src, tgt in found.matched.scenarios}
    return {pair: count for pair, count in experiment.shared_recordings.items() if pair in pairs}


def _format_signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # no -0.0


def _print_comparison(found: "Comparison", experiment: Experiment, metric: str) -> None:
    from rich.text import Text

    from emodna.cli.runs.table import Column, make_text, print_table

    common.out.print(common.escape(format_comparison_title(found, experiment, metric)))
    labels, *numbers = zip(*format_comparison_rows(found, experiment), strict=True)
    hidden_first = {"better": 3, "worse": 3, "Wilcoxon p": 2, "Holm p": 1}
    columns = [Column("method", [make_text(label) for label, _ in labels], folds=True)]
    for head, cells in zip((SCORE_NAMES[metric], *HEADINGS, "mean rank"), numbers, strict=True):
        columns.append(Column(head, [Text(text) for text, _ in cells], hidden_first.get(head, 0), right=True))
    print_table(columns)
    for line in format_remarks(found, experiment):
        common.out.print(common.escape(line))


def _make_document(
    found: "Comparison", experiment: Experiment, metric: str, task: str | None, resampling: "Resampling"
) -> dict[str, Any]:
    from emodna.model.evaluation.intervals import LEVEL

    matched, ranking = found.matched, found.ranking
    select_scores = zip(matched.methods, matched.scores.mean(axis=0).tolist(), ranking.mean_ranks, strict=True)
    return {
        "metric": metric,
        "task": task,
        "against": str(found.reference),
        "scenarios": [
            {"task": task_, "src": src, "tgt": tgt, "seeds": seeds}
            for (task_, src, tgt), seeds in matched.seeds.items()
        ],
        "left_out": matched.left_out,
        "note": _DEPENDENT,
        "shared": list_shared_recordings(_select_shared(found, experiment)),
        "bootstrap": {"level": LEVEL, **asdict(resampling)},
        "wilcoxon": {"alternative": "two-sided", "zero_method": "wilcox"},
        "methods": [
            {
                "method": str(spec),
                "label": experiment.methods[spec].label,
                "oracle": experiment.methods[spec].oracle,
                "mean": mean,
                "mean_rank": rank,
            }
            for spec, mean, rank in select_scores
        ],
        "comparisons": [
            {
                "method": str(each.method),
                "difference": each.difference,
                "interval": each.interval,
                "why_no_interval": found.missing_interval_reason,
                "better": each.better,
                "worse": each.worse,
                **asdict(each.test),
                "p_holm": each.p_holm,
            }
            for each in found.methods
        ],
        "friedman": {"chi_squared": ranking.chi_squared, "p": ranking.p},
        "nemenyi": {
            "critical_difference": ranking.critical_difference,
            "groups": [[str(matched.methods[place]) for place in group] for group in ranking.groups],
        },
    }
