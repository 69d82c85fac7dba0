"""The live progress of emodna-fit, on standard error."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emodna.cli import common
from emodna.cli.charts import sparkline

#: Seconds over which the rate is taken.
_RATE_SECONDS: Final = 30.0
#: A run without a terminal prints a line each tenth of its steps, and at least each minute.
_PLAIN_LINES: Final = 10
_PLAIN_SECONDS: Final = 60.0
#: Columns of a term's curve, and how many of its last values it shows.
_CURVE: Final = 10
_REMEMBERED: Final = 300


class Pace:
    """Rate of a session; steps that a resumed run had done before count for nothing.

    Parameters
    ----------
    steps
        Of the whole run.
    utterances
        Per step, of the sources and the target together.
    clock
        Seconds, of a clock that never goes back.
    """

    def __init__(self, steps: int, utterances: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.step = steps, 0
        self._utterances, self._clock, self._began = utterances, clock, clock()
        self._seen: deque[tuple[float, int]] = deque()

    def reached(self, step: int) -> None:
        """Note that so many steps are done now."""
        now, self.step = self._clock(), step
        self._seen.append((now, step))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_SECONDS:
            self._seen.popleft()

    @property
    def elapsed(self) -> float:
        """Seconds of this session."""
        return self._clock() - self._began

    @property
    def rate(self) -> float | None:
        """Steps per second of late; None before there are two moments to compare."""
        if not self._seen:
            return None
        (earlier, first), (later, last) = self._seen[0], self._seen[-1]
        return (last - first) / (later - earlier) if later > earlier else None

    @property
    def remaining(self) -> float | None:
        """Seconds until the last step, by the present rate."""
        if not self.rate:
            return None
        return max((self.steps - self.step) / self.rate - (self._clock() - self._seen[-1][0]), 0.0)

    def facts(self) -> list[str]:
        """Rates and times in words, as far as they are known."""
        facts = []
        if self.rate and self.remaining is not None:
            facts += [f"{_number(self.rate)} steps/s", f"{_number(self.rate * self._utterances)} utterances/s"]
            facts.append(f"ETA {_duration(self.remaining)}")
        return [*facts, f"elapsed {_duration(self.elapsed)}"]


class _PlainWatcher:
    """A line now and then."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._next_step = self._next_time = 0.0

    def began(self, done: int) -> None:
        """Start the clock at the first step, or behind a checkpoint."""
        self.pace.reached(done)
        if done:
            common.note(f"goes on from step {done}")

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Print a line, if the last one is long enough ago."""
        pace = self.pace
        pace.reached(step)
        if step >= self._next_step or pace.elapsed >= self._next_time or step == pace.steps:
            terms = "  ".join(_term(name, value) for name, value in values.items())
            common.note(f"step {step}/{pace.steps}: {terms}  ({', '.join(pace.facts())})")
            self._next_step = step + pace.steps / _PLAIN_LINES
            self._next_time = pace.elapsed + _PLAIN_SECONDS


class _LiveWatcher(_PlainWatcher):
    """A bar; the pace; each term of the loss, the threshold and the confident share, each with its curve."""

    def __init__(self, title: str, pace: Pace) -> None:
        super().__init__(pace)
        self._title = title
        self._curves: dict[str, deque[float]] = {}

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        """Remember the new values; they are drawn when the display is due."""
        for name, value in values.items():
            self._curves.setdefault(name, deque(maxlen=_REMEMBERED)).append(value)
        self.pace.reached(step)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        pace = self.pace
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(pace.steps, pace.step), f"{pace.step}/{pace.steps}")
        yield Text.from_markup(common.safe(self._title), style="bold", overflow="ellipsis", end="\n")
        yield bar
        yield _side_by_side([Text(fact) for fact in pace.facts()])
        curves = [(name, list(values)) for name, values in self._curves.copy().items()]
        yield _side_by_side(
            [
                Text.from_markup(_term(name, values[-1])).append(
                    f" {sparkline(values, _CURVE, ascii_only=options.ascii_only)}", style="cyan"
                )
                for name, values in curves
            ]
        )


class _Notes(logging.Handler):
    """Warnings of the training, as lines above the display."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        common.note(common.safe(record.getMessage()))


@contextmanager
def watching(title: str, steps: int, *, utterances: int, quiet: bool) -> Iterator[_PlainWatcher]:
    """Show the progress of one run.

    Parameters
    ----------
    utterances
        Per step, of the sources and the target together.
    """
    pace = Pace(steps, utterances)
    notes, logger = _Notes(), logging.getLogger("emodna.model")
    logger.addHandler(notes)
    try:
        if quiet or not common.err.is_terminal or common.err.is_dumb_terminal:
            yield _PlainWatcher(pace)
            return
        watcher = _LiveWatcher(title, pace)
        with Live(watcher, console=common.err, transient=True):
            yield watcher
    finally:
        logger.removeHandler(notes)


def _side_by_side(items: Sequence[Text]) -> Columns:
    """Items in as many columns of one width as there is room for."""
    return Columns(items, padding=(0, 3, 0, 0), equal=True)


def _term(name: str, value: float) -> str:
    return f"{common.safe(name)} {value:.3f}" if abs(value) < 1000 else f"{common.safe(name)} {value:.3g}"


def _number(value: float) -> str:
    """Two digits that tell at least."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
