"""The progress bar of emodna-prep."""

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

#: Between two lines of a run without a terminal.
_PLAIN_SECONDS: Final = 10.0


class _Tally:
    """Recordings, seconds of audio and rejections so far."""

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus
        self.began = time.monotonic()
        self.total = self.done = self.rejected = 0
        self.seconds = 0.0

    def add(self, outcomes: "Sequence[Outcome]") -> None:
        """Count some more."""
        self.done += len(outcomes)
        self.rejected += sum(outcome.rejection is not None for outcome in outcomes)
        self.seconds += sum(facts.duration for outcome in outcomes for facts in outcome.facts)

    def __str__(self) -> str:
        rate = self.seconds / max(time.monotonic() - self.began, 1e-3)
        return f"{self.seconds / 3600:.2f} h of audio, {rate:.0f} x real time, {self.rejected} rejected"

    def waiting(self, store: Path) -> None:
        """Another run holds the store."""
        common.note(f"waiting for another emodna-prep on {common.safe(store)}")


class _LiveWatcher(_Tally):
    """A bar."""

    def __init__(self, corpus: str, progress: Progress) -> None:
        super().__init__(corpus)
        self._progress = progress
        self._task = progress.add_task(corpus, total=None, tally="")

    def planned(self, recordings: int) -> None:
        """Start the bar, if there is anything to look at."""
        self._progress.update(self._task, total=recordings, visible=recordings > 0)

    def examined(self, outcomes: "Sequence[Outcome]") -> None:
        """Move the bar."""
        self.add(outcomes)
        self._progress.update(self._task, completed=self.done, tally=str(self))


class _PlainWatcher(_Tally):
    """A line every few seconds."""

    def __init__(self, corpus: str) -> None:
        super().__init__(corpus)
        self._next = self.began + _PLAIN_SECONDS

    def planned(self, recordings: int) -> None:
        """Remember how many there are."""
        self.total = recordings

    def examined(self, outcomes: "Sequence[Outcome]") -> None:
        """Print a line, if the last one is long enough ago."""
        self.add(outcomes)
        if time.monotonic() >= self._next:
            common.note(f"{self.corpus}: {self.done}/{self.total}, {self}")
            self._next = time.monotonic() + _PLAIN_SECONDS


@contextmanager
def watching(corpus: str, *, quiet: bool) -> "Iterator[Watcher]":
    """Show the progress of one corpus on standard error."""
    if quiet or not common.err.is_terminal:
        yield _PlainWatcher(corpus)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tally]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=common.err, transient=True) as progress:
        yield _LiveWatcher(corpus, progress)
