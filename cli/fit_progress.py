"""The live progress of emodna-fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.model.trainer import Watcher

#: Lines that a terminal-less run prints in all.
_PLAIN_LINES = 10


class _LiveWatcher:
    """A bar, and below it each term of the loss, the threshold and the share of confident targets."""

    def __init__(self, title: str, steps: int, live: Live) -> None:
        self._live = live
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=common.err,
        )
        self._task = self._progress.add_task(common.safe(title), total=steps)
        live.update(self._progress)

    def began(self, done: int) -> None:
        """Set the bar to where a checkpoint was."""
        self._progress.update(self._task, completed=done)

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Move the bar, and show the new values."""
        self._progress.update(self._task, completed=step)
        self._live.update(Group(self._progress, Columns(_items(values), padding=(0, 3))))


class _PlainWatcher:
    """A line now and then."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._next = 0.0

    def began(self, done: int) -> None:
        """Say where a resumed run goes on."""
        if done:
            common.note(f"goes on from step {done}")

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Print a line, if the last one is long enough ago."""
        if step >= self._next or step == self._steps:
            common.note(f"step {step}/{self._steps}: {'  '.join(_items(values))}")
            self._next = step + self._steps / _PLAIN_LINES


@contextmanager
def watching(title: str, steps: int, *, quiet: bool) -> "Iterator[Watcher]":
    """Show the progress of one run on standard error."""
    if quiet or not common.err.is_terminal:
        yield _PlainWatcher(steps)
        return
    with Live(console=common.err, transient=True) as live:
        yield _LiveWatcher(title, steps, live)


def _items(values: Mapping[str, float]) -> list[str]:
    return [f"{common.safe(name)} {value:.3f}" for name, value in values.items()]
