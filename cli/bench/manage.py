"""emodna-bench status, drop and clean: show, shrink and clean up an experiment."""

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
from emodna.model.bench.method_spec import MethodSpec
from emodna.model.bench.paper import is_upper_bound
from emodna.model.bench.spec import Experiment
from emodna.model.errors import BenchError
from emodna.pipeline.errors import explain_os_error

_KIND_NAMES: Final[dict[LeftoverKind, str]] = {
    "old": "no longer in the experiment",
    "failed": "from failed runs",
    "temporary": "incomplete",
}


@click.command(
    cls=Command, groups={"Data": "out"}, examples=("emodna-bench status", "emodna-bench status --out bench --json")
)
@out_option
@common_options
def status(out: Path, as_json: bool) -> None:
    """Show progress and errors."""
    from emodna.model.bench.results import read_run_results
    from emodna.model.bench.runner import is_running

    experiment = Experiment.read(out)
    results, is_active = read_run_results(experiment), is_running(experiment)
    display = BenchDisplay(experiment, {each.run: each.state for each in results})
    display.workers = max(display.counts["running"], 1)
    by_row: dict[Any, Counter[str]] = defaultdict(Counter)  # in the experiment's order
    for each in results:
        by_row[each.run.method, each.run.task][each.state] += 1
        if each.seconds is not None:
            display.durations[each.run.method, each.run.task].append(each.seconds)
    seconds_left = display.seconds_left if is_active else None
    rows = [
        {
            "method": str(method),
            "label": experiment.methods[method].label,
            "feature_set": experiment.name_feature_set(method),
            "task": task,
            "cells": states.total(),
            "done": states["done"],
            "failed": states["failed"],
        }
        for (method, task), states in by_row.items()
    ]
    failed = [each for each in results if each.state == "failed"]
    if as_json:
        document = {
            "out": str(out.absolute()),
            "running": is_active,
            "cells": len(results),
            "states": dict(display.counts),
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
    states = ", ".join(f"{count} {state}" for state, count in display.counts.items())
    eta = "" if seconds_left is None else f"; ETA {format_duration(seconds_left)}"
    common.out.print(f"\n{format_count(results, 'run')}: {states}{'; running now' if is_active else ''}{eta}")
    for each in failed:
        common.out.print(f"[red]failed:[/red] {common.escape(each.run)}: {common.escape(each.error)}")
    if failed:
        common.out.print(f"try again with: {common.escape(format_command(out, 'retry'))}")


@click.command(
    cls=Command,
    groups={"Data": "out methods feature_sets corpora seeds"},
    examples=("emodna-bench drop --methods dann:add=scl", "emodna-bench drop --corpora savee --seeds 2"),
)
@out_option
@click.option("--methods", multiple=True, metavar="SPEC", help="Method spec to drop; repeatable.")
@click.option(
    "--feature-set",
    "feature_sets",
    multiple=True,
    metavar="NAME",
    help="Feature set to drop, with all its methods; repeatable.",
)
@click.option("--corpora", multiple=True, metavar="CORPUS", help="Corpus to drop, with all its pairs; repeatable.")
@click.option("--seeds", type=click.IntRange(min=1), help="Keep only this number of seeds, counted from 0.")
@common_options
def drop(
    out: Path,
    methods: tuple[str, ...],
    feature_sets: tuple[str, ...],
    corpora: tuple[str, ...],
    seeds: int | None,
    as_json: bool,
) -> None:
    """Drop methods, feature sets, corpora or seeds from an experiment.

    SPEC is a method with optional settings, such as dan:add=scl. The folders of finished runs are kept: `emodna-bench
    run` adds them again without training. `emodna-bench clean --delete` deletes them.
    """
    if not (methods or feature_sets or corpora or seeds):
        raise click.UsageError("nothing to drop: set --methods, --feature-set, --corpora or --seeds")
    from emodna.model.bench.runner import lock_experiment

    Experiment.read(out)  # before the lock creates the folder
    with lock_experiment(out):
        experiment = Experiment.read(out)
        # Packages of methods may be uninstalled.
        specs = [experiment.resolve_spec(MethodSpec.parse_unchecked(text)) for text in methods]
        _check_known("methods", specs, experiment.methods)
        _check_known("corpora", corpora, experiment.corpora)
        specs += [spec for name in feature_sets for spec in experiment.list_specs(name)]
        remainder = experiment.drop(specs, corpora, seeds)
        dropped = [run for run in experiment.runs if run not in set(remainder.runs)]
        if not (dropped or methods or feature_sets or corpora):
            problem = f"nothing to drop: the experiment has {format_count(experiment.seeds, 'seed')}"
            raise BenchError(problem, field="seeds", value=seeds)
        remainder.write()
    runs = sum(experiment.run_folder(run).path.exists() for run in dropped)
    targets = {run.tgt for run in dropped if is_upper_bound(run.method) and run.src in corpora}
    targets &= remainder.corpora.keys()
    if targets and not any(map(is_upper_bound, specs)):
        names = common.escape(", ".join(sorted(targets)))
        command = "emodna-bench run --methods upper-bound"
        common.note(f"dropped upper-bound of {names}: it used a dropped corpus; add it again with: {command}")
    if as_json:
        counts = {"dropped": len(dropped), "cells": len(remainder.runs), "kept_runs": runs}
        common.print_json({"out": str(out.absolute()), **counts})
        return
    common.out.print(f"dropped {format_count(dropped, 'run')}, {format_count(remainder.runs, 'run')} left")
    if runs:
        command = common.escape(format_command(out, "clean"))
        common.out.print(f"kept {format_count(runs, 'run folder')}; list them with: {command}")


def _check_known(field: str, values: Iterable[Any], known: Iterable[Any]) -> None:
    known = list(known)
    if unknown := sorted(each for each in values if each not in known):
        raise BenchError("not in the experiment", field=field, value=str(unknown[0]), valid=known)


@click.command(
    cls=Command,
    groups={"Data": "out", "Output": "delete"},
    examples=("emodna-bench clean", "emodna-bench clean --delete"),
)
@out_option
@click.option("--delete", is_flag=True, help="Delete the leftovers instead of listing them.")
@common_options
def clean(out: Path, delete: bool, as_json: bool, verbose: bool) -> int:
    """List or delete leftovers of an experiment.

    Leftovers are folders of runs that are no longer in the experiment (for example, after a change of a feature store),
    folders of failed runs, and incomplete files. Recorded errors, running runs, and files that emodna-bench did not
    write are kept. The exit code is 1 if a leftover cannot be deleted.
    """
    from emodna.model.bench.runner import lock_experiment

    experiment = Experiment.read(out)
    failed = False
    with lock_experiment(out) if delete else nullcontext():
        leftovers = find_leftovers(experiment)
        for each in leftovers if delete else ():
            try:
                if each.reason_to_keep is None:
                    each.delete()
            except OSError as error:
                common.print_error(f"{error.filename or each.path}: {explain_os_error(error)}")
                failed = True
    if as_json:
        documents = [
            {"path": str(each.path.absolute()), "bytes": each.bytes, "kind": each.kind, "kept": each.reason_to_keep}
            for each in leftovers
        ]
        common.print_json({"out": str(out.absolute()), "deleted": delete, "leftovers": documents})
    else:
        _print_leftovers(leftovers, delete=delete, verbose=verbose)
    return int(failed)


def _print_leftovers(leftovers: list[Leftover], *, delete: bool, verbose: bool) -> None:
    deletable = [each for each in leftovers if each.reason_to_keep is None]
    for kind, name in _KIND_NAMES.items():
        of_kind = [each for each in deletable if each.kind == kind]
        if of_kind:
            common.out.print(f"{_format_size(of_kind)} {name}")
        for each in of_kind if verbose else ():
            common.out.print(f"  {common.escape(each.path)}: {each.bytes / 1e6:.1f} MB")
    for each in leftovers:
        if each.reason_to_keep is not None:
            common.out.print(f"kept {common.escape(each.path)}: {common.escape(each.reason_to_keep)}")
    if not deletable:
        common.out.print("no leftovers")
    elif delete:
        common.out.print(f"deleted {_format_size(deletable)}")
    else:
        common.out.print(f"nothing deleted; --delete deletes {_format_size(deletable)}")


def _format_size(leftovers: list[Leftover]) -> str:
    runs = sum(each.kind != "temporary" and each.path.suffix != ".json" for each in leftovers)
    counts = [format_count(count, word) for count, word in ((runs, "run"), (len(leftovers) - runs, "file")) if count]
    return f"{' and '.join(counts)}, {sum(each.bytes for each in leftovers) / 1e6:.1f} MB"
