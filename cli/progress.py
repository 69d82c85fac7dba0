"""Show progress on standard error: a bar on a terminal, else a line every few seconds; nothing with -q."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from emodna.cli import common

#: Seconds between two lines without a terminal.
_LINE_SECONDS: Final = 10.0


class ProgressCounter:
    """A counter that is shown as a bar, or as lines with the same columns if the bar is disabled."""

    def __init__(self, progress: Progress, title: str, columns: tuple[ProgressColumn, ...]) -> None:
        self._progress, self._columns = progress, columns
        self._id = progress.add_task(common.escape(title), total=None, tally="")
        self._due = time.monotonic() + _LINE_SECONDS

    def begin(self, total: int) -> Callable[[int], None]:
        """Set the total, and return `advance`."""
        self._progress.update(self._id, total=total, visible=total > 0)
        return self.advance

    def advance(self, more: int) -> None:
        """Add to the count."""
        self.reach(int(self._progress.tasks[0].completed) + more)

    def reach(self, done: int, tally: str = "") -> None:
        """Set the count, and the text of the column `tally`."""
        self._progress.update(self._id, completed=done, tally=tally)
        if self._progress.disable and time.monotonic() >= self._due:
            (task,) = self._progress.tasks
            cells = ", ".join(str(column.render(task)).strip() for column in self._columns)
            common.note(f"{task.description}: {cells}")
            self._due = time.monotonic() + _LINE_SECONDS


@contextmanager
def count_progress(title: str, *columns: ProgressColumn) -> Iterator[ProgressCounter]:
    """Show a progress bar with these columns; by default, the count and the total."""
    columns = columns or (MofNCompleteColumn(),)
    disable = common.is_quiet() or not common.err.is_terminal
    all_columns = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*all_columns, console=common.err, transient=True, disable=disable) as progress:
        yield ProgressCounter(progress, title, columns)


def format_duration(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
