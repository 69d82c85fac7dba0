"""Executors that examine batches of recordings, in threads of this process or in other processes of this machine.

`cluster.connect_cluster` provides a third kind. All kinds give the same bytes.
"""

import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

from emodna.pipeline.archives import Tree
from emodna.pipeline.errors import Remedy, WorkerError
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job, examine_all
from emodna.pipeline.threads import limit_to_one_thread, open_extraction_threads

#: Smallest number of recordings per worker for which processes are faster than threads.
_MIN_PER_PROCESS: Final = 100
#: Advice when a preparation ends early.
RESUME: Final = "finished shards are kept; prepare the corpus again to resume"


@dataclass(frozen=True, slots=True)
class Executor:
    """A pool of threads that write shards and examine batches, or send them to a worker and wait for its reply."""

    pool: ThreadPoolExecutor
    max_pending: int
    """Number of submitted batches that keeps all workers busy."""
    examine: Callable[[Sequence[Job]], list[ExtractionResult]]
    """Function that examines a batch; raises WorkerError if its worker died, OSError like `extract.examine`."""


#: Function that starts an executor for a number of recordings below a root. The executor ends with the context.
ExecutorFactory = Callable[[Tree, ExtractionConfig, int], AbstractContextManager[Executor]]


def make_local_factory(count: int) -> ExecutorFactory:
    """Return a factory of processes if there is enough work for each, else of threads."""

    def start(tree: Tree, extraction: ExtractionConfig, recordings: int) -> AbstractContextManager[Executor]:
        is_large = count > 1 and recordings >= count * _MIN_PER_PROCESS and tree.is_quick_to_open
        return (make_process_factory if is_large else make_thread_factory)(count)(tree, extraction, recordings)

    return start


def make_thread_factory(count: int) -> ExecutorFactory:
    """Return a factory of threads: libsndfile, soxr and torch's FFT release Python's global lock."""

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _recordings: int) -> Iterator[Executor]:
        with open_extraction_threads(count) as pool:
            yield Executor(pool, 2 * count, partial(examine_all, tree=tree, extraction=extraction))

    return start


def make_process_factory(count: int) -> ExecutorFactory:
    """Return a factory of processes, each with its own pipe to a thread here.

    A shared queue, as in concurrent.futures, waits forever for the rest of a message if its sender is killed.
    """

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _recordings: int) -> Iterator[Executor]:
        context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        # The fork server does not load torch; its processes do so in parallel (RAVDESS: 4.4 s instead of 4.9 s).
        context.set_forkserver_preload([examine_all.__module__])
        idle: SimpleQueue[Connection] = SimpleQueue()
        processes = []
        with ThreadPoolExecutor(2 * count) as pool:  # the next batch waits while a process works
            try:
                for _ in range(count):
                    here, there = context.Pipe()
                    process = context.Process(target=_serve_batches, args=(there, tree, extraction), daemon=True)
                    process.start()
                    processes.append(process)
                    there.close()  # now only the worker holds this end, so its death ends the stream
                    idle.put(here)
                yield Executor(pool, 2 * count, partial(_examine_in_process, idle))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.terminate()
                    process.join()

    return start


def _examine_in_process(idle: SimpleQueue[Connection], jobs: Sequence[Job]) -> list[ExtractionResult]:
    connection = idle.get()
    try:
        connection.send(jobs)
        reply: list[ExtractionResult] | Exception = connection.recv()
    except (EOFError, OSError) as error:
        remedy = Remedy("try fewer {workers}; " + RESUME)
        raise WorkerError("a worker process died (killed, or out of memory)", remedy=remedy) from error
    finally:
        idle.put(connection)
    if isinstance(reply, Exception):
        raise reply
    return reply


def _serve_batches(connection: Connection, tree: Tree, extraction: ExtractionConfig) -> None:
    """Examine batches in a worker process until its parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the parent ends this one
    limit_to_one_thread()
    with suppress(EOFError, OSError):
        while True:
            jobs = connection.recv()
            try:
                reply: list[ExtractionResult] | Exception = examine_all(jobs, tree, extraction)
            except Exception as error:
                reply = _make_sendable(error)
            connection.send(reply)


def _make_sendable(error: Exception) -> Exception:
    """Return the error, or a RuntimeError if it cannot be pickled. Its note is the traceback of the worker."""
    note = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
