"""emodna-bench status, drop and clean: look at an experiment, take parts out, remove what is not needed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click
from rich.table import Table

from emodna.cli import common
from emodna.cli.bench import format_count, out_option
from emodna.cli.bench.execution import BenchDisplay, describe_run, format_command
from emodna.cli.options import Command, common_options
from emodna.cli.progress import format_duration
from emodna.model.bench.leftovers import Leftover, LeftoverKind, find_leftovers
from emodna.model.bench.paper import UPPER_BOUND
from emodna.model.bench.spec import Experiment, MethodSpec
from emodna.model.errors import BenchError
from emodna.pipeline.errors import explain_os_error

_KINDS: Final[dict[LeftoverKind, str]] = {
    "old": "of other stores, methods or seeds than the benchmark has",
    "failed": "of cells that failed",
    "temporary": "half written",
}


@click.command(cls=Command)
@out_option
@common_options
def status(out: Path, as_json: bool) -> None:
    """Say how far a benchmark is: its cells by state, and why some failed."""
    from emodna.model.bench.results import read_run_results
    from emodna.model.bench.runner import is_running

    experiment = Experiment.read(out)
    found, running = read_run_results(experiment), is_running(experiment)
    progress = BenchDisplay(experiment, {each.run: each.state for each in found})
    progress.workers = max(progress.counts["running"], 1)
    by_row: dict[Any, Counter[str]] = defaultdict(Counter)  # in the experiment's order
    for each in found:
        by_row[each.run.method, each.run.task][each.state] += 1
        if each.seconds is not None:
            progress.durations[each.run.method, each.run.task].append(each.seconds)
    seconds_left = progress.seconds_left if running else None
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
            "failed": [{**describe_run(each.run), "error": each.error} for each in failed],
            "eta_seconds": seconds_left,
        }
        common.print_json(document)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("method", "task", "done", "failed", "left"):
        table.add_column(name, justify="left" if name in ("method", "task") else "right")
    for row in rows:
        numbers = (row["done"], row["failed"], row["cells"] - row["done"] - row["failed"])
        table.add_row(common.escape(row["label"]), row["task"], *(str(number or "") for number in numbers))
    common.out.print(table)
    states = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
    eta = "" if seconds_left is None else f"; ETA {format_duration(seconds_left)}"
    common.out.print(f"\n{len(found)} cells: {states}{'; a run is at work' if running else ''}{eta}")
    for each in failed:
        common.out.print(f"[red]failed:[/red] {common.escape(each.run)}: {common.escape(each.error)}")
    if failed:
        common.out.print(f"{common.escape(format_command(out, 'retry'))} tries them again")


@click.command(cls=Command)
@out_option
@click.option(
    "--methods", multiple=True, metavar="METHOD[:KEY=VALUE,...]", help="A row, as status --json names it; repeatable."
)
@click.option("--corpora", multiple=True, metavar="CORPUS", help="With all pairs that it is in; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many to keep: 0, 1, ...")
@common_options
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
    from emodna.model.bench.runner import lock_experiment

    Experiment.read(out)  # where there is none, no folder is made for it
    with lock_experiment(out):
        experiment = Experiment.read(out)
        specs = [MethodSpec.parse_unchecked(text) for text in methods]  # they need not be installed
        _check_known("--methods", specs, experiment.methods)
        _check_known("--corpora", corpora, experiment.corpora)
        left = experiment.drop(specs, corpora, seeds)
        left.write()
    dropped = [run for run in experiment.runs if run not in set(left.runs)]
    runs = sum(experiment.run_folder(run).path.exists() for run in dropped)
    orphans = {run.tgt for run in dropped if run.method == UPPER_BOUND and run.src in corpora} & left.corpora.keys()
    if orphans and UPPER_BOUND not in specs:
        common.note(
            f"upper-bound of {common.escape(', '.join(sorted(orphans)))} was run from a corpus that is dropped; "
            "emodna-bench run --methods upper-bound adds it again"
        )
    if as_json:
        common.print_json(
            {"out": str(out.absolute()), "dropped": len(dropped), "cells": len(left.runs), "kept_runs": runs}
        )
        return
    common.out.print(f"dropped {format_count(dropped, 'cell')}; {format_count(left.runs, 'cell')} left")
    if runs:
        common.out.print(
            f"{format_count(runs, 'run')} of {'it' if len(dropped) == 1 else 'them'} still there; "
            f"{common.escape(format_command(out, 'clean'))} lists and removes what is not needed"
        )


def _check_known(option: str, asked: Iterable[Any], known: Iterable[Any]) -> None:
    """Refuse methods or corpora that an experiment does not have."""
    known = list(known)
    if unknown := sorted(each for each in asked if each not in known):
        raise BenchError(f"{option} {unknown[0]}: not in the benchmark; there are: {', '.join(map(str, known))}")


@click.command(cls=Command)
@out_option
@click.option("--delete", is_flag=True, help="Remove it; without this, it is only listed.")
@common_options
@click.pass_context
def clean(context: click.Context, out: Path, delete: bool, as_json: bool, verbose: bool) -> None:
    """List what no cell of the benchmark needs, and with --delete remove it.

    That is: runs that none of its cells names, say of a store that has changed since, what cells that failed have left
    (why they failed stays known), and half-written files. What is at work stays, and so does what emodna-bench did not
    name. Exit 1 if something could not be removed.
    """
    from emodna.model.bench.runner import lock_experiment

    experiment = Experiment.read(out)
    failed = False
    with lock_experiment(out) if delete else nullcontext():
        found = find_leftovers(experiment)
        for each in found if delete else ():
            try:
                if each.reason_to_keep is None:
                    each.delete()
            except OSError as error:
                common.print_error(f"{error.filename or each.path}: {explain_os_error(error)}")
                failed = True
    if as_json:
        documents = [
            {"path": str(each.path.absolute()), "bytes": each.bytes, "kind": each.kind, "kept": each.reason_to_keep}
            for each in found
        ]
        common.print_json({"out": str(out.absolute()), "deleted": delete, "leftovers": documents})
    else:
        _print_leftovers(found, delete=delete, verbose=verbose)
    context.exit(int(failed))


def _print_leftovers(found: list[Leftover], *, delete: bool, verbose: bool) -> None:
    gone = [each for each in found if each.reason_to_keep is None]
    for kind, words in _KINDS.items():
        these = [each for each in gone if each.kind == kind]
        if these:
            common.out.print(f"{_format_size(these)} {words}")
        for each in these if verbose else ():
            common.out.print(f"  {common.escape(each.path)}: {each.bytes / 1e6:.1f} MB")
    for each in found:
        if each.reason_to_keep is not None:
            common.out.print(f"kept {common.escape(each.path)}: {common.escape(each.reason_to_keep)}")
    if not gone:
        common.out.print("nothing to remove")
    elif delete:
        common.out.print(f"removed {_format_size(gone)}")
    else:
        common.out.print(f"{_format_size(gone)} can be removed by --delete; nothing was changed")


def _format_size(these: list[Leftover]) -> str:
    runs = sum(each.kind != "temporary" and each.path.suffix != ".json" for each in these)
    words = [format_count(number, word) for number, word in ((runs, "run"), (len(these) - runs, "file")) if number]
    return f"{' and '.join(words)}, {sum(each.bytes for each in these) / 1e6:.1f} MB"
