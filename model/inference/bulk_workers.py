"""Workers that predict for parts of the recordings: processes of this machine, or of a Dask cluster."""

import hashlib
import io
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from emodna.model.errors import RunError
from emodna.model.inference.inputs import Input
from emodna.model.inference.predict import predict
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.speakers import group_by_speaker
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.archives import Tree
from emodna.pipeline.errors import CorpusError, DeadWorkerError, EmodnaError, WorkerError
from emodna.pipeline.prepare.cluster import (
    ClusterSession,
    Notify,
    check_versions,
    connect_client,
    get_cpu_capability,
    get_worker_name,
    limit_worker_thread,
    make_audio_error,
)
from emodna.pipeline.processes import start_processes

#: Advice when a prediction in bulk ends early.
RESUME: Final = "finished parts are kept; resume to continue"
#: Number of times that a part or a recording is tried if the processes of this machine die.
_ATTEMPTS: Final = 2
#: Largest number of open archives and loaded models per worker process.
_MAX_CACHED: Final = 16

Reply = list[tuple[int, Prediction]]
"""Predictions, each with the number of its recording in the batch."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Everything that a worker needs besides the recordings."""

    models: Sequence[tuple[Path, str]]
    """Files of the models and their SHA-256."""
    device: str
    options: Mapping[str, Any]
    """Options of `predict`."""
    versions: Mapping[str, str]
    """Versions that affect the predictions."""
    per_speaker: bool = False
    """True if the recordings of a speaker must be predicted together."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads that send batches of recordings to workers."""

    pool: ThreadPoolExecutor
    max_pending: int
    """Number of submitted batches that keeps all workers busy."""
    predict: Callable[[Sequence[Input]], Reply]
    """Function that predicts for a batch; raises DeadWorkerError if its workers died, WorkerError to stop."""
    attempts: int


#: Function that starts workers; they end with the context.
WorkerFactory = Callable[[WorkerSetup], AbstractContextManager[Workers]]


def predict_with_survivors(workers: Workers, batch: Sequence[Input], setup: WorkerSetup) -> Reply:
    """Predict for a batch. A recording that kills its workers gets an error for each model, with all of its speaker."""
    groups = group_by_speaker(batch) if setup.per_speaker else [[number] for number in range(len(batch))]
    try:
        return _retry(workers, batch)
    except DeadWorkerError:
        if len(groups) > 1:
            reply: Reply = []
            for group in groups:
                found = predict_with_survivors(workers, [batch[number] for number in group], setup)
                reply += [(group[number], each) for number, each in found]
            return sorted(reply, key=itemgetter(0))  # keeps the order of the predictions for a recording
    problem = f"every worker that read {'it' if len(batch) == 1 else 'its speaker'} died (killed, or out of memory)"
    return [
        (number, Prediction(given.file, error=problem, model=model, channel=None))
        for number, given in enumerate(batch)
        for model in range(len(setup.models))
    ]


def _retry(workers: Workers, batch: Sequence[Input]) -> Reply:
    for _ in range(workers.attempts - 1):
        try:
            return workers.predict(batch)
        except DeadWorkerError:
            continue
    return workers.predict(batch)


def make_local_workers(count: int) -> WorkerFactory:
    """Return a factory of worker processes on this machine."""

    @contextmanager
    def start(setup: WorkerSetup) -> Iterator[Workers]:
        # With torch loaded once, by the preloaded module, 4 processes are ready in 6.7 s instead of 20 s.
        with start_processes(count, partial(make_predictor, setup), [__name__], resume=RESUME) as (pool, perform):
            yield Workers(pool, 2 * count, lambda batch: perform(dump_inputs(batch)), _ATTEMPTS)

    return start


def make_cluster_workers(scheduler: str, notify: Notify, models: Sequence[TrainedModel]) -> WorkerFactory:
    """Return a factory that connects to a cluster; `models` check here what a worker rejects there."""

    @contextmanager
    def start(setup: WorkerSetup) -> Iterator[Workers]:
        with connect_client(scheduler, "emodna prediction") as client:
            session = ClusterSession(client, scheduler, notify, RESUME)
            arguments = setup.versions, pickle.dumps(setup)

            def predict_on_cluster(batch: Sequence[Input]) -> Reply:
                files = [each.file for each in batch]
                reply: ClusterReply = session.call(predict_on_worker, *arguments, dump_inputs(batch), recordings=files)
                session.compare_processors(reply.cpu, reply.worker)
                _compare_audio(reply, batch, models, setup.options)
                return reply.predictions

            with session.open_pool() as (pool, size):
                # Dask tries a batch on several workers.
                yield Workers(pool, size, predict_on_cluster, 1)
                session.run_everywhere(close_archives)

    return start


def _compare_audio(
    reply: "ClusterReply", batch: Sequence[Input], models: Sequence[TrainedModel], options: Mapping[str, Any]
) -> None:
    """Raise a CorpusError if a worker reads other files, or cannot use a file that is usable here."""
    for recording, there in zip(batch, reply.sizes, strict=True):
        here = _describe_size(recording)
        if there != here:
            raise make_audio_error(f"{reply.worker}: {recording.file}", there, here)
    rejected = {number: str(each.error) for number, each in reply.predictions if each.has_failed}
    for number, reason in rejected.items():
        found = [each for _, each in predict(models, [batch[number]], **options)]
        here = next((str(each.error) for each in found if each.has_failed), "usable")
        if reason != here:
            raise make_audio_error(f"{reply.worker}: {batch[number].file}", reason, here)


def _describe_size(recording: Input) -> str:
    stamp = None if recording.read_stamp is None else recording.read_stamp()
    return "no such file" if stamp is None else f"{stamp.size} bytes"


# --- Recordings as bytes: an archive becomes a reference, so that a worker opens it once ---


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> bytes | None:
        return pickle.dumps(value) if isinstance(value, Tree) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, reference: bytes) -> Tree:
        return _open_tree(reference)


def dump_inputs(batch: Sequence[Input]) -> bytes:
    """Return recordings as bytes."""
    stream = io.BytesIO()
    _Pickler(stream).dump(batch)
    return stream.getvalue()


def _load_inputs(content: bytes) -> list[Input]:
    batch: list[Input] = _Unpickler(io.BytesIO(content)).load()
    return batch


# --- Code that runs on the workers ---


@dataclass(frozen=True, slots=True)
class ClusterReply:
    """The reply of a worker of a cluster."""

    worker: str
    cpu: str
    """CPU capability that torch uses on the worker."""
    predictions: Reply
    sizes: Sequence[str]
    """Size of each recording on the worker, as text."""


_open_lock: Final = threading.Lock()


@lru_cache(_MAX_CACHED)
def _open_tree(reference: bytes) -> Tree:
    tree: Tree = pickle.loads(reference)  # noqa: S301 - our own bytes
    return tree


def close_archives() -> None:
    """Close the archives of this worker, because unpacked tars fill its disk."""
    _open_tree.cache_clear()


@lru_cache(_MAX_CACHED)
def _load_model(path: Path, sha256: str, device: str) -> TrainedModel:
    model = TrainedModel.load(path, device)
    if hash_model(path) != sha256:
        raise RunError("not the same model: it has changed, or is another file", where=path)
    model.features.check_requirements()
    return model


def hash_model(path: Path) -> str:
    """Return the SHA-256 of a model's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_predictor(setup: WorkerSetup) -> Callable[[bytes], Reply]:
    """Load the models, and return the function that predicts for recordings as bytes."""
    models = [_load_model(path, sha256, setup.device) for path, sha256 in setup.models]
    return lambda content: _predict_batch(models, setup.options, _load_inputs(content))


def _predict_batch(models: Sequence[TrainedModel], options: Mapping[str, Any], batch: Sequence[Input]) -> Reply:
    numbers = {id(recording): number for number, recording in enumerate(batch)}
    return [(numbers[id(recording)], each) for recording, each in predict(models, batch, threads=1, **options)]


def predict_on_worker(versions: Mapping[str, str], setup: bytes, content: bytes) -> ClusterReply:
    """Predict for recordings on a worker of a cluster.

    Raises WorkerError if the versions here differ, or if a model or an archive is missing or differs.
    """
    check_versions(versions)
    limit_worker_thread()
    try:
        with _open_lock:
            unpickled: WorkerSetup = pickle.loads(setup)  # noqa: S301 (anyone who can reach a worker can run any code)
            models = [_load_model(path, sha256, unpickled.device) for path, sha256 in unpickled.models]
            batch = _load_inputs(content)
    except (EmodnaError, OSError, RuntimeError) as error:  # RuntimeError: no such device
        problem = str(error).partition("\n")[0]
        remedy = "make the runs and the audio available at the same paths on every worker"
        kind = CorpusError if isinstance(error, CorpusError) else WorkerError
        raise kind(problem, where=get_worker_name(), remedy=remedy) from error
    predictions = _predict_batch(models, unpickled.options, batch)
    return ClusterReply(get_worker_name(), get_cpu_capability(), predictions, [_describe_size(each) for each in batch])
