"""The progress bar of emodna-prep."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.pipeline.extract import Outcome


class PrepProgress:
    """Utterances, hours of audio, rate and rejections, live on a terminal."""

    def __init__(self, corpus: str, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task(corpus, total=None, seconds=0.0, rejected=0, rate=0.0)
        self._seconds = 0.0
        self._rejected = 0

    def waiting(self, store: Path) -> None:
        """Another run holds the store."""
        common.note(f"waiting for another emodna-prep on {common.safe(store)}")

    def planned(self, recordings: int) -> None:
        """Start the bar, if there is anything to look at."""
        self._progress.update(self._task, total=recordings, visible=recordings > 0)

    def examined(self, outcomes: "Sequence[Outcome]") -> None:
        """Advance the bar."""
        self._seconds += sum(outcome.facts.duration for outcome in outcomes if outcome.facts is not None)
        self._rejected += sum(outcome.rejection is not None for outcome in outcomes)
        elapsed = self._progress.tasks[self._task].elapsed or 1.0
        self._progress.update(
            self._task,
            advance=len(outcomes),
            seconds=self._seconds / 3600,
            rejected=self._rejected,
            rate=self._seconds / elapsed,
        )


@contextmanager
def watching(corpus: str, *, quiet: bool) -> Iterator[PrepProgress]:
    """Show the progress of one corpus on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seconds]:.2f} h of audio, {task.fields[rate]:.0f} x real time"),
        TextColumn("{task.fields[rejected]} rejected"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=common.err, transient=True, disable=quiet or not common.err.is_terminal
    ) as progress:
        yield PrepProgress(corpus, progress)
