"""Running cells of a benchmark, and saying what came of it: for emodna-bench run and retry."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from emodna.cli import common
from emodna.pipeline.errors import EmodnaError

if TYPE_CHECKING:
    from emodna.model.bench.results import Outcome
    from emodna.model.bench.running.crew import Crew
    from emodna.model.bench.running.worker import Answer
    from emodna.model.bench.spec import Experiment, RunSpec

#: Small networks leave a GPU idle between their kernels; more processes than this fight for its memory.
_PER_GPU: Final = 4
#: Errors that are printed; all are in the JSON and in `emodna-bench status`.
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Execution:
    """Where cells are run, and how."""

    kind: Literal["cpu", "cuda"]
    devices: tuple[str, ...]
    workers: int
    threads: int
    scheduler: str | None

    @classmethod
    def of(cls, workers: int | None, scheduler: str | None, threads: int, device: str) -> "Execution":
        """As the options say.

        Raises
        ------
        EmodnaError
            No such device.
        click.UsageError
            Options that exclude each other.
        """
        if workers and scheduler:
            raise click.UsageError(
                "--workers and --scheduler exclude each other: a cluster's workers are started with it"
            )
        if scheduler and device in ("cpu", "cuda"):
            return cls("cuda" if device == "cuda" else "cpu", (device,), 0, threads, scheduler)
        if scheduler and device != "auto":
            raise EmodnaError(f"--device {device}: not with --scheduler; valid: auto, cpu, cuda")
        here = common.torch_device(device)
        kind: Literal["cpu", "cuda"] = "cuda" if here.type == "cuda" else "cpu"
        if scheduler:
            return cls(kind, (kind,), 0, threads, scheduler)
        devices = (str(here),)
        room = max(common.cores() // threads, 1)
        if kind == "cuda":
            import torch

            if here.index is None:
                devices = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
            room = min(room, _PER_GPU * len(devices))
        return cls(kind, devices, workers or room, threads, None)

    @property
    def decisive_threads(self) -> int:
        """Threads as a condition of a benchmark: on CUDA they decide nothing."""
        return self.threads if self.kind == "cpu" else 1

    @contextmanager
    def crew(self, cells: int) -> "Iterator[Crew]":
        """Workers for so many cells."""
        from emodna.model.bench.running.crew import local_crew, remote_crew

        if self.scheduler is not None:
            with remote_crew(self.scheduler, self.threads, self.devices[0]) as crew:
                yield crew
        else:
            with local_crew(min(self.workers, cells), self.threads, self.devices) as crew:
                yield crew


def carry_out(
    bench: "Experiment",
    cells: "Sequence[RunSpec]",
    execution: Execution,
    *,
    began: float,
    again: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write bench.json, run what is left of some cells, and print what came of it: the command's exit code.

    Parameters
    ----------
    began
        When the command did, by time.monotonic.
    again
        See `execute`.
    """
    from emodna.cli.bench.live import watching
    from emodna.model.bench.outcomes import wall_seconds
    from emodna.model.bench.results import read_outcomes
    from emodna.model.bench.running.execute import execute

    before = read_outcomes(bench, cells)
    if again:  # why they failed stays written down until they are done: interrupted, the same command goes on
        before = [replace(each, state="waiting") if each.state == "failed" else each for each in before]
    done = [each for each in before if each.state == "done"]
    failed = [each for each in before if each.state == "failed"]
    busy = [each for each in before if each.state == "running"]
    left = [each.run for each in before if each not in (*done, *failed, *busy)]
    _tell(bench, done, failed, busy)
    _tell_of_own_steps(bench, left)
    answers: dict[RunSpec, Answer] = {}
    if not left:
        bench.write()
    else:
        with watching(bench, before, quiet=quiet) as watcher, execution.crew(len(left)) as crew:
            workers = crew.workers()
            watcher.workers = workers or 1
            common.note(
                f"{_counted(left, 'cell')}, {workers} worker{'s' * (workers != 1)}, into {common.safe(bench.out)}"
            )
            bench.write()  # not before there is somebody to run it: a slip in --scheduler would leave a plan behind
            answers = execute(bench, left, crew, watcher, again=again)
    ran = [cell for cell, answer in answers.items() if answer.kind == "done"]
    errors = {each.run: str(each.error) for each in failed}
    errors |= {cell: str(answer.error) for cell, answer in answers.items() if answer.kind == "failed"}
    skipped = [each.run for each in busy] + [cell for cell, answer in answers.items() if answer.kind == "busy"]
    summary = {
        "out": str(bench.out.absolute()),
        "cells": len(cells),
        "done": len(done) + len(ran),
        "ran": len(ran),
        "failed": [{**described(cell), "error": error} for cell, error in errors.items()],
        "skipped": [described(cell) for cell in skipped],
        "wall_seconds": time.monotonic() - began,
        "cell_seconds": sum(wall_seconds(answers[cell].result) or 0.0 for cell in ran),
    }
    if as_json:
        common.print_json(summary)
    else:
        _print(summary, bench.out)
    return _failed(bench, errors)


def described(cell: "RunSpec") -> dict[str, Any]:
    """A cell, as JSON has it."""
    return {"src": cell.src, "tgt": cell.tgt, "task": cell.task, "method": str(cell.method), "seed": cell.seed}


def retry_command(out: Path) -> str:
    """What tries the cells again that failed."""
    return "emodna-bench retry" + ("" if out == Path("bench") else f" --out {out}")


def _tell(
    bench: "Experiment", done: "Sequence[Outcome]", failed: "Sequence[Outcome]", busy: "Sequence[Outcome]"
) -> None:
    """What is not run now, and why."""
    if done:
        common.note(f"{_counted(done, 'cell')} {'is' if len(done) == 1 else 'are'} done already")
    if failed:
        them = f"{_counted(failed, 'cell')} that failed before {'is' if len(failed) == 1 else 'are'}"
        common.note(f"{them} not tried again; {common.safe(retry_command(bench.out))} does")
    for each in busy:
        common.note(f"left out: {common.safe(each.run)}: another process is at work at it")


def _tell_of_own_steps(bench: "Experiment", cells: "Sequence[RunSpec]") -> None:
    """Say which rows take another time than the rest."""
    own = dict.fromkeys(str(cell.method) for cell in cells if cell.method.steps not in (None, bench.conditions.steps))
    if own:
        has = "has steps of its own" if len(own) == 1 else "have steps of their own"
        common.note(f"{common.safe(', '.join(own))} {has}")


def _counted(things: "Sequence[object]", word: str) -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def _print(summary: dict[str, Any], out: Path) -> None:
    common.out.print(
        f"{summary['done']} of {summary['cells']} cells done, {summary['ran']} of them now, "
        f"in {summary['wall_seconds']:.0f} s\n{common.safe(out)}"
    )


def _failed(bench: "Experiment", errors: "dict[RunSpec, str]") -> int:
    """Say which cells failed: 1, or 0 if none did."""
    if not errors:
        return 0
    for cell, error in list(errors.items())[:_SHOWN]:
        common.note(f"[red]failed:[/red] {common.safe(cell)}: {common.safe(error)}")
    if len(errors) > _SHOWN:
        common.note(f"... and {len(errors) - _SHOWN} more (emodna-bench status names them all)")
    plural = "cell" if len(errors) == 1 else "cells"
    common.print_error(f"{len(errors)} {plural} failed; {retry_command(bench.out)} tries them again")
    return 1
