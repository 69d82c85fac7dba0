"""Methods against one of them, and ranked among each other."""

from collections.abc import Sequence

from emodna.cli.bench.compare import chosen, interval, p_value, remarks, signed
from emodna.cli.bench.report.page import Section
from emodna.cli.bench.report.sheets import MISSING, Column, Item, Sheet, number, text
from emodna.model.bench.comparing.comparison import Against, compare, matched
from emodna.model.bench.results import Outcome
from emodna.model.bench.scores import scenario_scores
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
    scores = scenario_scores(bench, found)
    reference, rows = chosen(bench, scores, [], None)
    made = compare(matched(scores, rows, _METRIC), reference)
    against = {each.method: each for each in made.methods}
    means = made.matched.scores.mean(axis=0)
    score = SCORE_NAMES[_METRIC]
    columns = [
        Column("method"),
        *(
            Column(each, numeric=True)
            for each in (score, "difference", "95 % interval", "better", "worse", "Wilcoxon p", "Holm p", "mean rank")
        ),
    ]
    order = sorted(range(len(made.matched.rows)), key=lambda place: made.ranking.mean_ranks[place])
    lines = [
        [
            text(bench.methods[made.matched.rows[place]].label),
            number(means[place].item()),
            *_against(against.get(made.matched.rows[place])),
            number(made.ranking.mean_ranks[place], 2),
        ]
        for place in order
    ]
    count = len(made.matched.scenarios)
    label = bench.methods[made.against].label
    caption = f"{score} over {count} scenario{'s' * (count != 1)}; differences to {label}, in points"
    identity = f"comparison-{name.replace(' ', '-')}"
    return Section(
        identity,
        name.capitalize(),
        sheets=[Sheet(f"{identity}-table", caption, columns, lines)],
        notes=remarks(made, bench),
    )


def _against(found: Against | None) -> list[Item]:
    """Six cells; the method that the others are compared with has none of them."""
    if found is None:
        return [Item(MISSING)] * 6
    low = found.interval[0] if found.interval else None
    return [
        Item(signed(found.mean), found.mean),
        Item(interval(found.interval) if found.interval else MISSING, low),
        number(found.wins, 0),
        number(found.losses, 0),
        *(Item(MISSING if p is None else p_value(p), p) for p in (found.test.p, found.p_holm)),
    ]
