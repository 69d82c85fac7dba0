"""Options that the commands of emodna-bench share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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


def check_folder(to: Path | None) -> None:
    """Refuse a file to write whose folder is not there, before anything is worked out for it.

    Raises
    ------
    EmodnaError
        Names both.
    """
    if to is not None and not to.parent.is_dir():
        from emodna.pipeline.errors import EmodnaError

        raise EmodnaError(f"--to {to}: there is no folder {to.parent}")
