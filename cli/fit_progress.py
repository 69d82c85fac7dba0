"""The live progress of emodna-fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emodna.cli import common

#: Lines that a terminal-less run prints in all.
_PLAIN_LINES = 10


class FitWatcher(Protocol):
    """Shows how training goes."""

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """So many steps are done, with these values."""


class _LiveWatcher:
    """A bar, each term of the loss, the threshold and the share of confident targets."""

    def __init__(self, title: str, steps: int, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=steps, values="")

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step, values=_values(values))


class _PlainWatcher:
    """A line now and then."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._next = 0.0

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Print a line, if the last one is long enough ago."""
        if step >= self._next or step == self._steps:
            common.note(f"step {step}/{self._steps}: {_values(values)}")
            self._next = step + self._steps / _PLAIN_LINES


@contextmanager
def watching(title: str, steps: int, *, quiet: bool) -> Iterator[FitWatcher]:
    """Show the progress of one run on standard error."""
    if quiet or not common.err.is_terminal:
        yield _PlainWatcher(steps)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
    )
    with Progress(*columns, console=common.err, transient=True) as progress:
        yield _LiveWatcher(common.safe(title), steps, progress)


def _values(values: Mapping[str, float]) -> str:
    return "  ".join(f"{common.safe(name)} {value:.3f}" for name, value in values.items())
