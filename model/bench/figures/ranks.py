"""Critical-difference plot: mean ranks of the methods, those that do not differ joined by a bar.

After Demsar 2006, JMLR 7:1-30, with the methods below each other, so that long names have room.
"""

from typing import Any, Final

from emodna.model.bench.comparing.comparison import Matched
from emodna.model.bench.comparing.ranks import ranking
from emodna.model.bench.figures import Choice, NothingToShow
from emodna.model.bench.figures.choosing import (
    chosen_scores,
    facts_of,
    left_out_note,
    listed,
    matched_rows,
    omitted_note,
    rows_with_scores,
)
from emodna.model.bench.pictures import Dots, Panel, Picture
from emodna.model.bench.spec import Experiment
from emodna.pipeline.emotions import TASKS

#: Ranks between the worst mean rank and the bars, and from bar to bar.
_STEP: Final = 0.3


def picture(bench: Experiment, choice: Choice) -> Picture:
    """Mean ranks over the chosen task's scenarios, and over both tasks' where both are there."""
    everything = chosen_scores(bench, choice, TASKS)
    own = {
        row: {key: seeds for key, seeds in found.items() if key[0] == choice.task} for row, found in everything.items()
    }
    rows = rows_with_scores(bench, choice, own)
    if len(rows) < 2:
        raise NothingToShow(f"ranks need two methods with finished cells of {choice.task}, not {listed(rows)} alone")
    panels: list[Panel] = []
    facts: list[dict[str, Any]] = []
    left_out = ""
    for title, scores in ((choice.task, own), (" and ".join(TASKS), everything)):
        found = matched_rows(scores, rows)
        if panels and len({task for task, _, _ in found.scenarios}) < len(TASKS):
            break
        panel, fact = _panel(bench, found, title)
        panels.append(panel)
        left_out = left_out_note(found)
        facts.append({**fact, **facts_of(found)})
    note = (
        "Rank 1 is the highest UAR of a scenario (a pair of corpora and a task, mean over the seeds). A bar joins "
        "methods whose mean ranks lie less than Nemenyi's critical difference apart (5 %): these scenarios do not tell "
        "them apart, which is not to say that they are equal; one out of reach could not tell any two apart. "
        f"Scenarios that share a corpus are not independent, which the test takes them to be.{left_out}"
        f"{omitted_note(bench, choice, rows, rows)}"
    )
    return Picture("ranks", "Mean ranks of the methods", panels, note, {"panels": facts})


def _panel(bench: Experiment, found: Matched, title: str) -> tuple[Panel, dict[str, Any]]:
    ranked = ranking(found.scores)
    order = sorted(range(len(found.rows)), key=lambda place: ranked.mean_ranks[place])
    labels = {place: bench.methods[found.rows[place]].label for place in order}
    worst = max(ranked.mean_ranks)
    marks = [Dots("mean rank", list(labels.values()), [ranked.mean_ranks[place] for place in order])]
    for number, group in enumerate(ranked.groups, 1):
        names, at = [labels[place] for place in group], worst + number * _STEP
        marks.append(Dots(f"not told apart ({number})", names, [at] * len(names), colour=1, joined=True))
    n, difference = len(found.scenarios), ranked.critical_difference
    reach = "" if ranked.attainable else f", out of reach of {len(found.rows)} methods"
    critical = "" if difference is None else f", critical difference {difference:.2f}{reach}"
    return Panel(f"{title}: {n} scenario{'s' * (n > 1)}{critical}", marks, x_label="mean rank (1: the best)"), {
        "panel": title,
        "methods": [{"method": str(found.rows[place]), "mean_rank": ranked.mean_ranks[place]} for place in order],
        "critical_difference": difference,
        "groups": [[str(found.rows[place]) for place in group] for group in ranked.groups],
        "friedman": {"chi_squared": ranked.chi_squared, "p": ranked.p},
    }
