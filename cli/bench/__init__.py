"""emodna-bench: run experiments, and show them as the tables and figures of the paper."""

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emodna.cli.options import FOLDER
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.spec import Experiment

out_option = click.option(
    "--out", type=FOLDER, default=Path("bench"), envvar="EMODNA_BENCH_OUT", show_envvar=True, help="Experiment folder."
)
task_option = click.option("--task", "tasks", multiple=True, metavar="TASK", help="Task; repeatable.  [default: all]")


def check_tasks(experiment: "Experiment", tasks: Sequence[str]) -> None:
    """Raise EmodnaError if an experiment has no runs of a task."""
    for task in tasks:
        if task not in experiment.tasks:
            raise EmodnaError("not in the experiment", field="task", value=task, valid=experiment.tasks)


def check_output(to: Path | None) -> None:
    """Raise EmodnaError if the folder of an output file does not exist."""
    if to is not None and not to.parent.is_dir():
        raise EmodnaError(f"folder {to.parent} not found", field="to", value=to)


def format_count(things: Sized | int, word: str) -> str:
    """Return "1 run" or "2 runs"."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {word}{'s' * (number != 1)}"
