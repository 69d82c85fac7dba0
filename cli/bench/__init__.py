"""emodna-bench: the paper's tables and figures, and what its commands share."""

from collections.abc import Sized
from pathlib import Path

import click

from emodna.pipeline.errors import EmodnaError

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench"),
    envvar="EMODNA_BENCH_OUT",
    show_envvar=True,
    help="Folder of the benchmark.",
)


def check_folder(to: Path | None) -> None:
    """Raise EmodnaError if a file to write has no folder, before anything is worked out for it."""
    if to is not None and not to.parent.is_dir():
        raise EmodnaError(f"--to {to}: there is no folder {to.parent}")


def format_count(things: Sized | int, word: str) -> str:
    """Return `1 cell` or `2 cells`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {word}{'s' * (number != 1)}"
