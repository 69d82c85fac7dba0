"""emodna-bench status, drop and clean: look at an experiment, take parts out, remove what is not needed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table

from emodna.cli import common
from emodna.cli.bench import counted, out_option
from emodna.cli.bench.execution import Progress, command_on, run_json
from emodna.cli.options import Command
from emodna.cli.progress import duration
from emodna.model.bench.leftovers import Kind, Leftover, leftovers
from emodna.model.bench.paper import CEILING
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import BenchError
from emodna.pipeline.errors import explain_os_error

_KINDS: Final[dict[Kind, str]] = {
    "old": "of other stores, methods or seeds than the benchmark has",
    "failed": "of cells that failed",
    "temporary": "half written",
}


@click.command(cls=Command)
@out_option
@common.common_options
def status(out: Path, as_json: bool) -> None:
    """Say how far a benchmark is: its cells by state, and why some failed."""
    from emodna.model.bench.results import read_outcomes
    from emodna.model.bench.runner import is_at_work

    experiment = Experiment.read(out)
    found, running = read_outcomes(experiment), is_at_work(experiment)
    progress = Progress(experiment, {each.run: each.state for each in found})
    progress.workers = max(progress.counts["running"], 1)
    by_row: dict[Any, Counter[str]] = defaultdict(Counter)  # in the experiment's order
    for each in found:
        by_row[each.run.method, each.run.task][each.state] += 1
        if each.seconds is not None:
            progress.took[each.run.method, each.run.task].append(each.seconds)
    remaining = progress.remaining if running else None
    rows = [
        {
            "method": str(method),
            "label": experiment.methods[method].label,
            "task": task,
            "cells": states.total(),
            "done": states["done"],
            "failed": states["failed"],
        }
        for (method, task), states in by_row.items()
    ]
    failed = [each for each in found if each.state == "failed"]
    if as_json:
        document = {
            "out": str(out.absolute()),
            "running": running,
            "cells": len(found),
            "states": dict(progress.counts),
            "rows": rows,
            "failed": [{**run_json(each.run), "error": each.error} for each in failed],
            "eta_seconds": remaining,
        }
        common.print_json(document)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("method", "task", "done", "failed", "left"):
        table.add_column(name, justify="left" if name in ("method", "task") else "right")
    for row in rows:
        numbers = (row["done"], row["failed"], row["cells"] - row["done"] - row["failed"])
        table.add_row(common.safe(row["label"]), row["task"], *(str(number or "") for number in numbers))
    common.out.print(table)
    states = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
    eta = "" if remaining is None else f"; ETA {duration(remaining)}"
    common.out.print(f"\n{len(found)} cells: {states}{'; a run is at work' if running else ''}{eta}")
    for each in failed:
        common.out.print(f"[red]failed:[/red] {common.safe(each.run)}: {common.safe(each.error)}")
    if failed:
        common.out.print(f"{common.safe(command_on(out, 'retry'))} tries them again")


@click.command(cls=Command)
@out_option
@click.option(
    "--methods", multiple=True, metavar="METHOD[:KEY=VALUE,...]", help="A row, as status --json names it; repeatable."
)
@click.option("--corpora", multiple=True, metavar="CORPUS", help="With all pairs that it is in; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many to keep: 0, 1, ...")
@common.common_options
def drop(
    out: Path,
    methods: tuple[str, ...],
    corpora: tuple[str, ...],
    seeds: int | None,
    as_json: bool,
) -> None:
    """Take methods, corpora or seeds out of a benchmark.

    Its tables, figures and commands know them no more. Runs stay in their folders: `emodna-bench run` with the same
    options finds them done, and `emodna-bench clean --delete` removes them.
    """
    if not (methods or corpora or seeds):
        raise click.UsageError("nothing to drop; give --methods, --corpora or --seeds")
    from emodna.model.bench.runner import exclusive

    Experiment.read(out)  # where there is none, no folder is made for it
    with exclusive(out):
        experiment = Experiment.read(out)
        specs = [MethodSpec.read(text) for text in methods]  # they need not be installed
        _check_known("--methods", specs, experiment.methods)
        _check_known("--corpora", corpora, experiment.corpora)
        left = experiment.without(specs, corpora, seeds)
        left.write()
    dropped = [run for run in experiment.runs if run not in set(left.runs)]
    runs = sum(experiment.run_folder(run).path.exists() for run in dropped)
    orphans = {run.tgt for run in dropped if run.method == CEILING and run.src in corpora} & left.corpora.keys()
    if orphans and CEILING not in specs:
        common.note(
            f"upper-bound of {common.safe(', '.join(sorted(orphans)))} was run from a corpus that is dropped; "
            "emodna-bench run --methods upper-bound adds it again"
        )
    if as_json:
        common.print_json(
            {"out": str(out.absolute()), "dropped": len(dropped), "cells": len(left.runs), "kept_runs": runs}
        )
        return
    common.out.print(f"dropped {counted(dropped, 'cell')}; {counted(left.runs, 'cell')} left")
    if runs:
        common.out.print(
            f"{counted(runs, 'run')} of {'it' if len(dropped) == 1 else 'them'} still there; "
            f"{common.safe(command_on(out, 'clean'))} lists and removes what is not needed"
        )


def _check_known(option: str, asked: Iterable[Any], known: Iterable[Any]) -> None:
    """Refuse methods or corpora that an experiment does not have."""
    known = list(known)
    if unknown := sorted(each for each in asked if each not in known):
        raise BenchError(f"{option} {unknown[0]}: not in the benchmark; there are: {', '.join(map(str, known))}")


@click.command(cls=Command)
@out_option
@click.option("--delete", is_flag=True, help="Remove it; without this, it is only listed.")
@common.common_options
@click.pass_context
def clean(context: click.Context, out: Path, delete: bool, as_json: bool, verbose: bool) -> None:
    """List what no cell of the benchmark needs, and with --delete remove it.

    That is: runs that none of its cells names, say of a store that has changed since, what cells that failed have left
    (why they failed stays known), and half-written files. What is at work stays, and so does what emodna-bench did not
    name. Exit 1 if something could not be removed.
    """
    from emodna.model.bench.runner import exclusive

    experiment = Experiment.read(out)
    failed = False
    with exclusive(out) if delete else nullcontext():
        found = leftovers(experiment)
        for each in found if delete else ():
            try:
                if each.kept is None:
                    each.remove()
            except OSError as error:
                common.print_error(f"{error.filename or each.path}: {explain_os_error(error)}")
                failed = True
    if as_json:
        documents = [
            {"path": str(each.path.absolute()), "bytes": each.bytes, "kind": each.kind, "kept": each.kept}
            for each in found
        ]
        common.print_json({"out": str(out.absolute()), "deleted": delete, "leftovers": documents})
    else:
        _print_leftovers(found, delete=delete, verbose=verbose)
    context.exit(int(failed))


def _print_leftovers(found: list[Leftover], *, delete: bool, verbose: bool) -> None:
    gone = [each for each in found if each.kept is None]
    for kind, words in _KINDS.items():
        these = [each for each in gone if each.kind == kind]
        if these:
            common.out.print(f"{_size(these)} {words}")
        for each in these if verbose else ():
            common.out.print(f"  {common.safe(each.path)}: {each.bytes / 1e6:.1f} MB")
    for each in found:
        if each.kept is not None:
            common.out.print(f"kept {common.safe(each.path)}: {common.safe(each.kept)}")
    if not gone:
        common.out.print("nothing to remove")
    elif delete:
        common.out.print(f"removed {_size(gone)}")
    else:
        common.out.print(f"{_size(gone)} can be removed by --delete; nothing was changed")


def _size(these: list[Leftover]) -> str:
    runs = sum(each.kind != "temporary" and each.path.suffix != ".json" for each in these)
    words = [counted(number, word) for number, word in ((runs, "run"), (len(these) - runs, "file")) if number]
    return f"{' and '.join(words)}, {sum(each.bytes for each in these) / 1e6:.1f} MB"
