"""The command group emodna-bench."""

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


@click.group(
    cls=Group,
    examples=("emodna-bench run --corpora emodb --corpora ravdess --methods dan --seeds 1", "emodna-bench table 2"),
)
@click.version_option(package_name="emodna")
def bench() -> None:
    """Run experiments on all pairs of corpora, and compare them with the paper.

    The paper is Emo-DNA (Ye et al. 2023, arXiv 2308.02190).
    """


for command in (report, run, table, compare, figure, status, retry, drop, clean):
    bench.add_command(command)


def main() -> None:
    """Run emodna-bench as a program."""
    trains = len(sys.argv) > 1 and sys.argv[1] in (run.name, retry.name)
    common.run(bench, resumable="run the same command again to resume" if trains else None)
