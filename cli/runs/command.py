"""emodna-runs: look at the runs of emodna-fit, and compare them."""

import click

from emodna.cli import common
from emodna.cli.runs.compare import compare
from emodna.cli.runs.ls import list_runs
from emodna.cli.runs.show import show


@click.group(context_settings=common.CONTEXT)
@click.version_option(package_name="emodna")
def runs() -> None:
    """Look at runs of emodna-fit. RUN is a run's folder."""


runs.add_command(compare)
runs.add_command(list_runs)
runs.add_command(show)


def main() -> None:
    """Entry point of `emodna-runs`."""
    common.run(runs)
