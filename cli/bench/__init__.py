"""emodna-bench: run experiments, and show them as the tables and figures of the paper."""

from collections.abc import Sized
from pathlib import Path

import click

from emodna.cli.options import FOLDER
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.tasks import TASKS

out_option = click.option(
    "--out", type=FOLDER, default=Path("bench"), envvar="EMODNA_BENCH_OUT", show_envvar=True, help="Experiment folder."
)
task_option = click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Task; repeatable.  [default: all]"
)


def check_output(to: Path | None) -> None:
    """Raise EmodnaError if the folder of an output file does not exist."""
    if to is not None and not to.parent.is_dir():
        raise EmodnaError(f"folder {to.parent} not found", field="to", value=to)


def format_count(things: Sized | int, word: str) -> str:
    """Return "1 run" or "2 runs"."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {word}{'s' * (number != 1)}"
