"""Options that the commands of emodna-bench share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from emodna.pipeline.errors import EmodnaError

Command = TypeVar("Command", bound=Callable[..., Any])


def out_option(command: Command) -> Command:
    """Add --out."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("bench"),
        envvar="EMODNA_BENCH_OUT",
        show_envvar=True,
        help="Folder of the benchmark.",
    )(command)


def execution_options(command: Command) -> Command:
    """Add --workers, --scheduler and --device."""
    for option in (
        click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N."),
        click.option(
            "--scheduler",
            metavar="ADDRESS|FILE",
            help="Run on a Dask cluster: the address of its scheduler, or the .json file that it wrote.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Runs side by side.  [default: as many as there are cores for; on CUDA, 4 per GPU at most]",
        ),
    ):
        command = option(command)
    return command


def check_folder(to: Path | None) -> None:
    """Refuse a file to write whose folder is not there, before anything is worked out for it.

    Raises
    ------
    EmodnaError
        Names both.
    """
    if to is not None and not to.parent.is_dir():
        raise EmodnaError(f"--to {to}: there is no folder {to.parent}")
