"""What a worker does, here or in a cluster: one cell at a time, in a process that has done others before."""

import hashlib
import importlib.metadata
import shutil
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from emodna.model.errors import RunError
from emodna.model.runs.listing import is_locked
from emodna.pipeline.emotions import Task
from emodna.pipeline.errors import EmodnaError

#: What has to be the same for runs to be comparable.
_VERSIONS: Final = ("emodna", "torch", "numpy")
#: A run seeds the generators of its whole process, so a second one beside it would be another run.
_one_at_a_time: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Order:
    """A cell, and how it is to be run."""

    out: str
    """Folder of the benchmark."""
    digest: str
    """Of its bench.json: who sees the same file sees the same folder."""
    cell: tuple[str, str, Task, str, int]
    versions: Mapping[str, str]
    threads: int
    device: str
    local: bool
    """Whether the worker is on the machine that sends it, whose stores are these and no others."""
    again: bool
    """Whether to begin anew where the folder holds what cannot be resumed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a cell."""

    kind: Literal["done", "failed", "busy", "stopped", "refused"]
    """busy: another process is at work at it; refused: this worker can run no cell of this benchmark."""
    result: Mapping[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    """Of an error that no user can mend."""
    seconds: float = 0.0
    """That the worker had it in hand."""


class _Nobody:
    """A watcher that says nothing: metrics.jsonl tells how far a run is."""

    def began(self, done: int) -> None: ...

    def logged(self, step: int, values: Mapping[str, float]) -> None: ...


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the one that started this worker; called by Dask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def versions() -> Mapping[str, str]:
    """Of all that a run's numbers depend on."""
    return {name: importlib.metadata.version(name) for name in _VERSIONS}


def digest(out: Path) -> str | None:
    """Of a benchmark's bench.json; None where it cannot be read."""
    try:
        return hashlib.sha256((out / "bench.json").read_bytes()).hexdigest()
    except OSError:
        return None


def carry_out_there(order: Order) -> Answer:
    """Run a cell, or go on with it; called on a worker."""
    began = time.monotonic()
    if (reason := _reason_to_refuse(order)) is not None:
        return Answer("refused", error=f"{_name()} {reason}")
    with _one_at_a_time:
        return replace(_tried(order), seconds=time.monotonic() - began)


def _tried(order: Order) -> Answer:
    bench = _bench(order.out, order.digest)
    src, tgt, task, row, seed = order.cell
    cell = RunSpec(src, tgt, task, MethodSpec.parse(row), seed)
    for name in () if order.local else (src, tgt):  # here, a store that is gone fails the cells that need it
        if not (store := Path(bench.corpora[name].store)).is_dir():
            return Answer(
                "refused", error=f"{_name()} does not see {store}; stores have to be at the same path for all"
            )
    try:
        if order.again and bench.run_folder(cell).done.exists():  # as only one that is damaged is tried again
            shutil.rmtree(bench.run_folder(cell).path)
        try:
            return _carried_out(order, bench, cell)
        except RunError as error:
            if is_locked(bench.run_folder(cell)):
                return Answer("busy", error=str(error))
            if not order.again:
                raise
            shutil.rmtree(bench.run_folder(cell).path)
            return _carried_out(order, bench, cell)
    except KeyboardInterrupt:
        return Answer("stopped")
    except EmodnaError as error:
        return Answer("failed", error=str(error))
    except Exception as error:  # whatever a method does: the other cells go on
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        return Answer("failed", error=line, traceback=traceback.format_exc())


def _carried_out(order: Order, bench: Experiment, cell: RunSpec) -> Answer:
    from threadpoolctl import threadpool_limits

    from emodna.model.bench.running.carry_out import carry_out_cell

    with threadpool_limits(order.threads):
        result = carry_out_cell(
            bench, cell, _Nobody(), threads=order.threads, device=order.device, listening=_while_wanted
        )
    return Answer("done", result)


def _reason_to_refuse(order: Order) -> str | None:
    """Why no cell can be run by this worker."""
    different = [name for name, version in order.versions.items() if versions()[name] != version]
    if different:
        here, there = (", ".join(f"{name} {each[name]}" for name in different) for each in (versions(), order.versions))
        return f"has {here}, but emodna-bench {there}: the runs would not be comparable"
    if digest(Path(order.out)) != order.digest:
        return f"does not see --out {order.out}: the folder has to be the same, at the same path, for every worker"
    return None


@lru_cache(1)
def _bench(out: str, _digest: str) -> Experiment:
    return Experiment.read(Path(out))


@contextmanager
def _while_wanted() -> Iterator[Callable[[], bool]]:
    """Tell a run when nobody waits for it any more: it was cancelled, or whoever asked for it is gone."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    key = worker.get_current_task()

    def given_up() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled" or worker.status not in (Status.running, Status.paused)

    yield given_up


@cache
def _name() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address} ({socket.gethostname()})"
