"""Methods against one of them, and ranked among each other."""

from collections.abc import Sequence

from emodna.cli.bench.compare import HEADINGS, chosen, comparison_rows, remarks
from emodna.cli.bench.report.page import Section
from emodna.cli.bench.report.sheets import MISSING, Column, Item, Sheet
from emodna.model.bench.compare import compare, match
from emodna.model.bench.results import Outcome, Scores, results, scored
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import Task

#: The one score in which no constant answer looks good.
_METRIC = "uar"


def comparison(bench: Experiment, found: Sequence[Outcome], tasks: Sequence[Task]) -> Section:
    """Comparisons over the scenarios of all tasks, and of each."""
    parts: list[Section] = []
    missing: list[str] = []
    wanted = [(task,) for task in tasks]
    for some in [tuple(tasks), *wanted] if len(tasks) > 1 else wanted:
        name = " and ".join(some)
        try:
            parts.append(_part(bench, [outcome for outcome in found if outcome.run.task in some], name))
        except BenchError as error:
            missing.append(f"{name}: {error}")
    return Section(
        "comparison",
        "Comparison of methods",
        [
            "A scenario is an ordered pair of corpora in one task, with the mean over its seeds as its score. The "
            "interval is that of a paired bootstrap over scenarios; Wilcoxon's signed-rank test is corrected after "
            "Holm for the number of methods; mean ranks are compared after Friedman and Nemenyi."
        ],
        missing=missing,
        parts=parts,
    )


def _part(bench: Experiment, found: Sequence[Outcome], name: str) -> Section:
    scores = Scores.of(scored(results(bench, found)), _METRIC)
    reference, rows = chosen(bench, scores, [], None)
    made = compare(match(scores, rows), reference)
    score = SCORE_NAMES[_METRIC]
    columns = [Column("method"), *(Column(each, numeric=True) for each in (score, *HEADINGS, "mean rank"))]
    lines = [
        [Item(words if words not in ("", "-") else MISSING, value) for words, value in line]
        for line in comparison_rows(made, bench)
    ]
    count = len(made.matched.scenarios)
    label = bench.methods[made.reference].label
    caption = f"{score} over {count} scenario{'s' * (count != 1)}; differences to {label}, in points"
    identity = f"comparison-{name.replace(' ', '-')}"
    return Section(
        identity,
        name.capitalize(),
        sheets=[Sheet(f"{identity}-table", caption, columns, lines)],
        notes=remarks(made, bench),
    )
