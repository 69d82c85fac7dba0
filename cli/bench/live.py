"""Progress of an experiment: a line per finished run, and on a terminal how far all runs are."""

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
from emodna.cli.progress import duration
from emodna.pipeline.emotions import Task

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome, State
    from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
    from emodna.model.bench.worker import Answer
    from emodna.model.run_folder import RunFolder

#: Runs at work that the display names.
_RUNNING: Final = 4
#: Bytes at the end of metrics.jsonl in which there is a whole line.
_TAIL: Final = 8192


@dataclass(slots=True)
class Tally:
    """States of the runs, and the time that is left."""

    states: "dict[RunSpec, State]"
    workers: int = 1
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


class Watcher:
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
        number = f"{tally.counts['done'] + tally.counts['failed']}/{len(tally.states)}"
        label = self.experiment.methods[run.method].label  # an oracle's scores go by no other name
        words = common.safe(f"{run.src} -> {run.tgt}, {run.task}, {label}, seed {run.seed}")
        if answer.kind == "done":
            uar, remaining = (answer.result or {}).get("uar"), tally.remaining
            score = "no labels to score by" if uar is None else f"UAR {uar:.1f}"
            eta = f", ETA {duration(remaining)}" if remaining else ""
            common.note(f"{number} {words}: {score} ({answer.seconds:.0f} s{eta})")
        elif answer.kind == "failed":
            common.note(f"{number} {words}: [red]failed:[/red] {common.safe(answer.error)}")
        elif answer.kind == "busy":
            common.note(f"left out: {common.safe(run)}: another process is at work at it")

    def told(self, line: str) -> None:
        """Print a line."""
        common.note(common.safe(line))


class Display:
    """The live display of a terminal: how far all runs are, and the steps of those at work."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._began = watcher, time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        experiment, tally = self._watcher.experiment, self._watcher.tally
        counts, remaining, total = tally.counts, tally.remaining, len(tally.states)
        ended = counts["done"] + counts["failed"]
        facts = [f"{ended}/{total} cells", *[f"{counts['failed']} failed"] * bool(counts["failed"])]
        facts += [] if remaining is None else [f"ETA {duration(remaining)}"]
        facts.append(f"elapsed {duration(time.monotonic() - self._began)}")
        yield Text("  ".join(facts), style="bold", overflow="ellipsis", no_wrap=True)
        bar = Table.grid(expand=True)  # which ends its line, as the bar alone does not
        bar.add_row(ProgressBar(total, ended))
        yield bar
        for run in sorted(tally.started, key=tally.started.__getitem__)[:_RUNNING]:
            steps = f"{_steps_done(experiment.run_folder(run)):>6}/{experiment.arguments(run)['steps']}"
            yield Text(f"{steps}  {common.visible(run)}", overflow="ellipsis", no_wrap=True)


def _steps_done(run: "RunFolder") -> int:
    """Return the steps that a run at work has logged, read off the end of its metrics.jsonl."""
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
def watching(experiment: "Experiment", outcomes: "Sequence[Outcome]") -> Iterator[Watcher]:
    """Show the progress of some runs on standard error."""
    watcher = Watcher(experiment, {each.run: each.state for each in outcomes})
    if common.is_quiet() or not common.err.is_terminal or common.err.is_dumb_terminal:
        yield watcher
    else:
        with Live(Display(watcher), console=common.err, transient=True, refresh_per_second=2):
            yield watcher
