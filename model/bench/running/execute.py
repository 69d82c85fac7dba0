"""Many cells, side by side, to the last one: whatever becomes of one, the others go on."""

import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol

import filelock

from emodna.model.bench.running.crew import Crew
from emodna.model.bench.running.worker import Answer, Order, digest, versions
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import BenchError
from emodna.model.run_folder import write_json
from emodna.model.runs.listing import is_locked
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.prepare.cluster import GONE

if TYPE_CHECKING:
    from distributed import Future

#: Between two looks at whether there are more workers, while nothing ends.
_LOOK_SECONDS: Final = 1.0
#: Without workers for so long, somebody who waits should know.
_GAP_SECONDS: Final = 3.0
#: For so long cells may write their checkpoints before they are given up.
_STOP_SECONDS: Final = 20.0
#: What is left of a benchmark that ends early.
RESUMABLE: Final = "finished cells are kept, the same command goes on from there"


class BenchWatcher(Protocol):
    """Is told how the cells go."""

    def began(self, cell: RunSpec) -> None:
        """A worker has it."""

    def ended(self, cell: RunSpec, answer: Answer) -> None:
        """There is nothing more to come of it."""

    def told(self, line: str) -> None:
        """What somebody who waits should know."""


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Be the only one that runs cells of a benchmark, or clears it up; the lock is the kernel's.

    Raises
    ------
    BenchError
        Another process is.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise BenchError(
            f"--out {out}: another emodna-bench is at work in it; wait for it, or give another --out"
        ) from None


def execute(
    bench: Experiment, cells: Sequence[RunSpec], crew: Crew, watcher: BenchWatcher, *, again: bool = False
) -> dict[RunSpec, Answer]:
    """Run cells, in their order as workers get free; what became of each.

    A cell that failed is written down as its benchmark's failure. Interrupted by Ctrl-C, the cells at work write their
    checkpoints first.

    Parameters
    ----------
    again
        Let a cell whose folder cannot be resumed begin anew.

    Raises
    ------
    WorkerError
        The scheduler is gone, or the workers can run no cell.
    """
    return _Execution(bench, crew, watcher, again=again).run(cells)


def record_failure(bench: Experiment, cell: RunSpec, answer: Answer) -> None:
    """Write down why a cell came to nothing."""
    path = bench.failure(cell)
    path.parent.mkdir(exist_ok=True)
    content = {"error": answer.error, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(path, content | ({} if answer.traceback is None else {"traceback": answer.traceback}))


@dataclass(frozen=True, slots=True)
class _Flight:
    """A cell that a worker has."""

    cell: RunSpec
    device: str


class _Execution:
    def __init__(self, bench: Experiment, crew: Crew, watcher: BenchWatcher, *, again: bool) -> None:
        self._bench, self._crew, self._watcher, self._again = bench, crew, watcher, again
        self._digest = digest(bench.out) or ""
        self._flying: dict[Future[Any], _Flight] = {}
        self._alike: dict[str, list[RunSpec]] = {}
        self._landed: SimpleQueue[Future[Any]] = SimpleQueue()
        self._found: dict[RunSpec, Answer] = {}
        self._told = False
        self._alone_since: float | None = None

    def run(self, cells: Sequence[RunSpec]) -> dict[RunSpec, Answer]:
        # Rows that come to the same settings, such as emo-dna and emo-dna:steps=1000 of 1000 steps, share a run.
        for cell in cells:
            self._alike.setdefault(self._bench.run_name(cell), []).append(cell)
        left = deque(alike[0] for alike in self._alike.values())
        try:
            with self._lost_connection():
                while left or self._flying:
                    self._send(left)
                    self._receive()
        except BaseException:
            self._stop()
            raise
        return self._found

    def _send(self, left: deque[RunSpec]) -> None:
        """Have as many cells under way as there are workers: so one that dies takes no cell with it but its own."""
        here = self._crew.workers()
        self._tell_of_none(here)
        while left and len(self._flying) < here:
            cell = left.popleft()
            order = self._order(cell)
            self._flying[self._crew.send(order, self._landed.put)] = _Flight(cell, order.device)
            self._watcher.began(cell)

    def _tell_of_none(self, here: int) -> None:
        """Say, once, that there are no workers to wait for; on a busy machine, what Dask knows of them has gaps."""
        if here:
            self._alone_since, self._told = None, False
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > _GAP_SECONDS and not self._told:
            self._watcher.told(f"waiting for workers: none at {self._crew.place} (Ctrl-C ends this: {RESUMABLE})")
            self._told = True

    def _order(self, cell: RunSpec) -> Order:
        busy = Counter(flight.device for flight in self._flying.values())
        device = min(self._crew.devices, key=busy.__getitem__)
        asked = (cell.src, cell.tgt, cell.task, str(cell.method), cell.seed)
        return Order(
            str(self._bench.out.absolute()),
            self._digest,
            asked,
            versions(),
            self._crew.threads,
            device,
            local=self._crew.local,
            again=self._again,
        )

    def _receive(self) -> None:
        """Wait a little for a cell to end."""
        with suppress(Empty):
            future = self._landed.get(timeout=_LOOK_SECONDS)
            cell = self._flying.pop(future).cell
            answer = self._answer(future)
            if answer.kind == "refused":
                raise WorkerError(f"{answer.error}; {RESUMABLE}")
            if answer.kind == "failed":
                record_failure(self._bench, cell, answer)
            elif answer.kind == "done":
                self._bench.failure(cell).unlink(missing_ok=True)
            for each in self._alike[self._bench.run_name(cell)]:
                self._found[each] = answer
                self._watcher.ended(each, answer)

    def _answer(self, future: "Future[Any]") -> Answer:
        """What a worker said of a cell, or Dask of the worker."""
        from distributed.scheduler import KilledWorker

        try:
            answer: Answer = future.result()
        except GONE:
            raise
        except KilledWorker as error:
            deaths = error.allowed_failures + 1
            return Answer("failed", error=f"the worker that ran it died {deaths} times; is there memory enough?")
        except (ImportError, AttributeError) as error:
            raise WorkerError(
                f"a worker at {self._crew.place} cannot load emodna ({error}): every worker needs the environment that "
                "emodna-bench runs in"
            ) from error
        except Exception as error:  # of a cell; the others go on
            return Answer("failed", error=f"{type(error).__name__}: {error}".splitlines()[0], traceback=_trace(error))
        return answer

    @contextmanager
    def _lost_connection(self) -> Iterator[None]:
        """Turn what Dask raises where the scheduler is gone into one line."""
        try:
            yield
        except GONE as error:
            if isinstance(error, OSError) and error.errno is not None:  # of a file
                raise
            raise WorkerError(f"lost the connection to the workers at {self._crew.place}: {RESUMABLE}") from error

    def _stop(self) -> None:
        """Let what is at work stop behind its present step, and write a checkpoint."""
        if not self._flying:
            return
        with suppress(*GONE):
            self._crew.client.cancel(list(self._flying))
        until = time.monotonic() + _STOP_SECONDS
        folders = [self._bench.run_folder(flight.cell) for flight in self._flying.values()]
        while time.monotonic() < until and any(map(is_locked, folders)):
            time.sleep(0.05)


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
