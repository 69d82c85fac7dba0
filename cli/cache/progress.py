"""Progress over the utterances of a store, or its recordings, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from emodna.cli import common

#: Between two lines of a run without a terminal.
_PLAIN_SECONDS: Final = 10.0


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Show how far a command is: a bar, or a line every few seconds where there is no terminal.

    Yields
    ------
    begin
        Takes their number, and returns a function that is told how many more are done.
    """
    if quiet or not common.err.is_terminal:
        yield lambda total: _lines(what, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=common.err, transient=True) as progress:

        def begin(total: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=total, visible=total > 0)
            return lambda more: progress.advance(task, more)

        yield begin


def _lines(what: str, total: int) -> Callable[[int], None]:
    done, due = 0, time.monotonic() + _PLAIN_SECONDS

    def tell(more: int) -> None:
        nonlocal done, due
        done += more
        if time.monotonic() >= due:
            common.note(f"{what}: {done}/{total}")
            due = time.monotonic() + _PLAIN_SECONDS

    return tell
