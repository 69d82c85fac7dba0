"""emodna-bench drop: take methods, corpora or seeds out of a benchmark again."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli import common
from emodna.cli.bench.options import out_option

if TYPE_CHECKING:
    from emodna.model.bench.spec import Experiment, MethodSpec


@click.command()
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
    quiet: bool,
    verbose: bool,
) -> None:
    """Take methods, corpora or seeds out of a benchmark.

    Its tables, figures and commands know them no more. Runs stay in their folders: `emodna-bench run` with the same
    options finds them done, and `emodna-bench clean --delete` removes them.
    """
    common.set_verbosity(verbose=verbose, quiet=quiet)
    if not (methods or corpora or seeds):
        raise click.UsageError("nothing to drop; give --methods, --corpora or --seeds")
    from emodna.model.bench.presets import CEILING
    from emodna.model.bench.running.execute import only_run
    from emodna.model.bench.spec import Experiment

    Experiment.read(out)  # where there is none, no folder is made for it
    with only_run(out):
        bench = Experiment.read(out)
        rows = _rows(bench, methods)
        left = bench.without(rows, _corpora(bench, corpora), seeds)
        left.write()
    dropped = [cell for cell in bench.runs if cell not in set(left.runs)]
    runs = sum(bench.run_folder(cell).path.exists() for cell in dropped)
    orphans = {cell.tgt for cell in dropped if cell.method == CEILING and cell.src in corpora} & left.corpora.keys()
    if orphans and CEILING not in rows:
        common.note(
            f"upper-bound of {common.safe(', '.join(sorted(orphans)))} was run from a corpus that is dropped; "
            "emodna-bench run --methods upper-bound adds it again"
        )
    if as_json:
        common.print_json(
            {"out": str(out.absolute()), "dropped": len(dropped), "cells": len(left.runs), "kept_runs": runs}
        )
        return
    common.out.print(f"dropped {_counted(len(dropped), 'cell')}; {_counted(len(left.runs), 'cell')} left")
    if runs:
        where = "" if out == Path("bench") else f" --out {out}"
        common.out.print(
            f"{_counted(runs, 'run')} of {'it' if len(dropped) == 1 else 'them'} still there; "
            f"{common.safe(f'emodna-bench clean{where}')} lists and removes what is not needed"
        )


def _rows(bench: "Experiment", methods: tuple[str, ...]) -> "set[MethodSpec]":
    """Rows by their spelling; a method need not be installed.

    Raises
    ------
    BenchError
        One that the benchmark does not have; names those that it has.
    """
    from emodna.model.bench.spec import MethodSpec
    from emodna.model.errors import BenchError

    rows = {MethodSpec.read(text) for text in methods}
    if unknown := sorted(rows - bench.methods.keys()):
        raise BenchError(
            f"--methods {unknown[0]}: not in the benchmark; there are: {', '.join(map(str, bench.methods))}"
        )
    return rows


def _corpora(bench: "Experiment", corpora: tuple[str, ...]) -> set[str]:
    """Names of corpora.

    Raises
    ------
    BenchError
        One that the benchmark does not have; names those that it has.
    """
    from emodna.model.errors import BenchError

    if unknown := sorted(set(corpora) - bench.corpora.keys()):
        raise BenchError(f"--corpora {unknown[0]}: not in the benchmark; there are: {', '.join(bench.corpora)}")
    return set(corpora)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
