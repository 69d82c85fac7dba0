"""A Dask cluster as an executor: its workers read the audio and send features back.

The store stays with this process, which holds its lock. First stands the connection, which the benchmark uses, too;
then the executor; then the part that runs on the workers.
"""

import asyncio
import json
import logging
import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4
from weakref import WeakSet

from emodna.pipeline.archives import Tree
from emodna.pipeline.errors import CorpusError, WorkerError, explain_os_error
from emodna.pipeline.prepare.executors import RESUMABLE, Executor, ExecutorFactory
from emodna.pipeline.prepare.extract import (
    ExtractionConfig,
    ExtractionResult,
    Job,
    examine,
    examine_all,
    get_library_versions,
)
from emodna.pipeline.threads import hold_to_one_thread

if TYPE_CHECKING:
    from distributed import Client, Future

#: Seconds after which nobody answers at an address.
CONNECT_SECONDS: Final = 10.0
#: Errors that Dask raises when the scheduler or the client is gone.
CONNECTION_ERRORS: Final = (OSError, RuntimeError, CancelledError, asyncio.CancelledError)
#: Errors that Dask raises of an address or its file; the last two are about TLS and about port 0.
_NO_ADDRESS: Final = (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError)

#: Batches that are on their way at the same time, at least: more workers may join.
_BATCHES: Final = 64
#: Seconds between two looks at whether there are workers.
_LOOK_SECONDS: Final = 3.0
#: Roots that a worker process holds open at most: of runs that are at work, and of the last ones that were killed.
_ROOTS: Final = 4

#: Is told what somebody who waits should know, a line each.
Tell = Callable[[str], None]


class PickledCall:
    """A pickled call: to unpickle it is to call a function and get its result.

    So neither the scheduler nor Dask's part of a worker needs emodna: where a worker lacks it, that is the error of a
    task. Of a task that it cannot unpickle, Dask would not tell, and wait for ever.
    """

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@contextmanager
def connect_client(scheduler: str, name: str) -> "Iterator[Client]":
    """Connect the command `name` to a scheduler: its address, or the file in which it wrote its address.

    Raises WorkerError if it is no address, or nobody is there.
    """
    from distributed import Client

    silence_dask_logging()
    file = Path(scheduler)
    try:
        address = json.loads(file.read_bytes())["address"] if file.suffix == ".json" else scheduler
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name=name)
    except _NO_ADDRESS as error:
        raise WorkerError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({getattr(error, 'strerror', None) or error}); "
            "valid: tcp://HOST:PORT, tls://HOST:PORT, or the .json file of `dask scheduler --scheduler-file`"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_SECONDS)


def silence_dask_logging() -> None:
    """Keep distributed from logging what its caller says in one line, such as that a connection is lost."""
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def connect_cluster(scheduler: str, tell: Tell) -> Iterator[ExecutorFactory]:
    """Connect to a cluster as `connect_client` does, and yield the start of an executor on it."""
    with connect_client(scheduler, "emodna-prep") as client:
        yield partial(_start, client, scheduler, tell)


@contextmanager
def _start(
    client: "Client", scheduler: str, tell: Tell, tree: Tree, extraction: ExtractionConfig, _due: int
) -> Iterator[Executor]:
    """Start threads that hand batches to the cluster: so many that it is never short of them."""
    run = _ClusterRun(client, scheduler, tell, tree, extraction)
    with run.lost_connection():
        size = max(_BATCHES, 2 * sum(client.nthreads().values()))
    with ThreadPoolExecutor(size) as pool:
        threading.Thread(target=run.watch_for_workers, daemon=True).start()
        try:
            yield Executor(pool, size, run.examine)
            run.close_roots()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            run.end()


class _ClusterRun:
    """One run's use of a cluster; called by many threads."""

    def __init__(self, client: "Client", scheduler: str, tell: Tell, tree: Tree, extraction: ExtractionConfig) -> None:
        self._client, self._scheduler, self._tell = client, scheduler, tell
        self._tree, self._extraction = tree, extraction
        self._versions = extraction.versions()
        # All batches of a run share it: it is small enough to travel with each, and a worker opens its tree once.
        self._order = pickle.dumps((tree.root, _archive_size(tree.root), pickle.dumps((tree, extraction))))
        self._sent: WeakSet[Future[BatchReply]] = WeakSet()
        self._ended = threading.Event()
        self._cpus: dict[str, str] = {}  # kind of instructions -> a worker that has it
        self._adding = threading.Lock()

    def watch_for_workers(self) -> None:
        """Tell, once, that there are no workers to wait for."""
        told = False
        with suppress(*CONNECTION_ERRORS):  # whoever waits for a batch finds out, too
            while not self._ended.is_set():
                here = bool(self._client.nthreads())
                if not here and not told:
                    self._tell(f"waiting for workers: none at {self._scheduler} (Ctrl-C ends this: {RESUMABLE})")
                told = not here
                self._ended.wait(_LOOK_SECONDS)

    def examine(self, jobs: Sequence[Job]) -> list[ExtractionResult]:
        """Examine a batch.

        Raises WorkerError if the scheduler is gone, or workers cannot do it or died of it; CorpusError if a worker sees
        other audio than this process.
        """
        call = pickle.dumps(PickledCall(examine_on_worker, self._versions, self._order, pickle.dumps(list(jobs))))
        with self.lost_connection(), self._useless_workers(jobs):
            future = self._client.submit(pickle.loads, call, key=f"examine-{uuid4()}")
            self._sent.add(future)
            if self._ended.is_set():
                future.cancel()
            answer: BatchReply = future.result()
        self._compare_audio(answer)
        self._compare_processors(answer)
        return list(answer.results)

    def end(self) -> None:
        """Cancel the batches that are on their way, so that nobody waits for them."""
        self._ended.set()
        with suppress(*CONNECTION_ERRORS):
            self._client.cancel(list(self._sent))

    def close_roots(self) -> None:
        """Let the workers close what they opened: what a compressed tar holds fills their disks."""

        def close() -> None:
            with suppress(*CONNECTION_ERRORS):
                self._client.run(pickle.loads, pickle.dumps(PickledCall(close_roots)), on_error="ignore")

        # The work is done: no worker that does not answer may hold it up.
        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(CONNECT_SECONDS)

    @contextmanager
    def lost_connection(self) -> Iterator[None]:
        """Turn the errors that Dask raises when the scheduler is gone into one line."""
        try:
            yield
        except (CancelledError, OSError) as error:
            raise WorkerError(f"lost the connection to the scheduler at {self._scheduler}: {RESUMABLE}") from error

    @contextmanager
    def _useless_workers(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Turn the errors that Dask raises when workers cannot do a batch, or die of it, into one line."""
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        try:
            yield
        except CommClosedError:  # an OSError, but not of a worker
            raise
        except KilledWorker as error:
            paths = ", ".join(job.path for job in jobs)
            raise WorkerError(
                f"given up: the worker died, {error.allowed_failures + 1} times, that had these recordings (the last: "
                f"{error.last_worker.address}): {paths}; {RESUMABLE}"
            ) from error
        except (ImportError, AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of a library that is missing, there is none
                where = "" if error.filename is None else f"{error.filename}: "
                raise WorkerError(
                    f"a worker at {self._scheduler}: {where}{explain_os_error(error)}; {RESUMABLE}"
                ) from error
            raise WorkerError(
                f"a worker at {self._scheduler} cannot load emodna ({error}): "
                "every worker needs the environment that emodna-prep runs in"
            ) from error

    def _compare_audio(self, answer: "BatchReply") -> None:
        """Refuse the answer of a worker that sees other files, or rejects one that is sound here."""
        for outcome, size in zip(answer.results, answer.sizes, strict=True):
            job = outcome.job
            if outcome.rejection is None:
                there, here = size, _size(self._tree, job)
            else:
                there = outcome.rejection
                here = examine(job, self._tree, self._extraction).rejection or "sound"
            if there != here:
                raise CorpusError(
                    f"{answer.worker}: {self._tree.root}/{job.path}: {there}; where emodna-prep runs: {here}; "
                    "the audio has to be the same on every worker"
                )

    def _compare_processors(self, answer: "BatchReply") -> None:
        """Tell, once, that the workers' processors differ."""
        with self._adding:
            second = len(self._cpus) == 1 and answer.cpu not in self._cpus
            self._cpus.setdefault(answer.cpu, answer.worker)
        if second:
            kinds = ", ".join(f"{cpu} on {worker}" for cpu, worker in self._cpus.items())
            self._tell(f"the workers' processors differ ({kinds}): the last bits may depend on who did what")


def _size(tree: Tree, job: Job) -> str:
    """Return the size of a recording's file."""
    stamp = tree.stamp(job.path)
    return "no such file" if stamp is None else f"{stamp.size} bytes"


def _archive_size(root: Path) -> str:
    """Return the size of a root that is a file; its time may differ, where it is a copy."""
    return f"{root.stat().st_size} bytes" if root.is_file() else "no such file"


# --- The part that runs on the workers ---


@dataclass(frozen=True, slots=True)
class BatchReply:
    """A worker's answer to a batch."""

    worker: str
    cpu: str
    """Kind of instructions that torch computes by there."""
    results: Sequence[ExtractionResult]
    sizes: Sequence[str]
    """Of each recording's file as the worker sees it."""


_opening: Final = threading.Lock()
_held: Final = threading.local()


def examine_on_worker(versions: Mapping[str, str], order: bytes, jobs: bytes) -> BatchReply:
    """Examine a batch; called on a worker.

    Parameters
    ----------
    versions
        `ExtractionConfig.versions` where emodna-prep runs.
    order
        Pickled: the root, its size if it is an archive, and, pickled again, tree and extraction.
    jobs
        The batch, pickled: nothing of ours is unpickled before the versions are known to be the same.

    Raises WorkerError for other versions here, and CorpusError if the root is not here or is another one.
    """
    _refuse_differences(versions)
    with _opening:
        tree, extraction = _open(order)
    if not hasattr(_held, "held"):
        hold_to_one_thread()
        _held.held = True
    batch: list[Job] = pickle.loads(jobs)  # noqa: S301 (whoever reaches a Dask worker may run anything on it)
    results = examine_all(batch, tree, extraction)
    return BatchReply(get_worker_name(), _cpu(), results, [_size(tree, job) for job in batch])


def close_roots() -> None:
    """Close the roots that this worker holds open; a run that is still at work opens its own again."""
    _open.cache_clear()


@lru_cache(_ROOTS)
def _open(order: bytes) -> tuple[Tree, ExtractionConfig]:
    """Open a root once per process: a compressed tar is unpacked by that."""
    root, asked, rest = pickle.loads(order)  # noqa: S301
    place = "the audio has to lie at the same path on every worker"
    try:
        opened: tuple[Tree, ExtractionConfig] = pickle.loads(rest)  # noqa: S301
    except (CorpusError, OSError) as error:
        why = f"root {root}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise CorpusError(f"{get_worker_name()}: {why}; {place}") from error
    here = _archive_size(root)
    if here != asked:
        raise CorpusError(f"{get_worker_name()}: root {root}: {here}, {asked} where emodna-prep runs; {place}")
    return opened


def _refuse_differences(asked: Mapping[str, str]) -> None:
    here = get_library_versions()
    different = [name for name, version in asked.items() if here.get(name) != version]
    if different:
        there, mine = (", ".join(f"{name} {versions.get(name)}" for name in different) for versions in (here, asked))
        raise WorkerError(
            f"{get_worker_name()} has {there}, but emodna-prep {mine}: the features would not be the same"
        )


def _cpu() -> str:
    import torch

    return torch.backends.cpu.get_cpu_capability()


def get_worker_name() -> str:
    """Return the address and the machine of the Dask worker that calls this."""
    from distributed import get_worker

    return f"worker {get_worker().address} ({socket.gethostname()})"
