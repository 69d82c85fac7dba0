"""The command emodna-runs compare: compare runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from emodna.cli import common
from emodna.cli.options import PATH, Command, common_options
from emodna.cli.runs import table
from emodna.cli.runs.table import Column, make_text, print_table
from emodna.cli.scores import format_percent
from emodna.model.label import SCORE_NAMES
from emodna.model.runs.listing import Run, open_run

if TYPE_CHECKING:
    from emodna.model.runs.compare import RunPair, SeedSummary


@click.command(
    cls=Command,
    examples=(
        "emodna-runs compare runs/first runs/second",
        "emodna-runs compare runs/seed0 runs/seed1 runs/dan --json",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN RUN...")
@common_options
def compare(runs: tuple[Path, ...], as_json: bool) -> None:
    """Compare runs side by side.

    Prints scores, differing settings, means over seeds, and how the predictions of each pair differ. An exact McNemar
    test compares two runs on the same utterances. It assumes independent utterances. Its p-values are not corrected for
    the number of pairs.
    """
    if len(runs) < 2:
        raise click.UsageError("give at least two runs")
    if len({run.resolve() for run in runs}) < len(runs):
        raise click.UsageError("give each run only once")
    from emodna.model.runs.compare import compare_pairs, find_differences, summarise_seeds

    found = [open_run(run) for run in runs]
    differences, seeds, pairs = find_differences(found), summarise_seeds(found), compare_pairs(found)
    if as_json:
        rows = [table.describe_run(run) for run in found]
        paths = [row["run"] for row in rows]
        document: dict[str, Any] = {"runs": rows, "differs": differences}
        document["seeds"] = [{**asdict(each), "runs": [paths[index] for index in each.runs]} for each in seeds]
        document["pairs"] = [{"a": paths[a], "b": paths[b], **asdict(each)} for (a, b), each in pairs.items()]
        common.print_json(document)
        return
    _print_scores(found)
    _print_differences(found, differences)
    if seeds:
        _print_seeds(seeds)
    _print_pairs(pairs)


def _make_name(index: int) -> str:
    """Return the name of a run by its index: A, ..., Z, A1, ..."""
    turn, letter = divmod(index, len(ascii_uppercase))
    return f"{ascii_uppercase[letter]}{turn or ''}"


def _print_scores(runs: Sequence[Run]) -> None:
    for index, run in enumerate(runs):
        common.out.print(f"[bold]{_make_name(index)}[/bold]  {common.escape(run.folder.path)}")
        if run.problem is not None:
            common.out.print(f"   [red]{common.escape(run.problem)}[/red]")
    print_table(
        [
            Column("", [Text(_make_name(index), "bold") for index in range(len(runs))]),
            Column("src -> tgt", [table.format_pair(run) for run in runs], 2),
            Column("method", [make_text(run.marked_label or "-") for run in runs], folds=True),
            Column("state", [table.format_state(run) for run in runs], 1),
            *table.make_score_columns(runs, {"constants": 3}),
        ]
    )


def _print_differences(runs: Sequence[Run], differences: Mapping[str, list[Any]]) -> None:
    if not differences:
        common.out.print("the same configuration\n")
        return
    columns = [Column("differs", [make_text(key) for key in differences], folds=True)]
    for index in range(len(runs)):
        cells = [make_text(table.format_value(values[index])) for values in differences.values()]
        columns.append(Column(_make_name(index), cells, folds=True))
    print_table(columns)


def _print_seeds(seeds: "Sequence[SeedSummary]") -> None:
    scores = [
        Column(heading, [Text(f"{each.mean[key]:.1f} \u00b1 {each.std[key]:.1f}") for each in seeds], right=True)
        for key, heading in SCORE_NAMES.items()
        if all(key in each.mean for each in seeds)
    ]
    names = [Text(", ".join(map(_make_name, each.runs))) for each in seeds]
    print_table([Column("over seeds", names, folds=True), *scores])


def _print_pairs(pairs: "Mapping[tuple[int, int], RunPair]") -> None:
    known = {indices: each for indices, each in pairs.items() if each.problem is None}
    if known:
        rows = known.values()
        print_table(
            [
                Column("pair", [Text(" ".join(map(_make_name, indices))) for indices in known]),
                Column("utterances", [Text(str(each.utterances)) for each in rows], 1, right=True),
                Column("agree %", [Text(format_percent(each.agreement)) for each in rows], right=True),
                Column("only 1st right", [Text(table.format_value(each.only_a)) for each in rows], right=True),
                Column("only 2nd right", [Text(table.format_value(each.only_b)) for each in rows], right=True),
                Column("McNemar p", [Text("-" if each.p is None else f"{each.p:.3g}") for each in rows], right=True),
            ]
        )
    if any(each.labelled == 0 for each in known.values()):
        common.note("no McNemar test: the target has no labels")
    if any(each.labelled is None for each in known.values()):
        common.note("a McNemar test needs the target's labels: its store is missing or has changed")
    for indices, each in pairs.items():
        if each.problem is not None:
            common.out.print(f"{' '.join(map(_make_name, indices))}  {common.escape(each.problem)}")
