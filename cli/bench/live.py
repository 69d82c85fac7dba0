"""How far the cells of a benchmark are: a live grid on a terminal, a line per finished cell elsewhere."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emodna.cli import common

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome, State
    from emodna.model.bench.running.worker import Answer
    from emodna.model.bench.spec import Experiment, RunSpec

#: A character per cell by its state, and its colour; plainer ones for terminals that know ASCII only.
_MARKS: Final = {
    "done": ("\u25a0", "#", "green"),
    "failed": ("\u00d7", "x", "red"),
    "running": ("\u25a3", "o", "cyan"),
    "interrupted": ("\u00b7", ".", "dim"),
    "waiting": ("\u00b7", ".", "dim"),
}
#: Columns that a row's name may take.
_NAME: Final = 34
#: Cells at work that are named below the grid.
_RUNNING: Final = 4
#: Lines of the display that are not the grid's: title, bar, and one for the rows that find no room.
_OTHERS: Final = 4


@dataclass(slots=True)
class Tally:
    """What is known of the cells, and how long those take that are left."""

    states: "dict[RunSpec, State]"
    workers: int = 1
    began: float = field(default_factory=time.monotonic)
    started: "dict[RunSpec, float]" = field(default_factory=dict)
    """When those began that are at work."""
    took: "dict[tuple[str, str], list[float]]" = field(default_factory=lambda: defaultdict(list))
    """Seconds of the finished ones, by what takes alike: row and task."""

    def begin(self, cell: "RunSpec") -> None:
        """A worker has it."""
        self.states[cell], self.started[cell] = "running", time.monotonic()

    def end(self, cell: "RunSpec", state: "State", seconds: float) -> None:
        """It is done, or not."""
        self.states[cell] = state
        self.started.pop(cell, None)
        if state == "done":
            self.took[str(cell.method), cell.task].append(seconds)

    @property
    def counts(self) -> "Counter[State]":
        """Cells by state."""
        return Counter(self.states.values())

    @property
    def remaining(self) -> float | None:
        """Seconds until the last cell ends, by the mean of those like it; None before one has ended."""
        known = {key: sum(each) / len(each) for key, each in self.took.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        now, total = time.monotonic(), 0.0
        for cell, state in self.states.items():
            if state in ("waiting", "interrupted", "running"):
                spent = now - self.started.get(cell, now)
                total += max(known.get((str(cell.method), cell.task), usual) - spent, 0.0)
        return total / self.workers


class _Watcher:
    """Keeps the tally."""

    def __init__(self, bench: "Experiment", states: "dict[RunSpec, State]") -> None:
        self.bench = bench
        self.tally = Tally(states)

    @property
    def workers(self) -> int:
        """Cells that are at work at the same time."""
        return self.tally.workers

    @workers.setter
    def workers(self, number: int) -> None:
        self.tally.workers = number

    def began(self, cell: "RunSpec") -> None:
        """A worker has it."""
        self.tally.begin(cell)

    def ended(self, cell: "RunSpec", answer: "Answer") -> None:
        """There is nothing more to come of it."""
        state: State = "done" if answer.kind == "done" else "failed" if answer.kind == "failed" else "running"
        self.tally.end(cell, state, answer.seconds)
        if answer.kind == "busy":
            common.note(f"left out: {common.safe(cell)}: another process is at work at it")

    def told(self, line: str) -> None:
        """What somebody who waits should know."""
        common.note(common.safe(line))


class _PlainWatcher(_Watcher):
    """A line per cell."""

    def ended(self, cell: "RunSpec", answer: "Answer") -> None:
        """Print it."""
        super().ended(cell, answer)
        counts = self.tally.counts
        number = f"{counts['done'] + counts['failed']}/{len(self.tally.states)}"
        label = self.bench.methods[cell.method].label  # an oracle's scores go by no other name
        words = common.safe(f"{cell.src} -> {cell.tgt}, {cell.task}, {label}, seed {cell.seed}")
        if answer.kind == "done":
            uar = (answer.result or {}).get("uar")
            score = "no labels to score by" if uar is None else f"UAR {uar:.1f}"
            common.note(f"{number} {words}: {score} ({answer.seconds:.0f} s{self._rest()})")
        elif answer.kind == "failed":
            common.note(f"{number} {words}: [red]failed:[/red] {common.safe(answer.error)}")

    def _rest(self) -> str:
        remaining = self.tally.remaining
        return f", ETA {duration(remaining)}" if remaining else ""


class _LiveWatcher(_Watcher):
    """The grid: a line per row and task, a mark per cell or how many are done; below it, what is at work."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tally, width = self.tally, options.max_width
        counts, total = tally.counts, len(tally.states)
        ended = counts["done"] + counts["failed"]
        remaining = tally.remaining
        facts = [f"{ended}/{total} cells", *([f"{counts['failed']} failed"] if counts["failed"] else [])]
        facts += [] if remaining is None else [f"ETA {duration(remaining)}"]
        facts.append(f"elapsed {duration(time.monotonic() - tally.began)}")
        yield Text("  ".join(facts), style="bold", overflow="ellipsis", no_wrap=True)
        bar = Table.grid(expand=True)  # which ends its line, as the bar alone does not
        bar.add_row(ProgressBar(total, ended))
        yield bar
        running = sorted(tally.started, key=tally.started.__getitem__)
        room = max(console.height - _OTHERS - min(len(running), _RUNNING), 1)
        yield from self._grid(width, room, ascii_only=options.ascii_only)
        yield from self._at_work(running)

    def _grid(self, width: int, room: int, *, ascii_only: bool) -> Iterator[Text]:
        """As many lines as there is room for, those first that are not finished."""
        lines: dict[str, list[State]] = {}
        for cell, state in self.tally.states.items():
            lines.setdefault(f"{self.bench.methods[cell.method].label}, {cell.task}", []).append(state)
        unfinished = [name for name, states in lines.items() if set(states) - {"done"}]
        shown = list(lines) if len(lines) <= room else unfinished[: room - 1]
        name_width = min(max((len(name) for name in shown), default=0), _NAME, width // 2)
        marks = all(len(states) <= width - name_width - 2 for states in lines.values())
        for name in shown:
            line = Text.from_markup(common.safe(name))
            line.truncate(name_width, overflow="ellipsis", pad=True)
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line.append("  ").append_text(
                _marked(lines[name], ascii_only=ascii_only) if marks else _counted(lines[name])
            )
        if len(shown) < len(lines):
            rest = [state for name, states in lines.items() if name not in shown for state in states]
            yield Text(f"and {len(lines) - len(shown)} rows more: ").append_text(_counted(rest))

    def _at_work(self, running: "Sequence[RunSpec]") -> Iterator[Text]:
        from emodna.model.bench.outcomes import steps_done

        for cell in running[:_RUNNING]:
            steps = self.bench.arguments(cell)["steps"]
            line = Text.from_markup(f"{steps_done(self.bench.run_folder(cell)):>6}/{steps}  {common.safe(cell)}")
            line.no_wrap, line.overflow = True, "ellipsis"
            yield line


def _marked(states: "Sequence[State]", *, ascii_only: bool) -> Text:
    line = Text()
    for state in states:
        mark, plain, style = _MARKS[state]
        line.append(plain if ascii_only else mark, style=style)
    return line


def _counted(states: "Sequence[State]") -> Text:
    counts = Counter(states)
    line = Text(f"{counts['done']}/{len(states)}", style="green" if counts["done"] == len(states) else "")
    for state in ("failed", "running"):
        if counts[state]:
            line.append(f"  {counts[state]} {state}", style=_MARKS[state][2])
    return line


@contextmanager
def watching(bench: "Experiment", outcomes: "Sequence[Outcome]", *, quiet: bool) -> Iterator[_Watcher]:
    """Show how far some cells are, on standard error."""
    states: dict[RunSpec, State] = {each.run: each.state for each in outcomes}
    if quiet or not common.err.is_terminal or common.err.is_dumb_terminal:
        yield _PlainWatcher(bench, states)
        return
    watcher = _LiveWatcher(bench, states)
    with Live(watcher, console=common.err, transient=True, refresh_per_second=2):
        yield watcher


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
