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
