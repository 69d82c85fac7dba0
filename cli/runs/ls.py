"""emodna-runs ls: the runs below some folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from emodna.cli import common
from emodna.model.metrics import SCORE_NAMES
from emodna.pipeline.emotions import TASKS

if TYPE_CHECKING:
    from emodna.model.runs.listing import Run

_DEFAULT: Final = Path("runs")
_SORTS: Final = ("name", "date", "uar", "war", "f1", "macro_f1", "size")


@click.command("ls")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]...")
@click.option("--src", metavar="CORPUS", help="Only runs with this source, alone or among others.")
@click.option("--tgt", metavar="CORPUS", help="Only runs with this target.")
@click.option("--task", type=click.Choice(TASKS), help="Only runs of this task.")
@click.option("--method", metavar="NAME", help="Only runs of this method.")
@click.option("--sort", type=click.Choice(_SORTS), default="name", help="The latest, best or largest come first.")
@common.common_options
def list_runs(
    folders: tuple[Path, ...],
    src: str | None,
    tgt: str | None,
    task: str | None,
    method: str | None,
    sort: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """List the runs in and below each DIR (by default ./runs), with their scores beside the best constant answers."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.cli.runs.words import as_json as run_as_json
    from emodna.model.runs.listing import find_runs

    places = folders or (_DEFAULT,)
    wanted = {"tgt": tgt, "task": task, "method": method}
    there = find_runs(places) if folders or _DEFAULT.exists() else ()
    found = [
        run
        for run in there
        if all(value in (None, run.asked[key]) for key, value in wanted.items()) and (src is None or src in run.sources)
    ]
    found.sort(key=_key(sort))
    if as_json:
        common.print_json([run_as_json(run) for run in found])
    elif found:
        _print(found)
    else:
        common.out.print(f"no such runs below {', '.join(common.safe(place) for place in places)}")


def _key(sort: str) -> "Callable[[Run], Any]":
    """What to sort by; among equals the folder's path decides, which comes in order."""
    match sort:
        case "name":
            return lambda run: (
                [str(run.asked[key] or "") for key in ("src", "tgt", "task", "method")]
                + [f"{run.asked['seed'] or 0:20}"]
            )
        case "date":
            return lambda run: -run.changed
        case "size":
            return lambda run: -run.bytes
    return lambda run: -(run.scores[sort] or 0.0)


def _print(runs: "Sequence[Run]") -> None:
    from rich.text import Text

    from emodna.cli.runs import words
    from emodna.cli.runs.table import Column, print_table

    def column(heading: str, cell: "Callable[[Run], Text | str]", **how: Any) -> Column:
        cells = [cell(run) for run in runs]
        return Column(heading, [Text(each) if isinstance(each, str) else each for each in cells], **how)

    def score(name: str, rank: int) -> Column:
        heading = SCORE_NAMES[name]
        return column(
            heading, lambda run: words.score(run.scores[name], run.best_constant[name]), rank=rank, right=True
        )

    print_table(
        [
            column("src -> tgt", words.pair),
            column("task", lambda run: words.safe_text(run.asked["task"] or "-"), rank=3),
            column("method", words.method),
            column("seed", lambda run: words.value(run.asked["seed"]), rank=4, right=True),
            column("state", words.state, rank=1),
            score("uar", 0),
            score("war", 2),
            score("f1", 5),
            score("macro_f1", 6),
            column("best constants", lambda run: words.scores(run.best_constant), rank=7, right=True),
            column("age", words.age, rank=8, right=True),
            column("MB", lambda run: f"{run.bytes / 1e6:.1f}", rank=9, right=True),
            column("run", lambda run: words.safe_text(run.folder.path), folds=True),
        ]
    )
    for run in runs:
        if run.problem is not None:
            common.out.print(f"[red]damaged:[/red] {common.safe(run.problem)}")
