"""emodna-bench compare: whether one method is better than another over all scenarios."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.cli.bench.options import out_option
from emodna.model.label import SCORE_NAMES
from emodna.pipeline.emotions import TASKS

if TYPE_CHECKING:
    from emodna.model.bench.comparing.comparison import Comparison
    from emodna.model.bench.spec import Experiment, MethodSpec
    from emodna.model.evaluation.intervals import Resampling

#: Lines of what was left out; --json has all.
_SHOWN: Final = 5
#: Scenarios below which intervals are said to be too narrow.
_FEW: Final = 10
_DEPENDENT: Final = "scenarios that share a corpus are not independent: p-values and intervals are too optimistic"


@click.command()
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
@common.common_options
def compare(
    metric: str,
    task: str | None,
    methods: tuple[str, ...],
    against: str | None,
    resamples: int,
    seed: int,
    out: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compare methods over scenarios: ordered pairs of corpora by tasks, each by its mean over the seeds.

    Each method against one: mean difference with its 95 % interval (paired bootstrap over the scenarios), Wilcoxon's
    signed-rank test, and Holm's correction for the number of methods. All methods among each other: mean ranks,
    Friedman's test, Nemenyi's critical difference (5 %).

    Only scenarios that all compared methods have count, with the seeds that all have. Scenarios that share a corpus are
    not independent, and all of this takes them as if they were: p-values and intervals are too optimistic.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.model.bench.comparing.comparison import compare as compared
    from emodna.model.bench.comparing.comparison import matched
    from emodna.model.bench.results import read_outcomes
    from emodna.model.bench.scores import scenario_scores
    from emodna.model.bench.spec import Experiment, MethodSpec
    from emodna.model.evaluation.intervals import Resampling

    bench = Experiment.read(out)
    found = scenario_scores(bench, read_outcomes(bench, [cell for cell in bench.runs if task in (None, cell.task)]))
    rows = [MethodSpec.parse(text) for text in methods]
    other, rows = chosen(bench, found, rows, None if against is None else MethodSpec.parse(against))
    resampling = Resampling(resamples, seed)
    comparison = compared(matched(found, rows, metric), other, resampling)
    if as_json:
        common.print_json(_json(comparison, bench, metric, task, resampling))
        return
    _print(comparison, bench, metric)


def chosen(
    bench: "Experiment", found: "dict[MethodSpec, Any]", rows: "list[MethodSpec]", against: "MethodSpec | None"
) -> "tuple[MethodSpec, list[MethodSpec]]":
    """What is compared with, and all that is compared, that with it.

    Raises
    ------
    BenchError
        Rows that the benchmark does not have, or fewer than two.
    """
    from emodna.model.bench.comparing.comparison import EMO_DNA, usual_rows
    from emodna.model.errors import BenchError

    for option, row in [*(("--methods", row) for row in rows), *([("--against", against)] if against else [])]:
        if row not in bench.methods:
            raise BenchError(f"{option} {row}: not in the benchmark; valid: {', '.join(map(str, bench.methods))}")
    usual = rows or usual_rows(bench, found)
    default = against is None
    if against is None:
        against = EMO_DNA if found.get(EMO_DNA) else next(iter(usual), None)
    together = list(dict.fromkeys([*usual, *([against] if against else [])]))
    if rows and together == [against]:
        raise BenchError(
            f"--methods {against}: --against is the same one{' (the default)' * default}, and nothing is left to "
            "compare"
        )
    if against is None or len(together) < 2:
        have = ", ".join(map(str, together)) or "none"
        raise BenchError(f"{bench.out}: a comparison needs two methods with finished cells (here: {have})")
    return against, together


def _print(found: "Comparison", bench: "Experiment", metric: str) -> None:
    from rich.text import Text

    from emodna.cli.runs.table import Column, print_table, safe_text

    rows, n = found.matched.rows, len(found.matched.scenarios)
    order = sorted(range(len(rows)), key=lambda place: found.ranking.mean_ranks[place])
    against = {each.method: each for each in found.methods}
    ranked = [against.get(rows[place]) for place in order]
    means = found.matched.scores.mean(axis=0)
    name, reference = SCORE_NAMES[metric], bench.methods[found.against].label

    def column(heading: str, texts: "Sequence[str]", rank: int = 0) -> Column:
        return Column(heading, [Text(text) for text in texts], rank, right=True)

    common.out.print(f"{name} over {n} scenario{'s' * (n > 1)}; differences to {common.safe(reference)}, in points")
    print_table(
        [
            Column("method", [safe_text(bench.methods[rows[place]].label) for place in order], folds=True),
            column(name, [f"{means[place]:.1f}" for place in order]),
            column("difference", ["" if each is None else signed(each.mean) for each in ranked]),
            column("95 % interval", ["" if each is None else interval(each.interval) for each in ranked]),
            column("better", ["" if each is None else str(each.wins) for each in ranked], 3),
            column("worse", ["" if each is None else str(each.losses) for each in ranked], 3),
            column("Wilcoxon p", ["" if each is None else p_value(each.test.p) for each in ranked], 2),
            column("Holm p", ["" if each is None else p_value(each.p_holm) for each in ranked], 1),
            column("mean rank", [f"{found.ranking.mean_ranks[place]:.2f}" for place in order]),
        ]
    )
    for line in remarks(found, bench):
        common.out.print(common.safe(line))


def remarks(found: "Comparison", bench: "Experiment") -> "list[str]":
    """What has to be known of the table."""
    from emodna.model.bench.wording import shared_notes

    matched, ranking = found.matched, found.ranking
    lines = []
    reasons: dict[str, list[str]] = {}
    for each in found.methods:
        if each.test.why is not None:
            reasons.setdefault(each.test.why, []).append(bench.methods[each.method].label)
    for why, labels in reasons.items():
        whom = "" if len(labels) == len(found.methods) else f" of {', '.join(labels)}"
        lines.append(f"no Wilcoxon test{whom}: {why}")
    if found.why_no_interval is not None:
        lines.append(f"no interval: {found.why_no_interval}")
    elif (n := len(matched.scenarios)) < _FEW:
        lines.append(f"{n} scenarios: too few for a bootstrap, whose intervals are too narrow then")
    if ranking.p is not None:
        lines.append(f"Friedman: chi-squared {ranking.chi_squared:.2f}, p {ranking.p:.3g}")
    difference = ranking.critical_difference
    if difference is not None and not ranking.attainable:
        lines.append(f"Nemenyi: critical difference {difference:.2f}, out of reach of mean ranks of so few scenarios")
    elif difference is not None:
        lines.append(f"Nemenyi: mean ranks that are {difference:.2f} apart differ")
        for group in ranking.groups:
            labels = [bench.methods[matched.rows[place]].label for place in group]
            lines.append(f"not told apart: {', '.join(labels)}")
    lines += shared_notes(_shared(found, bench))
    lines.append(_DEPENDENT)
    lines.extend(f"left out: {left}" for left in matched.left_out[:_SHOWN])
    if len(matched.left_out) > _SHOWN:
        lines.append(f"left out: {len(matched.left_out) - _SHOWN} more, see --json")
    return lines


def _shared(found: "Comparison", bench: "Experiment") -> dict[tuple[str, str], int]:
    """Pairs of its scenarios whose target is partly in the source."""
    pairs = {(src, tgt) for _, src, tgt in found.matched.scenarios}
    return {pair: count for pair, count in bench.shared.items() if pair in pairs}


def _json(
    found: "Comparison", bench: "Experiment", metric: str, task: str | None, resampling: "Resampling"
) -> dict[str, Any]:
    from dataclasses import asdict

    from emodna.model.bench.wording import shared_facts
    from emodna.model.evaluation.intervals import LEVEL

    matched, ranking = found.matched, found.ranking
    means = dict(zip(matched.rows, matched.scores.mean(axis=0).tolist(), strict=True))
    return {
        "metric": metric,
        "task": task,
        "against": str(found.against),
        "scenarios": [
            {"task": scenario[0], "src": scenario[1], "tgt": scenario[2], "seeds": list(matched.seeds[scenario])}
            for scenario in matched.scenarios
        ],
        "left_out": list(matched.left_out),
        "note": _DEPENDENT,
        "shared": shared_facts(_shared(found, bench)),
        "bootstrap": {"level": LEVEL, **asdict(resampling)},
        "wilcoxon": {"alternative": "two-sided", "zero_method": "wilcox"},
        "methods": [
            {
                "method": str(row),
                "label": bench.methods[row].label,
                "oracle": bench.methods[row].oracle,
                "mean": means[row],
                "mean_rank": rank,
            }
            for row, rank in zip(matched.rows, ranking.mean_ranks, strict=True)
        ],
        "comparisons": [
            {
                "method": str(each.method),
                "difference": each.mean,
                "interval": each.interval,
                "why_no_interval": found.why_no_interval,
                "better": each.wins,
                "worse": each.losses,
                **asdict(each.test),
                "p_holm": each.p_holm,
            }
            for each in found.methods
        ],
        "friedman": {"chi_squared": ranking.chi_squared, "p": ranking.p},
        "nemenyi": {
            "critical_difference": ranking.critical_difference,
            "groups": [[str(matched.rows[place]) for place in group] for group in ranking.groups],
        },
    }


def signed(points: float) -> str:
    """A difference."""
    return f"{round(points, 1) + 0.0:+.1f}"  # no -0.0


def interval(interval: tuple[float, float] | None) -> str:
    """Its ends, or a dash."""
    return "-" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def p_value(p: float | None) -> str:
    """A p-value, or a dash."""
    return "-" if p is None else f"{p:.3g}"
