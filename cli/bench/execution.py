"""Execution of an experiment's runs for emodna-bench run and retry: options, progress, and a summary."""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emodna.cli import common
from emodna.cli.bench import format_count
from emodna.cli.progress import format_duration
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.run_folder import RunFolder
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.results import RunState
    from emodna.model.bench.runner import Workers
    from emodna.model.bench.worker import RunReply

#: Small networks leave a GPU idle between their kernels; more processes than this fight for its memory.
_PER_GPU: Final = 4
#: Errors that are printed; all are in the JSON and in `emodna-bench status`.
_SHOWN: Final = 10
#: Runs at work that the display names.
_RUNNING: Final = 4
#: Bytes at the end of metrics.jsonl in which there is a whole line.
_TAIL: Final = 8192


@dataclass(frozen=True, slots=True)
class Execution:
    """Place and manner of execution."""

    kind: Literal["cpu", "cuda"]
    start: "Callable[[int], AbstractContextManager[Workers]]"
    """Starts workers for a number of runs, or connects to them."""


def resolve_execution(workers: int | None, scheduler: str | None, threads: int, device: str) -> Execution:
    """Return the execution that options ask for; raise EmodnaError or click.UsageError if there is none."""
    from emodna.model.bench.runner import connect_remote_workers, start_local_workers

    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler exclude each other: a cluster has its own workers")
    if scheduler and device not in ("auto", "cpu", "cuda"):
        raise EmodnaError(f"--device {device}: not with --scheduler; valid: auto, cpu, cuda")
    here = None if scheduler and device != "auto" else common.resolve_device(device)
    kind: Literal["cpu", "cuda"] = "cuda" if (here.type if here else device) == "cuda" else "cpu"
    if scheduler or here is None:
        return Execution(kind, lambda _runs: connect_remote_workers(str(scheduler), threads, kind))
    devices, room = [str(here)], max(common.count_cores() // threads, 1)
    if kind == "cuda":
        import torch

        if here.index is None:
            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        room = min(room, _PER_GPU * len(devices))
    return Execution(kind, lambda runs: start_local_workers(min(workers or room, runs), threads, devices))


class BenchDisplay:
    """Progress of some runs: a line for each that has ended, the time that is left, and a display for a terminal."""

    def __init__(self, experiment: Experiment, states: "dict[RunSpec, RunState]", workers: int = 1) -> None:
        self.experiment, self.states, self.workers = experiment, states, workers
        self.durations: dict[tuple[object, str], list[float]] = defaultdict(list)
        """Seconds of the finished runs by method and task, which take alike."""
        self._started: dict[RunSpec, float] = {}
        self._began = time.monotonic()

    @property
    def counts(self) -> "Counter[RunState]":
        """Runs by state."""
        return Counter(self.states.values())

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last run ends, by the mean of those like it; None before one has ended."""
        known = {key: sum(each) / len(each) for key, each in self.durations.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        now, total = time.monotonic(), 0.0
        for run, state in self.states.items():
            if state in ("waiting", "interrupted", "running"):
                spent = now - self._started.get(run, now)
                total += max(known.get((run.method, run.task), usual) - spent, 0.0)
        return total / self.workers

    def on_run_start(self, run: RunSpec) -> None:
        """Count a run as running."""
        self.states[run], self._started[run] = "running", time.monotonic()

    def on_run_end(self, run: RunSpec, answer: "RunReply") -> None:
        """Count a run, and print it."""
        self.states[run] = answer.kind if answer.kind in ("done", "failed") else "running"
        self._started.pop(run, None)
        if answer.kind == "busy":
            _print_busy_run(run)
        if answer.kind not in ("done", "failed"):
            return
        if answer.kind == "done":
            self.durations[run.method, run.task].append(answer.seconds)
            uar, seconds_left = (answer.result or {}).get("uar"), self.seconds_left
            score = "no labels to score by" if uar is None else f"UAR {uar:.1f}"
            outcome = (
                f"{score} ({answer.seconds:.0f} s{f', ETA {format_duration(seconds_left)}' if seconds_left else ''})"
            )
        else:
            outcome = f"[red]failed:[/red] {common.escape(answer.error)}"
        label = self.experiment.methods[run.method].label  # an oracle's scores go by no other name
        words = common.escape(f"{run.src} -> {run.tgt}, {run.task}, {label}, seed {run.seed}")
        common.note(f"{self.counts['done'] + self.counts['failed']}/{len(self.states)} {words}: {outcome}")

    def on_message(self, line: str) -> None:
        """Print a line."""
        common.note(common.escape(line))

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show the display while the runs are executed, if standard error is a terminal."""
        if common.is_quiet() or not common.err.is_terminal or common.err.is_dumb_terminal:
            yield
        else:
            with Live(self, console=common.err, transient=True, refresh_per_second=2):
                yield

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts, seconds_left, total = self.counts, self.seconds_left, len(self.states)
        ended = counts["done"] + counts["failed"]
        facts = [f"{ended}/{total} cells", *[f"{counts['failed']} failed"] * bool(counts["failed"])]
        facts += [] if seconds_left is None else [f"ETA {format_duration(seconds_left)}"]
        facts.append(f"elapsed {format_duration(time.monotonic() - self._began)}")
        yield Text("  ".join(facts), style="bold", overflow="ellipsis", no_wrap=True)
        bar = Table.grid(expand=True)  # which ends its line, as the bar alone does not
        bar.add_row(ProgressBar(total, ended))
        yield bar
        for run in sorted(self._started, key=self._started.__getitem__)[:_RUNNING]:
            done, steps = _read_steps_done(self.experiment.run_folder(run)), self.experiment.arguments(run)["steps"]
            yield Text(f"{done:>6}/{steps}  {common.visible(run)}", overflow="ellipsis", no_wrap=True)


def _read_steps_done(run: RunFolder) -> int:
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


def execute_experiment(
    experiment: Experiment,
    runs: Sequence[RunSpec],
    execution: Execution,
    *,
    began: float,
    restart: bool,
    as_json: bool,
) -> int:
    """Write bench.json, execute what is left of some runs, and print a summary; return the command's exit code.

    The command began at `began`, by time.monotonic; for `restart` see `execute_runs`.
    """
    from emodna.model.bench.results import read_run_results, to_finite_float
    from emodna.model.bench.runner import execute_runs

    before = read_run_results(experiment, runs)
    if restart:  # why they failed stays written down until they are done: interrupted, the same command goes on
        before = [replace(each, state="waiting") if each.state == "failed" else each for each in before]
    progress = BenchDisplay(experiment, {each.run: each.state for each in before})
    left = [run for run, state in progress.states.items() if state in ("interrupted", "waiting")]
    busy = [run for run, state in progress.states.items() if state == "running"]
    errors = {each.run: str(each.error) for each in before if each.state == "failed"}
    done = progress.counts["done"]
    print_skipped_runs(progress, left)
    answers: dict[RunSpec, RunReply] = {}
    if not left:
        experiment.write()
    else:
        with progress.show(), execution.start(len(left)) as workers:
            count = workers.count()
            progress.workers = count or 1
            common.note(
                f"{format_count(left, 'cell')}, {format_count(count, 'worker')}, into {common.escape(experiment.out)}"
            )
            experiment.write()  # not before there are workers: a slip in --scheduler would leave a plan behind
            answers = execute_runs(experiment, left, workers, progress, restart=restart)
    ran = [run for run, answer in answers.items() if answer.kind == "done"]
    errors |= {run: str(answer.error) for run, answer in answers.items() if answer.kind == "failed"}
    busy += [run for run, answer in answers.items() if answer.kind == "busy"]
    summary = {
        "out": str(experiment.out.absolute()),
        "cells": len(runs),
        "done": done + len(ran),
        "ran": len(ran),
        "failed": [{**describe_run(run), "error": error} for run, error in errors.items()],
        "skipped": [describe_run(run) for run in busy],
        "wall_seconds": time.monotonic() - began,
        "cell_seconds": sum(to_finite_float((answers[run].result or {}).get("wall_seconds")) or 0.0 for run in ran),
    }
    if as_json:
        common.print_json(summary)
    else:
        common.out.print(
            f"{summary['done']} of {summary['cells']} cells done, {summary['ran']} of them now, "
            f"in {summary['wall_seconds']:.0f} s\n{common.escape(experiment.out)}"
        )
    for run, error in list(errors.items())[:_SHOWN]:
        common.note(f"[red]failed:[/red] {common.escape(run)}: {common.escape(error)}")
    if len(errors) > _SHOWN:
        common.note(f"... and {len(errors) - _SHOWN} more (emodna-bench status names them all)")
    if errors:
        common.print_error(
            f"{format_count(errors, 'cell')} failed; {format_command(experiment.out, 'retry')} tries them again"
        )
    return 1 if errors else 0


def print_skipped_runs(progress: BenchDisplay, left: Sequence[RunSpec]) -> None:
    """Tell which runs are not executed now, and which of those that are left have steps of their own."""
    counts, conditions = progress.counts, progress.experiment.conditions
    if done := counts["done"]:
        common.note(f"{format_count(done, 'cell')} {'is' if done == 1 else 'are'} done already")
    if failed := counts["failed"]:
        them = f"{format_count(failed, 'cell')} that failed before {'is' if failed == 1 else 'are'}"
        common.note(f"{them} not tried again; {common.escape(format_command(progress.experiment.out, 'retry'))} does")
    for run, state in progress.states.items():
        if state == "running":
            _print_busy_run(run)
    own = dict.fromkeys(str(run.method) for run in left if run.method.steps not in (None, conditions.steps))
    if own:
        has = "has steps of its own" if len(own) == 1 else "have steps of their own"
        common.note(f"{common.escape(', '.join(own))} {has}")


def _print_busy_run(run: RunSpec) -> None:
    common.note(f"left out: {common.escape(run)}: another process is at work at it")


def describe_run(run: RunSpec) -> dict[str, Any]:
    """Return a run as JSON has it."""
    return {"src": run.src, "tgt": run.tgt, "task": run.task, "method": str(run.method), "seed": run.seed}


def format_command(out: Path, name: str) -> str:
    """Return a command of emodna-bench as it is typed for the benchmark in a folder."""
    return f"emodna-bench {name}" + ("" if out == Path("bench") else f" --out {out}")
