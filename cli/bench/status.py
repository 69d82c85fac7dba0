"""emodna-bench status: how far a benchmark is."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from emodna.cli import common
from emodna.cli.bench.options import out_option

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome
    from emodna.model.bench.spec import Experiment


@click.command()
@out_option
@common.common_options
def status(out: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Say how far a benchmark is: its cells by state, and why some failed."""
    common.set_verbosity(verbose=verbose, quiet=quiet)
    from emodna.cli.bench.executing import described, retry_command
    from emodna.cli.bench.live import duration
    from emodna.model.bench.outcomes import at_work
    from emodna.model.bench.results import read_outcomes
    from emodna.model.bench.spec import Experiment

    bench = Experiment.read(out)
    found, running = read_outcomes(bench), at_work(bench)
    counts = Counter(each.state for each in found)
    rows = _rows(bench, found)
    failed = [each for each in found if each.state == "failed"]
    remaining = _remaining(found) if running else None
    if as_json:
        document = {
            "out": str(out.absolute()),
            "running": running,
            "cells": len(found),
            "states": dict(counts),
            "rows": rows,
            "failed": [{**described(each.run), "error": each.error} for each in failed],
            "eta_seconds": remaining,
        }
        common.print_json(document)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("method", "task", "done", "failed", "left"):
        table.add_column(name, justify="left" if name in ("method", "task") else "right")
    for row in rows:
        left = row["cells"] - row["done"] - row["failed"]
        table.add_row(
            common.safe(row["label"]), row["task"], *(str(n) if n else "" for n in (row["done"], row["failed"], left))
        )
    common.out.print(table)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    eta = "" if remaining is None else f"; ETA {duration(remaining)}"
    common.out.print(f"\n{len(found)} cells: {states}{'; a run is at work' if running else ''}{eta}")
    for each in failed:
        common.out.print(f"[red]failed:[/red] {common.safe(each.run)}: {common.safe(each.error)}")
    if failed:
        common.out.print(f"{common.safe(retry_command(out))} tries them again")


def _rows(bench: "Experiment", found: "Sequence[Outcome]") -> list[dict[str, Any]]:
    """Cells by row and task, in the benchmark's order."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in found:
        row, task = each.run.method, each.run.task
        begun = {
            "method": str(row),
            "label": bench.methods[row].label,
            "task": task,
            "cells": 0,
            "done": 0,
            "failed": 0,
        }
        counted = rows.setdefault((str(row), task), begun)
        counted["cells"] += 1
        if each.state in ("done", "failed"):
            counted[each.state] += 1
    return list(rows.values())


def _remaining(found: "Sequence[Outcome]") -> float | None:
    """Seconds until the last cell ends, by the seconds of those that are done."""
    from emodna.cli.bench.live import Tally
    from emodna.model.bench.outcomes import wall_seconds

    tally = Tally({each.run: each.state for each in found})
    tally.workers = max(sum(each.state == "running" for each in found), 1)
    for each in found:
        if (seconds := wall_seconds(each.result)) is not None:
            tally.took[str(each.run.method), each.run.task].append(seconds)
    return tally.remaining
