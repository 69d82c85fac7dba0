"""Execution of an experiment's runs by worker processes, on this machine or in a Dask cluster.

A worker executes one run at a time. A failed run does not stop the others.
"""

import logging
import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

import filelock

from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.bench.worker import RunOrder, RunReply, execute_order, hash_experiment, read_versions
from emodna.model.errors import BenchError, StartGpuWorkers
from emodna.model.run_folder import RunFolder, write_json
from emodna.model.runs.listing import is_locked
from emodna.pipeline.errors import Remedy, WorkerError
from emodna.pipeline.prepare.cluster import (
    CONNECT_SECONDS,
    CONNECTION_ERRORS,
    PickledCall,
    connect_client,
    import_dask,
    make_dask_error,
)

if TYPE_CHECKING:
    from distributed import Client, Future

#: Deaths of workers after which a run is tried again, since the first may have another cause.
_DEATHS: Final = 1
#: Dask resource that GPU workers of a cluster declare, with amount 1.
_GPU: Final = "GPU"
#: Longest wait for a finished run before the next count of workers.
_POLL_SECONDS: Final = 1.0
#: Time without workers before a message. Dask may report no workers for shorter times.
_GAP_SECONDS: Final = 3.0
#: Longest wait for checkpoints after a stop request.
_STOP_SECONDS: Final = 20.0
_RESUMABLE: Final = "finished runs are kept; run the experiment again to resume"


class BenchCallback(Protocol):
    """Callback for the progress of the runs."""

    def on_run_start(self, run: RunSpec) -> None:
        """Handle a run that a worker has started."""

    def on_run_end(self, run: RunSpec, reply: RunReply) -> None:
        """Handle a run that has ended."""

    def on_message(self, message: str) -> None:
        """Handle a message for the user."""


@dataclass(slots=True)
class Workers:
    """Processes that execute runs."""

    client: "Client"
    location: str
    """Location of the workers for messages."""
    threads: int
    """Threads of each run."""
    devices: Sequence[str]
    """Torch names of devices; a run uses the device with the fewest runs."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Dask resources that a run needs."""
    local: bool = False
    """True if the workers are on this machine."""

    def count(self) -> int:
        """Count the workers that can execute a run; raise a WorkerError if none of them has the resources."""
        workers: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        count = sum(
            all(info["resources"].get(name, 0) >= amount for name, amount in self.resources.items())
            for info in workers.values()
        )
        if workers and not count:
            remedy = Remedy("start workers with the Dask resource GPU=1", StartGpuWorkers(self.location))
            raise WorkerError(
                "no worker declares a GPU", where=self.location, field="device", value="cuda", remedy=remedy
            )
        return count

    def submit(self, order: RunOrder) -> "Future[Any]":
        """Send an order to the least busy worker. If that worker dies, another one executes the order."""
        return self.client.submit(
            pickle.loads,
            pickle.dumps(PickledCall(execute_order, order)),
            key=f"run-{uuid4()}",
            resources=dict(self.resources) or None,
        )


@contextmanager
def start_local_workers(count: int, threads: int, devices: Sequence[str]) -> Iterator[Workers]:
    """Start worker processes on this machine, which restart if they die."""
    import_dask()
    import dask.config
    from distributed import Client, LocalCluster

    # Torch reads these variables at import. The user's values could give each worker all cores.
    pools = {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")}
    settings = {
        "distributed.nanny.pre-spawn-environ": pools,
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.worker-ttl": None,  # the nanny detects dead workers; slow ones are alive
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(settings), ExitStack() as stack:
        try:
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                preload=["emodna.model.bench.worker"],
            )
            stack.enter_context(cluster)
            client = Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False, name="emodna experiment")
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise make_dask_error(error) from error
        stack.enter_context(client)
        yield Workers(client, "this machine", threads, devices, local=True)


@contextmanager
def connect_remote_workers(scheduler: str, threads: int, device: str) -> Iterator[Workers]:
    """Connect to the workers of a cluster, present and future; raises as `connect_client`."""
    with connect_client(scheduler, "emodna experiment") as client:
        yield Workers(client, scheduler, threads, [device], {_GPU: 1} if device.startswith("cuda") else {})


@contextmanager
def lock_experiment(out: Path) -> Iterator[None]:
    """Hold the kernel's lock on an experiment, so that only this process executes or deletes its runs.

    Raises BenchError if another process holds the lock.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        remedy = Remedy("wait for it to end, or choose another {out}")
        raise BenchError("another process is using the experiment", field="out", value=out, remedy=remedy) from None


def is_running(experiment: Experiment) -> bool:
    """Return True if a process holds the lock on an experiment."""
    return is_locked(RunFolder(experiment.out))  # its lock file has the same name as a run's


def execute_runs(
    experiment: Experiment, runs: Sequence[RunSpec], workers: Workers, callback: BenchCallback, *, restart: bool = False
) -> dict[RunSpec, RunReply]:
    """Execute runs in their order as workers become free, and return the reply of each.

    It writes the errors of failed runs to the experiment's folder. On KeyboardInterrupt, active runs write checkpoints
    first. With `restart`, runs that cannot be resumed start again from scratch.

    Raises WorkerError if the scheduler disappears, or if no worker can execute runs of the experiment.
    """
    out, digest = str(experiment.out.absolute()), hash_experiment(experiment.out) or ""
    # Specs with the same meaning, such as emo-dna and emo-dna:steps=1000 if 1000 is the default, share a run.
    runs_by_name: dict[str, list[RunSpec]] = {}
    for run in runs:
        runs_by_name.setdefault(experiment.run_name(run), []).append(run)
    remaining = deque(same_runs[0] for same_runs in runs_by_name.values())
    active: dict[Future[Any], tuple[RunSpec, str]] = {}  # run and device
    finished: SimpleQueue[Future[Any]] = SimpleQueue()
    replies: dict[RunSpec, RunReply] = {}
    workers_seen = time.monotonic()
    try:
        while remaining or active:
            count, now = workers.count(), time.monotonic()
            if count:
                workers_seen = now
            elif now - workers_seen > _GAP_SECONDS:
                callback.on_message(f"waiting for workers at {workers.location} (you can interrupt: {_RESUMABLE})")
                workers_seen = float("inf")  # one message only
            # With at most one run per worker, the death of a worker interrupts only this run.
            while remaining and len(active) < count:
                run = remaining.popleft()
                busy = Counter(device for _, device in active.values())
                device = min(workers.devices, key=busy.__getitem__)
                order = RunOrder(out, digest, run, read_versions(), workers.threads, device, workers.local, restart)
                future = workers.submit(order)
                active[future] = run, device
                future.add_done_callback(finished.put)
                callback.on_run_start(run)
            with suppress(Empty):
                future = finished.get(timeout=_POLL_SECONDS)
                run, _ = active.pop(future)
                reply = _read_reply(future, workers.location)
                _record_failure(experiment.failure_file(run), reply)
                for same_run in runs_by_name[experiment.run_name(run)]:
                    replies[same_run] = reply
                    callback.on_run_end(same_run, reply)
    except BaseException as error:
        if active:
            _stop_runs(workers, list(active), [experiment.run_folder(run) for run, _ in active.values()])
        is_file_error = isinstance(error, OSError) and error.errno is not None
        if isinstance(error, CONNECTION_ERRORS) and not is_file_error:
            raise WorkerError("connection to the workers lost", where=workers.location, remedy=_RESUMABLE) from error
        raise
    return replies


def _read_reply(future: "Future[Any]", location: str) -> RunReply:
    """Return the reply of a worker, or make one from Dask's error."""
    from distributed.scheduler import KilledWorker

    try:
        reply: RunReply = future.result()
    except CONNECTION_ERRORS:
        raise
    except KilledWorker as error:
        deaths = error.allowed_failures + 1
        return RunReply("failed", error=f"its worker died {deaths} times; check that there is enough memory")
    except (ImportError, AttributeError) as error:
        remedy = "install the same environment for all workers"
        raise WorkerError(f"a worker cannot import emodna: {error}", where=location, remedy=remedy) from error
    except Exception as error:  # fails this run only
        return RunReply.of_error(error)
    return reply


def _record_failure(failure_file: Path, reply: RunReply) -> None:
    """Write a failed run's error, or delete a finished run's; raise a WorkerError if the worker refused the run."""
    if reply.kind == "refused":
        raise WorkerError(str(reply.error), remedy=_RESUMABLE)
    if reply.kind == "failed":
        failure_file.parent.mkdir(exist_ok=True)
        content = {"error": reply.error, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(failure_file, content | ({} if reply.traceback is None else {"traceback": reply.traceback}))
    elif reply.kind == "done":
        failure_file.unlink(missing_ok=True)


def _stop_runs(workers: Workers, futures: "list[Future[Any]]", folders: list[RunFolder]) -> None:
    """Cancel active runs, and wait until they have written checkpoints."""
    with suppress(*CONNECTION_ERRORS):
        workers.client.cancel(futures)
    until = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < until and any(map(is_locked, folders)):
        time.sleep(0.05)
