"""emodna-runs: list the runs of emodna-fit, look at them, and compare them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from emodna.cli import common
from emodna.cli.options import Command, Group, common_options
from emodna.cli.runs import table
from emodna.cli.runs.compare import compare
from emodna.cli.runs.show import show
from emodna.cli.runs.table import Column
from emodna.model.runs.listing import Run, find_runs
from emodna.pipeline.emotions import TASKS

_DEFAULT: Final = Path("runs")
_SORTS: Final = ("name", "date", "uar", "war", "f1", "macro_f1", "size")
#: Ranks of the scores' columns: see `Column`.
_RANKS: Final = {"uar": 0, "war": 2, "f1": 5, "macro_f1": 6}


@click.group(cls=Group)
@click.version_option(package_name="emodna")
def runs() -> None:
    """Look at runs of emodna-fit. RUN is a run's folder."""


@click.command("ls", cls=Command)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]...")
@click.option("--src", metavar="CORPUS", help="Only runs with this source, alone or among others.")
@click.option("--tgt", metavar="CORPUS", help="Only runs with this target.")
@click.option("--task", type=click.Choice(TASKS), help="Only runs of this task.")
@click.option("--method", metavar="NAME", help="Only runs of this method.")
@click.option("--sort", type=click.Choice(_SORTS), default="name", help="The latest, best or largest come first.")
@common_options
def list_runs(
    folders: tuple[Path, ...],
    src: str | None,
    tgt: str | None,
    task: str | None,
    method: str | None,
    sort: str,
    as_json: bool,
) -> None:
    """List the runs in and below each DIR (by default ./runs), with their scores beside the best constant answers."""
    places = folders or (_DEFAULT,)
    wanted = {"tgt": tgt, "task": task, "method": method}
    there = find_runs(places) if folders or _DEFAULT.exists() else ()
    found = [
        run
        for run in there
        if all(value in (None, run.identity[key]) for key, value in wanted.items())
        and (src is None or src in run.sources)
    ]
    found.sort(key=_key(sort))
    if as_json:
        common.print_json([table.as_json(run) for run in found])
    elif found:
        _print(found)
    else:
        common.out.print(f"no such runs below {', '.join(common.escape(place) for place in places)}")


def _key(sort: str) -> Callable[[Run], Any]:
    """Return the key to sort by; equals stay in the order of their paths."""
    match sort:
        case "name":
            return lambda run: (
                [str(run.identity[key] or "") for key in ("src", "tgt", "task", "method")]
                + [f"{run.identity['seed'] or 0:20}"]
            )
        case "date":
            return lambda run: -run.changed
        case "size":
            return lambda run: -run.bytes
    return lambda run: -(run.scores[sort] or 0.0)


def _print(found: Sequence[Run]) -> None:
    table.print_table(
        [
            Column("src -> tgt", [table.pair(run) for run in found]),
            Column("task", [table.make_text(run.identity["task"] or "-") for run in found], 3),
            Column("method", [table.make_text(run.label or "-") for run in found]),
            Column("seed", [table.make_text(table.value(run.identity["seed"])) for run in found], 4, right=True),
            Column("state", [table.state(run) for run in found], 1),
            *table.score_columns(found, _RANKS),
            Column("best constants", [table.format_best_constants(run) for run in found], 7, right=True),
            Column("age", [table.make_text(table.age(run)) for run in found], 8, right=True),
            Column("MB", [table.make_text(f"{run.bytes / 1e6:.1f}") for run in found], 9, right=True),
            Column("run", [table.make_text(run.folder.path) for run in found], folds=True),
        ]
    )
    for run in found:
        if run.problem is not None:
            common.out.print(f"[red]damaged:[/red] {common.escape(run.problem)}")


runs.add_command(compare)
runs.add_command(list_runs)
runs.add_command(show)


def main() -> None:
    """Run `emodna-runs`."""
    common.run(runs)
