"""The progress of emodna-prep: a bar on a terminal, else a line every few seconds."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.pipeline.prepare import Watcher
    from emodna.pipeline.prepare.extract import Outcome

#: Seconds between two lines of a run without a terminal.
_PLAIN_SECONDS: Final = 10.0


class _ProgressWatcher:
    """Count recordings, seconds of audio and rejections, and show them in a bar or, without one, line by line."""

    def __init__(self, corpus: str, bar: Progress | None) -> None:
        self._corpus, self._bar = corpus, bar
        self._began = time.monotonic()
        self._next_line = self._began + _PLAIN_SECONDS
        self._total = self._done = self._rejected = 0
        self._seconds = 0.0
        self._task = None if bar is None else bar.add_task(corpus, total=None, tally="")

    def waiting(self, store: Path) -> None:
        common.note(f"waiting for another emodna-prep on {common.safe(store)}")

    def planned(self, recordings: int) -> None:
        self._total = recordings
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=recordings, visible=recordings > 0)

    def examined(self, outcomes: "Sequence[Outcome]") -> None:
        self._done += len(outcomes)
        self._rejected += sum(outcome.rejection is not None for outcome in outcomes)
        self._seconds += sum(facts.duration for outcome in outcomes for facts in outcome.facts)
        now = time.monotonic()
        rate = self._seconds / max(now - self._began, 1e-3)
        tally = f"{self._seconds / 3600:.2f} h of audio, {rate:.0f} x real time, {self._rejected} rejected"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, tally=tally)
        elif now >= self._next_line:
            common.note(f"{self._corpus}: {self._done}/{self._total}, {tally}")
            self._next_line = now + _PLAIN_SECONDS


@contextmanager
def watching(corpus: str, *, quiet: bool) -> "Iterator[Watcher]":
    """Show the progress of one corpus on standard error."""
    if quiet or not common.err.is_terminal:
        yield _ProgressWatcher(corpus, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tally]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=common.err, transient=True) as bar:
        yield _ProgressWatcher(corpus, bar)
