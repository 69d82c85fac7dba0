"""Execution of an experiment's runs for emodna-bench run and retry, with progress and a summary."""

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
from emodna.model.label import mark_exposure, read_exposure
from emodna.model.run_folder import RunFolder
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.results import RunState
    from emodna.model.bench.runner import Workers
    from emodna.model.bench.worker import RunReply

#: Runs per GPU: one small network leaves a GPU idle, many exhaust its memory.
_PER_GPU: Final = 4
#: Maximum number of printed errors; the JSON and `emodna-bench status` list all.
_MAX_ERRORS: Final = 10
#: Maximum number of running runs in the live display.
_MAX_RUNNING: Final = 4
#: Bytes read from the end of metrics.jsonl; they hold at least one complete line.
_TAIL_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Resources:
    """A device kind and a way to start workers."""

    kind: Literal["cpu", "cuda"]
    start: "Callable[[int], AbstractContextManager[Workers]]"
    """Function that starts workers for a number of runs, or connects to them."""


def resolve_resources(workers: int | None, scheduler: str | None, threads: int, device: str) -> Resources:
    """Return the device kind and the workers that the options describe.

    Raises
    ------
    EmodnaError
        If the device is not available.
    click.UsageError
        If workers and scheduler are both set.
    """
    from emodna.model.bench.runner import connect_remote_workers, start_local_workers

    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler exclude each other; a cluster has its own workers")
    if scheduler and device not in ("auto", "cpu", "cuda"):
        raise EmodnaError("not valid for a cluster", field="device", value=device, valid=("auto", "cpu", "cuda"))
    local_device = None if scheduler and device != "auto" else common.resolve_device(device)
    kind: Literal["cpu", "cuda"] = "cuda" if (local_device.type if local_device else device) == "cuda" else "cpu"
    if scheduler or local_device is None:
        return Resources(kind, lambda _runs: connect_remote_workers(str(scheduler), threads, kind))
    devices, max_workers = [str(local_device)], max(common.count_cores() // threads, 1)
    if kind == "cuda":
        import torch

        if local_device.index is None:
            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        max_workers = min(max_workers, _PER_GPU * len(devices))
    return Resources(kind, lambda runs: start_local_workers(min(workers or max_workers, runs), threads, devices))


class BenchDisplay:
    """Progress of runs: a line for each finished run, the remaining time, and a live display on a terminal."""

    def __init__(self, experiment: Experiment, states: "dict[RunSpec, RunState]", workers: int = 1) -> None:
        self.experiment, self.states, self.workers = experiment, states, workers
        self.durations: dict[tuple[object, str], list[float]] = defaultdict(list)
        """Seconds of finished runs by (method, task); such runs take about equally long."""
        self._start_times: dict[RunSpec, float] = {}
        self._start_time = time.monotonic()

    @property
    def counts(self) -> "Counter[RunState]":
        """Number of runs by state."""
        return Counter(self.states.values())

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until all runs are finished; None before the first one is."""
        mean_durations = {key: sum(each) / len(each) for key, each in self.durations.items()}
        if not mean_durations:
            return None
        overall_mean = sum(mean_durations.values()) / len(mean_durations)
        now, total = time.monotonic(), 0.0
        for run, state in self.states.items():
            if state in ("waiting", "interrupted", "running"):
                spent = now - self._start_times.get(run, now)
                total += max(mean_durations.get((run.method, run.task), overall_mean) - spent, 0.0)
        return total / self.workers

    def on_run_start(self, run: RunSpec) -> None:
        """Mark a run as running."""
        self.states[run], self._start_times[run] = "running", time.monotonic()

    def on_run_end(self, run: RunSpec, reply: "RunReply") -> None:
        """Update the state of a run and print its result."""
        self.states[run] = reply.kind if reply.kind in ("done", "failed") else "running"
        self._start_times.pop(run, None)
        if reply.kind == "busy":
            _print_busy_run(run)
        if self.states[run] == "running":
            return
        if reply.kind == "done":
            self.durations[run.method, run.task].append(reply.seconds)
            uar, seconds_left = (reply.result or {}).get("uar"), self.seconds_left
            score = "target has no labels" if uar is None else f"UAR {uar:.1f}"
            eta = f", ETA {format_duration(seconds_left)}" if seconds_left else ""
            exposure = read_exposure(reply.result or {}, run.tgt)
            result = f"{score} ({reply.seconds:.0f} s{eta})"
        else:
            exposure, result = "no", f"[red]failed:[/red] {common.escape(reply.error)}"
        method = mark_exposure(self.experiment.methods[run.method].label, exposure)  # the label marks oracles
        label = common.escape(f"{run.src} -> {run.tgt}, {run.task}, {method}, seed {run.seed}")
        common.note(f"{self.counts['done'] + self.counts['failed']}/{len(self.states)} {label}: {result}")

    def on_message(self, line: str) -> None:
        """Print a line."""
        common.note(common.escape(line))

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show the live display in this context if standard error is a terminal."""
        if common.is_quiet() or not common.err.is_terminal or common.err.is_dumb_terminal:
            yield
        else:
            with Live(self, console=common.err, transient=True, refresh_per_second=2):
                yield

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts, seconds_left, total = self.counts, self.seconds_left, len(self.states)
        completed = counts["done"] + counts["failed"]
        parts = [f"{completed}/{format_count(total, 'run')}", *[f"{counts['failed']} failed"] * bool(counts["failed"])]
        parts += [] if seconds_left is None else [f"ETA {format_duration(seconds_left)}"]
        parts.append(f"elapsed {format_duration(time.monotonic() - self._start_time)}")
        yield Text("  ".join(parts), style="bold", overflow="ellipsis", no_wrap=True)
        bar = Table.grid(expand=True)  # adds the line end that a bare ProgressBar lacks
        bar.add_row(ProgressBar(total, completed))
        yield bar
        for run in sorted(self._start_times, key=self._start_times.__getitem__)[:_MAX_RUNNING]:
            done, steps = _read_steps_done(self.experiment.run_folder(run)), self.experiment.arguments(run)["steps"]
            yield Text(f"{done:>6}/{steps}  {common.escape_controls(run)}", overflow="ellipsis", no_wrap=True)


def _read_steps_done(run: RunFolder) -> int:
    """Return the last logged step of a running run; 0 if there is none."""
    try:
        with run.metrics.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):  # the first and the last may be incomplete
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def execute_experiment(
    experiment: Experiment, runs: Sequence[RunSpec], resources: Resources, *, start: float, restart: bool, as_json: bool
) -> int:
    """Write bench.json, execute unfinished runs, print a summary, and return the command's exit code.

    `start` is the start of the command by time.monotonic; for `restart` see `execute_runs`.
    """
    from emodna.model.bench.results import read_run_results, to_finite_float
    from emodna.model.bench.runner import execute_runs

    results = read_run_results(experiment, runs)
    if restart:  # recorded errors stay until the runs are done, so an interrupted command can be repeated
        results = [replace(each, state="waiting") if each.state == "failed" else each for each in results]
    display = BenchDisplay(experiment, {each.run: each.state for each in results})
    unfinished_runs = [run for run, state in display.states.items() if state in ("interrupted", "waiting")]
    busy_runs = [run for run, state in display.states.items() if state == "running"]
    errors = {each.run: str(each.error) for each in results if each.state == "failed"}
    done = display.counts["done"]
    print_skipped_runs(display, unfinished_runs)
    replies: dict[RunSpec, RunReply] = {}
    if not unfinished_runs:
        experiment.write()
    else:
        with display.show(), resources.start(len(unfinished_runs)) as workers:
            count = workers.count()
            display.workers = count or 1
            size = f"{format_count(unfinished_runs, 'run')}, {format_count(count, 'worker')}"
            common.note(f"{size}, into {common.escape(experiment.out)}")
            experiment.write()  # after the workers started: a wrong --scheduler leaves no experiment behind
            replies = execute_runs(experiment, unfinished_runs, workers, display, restart=restart)
    finished_runs = [run for run, reply in replies.items() if reply.kind == "done"]
    errors |= {run: str(reply.error) for run, reply in replies.items() if reply.kind == "failed"}
    busy_runs += [run for run, reply in replies.items() if reply.kind == "busy"]
    seconds = [to_finite_float((replies[run].result or {}).get("wall_seconds")) or 0.0 for run in finished_runs]
    summary = {
        "out": str(experiment.out.absolute()),
        "cells": len(runs),
        "done": done + len(finished_runs),
        "ran": len(finished_runs),
        "failed": [{**describe_run(run), "error": error} for run, error in errors.items()],
        "skipped": [describe_run(run) for run in busy_runs],
        "wall_seconds": time.monotonic() - start,
        "cell_seconds": sum(seconds),
    }
    if as_json:
        common.print_json(summary)
    else:
        common.out.print(
            f"{summary['done']} of {format_count(runs, 'run')} done, {summary['ran']} of them now, "
            f"in {summary['wall_seconds']:.0f} s\n{common.escape(experiment.out)}"
        )
    for run, error in list(errors.items())[:_MAX_ERRORS]:
        common.note(f"[red]failed:[/red] {common.escape(run)}: {common.escape(error)}")
    if len(errors) > _MAX_ERRORS:
        common.note(f"... and {len(errors) - _MAX_ERRORS} more; emodna-bench status lists all")
    if errors:
        retry = format_command(experiment.out, "retry")
        common.print_error(f"{format_count(errors, 'run')} failed; try again with: {retry}")
    return 1 if errors else 0


def print_skipped_runs(display: BenchDisplay, unfinished_runs: Sequence[RunSpec]) -> None:
    """Print which runs are not executed, and which methods set their own number of steps."""
    counts, conditions = display.counts, display.experiment.conditions
    if done := counts["done"]:
        common.note(f"{format_count(done, 'run')} already done")
    if failed := counts["failed"]:
        retry = common.escape(format_command(display.experiment.out, "retry"))
        common.note(f"skipped {format_count(failed, 'run')} that failed before; try again with: {retry}")
    for run, state in display.states.items():
        if state == "running":
            _print_busy_run(run)
    own_steps = [run.method for run in unfinished_runs if run.method.steps is not None]
    if specs := dict.fromkeys(
        str(spec)
        for spec in own_steps
        if spec.steps != (conditions.steps or display.experiment.find_feature_set(spec).steps)
    ):
        common.note(f"own number of steps: {common.escape(', '.join(specs))}")


def _print_busy_run(run: RunSpec) -> None:
    common.note(f"skipped {common.escape(run)}: another process is training it")


def describe_run(run: RunSpec) -> dict[str, Any]:
    """Return a run as an object of the JSON output."""
    return {"src": run.src, "tgt": run.tgt, "task": run.task, "method": str(run.method), "seed": run.seed}


def format_command(out: Path, name: str) -> str:
    """Return the command line of an emodna-bench command for an experiment's folder."""
    return f"emodna-bench {name}" + ("" if out == Path("bench") else f" --out {out}")
