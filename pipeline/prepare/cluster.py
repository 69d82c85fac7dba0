"""Examine recordings on a Dask cluster: its workers read the audio and send features back.

Only this process writes to the store. The module has three parts: the connection, which experiments also use, the
executor, and the code that runs on the workers.
"""

import asyncio
import json
import logging
import pickle
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4
from weakref import WeakSet

from emodna.pipeline.archives import Tree
from emodna.pipeline.audio.ffmpeg import read_ffmpeg_version
from emodna.pipeline.errors import CorpusError, DeadWorkerError, EmodnaError, WorkerError, explain_os_error
from emodna.pipeline.prepare.executors import RESUME, Executor, ExecutorFactory
from emodna.pipeline.prepare.extract import (
    ExtractionConfig,
    ExtractionResult,
    Job,
    examine,
    examine_all,
    read_package_versions,
    read_versions,
)
from emodna.pipeline.threads import limit_to_one_thread

if TYPE_CHECKING:
    from distributed import Client, Future

#: Time limit in s for connecting.
CONNECT_SECONDS: Final = 10.0
#: Errors of Dask when the scheduler or the client is gone.
CONNECTION_ERRORS: Final = (OSError, RuntimeError, CancelledError, asyncio.CancelledError)
#: Errors of Dask for a bad address or its file. The last two concern TLS and port 0.
_ADDRESS_ERRORS: Final = (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError)

#: HOST:PORT, with or without a protocol.
_ADDRESS: Final = re.compile(r"([a-z+]+://)?[^\s/]+:\d+(/\S*)?")
#: Smallest number of pending batches, because more workers may join.
_MIN_PENDING: Final = 64
#: Interval in s between checks for workers.
_POLL_SECONDS: Final = 3.0
#: Largest number of open roots per worker process, for several preparations, some of them killed.
_MAX_ROOTS: Final = 4

#: Function that shows the user one line.
Notify = Callable[[str], None]


class PickledCall:
    """A function call that runs when it is unpickled; unpickling returns its result.

    The scheduler and Dask's part of a worker therefore need no emodna, and a worker without emodna raises an error in
    the task. Dask itself reports no task that it cannot unpickle, and waits forever.
    """

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@contextmanager
def connect_client(scheduler: str, name: str) -> "Iterator[Client]":
    """Connect to the scheduler at an address, or at the address in its JSON file.

    `name` identifies this client to Dask. Raises WorkerError if there is no scheduler.
    """
    import_dask()
    from distributed import Client

    file = Path(scheduler)
    try:
        address = str(dict(json.loads(file.read_bytes())).get("address")) if file.suffix == ".json" else scheduler
        if not _ADDRESS.fullmatch(address):  # a Client would raise another error at exit
            raise ValueError("not an address")
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name=name)
    except _ADDRESS_ERRORS as error:
        problem = f"no Dask scheduler found ({getattr(error, 'strerror', None) or error})"
        remedy = "give tcp://HOST:PORT, tls://HOST:PORT, or the .json file that the scheduler wrote"
        raise WorkerError(problem, field="scheduler", value=scheduler, remedy=remedy) from error
    try:
        yield client
    finally:
        client.close(timeout=CONNECT_SECONDS)


def import_dask() -> None:
    """Import Dask, and silence its log because the caller reports its errors.

    Raises `WorkerError`: malformed configuration of Dask in a file or a variable.
    """
    try:
        import distributed  # noqa: F401
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        raise make_dask_error(error) from error
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def make_dask_error(error: Exception) -> WorkerError:
    """Return the error for a failure of Dask at its start."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = shorten(str(error), 200, placeholder=" ...")
    remedy = "check the files in ~/.config/dask or $DASK_CONFIG, and the variables DASK_*"
    return WorkerError(f"Dask cannot start with this configuration: {text}", remedy=remedy)


@contextmanager
def connect_cluster(scheduler: str, notify: Notify) -> Iterator[ExecutorFactory]:
    """Connect to a cluster like `connect_client`; yield a factory of executors on it."""
    with connect_client(scheduler, "emodna_prepare") as client:
        yield partial(_start_executor, client, scheduler, notify)


@contextmanager
def _start_executor(
    client: "Client", scheduler: str, notify: Notify, tree: Tree, extraction: ExtractionConfig, _recordings: int
) -> Iterator[Executor]:
    session = _PreparationSession(client, scheduler, notify, tree, extraction)
    with session.open_pool() as (pool, size):
        yield Executor(pool, size, session.examine)
        session.close_roots()


class ClusterSession:
    """Use of a cluster by one command; its methods are thread-safe. `resume` is the advice when it ends early."""

    def __init__(self, client: "Client", scheduler: str, notify: Notify, resume: str) -> None:
        self._client, self._scheduler, self._notify, self._resume = client, scheduler, notify, resume
        self._sent: WeakSet[Future[Any]] = WeakSet()
        self._ended = threading.Event()
        self._cpus: dict[str, str] = {}  # CPU capability -> the first worker with it
        self._lock = threading.Lock()

    @contextmanager
    def open_pool(self) -> Iterator[tuple[ThreadPoolExecutor, int]]:
        """Yield a pool of threads that wait for replies, and the number of calls that keeps all workers busy."""
        with self.translate_connection_errors():
            size = max(_MIN_PENDING, 2 * sum(self._client.nthreads().values()))
        with ThreadPoolExecutor(size) as pool:
            threading.Thread(target=self._watch_for_workers, daemon=True).start()
            try:
                yield pool, size
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._ended.set()
                with suppress(*CONNECTION_ERRORS):  # so that no thread waits for pending calls
                    self._client.cancel(list(self._sent))

    def call(self, function: Callable[..., Any], *arguments: object, recordings: Sequence[str]) -> Any:
        """Return the result of a function on a worker.

        `recordings` are the names of those that the call reads. Raises WorkerError for a lost scheduler or a failed
        worker, and DeadWorkerError if the call was lost with several workers.
        """
        call = pickle.dumps(PickledCall(function, *arguments))
        with self.translate_connection_errors(), self._translate_worker_errors(recordings):
            future = self._client.submit(pickle.loads, call, key=f"{function.__name__}-{uuid4()}")
            self._sent.add(future)
            if self._ended.is_set():
                future.cancel()
            return future.result()

    def run_everywhere(self, function: Callable[[], object]) -> None:
        """Run a function on all workers, but do not wait long for a worker that hangs."""

        def run() -> None:
            with suppress(*CONNECTION_ERRORS):
                self._client.run(pickle.loads, pickle.dumps(PickledCall(function)), on_error="ignore")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(CONNECT_SECONDS)

    def compare_processors(self, cpu: str, worker: str) -> None:
        """Notify the user once if the processors of the workers differ."""
        with self._lock:
            is_second_kind = len(self._cpus) == 1 and cpu not in self._cpus
            self._cpus.setdefault(cpu, worker)
        if is_second_kind:
            kinds = ", ".join(f"{each} on {place}" for each, place in self._cpus.items())
            self._notify(f"the workers' processors differ ({kinds}): the last bits of features depend on the worker")

    def _watch_for_workers(self) -> None:
        is_notified = False
        with suppress(*CONNECTION_ERRORS):  # `call` raises them
            while not self._ended.is_set():
                has_workers = bool(self._client.nthreads())
                if not has_workers and not is_notified:
                    self._notify(f"waiting for workers at {self._scheduler} (you can interrupt: {self._resume})")
                is_notified = not has_workers
                self._ended.wait(_POLL_SECONDS)

    @contextmanager
    def translate_connection_errors(self) -> Iterator[None]:
        """Raise a WorkerError if the scheduler is lost in this block."""
        try:
            yield
        except (CancelledError, OSError) as error:
            raise WorkerError("connection to the scheduler lost", where=self._scheduler, remedy=self._resume) from error

    @contextmanager
    def _translate_worker_errors(self, recordings: Sequence[str]) -> Iterator[None]:
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        try:
            yield
        except CommClosedError:  # an OSError of the connection
            raise
        except KilledWorker as error:
            problem = f"died {error.allowed_failures + 1} times while processing {', '.join(recordings)}"
            where = f"worker {error.last_worker.address}"
            raise DeadWorkerError(problem, where=where, remedy=self._resume) from error
        except (ImportError, AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # None if a library is missing
                file = "" if error.filename is None else f"{error.filename}: "
                where = f"a worker at {self._scheduler}"
                raise WorkerError(f"{file}{explain_os_error(error)}", where=where, remedy=self._resume) from error
            problem, remedy = f"a worker cannot import emodna: {error}", "install the same environment for all workers"
            raise WorkerError(problem, where=self._scheduler, remedy=remedy) from error


class _PreparationSession(ClusterSession):
    """Use of a cluster by one preparation."""

    def __init__(
        self, client: "Client", scheduler: str, notify: Notify, tree: Tree, extraction: ExtractionConfig
    ) -> None:
        super().__init__(client, scheduler, notify, RESUME)
        self._tree, self._extraction = tree, extraction
        self._versions = extraction.get_versions()
        # Every batch carries this small setup. A worker opens the tree once.
        self._setup = pickle.dumps((tree.root, _describe_archive_size(tree.root), pickle.dumps((tree, extraction))))

    def examine(self, jobs: Sequence[Job]) -> list[ExtractionResult]:
        """Examine a batch. Raises WorkerError for a lost scheduler or worker, CorpusError for other audio there."""
        arguments = self._versions, self._setup, pickle.dumps(list(jobs))
        reply: BatchReply = self.call(examine_on_worker, *arguments, recordings=[job.path for job in jobs])
        self._compare_audio(reply)
        self.compare_processors(reply.cpu, reply.worker)
        return list(reply.results)

    def close_roots(self) -> None:
        """Close the roots on the workers, because unpacked tars fill their disks."""
        self.run_everywhere(close_roots)

    def _compare_audio(self, reply: "BatchReply") -> None:
        """Raise a CorpusError if a worker reads other files, or rejects a file that is usable here."""
        for result, size in zip(reply.results, reply.sizes, strict=True):
            job = result.job
            rejected = list(result.unusable_copies)
            if result.rejection is not None:
                rejected.append((job.path, result.rejection))
            found = [(path, there, self._explain_rejection(job, path)) for path, there in rejected]
            if result.rejection is None:
                found.append((job.path, size, _describe_size(self._tree, job)))
            for path, there, here in found:
                if there != here:
                    raise make_audio_error(f"{reply.worker}: {self._tree.root}/{path}", there, here)

    def _explain_rejection(self, job: Job, path: str) -> str:
        """Return the reason why a copy of a recording is unusable here."""
        alone = replace(job, path=path, copies=(), known=())
        return examine(alone, self._tree, self._extraction).rejection or "usable"


def _describe_size(tree: Tree, job: Job) -> str:
    stamp = tree.read_stamp(job.path)
    return "no such file" if stamp is None else f"{stamp.size} bytes"


def _describe_archive_size(root: Path) -> str:
    """Return the size of an archive as text. Its modification time may differ between copies."""
    return f"{root.stat().st_size} bytes" if root.is_file() else "no such file"


def make_audio_error(place: str, there: str, here: str) -> CorpusError:
    """Return the error of a recording or archive that a worker sees differently."""
    problem = f"not the same audio: {there} on the worker, {here} in the main process"
    return CorpusError(problem, where=place, remedy="make the audio the same on every worker")


# --- Code that runs on the workers ---


@dataclass(frozen=True, slots=True)
class BatchReply:
    """The reply of a worker to a batch."""

    worker: str
    cpu: str
    """CPU capability that torch uses on the worker."""
    results: Sequence[ExtractionResult]
    sizes: Sequence[str]
    """Size of each recording on the worker, as text."""


_open_lock: Final = threading.Lock()
_thread: Final = threading.local()


def examine_on_worker(versions: Mapping[str, str], setup: bytes, jobs: bytes) -> BatchReply:
    """Examine a pickled batch on a worker.

    `setup` holds, pickled, the root, the size of its archive and, pickled again, tree and extraction. Objects of emodna
    are unpickled only after the versions are compared with those of the sender.

    Raises WorkerError if the versions here differ or the features need something that is missing here, CorpusError if
    the root here is missing or differs.
    """
    check_versions(versions)
    with _open_lock:
        tree, extraction = _open_root(setup)
    limit_worker_thread()
    try:
        extraction.features.check_requirements()
    except EmodnaError as error:
        raise WorkerError(str(error), where=get_worker_name(), remedy="every worker needs it") from error
    batch: list[Job] = pickle.loads(jobs)  # noqa: S301 (anyone who can reach a Dask worker can run any code on it)
    results = examine_all(batch, tree, extraction)
    sizes = [_describe_size(tree, result.job) for result in results]
    return BatchReply(get_worker_name(), get_cpu_capability(), results, sizes)


def close_roots() -> None:
    """Close all roots of this worker; other preparations reopen theirs."""
    _open_root.cache_clear()


@lru_cache(_MAX_ROOTS)
def _open_root(setup: bytes) -> tuple[Tree, ExtractionConfig]:
    """Open a root, once per process because this unpacks a compressed tar."""
    root, expected, rest = pickle.loads(setup)  # noqa: S301
    try:
        opened: tuple[Tree, ExtractionConfig] = pickle.loads(rest)  # noqa: S301
    except (CorpusError, OSError) as error:
        problem = f"{root}: {error.strerror}" if isinstance(error, OSError) else str(error)
        remedy = "make the audio available at the same path on every worker"
        raise CorpusError(problem, where=get_worker_name(), remedy=remedy) from error
    size = _describe_archive_size(root)
    if size != expected:
        raise make_audio_error(f"{get_worker_name()}: {root}", size, expected)
    return opened


def limit_worker_thread() -> None:
    """Limit numerical libraries to one thread in calls from the current thread of a worker."""
    if not hasattr(_thread, "is_limited"):
        limit_to_one_thread()
        _thread.is_limited = True


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise a WorkerError if versions on this worker differ from those of the sender."""
    found = {**read_package_versions(expected), **read_versions()}
    if "ffmpeg" in expected:
        with suppress(EmodnaError):
            found["ffmpeg"] = read_ffmpeg_version()
    different = [name for name, version in expected.items() if found.get(name) != version]
    if different:
        here, there = (", ".join(f"{name} {each.get(name)}" for name in different) for each in (found, expected))
        problem = f"has {here}, but the main process has {there}: the features would differ"
        raise WorkerError(problem, where=get_worker_name(), remedy="install the same versions everywhere")


def get_cpu_capability() -> str:
    """Return the CPU capability that torch uses on the current worker."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def get_worker_name() -> str:
    """Return the address and machine of the current Dask worker."""
    from distributed import get_worker

    return f"worker {get_worker().address} ({socket.gethostname()})"
