"""A Dask cluster as workers: each thread here hands a batch to the cluster and waits for what it finds out.

The store stays with this process, which holds its lock: the workers see the audio only.
"""

import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from emodna.pipeline.archives import Tree
from emodna.pipeline.errors import CorpusError, WorkerError, explained
from emodna.pipeline.prepare.extract import Extraction, Job, Outcome, examine
from emodna.pipeline.prepare.remote import Answer, examine_there, forget, written_order
from emodna.pipeline.prepare.scheduler import CONNECT_SECONDS, GONE, Call, connection
from emodna.pipeline.prepare.versions import feature_versions
from emodna.pipeline.prepare.workers import StartWorkers, Workers

if TYPE_CHECKING:
    from distributed import Client, Future

#: Batches that are on their way at the same time, at least: more workers may join.
_BATCHES: Final = 64
#: Between two looks at whether there are workers.
_LOOK_SECONDS: Final = 3.0
#: What a run that ends leaves.
_RESUMABLE: Final = "finished shards are kept, the same command goes on from there"

Tell = Callable[[str], None]


@contextmanager
def connected(scheduler: str, tell: Tell) -> Iterator[StartWorkers]:
    """Connect to a cluster.

    Parameters
    ----------
    scheduler
        Address of its scheduler, or the file in which that wrote its address.
    tell
        Is told what somebody who waits should know, a line each.

    Raises
    ------
    WorkerError
        No address, or nobody there.
    """
    with connection(scheduler, "emodna-prep") as client:
        yield partial(_workers, client, scheduler, tell)


@contextmanager
def _workers(
    client: "Client", scheduler: str, tell: Tell, tree: Tree, extraction: Extraction, _due: int
) -> Iterator[Workers]:
    """Start so many threads that the cluster is never short of batches."""
    errand = _Errand(client, scheduler, tell, tree, extraction)
    stop = threading.Event()
    watch = threading.Thread(target=_watch_for_workers, args=(client, scheduler, tell, stop), daemon=True)
    with errand.lost_connection():
        size = max(_BATCHES, 2 * sum(client.nthreads().values()))
    with ThreadPoolExecutor(size) as pool:
        watch.start()
        try:
            yield Workers(pool, size, errand)
            errand.close_roots()
        finally:
            stop.set()
            errand.end()


def _watch_for_workers(client: "Client", scheduler: str, tell: Tell, stop: threading.Event) -> None:
    """Say so, once, where there are no workers to wait for."""
    told = False
    while not stop.is_set():
        try:
            here = bool(client.nthreads())
        except GONE:  # whoever waits for a batch finds out, too
            return
        if not here and not told:
            tell(f"waiting for workers: none at {scheduler} (Ctrl-C ends this: {_RESUMABLE})")
        told = not here
        stop.wait(_LOOK_SECONDS)


class _Errand:
    """Has batches examined by a cluster; called by many threads.

    Whatever a worker rejects is looked at here, too: only what is bad for both is rejected.
    """

    def __init__(self, client: "Client", scheduler: str, tell: Tell, tree: Tree, extraction: Extraction) -> None:
        self._client, self._scheduler, self._tell = client, scheduler, tell
        self._tree, self._extraction = tree, extraction
        self._versions = feature_versions()
        self._order = written_order(tree, extraction)
        self._on_their_way: set[Future[Answer]] = set()
        self._ended = False
        self._cpus: dict[str, str] = {}  # kind of instructions -> a worker that has it
        self._lock = threading.Lock()

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Examine a batch.

        Raises
        ------
        WorkerError
            The scheduler is gone, workers cannot do it, or they died of it.
        CorpusError
            A worker sees other audio than this process.
        """
        future = self._submit(jobs)
        try:
            with self.lost_connection(), self._useless_workers(jobs):
                answer = future.result()
        finally:
            with self._lock:
                self._on_their_way.discard(future)
        self._compare(answer)
        return list(answer.outcomes)

    def end(self) -> None:
        """Give up what is on its way, so that nobody waits for it."""
        with self._lock:
            self._ended = True
            left = list(self._on_their_way)
        if left:
            with suppress(*GONE):
                self._client.cancel(left)

    def close_roots(self) -> None:
        """Let the workers close what they opened: what a compressed tar holds fills their disks."""

        def close() -> None:
            with suppress(*GONE):
                self._client.run(pickle.loads, pickle.dumps(Call(forget, self._order)), on_error="ignore")

        # The work is done: no worker that does not answer may hold it up.
        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(CONNECT_SECONDS)

    @contextmanager
    def lost_connection(self) -> Iterator[None]:
        """Turn what Dask raises where the scheduler is gone into one line."""
        try:
            yield
        except (CancelledError, OSError) as error:
            raise WorkerError(f"lost the connection to the scheduler at {self._scheduler}: {_RESUMABLE}") from error

    def _submit(self, jobs: Sequence[Job]) -> "Future[Answer]":
        with self._lock:
            if self._ended:
                raise WorkerError("given up")  # for nobody to read: the run has ended for another reason
            with self.lost_connection():
                call = pickle.dumps(Call(examine_there, self._versions, self._order, pickle.dumps(list(jobs))))
                future = self._client.submit(pickle.loads, call, key=f"examine-{uuid4()}")
            self._on_their_way.add(future)
        return future

    @contextmanager
    def _useless_workers(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Turn what Dask raises where workers cannot do a batch, or die of it, into one line."""
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
                f"{error.last_worker.address}): {paths}; {_RESUMABLE}"
            ) from error
        except (ImportError, AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of a library that is missing, there is none
                where = "" if error.filename is None else f"{error.filename}: "
                raise WorkerError(f"a worker at {self._scheduler}: {where}{explained(error)}; {_RESUMABLE}") from error
            raise WorkerError(
                f"a worker at {self._scheduler} cannot load emodna ({error}): "
                "every worker needs the environment that emodna-prep runs in"
            ) from error

    def _compare(self, answer: Answer) -> None:
        """Refuse the answer of a worker that sees other files."""
        for outcome, size in zip(answer.outcomes, answer.sizes, strict=True):
            job = outcome.job
            stamp = self._tree.stamp(job.path)
            there, here = _bytes(size), _bytes(None if stamp is None else stamp.size)
            if outcome.rejection is not None:
                own = examine(job, self._tree, self._extraction).rejection
                if own == outcome.rejection:
                    continue
                there, here = outcome.rejection, own or "sound"
            if there != here:
                raise CorpusError(
                    f"{answer.worker}: {self._tree.root}/{job.path}: {there}; where emodna-prep runs: {here}; "
                    "the audio has to be the same on every worker"
                )
        with self._lock:
            news = answer.cpu not in self._cpus
            self._cpus.setdefault(answer.cpu, answer.worker)
            if news and len(self._cpus) == 2:
                kinds = ", ".join(f"{cpu} on {worker}" for cpu, worker in self._cpus.items())
                self._tell(f"the workers' processors differ ({kinds}): the last bits may depend on who did what")


def _bytes(size: int | None) -> str:
    return "no such file" if size is None else f"{size} bytes"
