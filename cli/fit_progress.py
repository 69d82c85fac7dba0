"""Progress of emodna-fit on standard error."""

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
from emodna.cli.charts import draw_sparkline
from emodna.cli.progress import format_duration

#: Number of the latest logged steps from which the rate is computed.
_RATE_MOMENTS: Final = 30
#: Without a terminal, a line is printed after each tenth of the steps, and at least each minute.
_PLAIN_LINES: Final = 10
_PLAIN_SECONDS: Final = 60.0
#: Width of a term's curve in columns, and the number of its last values that it shows.
_CURVE: Final = 10
_HISTORY: Final = 300


class FitDisplay:
    """Progress as lines of text. Rates and times exclude earlier sessions of a resumed run.

    `steps` is None for a method that is fitted at once. `utterances` is the number of source and target utterances per
    step; `clock` is monotonic, in s.
    """

    def __init__(self, steps: int | None, utterances: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.step, self._is_fitted_at_once = steps or 1, 0, steps is None
        self._utterances, self._clock, self._start = utterances, clock, clock()
        self._moments = deque([(self._start, 0)], maxlen=_RATE_MOMENTS)
        self._next_step = self._next_time = 0.0

    def on_start(self, done: int) -> None:
        """Start the clock; `done` is the number of steps of earlier sessions."""
        self.step = done
        self._moments = deque([(self._clock(), done)], maxlen=_RATE_MOMENTS)
        if done:
            common.note(f"resuming from step {done}")

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Print a line if it is due."""
        self._record_step(step)
        elapsed = self._clock() - self._start
        if step >= self._next_step or elapsed >= self._next_time or step == self.steps:
            terms = "  ".join(_format_term(name, value) for name, value in values.items())
            place = "fitted at once" if self._is_fitted_at_once else f"step {step}/{self.steps}"
            common.note(f"{place}: {terms}  ({', '.join(self.format_pace())})")
            self._next_step = step + self.steps / _PLAIN_LINES
            self._next_time = elapsed + _PLAIN_SECONDS

    def format_pace(self) -> list[str]:
        """Return rates and times as text; before the first logged step, only the elapsed time."""
        pace, now = [], self._clock()
        (earlier, first), (later, last) = self._moments[0], self._moments[-1]
        if last > first and later > earlier and not self._is_fitted_at_once:
            rate = (last - first) / (later - earlier)
            remaining = max((self.steps - last) / rate - (now - later), 0.0)
            pace += [f"{_format_number(rate)} steps/s", f"{_format_number(rate * self._utterances)} utterances/s"]
            pace.append(f"ETA {format_duration(remaining)}")
        return [*pace, f"elapsed {format_duration(now - self._start)}"]

    def _record_step(self, step: int) -> None:
        self.step = step
        self._moments.append((self._clock(), step))


class _LiveFitDisplay(FitDisplay):
    """Progress as a bar, the pace, and each logged quantity with its curve."""

    def __init__(self, title: str, steps: int | None, utterances: int) -> None:
        super().__init__(steps, utterances)
        self._title = title
        self._curves: dict[str, deque[float]] = {}

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the new values; the next refresh of the display draws them."""
        for name, value in values.items():
            self._curves.setdefault(name, deque(maxlen=_HISTORY)).append(value)
        self._record_step(step)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(self.steps, self.step), "" if self._is_fitted_at_once else f"{self.step}/{self.steps}")
        yield Text.from_markup(common.escape(self._title), style="bold", overflow="ellipsis", end="\n")
        yield bar
        yield _arrange_in_columns([Text(part) for part in self.format_pace()])
        terms = []
        for name, history in self._curves.copy().items():
            values = list(history)
            curve = draw_sparkline(values, _CURVE, ascii_only=options.ascii_only)
            terms.append(Text.from_markup(_format_term(name, values[-1])).append(f" {curve}", style="cyan"))
        yield _arrange_in_columns(terms)


class _WarningPrinter(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        common.note(f"[yellow]warning:[/yellow] {common.escape(record.getMessage())}")


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print the warnings of the model's modules while the context is open."""
    notes, logger = _WarningPrinter(), logging.getLogger("emodna.model")
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


@contextmanager
def show_progress(title: str, steps: int | None, *, utterances: int) -> Iterator[FitDisplay]:
    """Show the progress of one run while the context is open; for the arguments see `FitDisplay`."""
    if common.is_quiet() or not common.err.is_terminal or common.err.is_dumb_terminal:
        yield FitDisplay(steps, utterances)
        return
    display = _LiveFitDisplay(title, steps, utterances)
    with Live(display, console=common.err, transient=True):
        yield display


def _arrange_in_columns(items: Sequence[Text]) -> Columns:
    return Columns(items, padding=(0, 3, 0, 0), equal=True)


def _format_term(name: str, value: float) -> str:
    return f"{common.escape(name)} {value:.3f}" if abs(value) < 1000 else f"{common.escape(name)} {value:.3g}"


def _format_number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
