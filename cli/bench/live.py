"""Progress of an experiment: a live grid on a terminal, a line per finished run elsewhere."""

import json
import os
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
from emodna.pipeline.emotions import Task

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome, State
    from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
    from emodna.model.bench.worker import Answer
    from emodna.model.run_folder import RunFolder

#: A character per run by its state, and its colour; plainer ones for terminals that know ASCII only.
_MARKS: Final = {
    "done": ("\u25a0", "#", "green"),
    "failed": ("\u00d7", "x", "red"),
    "running": ("\u25a3", "o", "cyan"),
    "interrupted": ("\u00b7", ".", "dim"),
    "waiting": ("\u00b7", ".", "dim"),
}
#: Columns that a method's label may take.
_NAME: Final = 34
#: Runs at work that are named below the grid.
_RUNNING: Final = 4
#: Lines of the display that are not the grid's: title, bar, and one for the methods that find no room.
_OTHERS: Final = 4
#: Bytes at the end of metrics.jsonl in which there is a whole line.
_TAIL: Final = 8192


@dataclass(slots=True)
class Tally:
    """States of the runs, and the time that is left."""

    states: "dict[RunSpec, State]"
    workers: int = 1
    began: float = field(default_factory=time.monotonic)
    started: "dict[RunSpec, float]" = field(default_factory=dict)
    """Start of each run at work."""
    took: "dict[tuple[MethodSpec, Task], list[float]]" = field(default_factory=lambda: defaultdict(list))
    """Seconds of the finished runs by method and task, which take alike."""

    @property
    def counts(self) -> "Counter[State]":
        """Runs by state."""
        return Counter(self.states.values())

    @property
    def remaining(self) -> float | None:
        """Seconds until the last run ends, by the mean of those like it; None before one has ended."""
        known = {key: sum(each) / len(each) for key, each in self.took.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        now, total = time.monotonic(), 0.0
        for run, state in self.states.items():
            if state in ("waiting", "interrupted", "running"):
                spent = now - self.started.get(run, now)
                total += max(known.get((run.method, run.task), usual) - spent, 0.0)
        return total / self.workers


class PlainWatcher:
    """Keeps the tally, and prints a line per finished run."""

    def __init__(self, experiment: "Experiment", states: "dict[RunSpec, State]") -> None:
        self.experiment = experiment
        self.tally = Tally(states)

    def began(self, run: "RunSpec") -> None:
        """Count it as running."""
        self.tally.states[run], self.tally.started[run] = "running", time.monotonic()

    def ended(self, run: "RunSpec", answer: "Answer") -> None:
        """Count it, and print it."""
        tally = self.tally
        tally.states[run] = answer.kind if answer.kind in ("done", "failed") else "running"
        tally.started.pop(run, None)
        if answer.kind == "done":
            tally.took[run.method, run.task].append(answer.seconds)
        elif answer.kind == "busy":
            common.note(f"left out: {common.safe(run)}: another process is at work at it")
        self._print(run, answer)

    def told(self, line: str) -> None:
        """Print a line."""
        common.note(common.safe(line))

    def _print(self, run: "RunSpec", answer: "Answer") -> None:
        counts = self.tally.counts
        number = f"{counts['done'] + counts['failed']}/{len(self.tally.states)}"
        label = self.experiment.methods[run.method].label  # an oracle's scores go by no other name
        words = common.safe(f"{run.src} -> {run.tgt}, {run.task}, {label}, seed {run.seed}")
        if answer.kind == "done":
            uar, remaining = (answer.result or {}).get("uar"), self.tally.remaining
            score = "no labels to score by" if uar is None else f"UAR {uar:.1f}"
            eta = f", ETA {duration(remaining)}" if remaining else ""
            common.note(f"{number} {words}: {score} ({answer.seconds:.0f} s{eta})")
        elif answer.kind == "failed":
            common.note(f"{number} {words}: [red]failed:[/red] {common.safe(answer.error)}")


class LiveWatcher(PlainWatcher):
    """Keeps the tally, and draws a grid: a line per method and task with a mark per run; below it, runs at work."""

    def _print(self, run: "RunSpec", answer: "Answer") -> None:
        """Leave it to the grid."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tally, counts, total = self.tally, self.tally.counts, len(self.tally.states)
        ended, remaining = counts["done"] + counts["failed"], tally.remaining
        facts = [f"{ended}/{total} cells", *([f"{counts['failed']} failed"] if counts["failed"] else [])]
        facts += [] if remaining is None else [f"ETA {duration(remaining)}"]
        facts.append(f"elapsed {duration(time.monotonic() - tally.began)}")
        yield Text("  ".join(facts), style="bold", overflow="ellipsis", no_wrap=True)
        bar = Table.grid(expand=True)  # which ends its line, as the bar alone does not
        bar.add_row(ProgressBar(total, ended))
        yield bar
        running = sorted(tally.started, key=tally.started.__getitem__)[:_RUNNING]
        room = max(console.height - _OTHERS - len(running), 1)
        yield from self._grid(options.max_width, room, ascii_only=options.ascii_only)
        for run in running:
            steps = f"{_steps_done(self.experiment.run_folder(run)):>6}/{self.experiment.arguments(run)['steps']}"
            yield Text(f"{steps}  {common.visible(run)}", no_wrap=True, overflow="ellipsis")

    def _grid(self, width: int, room: int, *, ascii_only: bool) -> Iterator[Text]:
        """Yield as many lines as there is room for, those first that are not finished."""
        lines: dict[str, list[State]] = {}
        for run, state in self.tally.states.items():
            lines.setdefault(f"{self.experiment.methods[run.method].label}, {run.task}", []).append(state)
        unfinished = [name for name, states in lines.items() if set(states) - {"done"}]
        shown = list(lines) if len(lines) <= room else unfinished[: room - 1]
        name_width = min(max((len(name) for name in shown), default=0), _NAME, width // 2)
        marks = all(len(states) <= width - name_width - 2 for states in lines.values())
        for name in shown:
            line = Text(common.visible(name), no_wrap=True, overflow="ellipsis")
            line.truncate(name_width, overflow="ellipsis", pad=True)
            line.append("  ")
            yield line.append_text(_marked(lines[name], ascii_only=ascii_only) if marks else _counted(lines[name]))
        if len(shown) < len(lines):
            rest = [state for name, states in lines.items() if name not in shown for state in states]
            yield Text(f"and {len(lines) - len(shown)} rows more: ").append_text(_counted(rest))


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


def _steps_done(run: "RunFolder") -> int:
    """Return the steps that a running run has logged, read off the end of its metrics.jsonl."""
    try:
        with run.metrics.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):  # the last one may be half written, the first one half read
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


@contextmanager
def watching(experiment: "Experiment", outcomes: "Sequence[Outcome]", *, quiet: bool) -> Iterator[PlainWatcher]:
    """Show the progress of some runs on standard error."""
    states: dict[RunSpec, State] = {each.run: each.state for each in outcomes}
    if quiet or not common.err.is_terminal or common.err.is_dumb_terminal:
        yield PlainWatcher(experiment, states)
        return
    watcher = LiveWatcher(experiment, states)
    with Live(watcher, console=common.err, transient=True, refresh_per_second=2):
        yield watcher


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
