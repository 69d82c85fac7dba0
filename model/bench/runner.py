"""Execution of many runs side by side, on worker processes of this machine or of a Dask cluster.

A worker lives for the whole experiment and executes one run at a time. Whatever becomes of one run, the others go on.
"""

import logging
import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import uuid4

import filelock

from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.bench.worker import RunOrder, RunReply, execute_order, hash_experiment, read_versions
from emodna.model.errors import BenchError
from emodna.model.run_folder import RunFolder, write_json
from emodna.model.runs.listing import is_locked
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.prepare.cluster import (
    CONNECT_SECONDS,
    CONNECTION_ERRORS,
    PickledCall,
    connect_client,
    silence_dask_logging,
)

if TYPE_CHECKING:
    from distributed import Client, Future

#: Deaths of its worker that a run survives: the first may be the machine's fault, such as no memory.
_DEATHS: Final = 1
#: Resource that a worker on a cluster declares to have: dask worker --resources GPU=1.
_GPU: Final = "GPU"
#: Seconds between two looks at whether there are more workers, while nothing ends.
_LOOK_SECONDS: Final = 1.0
#: Seconds without workers after which the user is told.
_GAP_SECONDS: Final = 3.0
#: Seconds in which runs may write their checkpoints before they are given up.
_STOP_SECONDS: Final = 20.0
_RESUMABLE: Final = "finished cells are kept, the same command goes on from there"


class BenchCallback(Protocol):
    """Is told how the runs go."""

    def on_run_start(self, run: RunSpec) -> None:
        """A worker has begun it."""

    def on_run_end(self, run: RunSpec, answer: RunReply) -> None:
        """It has ended."""

    def on_message(self, line: str) -> None:
        """Tell the user a line."""


@dataclass(slots=True)
class Workers:
    """Processes that execute runs."""

    client: "Client"
    place: str
    """Location of the workers, in words."""
    threads: int
    """Threads of each run."""
    devices: Sequence[str]
    """Devices by torch's names; a run goes to the one with the fewest runs."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Resources that a run needs of its worker."""
    local: bool = False
    """True if they are on this machine."""

    def count(self) -> int:
        """Return how many can execute a run; raises WorkerError if there are workers, but none has the resources."""
        found: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        fit = sum(
            all(facts["resources"].get(name, 0) >= amount for name, amount in self.resources.items())
            for facts in found.values()
        )
        if found and not fit:
            raise WorkerError(
                f"--device cuda: no worker at {self.place} declares a GPU; start them by: dask worker {self.place} "
                f"--nthreads 1 --resources {_GPU}=1"
            )
        return fit

    def submit(self, order: RunOrder) -> "Future[Any]":
        """Send an order to the worker that has least to do; if that dies, another one goes on with it."""
        return self.client.submit(
            pickle.loads,
            pickle.dumps(PickledCall(execute_order, order)),
            key=f"cell-{uuid4()}",
            resources=dict(self.resources) or None,
        )


@contextmanager
def start_local_workers(count: int, threads: int, devices: Sequence[str]) -> Iterator[Workers]:
    """Start processes on this machine; one that dies is started anew."""
    import dask.config
    from distributed import Client, LocalCluster

    silence_dask_logging()
    # Torch reads these as it is imported; a user's own would have each worker take all cores.
    pools = {f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")}
    settings = {
        "distributed.nanny.pre-spawn-environ": pools,
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.worker-ttl": None,  # one that is only slow is alive: its nanny knows if it is not
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            preload=["emodna.model.bench.worker"],
        ) as cluster,
        Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False, name="emodna-bench") as client,
    ):
        yield Workers(client, "this machine", threads, devices, local=True)


@contextmanager
def connect_remote_workers(scheduler: str, threads: int, device: str) -> Iterator[Workers]:
    """Use the workers of a cluster, present and future; raises as `connect_client`."""
    with connect_client(scheduler, "emodna-bench") as client:
        yield Workers(client, scheduler, threads, [device], {_GPU: 1} if device.startswith("cuda") else {})


@contextmanager
def lock_experiment(out: Path) -> Iterator[None]:
    """Be the only process that executes runs of an experiment, or clears it up; the lock is the kernel's.

    Raises BenchError if another process is.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise BenchError(
            f"--out {out}: another emodna-bench is at work in it; wait for it, or give another --out"
        ) from None


def is_running(experiment: Experiment) -> bool:
    """Return True if a process holds an experiment; see `lock_experiment`."""
    return is_locked(RunFolder(experiment.out))  # its lock has the name of a run's


def execute_runs(
    experiment: Experiment, runs: Sequence[RunSpec], workers: Workers, callback: BenchCallback, *, restart: bool = False
) -> dict[RunSpec, RunReply]:
    """Execute runs, in their order as workers get free, and return the outcome of each.

    A failed run is recorded in the experiment's folder. On Ctrl-C, runs at work write their checkpoints first. With
    `restart`, a run whose folder cannot be resumed begins anew.

    Raises WorkerError if the scheduler is gone, or the workers can execute no run.
    """
    out, hash_of_file = str(experiment.out.absolute()), hash_experiment(experiment.out) or ""
    # Methods that come to the same settings, such as emo-dna and emo-dna:steps=1000 of 1000 steps, share a run.
    alike: dict[str, list[RunSpec]] = {}
    for run in runs:
        alike.setdefault(experiment.run_name(run), []).append(run)
    left = deque(each[0] for each in alike.values())
    flying: dict[Future[Any], tuple[RunSpec, str]] = {}  # with its device
    landed: SimpleQueue[Future[Any]] = SimpleQueue()
    found: dict[RunSpec, RunReply] = {}
    seen = time.monotonic()  # workers, the last time
    try:
        while left or flying:
            here, now = workers.count(), time.monotonic()
            if here:
                seen = now
            elif now - seen > _GAP_SECONDS:  # on a busy machine, what Dask knows of them has gaps
                callback.on_message(f"waiting for workers: none at {workers.place} (Ctrl-C ends this: {_RESUMABLE})")
                seen = float("inf")  # told once
            # No more runs are under way than there are workers: one that dies takes no run with it but its own.
            while left and len(flying) < here:
                run = left.popleft()
                busy = Counter(device for _, device in flying.values())
                device = min(workers.devices, key=busy.__getitem__)
                order = RunOrder(
                    out, hash_of_file, run, read_versions(), workers.threads, device, workers.local, restart
                )
                future = workers.submit(order)
                flying[future] = run, device
                future.add_done_callback(landed.put)
                callback.on_run_start(run)
            with suppress(Empty):
                future = landed.get(timeout=_LOOK_SECONDS)
                run, _ = flying.pop(future)
                answer = _read_reply(future, workers.place)
                _record_failure(experiment.failure_file(run), answer)
                for each in alike[experiment.run_name(run)]:
                    found[each] = answer
                    callback.on_run_end(each, answer)
    except BaseException as error:
        if flying:
            _stop_runs(workers, list(flying), [experiment.run_folder(run) for run, _ in flying.values()])
        if isinstance(error, CONNECTION_ERRORS) and not (
            isinstance(error, OSError) and error.errno is not None
        ):  # of a file
            raise WorkerError(f"lost the connection to the workers at {workers.place}: {_RESUMABLE}") from error
        raise
    return found


def _read_reply(future: "Future[Any]", place: str) -> RunReply:
    """Return the answer of a worker, or what Dask says of the worker."""
    from distributed.scheduler import KilledWorker

    try:
        answer: RunReply = future.result()
    except CONNECTION_ERRORS:
        raise
    except KilledWorker as error:
        deaths = error.allowed_failures + 1
        return RunReply("failed", error=f"the worker that ran it died {deaths} times; is there memory enough?")
    except (ImportError, AttributeError) as error:
        raise WorkerError(
            f"a worker at {place} cannot load emodna ({error}): every worker needs the environment that emodna-bench "
            "runs in"
        ) from error
    except Exception as error:  # of a run; the others go on
        return RunReply.of_error(error)
    return answer


def _record_failure(failure_file: Path, answer: RunReply) -> None:
    """Write down why a run failed, or forget it; raises WorkerError if the worker refused."""
    if answer.kind == "refused":
        raise WorkerError(f"{answer.error}; {_RESUMABLE}")
    if answer.kind == "failed":
        failure_file.parent.mkdir(exist_ok=True)
        content = {"error": answer.error, "when": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(failure_file, content | ({} if answer.traceback is None else {"traceback": answer.traceback}))
    elif answer.kind == "done":
        failure_file.unlink(missing_ok=True)


def _stop_runs(workers: Workers, futures: "list[Future[Any]]", folders: list[RunFolder]) -> None:
    """Let runs at work stop behind their present step, and write a checkpoint."""
    with suppress(*CONNECTION_ERRORS):
        workers.client.cancel(futures)
    until = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < until and any(map(is_locked, folders)):
        time.sleep(0.05)
