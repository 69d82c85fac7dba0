"""Execution of an experiment's runs, and the summary of it: for emodna-bench run and retry."""

import time
from collections.abc import Callable, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome
    from emodna.model.bench.runner import Workers
    from emodna.model.bench.spec import Experiment, RunSpec
    from emodna.model.bench.worker import Answer

Command = TypeVar("Command", bound=Callable[..., Any])

#: Small networks leave a GPU idle between their kernels; more processes than this fight for its memory.
_PER_GPU: Final = 4
#: Errors that are printed; all are in the JSON and in `emodna-bench status`.
_SHOWN: Final = 10


def execution_options(command: Command) -> Command:
    """Add --workers, --scheduler and --device."""
    for option in (
        click.option("--device", default="auto", help="auto (CUDA if there is any, else the CPU), cpu, cuda, cuda:N."),
        click.option(
            "--scheduler",
            metavar="ADDRESS|FILE",
            help="Run on a Dask cluster: the address of its scheduler, or the .json file that it wrote.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Runs side by side.  [default: as many as there are cores for; on CUDA, 4 per GPU at most]",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Execution:
    """Place and manner of execution."""

    kind: Literal["cpu", "cuda"]
    start: "Callable[[int], AbstractContextManager[Workers]]"
    """Starts workers for a number of runs, or connects to them."""


def resolve_execution(workers: int | None, scheduler: str | None, threads: int, device: str) -> Execution:
    """Resolve the options of an execution.

    Raises
    ------
    EmodnaError, click.UsageError
        No such device, or options that exclude each other.
    """
    from emodna.model.bench.runner import local_workers, remote_workers

    if workers and scheduler:
        raise click.UsageError("--workers and --scheduler exclude each other: a cluster has its own workers")
    if scheduler and device not in ("auto", "cpu", "cuda"):
        raise EmodnaError(f"--device {device}: not with --scheduler; valid: auto, cpu, cuda")
    if scheduler and device != "auto":
        kind: Literal["cpu", "cuda"] = "cuda" if device == "cuda" else "cpu"
        return Execution(kind, lambda _runs: remote_workers(scheduler, threads, kind))
    here = common.torch_device(device)
    kind = "cuda" if here.type == "cuda" else "cpu"
    if scheduler:
        return Execution(kind, lambda _runs: remote_workers(scheduler, threads, kind))
    devices, room = [str(here)], max(common.cores() // threads, 1)
    if kind == "cuda":
        import torch

        if here.index is None:
            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        room = min(room, _PER_GPU * len(devices))
    return Execution(kind, lambda runs: local_workers(min(workers or room, runs), threads, devices))


def carry_out(
    experiment: "Experiment",
    runs: "Sequence[RunSpec]",
    execution: Execution,
    *,
    began: float,
    again: bool,
    as_json: bool,
) -> int:
    """Write bench.json, execute what is left of some runs, and print a summary; return the command's exit code.

    The command began at `began`, by time.monotonic; for `again` see `execute`.
    """
    from emodna.cli.bench.live import watching
    from emodna.model.bench.results import number_or_none, read_outcomes
    from emodna.model.bench.runner import execute

    before = read_outcomes(experiment, runs)
    if again:  # why they failed stays written down until they are done: interrupted, the same command goes on
        before = [replace(each, state="waiting") if each.state == "failed" else each for each in before]
    done, failed, busy = ([each for each in before if each.state == state] for state in ("done", "failed", "running"))
    left = [each.run for each in before if each.state in ("interrupted", "waiting")]
    tell_of_skipped(experiment, done, failed, busy)
    tell_of_own_steps(experiment, left)
    answers: dict[RunSpec, Answer] = {}
    if not left:
        experiment.write()
    else:
        with watching(experiment, before) as watcher, execution.start(len(left)) as workers:
            count = workers.count()
            watcher.tally.workers = count or 1
            where = common.safe(experiment.out)
            common.note(f"{counted(left, 'cell')}, {count} worker{'s' * (count != 1)}, into {where}")
            experiment.write()  # not before there are workers: a slip in --scheduler would leave a plan behind
            answers = execute(experiment, left, workers, watcher, again=again)
    ran = [run for run, answer in answers.items() if answer.kind == "done"]
    errors = {each.run: str(each.error) for each in failed}
    errors |= {run: str(answer.error) for run, answer in answers.items() if answer.kind == "failed"}
    skipped = [each.run for each in busy] + [run for run, answer in answers.items() if answer.kind == "busy"]
    summary = {
        "out": str(experiment.out.absolute()),
        "cells": len(runs),
        "done": len(done) + len(ran),
        "ran": len(ran),
        "failed": [{**run_json(run), "error": error} for run, error in errors.items()],
        "skipped": [run_json(run) for run in skipped],
        "wall_seconds": time.monotonic() - began,
        "cell_seconds": sum(number_or_none((answers[run].result or {}).get("wall_seconds")) or 0.0 for run in ran),
    }
    if as_json:
        common.print_json(summary)
    else:
        common.out.print(
            f"{summary['done']} of {summary['cells']} cells done, {summary['ran']} of them now, "
            f"in {summary['wall_seconds']:.0f} s\n{common.safe(experiment.out)}"
        )
    return _print_failed(experiment, errors)


def run_json(run: "RunSpec") -> dict[str, Any]:
    """Return a run as JSON has it."""
    return {"src": run.src, "tgt": run.tgt, "task": run.task, "method": str(run.method), "seed": run.seed}


def retry_command(out: Path) -> str:
    """Return the command that tries failed runs again."""
    return "emodna-bench retry" + ("" if out == Path("bench") else f" --out {out}")


def counted(things: Sized | int, word: str) -> str:
    """Return `1 cell` or `2 cells`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number} {word}{'s' * (number != 1)}"


def tell_of_skipped(
    experiment: "Experiment", done: "Sequence[Outcome]", failed: "Sequence[Outcome]", busy: "Sequence[Outcome]"
) -> None:
    """Tell which runs are not executed now, and why."""
    if done:
        common.note(f"{counted(done, 'cell')} {'is' if len(done) == 1 else 'are'} done already")
    if failed:
        them = f"{counted(failed, 'cell')} that failed before {'is' if len(failed) == 1 else 'are'}"
        common.note(f"{them} not tried again; {common.safe(retry_command(experiment.out))} does")
    for each in busy:
        common.note(f"left out: {common.safe(each.run)}: another process is at work at it")


def tell_of_own_steps(experiment: "Experiment", runs: "Sequence[RunSpec]") -> None:
    """Tell which methods have another number of steps than the rest."""
    own = dict.fromkeys(str(run.method) for run in runs if run.method.steps not in (None, experiment.conditions.steps))
    if own:
        has = "has steps of its own" if len(own) == 1 else "have steps of their own"
        common.note(f"{common.safe(', '.join(own))} {has}")


def _print_failed(experiment: "Experiment", errors: "dict[RunSpec, str]") -> int:
    """Print which runs failed; return 1, or 0 if none did."""
    if not errors:
        return 0
    for run, error in list(errors.items())[:_SHOWN]:
        common.note(f"[red]failed:[/red] {common.safe(run)}: {common.safe(error)}")
    if len(errors) > _SHOWN:
        common.note(f"... and {len(errors) - _SHOWN} more (emodna-bench status names them all)")
    common.print_error(f"{counted(errors, 'cell')} failed; {retry_command(experiment.out)} tries them again")
    return 1
