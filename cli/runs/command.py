"""The command emodna-runs: list, show and compare runs of emodna-fit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.options import FOLDER, Command, Group, common_options
from emodna.cli.runs import table
from emodna.cli.runs.compare import compare
from emodna.cli.runs.show import show
from emodna.cli.runs.table import Column
from emodna.model.runs.listing import Run, find_runs

_DEFAULT: Final = Path("runs")
_SORTS: Final = ("name", "date", "uar", "war", "f1", "macro_f1", "size")
_SCORE_RANKS: Final = {"war": 2, "f1": 5, "macro_f1": 6, "constants": 7}


@click.group(cls=Group, examples=("emodna-runs ls --sort uar", "emodna-runs show runs/first"))
@click.version_option(package_name="emodna")
def runs() -> None:
    """List, show and compare runs of emodna-fit. RUN is the folder of a run."""


@click.command(
    "ls",
    cls=Command,
    groups={"Data": "src tgt task method", "Output": "sort"},
    examples=("emodna-runs ls --sort uar", "emodna-runs ls runs more-runs --src ravdess --method emo-dna --json"),
)
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[DIR]...")
@click.option("--src", metavar="CORPUS", help="Only runs with this source, possibly among others.")
@click.option("--tgt", metavar="CORPUS", help="Only runs with this target.")
@click.option("--task", metavar="TASK", help="Only runs of this task.")
@click.option("--method", metavar="NAME", help="Only runs of this method.")
@click.option(
    "--sort", type=click.Choice(_SORTS), default="name", help="Sort by name, or the latest, best or largest first."
)
@common_options
def list_runs(folders: tuple[Path, ...], src: str | None, sort: str, as_json: bool, **filters: str | None) -> None:
    """List runs with their scores.

    Searches each DIR and its subfolders (default: ./runs).
    """
    places = folders or (_DEFAULT,)
    every = find_runs(places) if folders or _DEFAULT.exists() else ()
    found = [
        run
        for run in every
        if all(value in (None, run.identity[key]) for key, value in filters.items())
        and (src is None or src in run.sources)
    ]
    found.sort(key=_make_key(sort))
    if as_json:
        common.print_json([table.describe_run(run) for run in found])
    elif found:
        _print_runs(found)
    else:
        common.out.print(f"no matching runs below {', '.join(common.escape(place) for place in places)}")


def _make_key(sort: str) -> Callable[[Run], Any]:
    """Return the key function of a sort; runs with equal keys keep the order of their paths."""
    match sort:
        case "name":
            keys = ("src", "tgt", "task", "method")
            return lambda run: (*(str(run.identity[key] or "") for key in keys), f"{run.identity['seed'] or 0:20}")
        case "date":
            return lambda run: -run.changed
        case "size":
            return lambda run: -run.bytes
    return lambda run: -(run.scores[sort] or 0.0)


def _print_runs(found: Sequence[Run]) -> None:
    table.print_table(
        [
            Column("src -> tgt", [table.format_pair(run) for run in found]),
            Column("task", [table.format_task(run) for run in found], 3),
            Column("method", [table.make_text(run.marked_label or "-") for run in found], folds=True),
            Column("seed", [table.make_text(table.format_value(run.identity["seed"])) for run in found], 4, right=True),
            Column("state", [table.format_state(run) for run in found], 1),
            *table.make_score_columns(found, _SCORE_RANKS),
            Column("age", [table.make_text(table.format_age(run)) for run in found], 8, right=True),
            Column("MB", [table.make_text(f"{run.bytes / 1e6:.1f}") for run in found], 9, right=True),
            Column("run", [table.make_text(run.folder.path) for run in found], intact=True),
        ]
    )
    for run in found:
        if run.problem is not None:
            common.out.print(f"[red]{common.escape(run.problem)}[/red]")


for command in (compare, list_runs, show):
    runs.add_command(command)


def main() -> None:
    """Run `emodna-runs`."""
    common.run(runs)
