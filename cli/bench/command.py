"""emodna-bench: all pairs of corpora by methods and seeds, reported beside the paper."""

import sys

import click

from emodna.cli import common
from emodna.cli.bench.compare import compare
from emodna.cli.bench.figure import figure
from emodna.cli.bench.manage import clean, drop, status
from emodna.cli.bench.report import report
from emodna.cli.bench.run import retry, run
from emodna.cli.bench.table import table
from emodna.cli.options import Group


@click.group(cls=Group)
@click.version_option(package_name="emodna")
def bench() -> None:
    """Run all ordered pairs of corpora, and report them next to the paper."""


for command in (report, run, table, compare, figure, status, retry, drop, clean):
    bench.add_command(command)


def main() -> None:
    """Entry point of `emodna-bench`."""
    trains = len(sys.argv) > 1 and sys.argv[1] in (run.name, retry.name)
    common.run(bench, resumable="the same command goes on where it ended" if trains else None)
