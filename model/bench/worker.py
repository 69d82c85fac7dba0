"""Execution of one run of an experiment, in this process or as an order on a worker."""

import hashlib
import importlib.metadata
import logging
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import RunError
from emodna.model.runs.listing import is_locked
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.prepare.cluster import get_worker_name

if TYPE_CHECKING:
    from emodna.model.training.log import FitCallback
    from emodna.model.training.loop import StopListener
    from emodna.pipeline.store import FeatureStore

#: Packages that affect results, so that all runs need the same versions.
_VERSIONS: Final = ("emodna", "torch", "numpy")
#: Stores that a worker keeps open.
_OPEN_STORES: Final = 8
#: Lock for one run at a time: runs seed the random generators of the process.
_process_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run for a worker to execute."""

    out: str
    """Folder of the experiment."""
    digest: str
    """Digest of bench.json, to check that the worker reads the same folder."""
    run: RunSpec
    versions: Mapping[str, str]
    threads: int
    device: str
    local: bool
    """True if sender and worker are on the same machine, with the same stores."""
    restart: bool
    """True to start from scratch if the run cannot be resumed."""


@dataclass(frozen=True, slots=True)
class RunReply:
    """Reply of a worker to an order."""

    kind: Literal["done", "failed", "busy", "stopped", "refused"]
    """busy: another process executes the run. refused: this worker can execute no run of the experiment."""
    result: Mapping[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    """Traceback of an unexpected error."""
    seconds: float = 0.0
    """Seconds that the worker spent on the run."""

    @classmethod
    def of_error(cls, error: Exception) -> "RunReply":
        """Return the reply to an order that failed with an unexpected error."""
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        return cls("failed", error=line, traceback="".join(traceback.format_exception(error)))


class _SilentCallback:
    def on_start(self, done: int) -> None: ...

    def on_log(self, step: int, values: Mapping[str, float]) -> None: ...


def train_run(
    experiment: Experiment,
    run: RunSpec,
    callback: "FitCallback | None" = None,
    *,
    threads: int | None = 1,
    device: str | None = None,
    stop_listener: "StopListener | None" = None,
    open_snapshot: "Callable[[Path, str], FeatureStore] | None" = None,
) -> dict[str, Any]:
    """Train and evaluate a run, or resume it, and return the content of its result.json.

    `device` is a torch name, such as cuda:1, by default that of the experiment's conditions. `open_snapshot` is for
    `open_store`. Raises as `fit`, and BenchError if a store has changed since the experiment was planned.
    """
    import torch

    from emodna.model.bench.grid import open_store
    from emodna.model.fit import fit
    from emodna.model.methods import get_method
    from emodna.model.methods.base import DirectMethod
    from emodna.model.request import FitRequest
    from emodna.model.training.loop import never_stop

    arguments, folder = experiment.arguments(run), experiment.run_folder(run)
    method, settings, steps = get_method(run.method.name), arguments["settings"], arguments["steps"]
    if issubclass(method, DirectMethod):  # else a warning per run for settings that other methods need
        settings = {key: value for key, value in settings.items() if key not in method.unused_settings}
        steps = None
    request = FitRequest(
        sources=[open_store(experiment, run.src, run.method, open_snapshot)],
        target=open_store(experiment, run.tgt, run.method, open_snapshot),
        task=experiment.definitions.get(run.task, run.task),
        method=arguments["method"],
        steps=steps,
        seed=run.seed,
        device=torch.device(device or experiment.conditions.device),
        threads=threads,
        settings=settings,
        out=folder.path,
        resume=folder.config.exists(),
    )
    return fit(request, callback or _SilentCallback(), stop_listener or never_stop)


def execute_order(order: RunOrder) -> RunReply:
    """Execute or resume a run; called on a worker."""
    start = time.monotonic()
    _drop_repeated_warnings()
    if (reason := _find_refusal(order)) is not None:
        return RunReply("refused", error=f"{get_worker_name()} {reason}")
    with _process_lock:
        try:
            return replace(_execute(order), seconds=time.monotonic() - start)
        except KeyboardInterrupt:
            return RunReply("stopped")
        except EmodnaError as error:
            return RunReply("failed", error=str(error))
        except Exception as error:  # fails this run only
            return RunReply.of_error(error)


@cache
def _drop_repeated_warnings() -> None:
    """Print each warning once in this process: most are about corpora, which many runs have in common."""
    printed: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text in printed or printed.add(text))  # type: ignore[func-returns-value]

    if logging.lastResort is not None:
        logging.lastResort.addFilter(is_new)


def _execute(order: RunOrder) -> RunReply:
    from threadpoolctl import threadpool_limits

    experiment = _read_experiment(order.out, order.digest)
    folder = experiment.run_folder(order.run)

    def train() -> RunReply:
        threads, device, stop = order.threads, order.device, _stop_when_cancelled
        with threadpool_limits(threads):
            result = train_run(
                experiment, order.run, threads=threads, device=device, stop_listener=stop, open_snapshot=_open_snapshot
            )
        return RunReply("done", result)

    if order.restart and folder.done.exists():  # its files are damaged
        shutil.rmtree(folder.path)
    try:
        return train()
    except RunError as error:
        if is_locked(folder):
            return RunReply("busy", error=str(error))
        if not order.restart:
            raise
        shutil.rmtree(folder.path)
        return train()


def _find_refusal(order: RunOrder) -> str | None:
    """Return the reason why this worker can execute no run of the experiment; None without a reason."""
    own = read_versions()
    different = [name for name, version in order.versions.items() if own[name] != version]
    if different:
        here, there = (", ".join(f"{name} {each[name]}" for name in different) for each in (own, order.versions))
        return f"has {here}, but the sender has {there}; install the same versions, or runs are not comparable"
    if hash_experiment(Path(order.out)) != order.digest:
        return f"cannot find the experiment in {order.out}; all workers need this folder at the same path"
    for name in () if order.local else order.run.pair:  # on this machine, a missing store fails only its own runs
        experiment = _read_experiment(order.out, order.digest)
        store = experiment.find_corpus(name, experiment.find_feature_set(order.run.method).folder).store
        if not Path(store).is_dir():
            return f"cannot find {store}; all workers need the stores at the same paths"
    return None


@lru_cache(_OPEN_STORES)
def _open_snapshot(path: Path, _fingerprint: str) -> "FeatureStore":
    """Open a store once for all runs of this worker, which then share what they compute from its utterances."""
    from emodna.pipeline.store import FeatureStore

    return FeatureStore(path)


@lru_cache(1)
def _read_experiment(out: str, _digest: str) -> Experiment:
    return Experiment.read(Path(out))


@contextmanager
def _stop_when_cancelled() -> Iterator[Callable[[], bool]]:
    """Yield a predicate that is true once the run is cancelled or has lost its sender."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    key = worker.get_current_task()

    def is_cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled" or worker.status not in (Status.running, Status.paused)

    yield is_cancelled


def read_versions() -> Mapping[str, str]:
    """Return the versions of the packages that affect results."""
    return {name: importlib.metadata.version(name) for name in _VERSIONS}


def hash_experiment(out: Path) -> str | None:
    """Return the SHA-256 of an experiment's bench.json; None if it cannot be read."""
    try:
        return hashlib.sha256((out / "bench.json").read_bytes()).hexdigest()
    except OSError:
        return None


def dask_setup(_worker: object) -> None:
    """Ignore interrupts on this worker, since a terminal sends them to all processes; called by Dask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
