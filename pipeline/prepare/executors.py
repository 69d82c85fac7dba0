"""Executors: the threads of this process, or processes of this machine, that examine batches of recordings.

`cluster.connected` gives a third kind. All of them find the same bytes.
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
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job, examine_all
from emodna.pipeline.threads import extracting_threads, hold_to_one_thread

#: Recordings per worker from which on processes are worth their start.
_WORTH_A_PROCESS: Final = 100
#: Line for the user when a run ends early.
RESUMABLE: Final = "finished shards are kept, the same command goes on from there"


@dataclass(frozen=True, slots=True)
class Executor:
    """A pool of threads that examine batches, or hand them to a worker elsewhere and wait for its answer.

    They write the shards, too.
    """

    pool: ThreadPoolExecutor
    ahead: int
    """Batches to have submitted at the same time, so that no worker is idle."""
    examine: Callable[[Sequence[Job]], list[ExtractionResult]]
    """Called in a thread of the pool; raises WorkerError if its worker died, and OSError as `extract.examine` does."""


#: Starts an executor for the recordings of one root, given their number. It ends with the context.
ExecutorFactory = Callable[[Tree, ExtractionConfig, int], AbstractContextManager[Executor]]


def make_local_factory(count: int) -> ExecutorFactory:
    """Return the start of processes if there is enough work for each, else of threads."""

    def start(tree: Tree, extraction: ExtractionConfig, due: int) -> AbstractContextManager[Executor]:
        many = count > 1 and due >= count * _WORTH_A_PROCESS and tree.opens_at_once
        return (make_process_factory if many else make_thread_factory)(count)(tree, extraction, due)

    return start


def make_thread_factory(count: int) -> ExecutorFactory:
    """Return the start of threads: libsndfile, soxr and torch's FFT work outside Python's global lock."""

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _due: int) -> Iterator[Executor]:
        with extracting_threads(count) as pool:
            yield Executor(pool, 2 * count, partial(examine_all, tree=tree, extraction=extraction))

    return start


def make_process_factory(count: int) -> ExecutorFactory:
    """Return the start of processes, each with a thread here that talks to it through a pipe of its own.

    A shared queue, as that of concurrent.futures, waits for ever for the rest of a message whose sender was killed.
    """

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _due: int) -> Iterator[Executor]:
        context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        # Not torch: the processes load it side by side, which is sooner. RAVDESS takes 4.4 s instead of 4.9 s.
        context.set_forkserver_preload([examine_all.__module__])
        idle: SimpleQueue[Connection] = SimpleQueue()
        processes = []
        with ThreadPoolExecutor(2 * count) as pool:  # while a process works, its next batch is at hand
            try:
                for _ in range(count):
                    here, there = context.Pipe()
                    process = context.Process(target=_serve, args=(there, tree, extraction), daemon=True)
                    process.start()
                    processes.append(process)
                    there.close()  # now only the worker holds that end: its death ends the stream
                    idle.put(here)
                yield Executor(pool, 2 * count, partial(_examine_by, idle))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in processes:
                    process.terminate()
                    process.join()

    return start


def _examine_by(idle: SimpleQueue[Connection], jobs: Sequence[Job]) -> list[ExtractionResult]:
    """Have a batch examined by a process that is idle."""
    connection = idle.get()
    try:
        connection.send(jobs)
        answer: list[ExtractionResult] | Exception = connection.recv()
    except (EOFError, OSError) as error:
        raise WorkerError(
            f"a worker process died (killed, or out of memory): try fewer --workers; {RESUMABLE}"
        ) from error
    finally:
        idle.put(connection)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(connection: Connection, tree: Tree, extraction: ExtractionConfig) -> None:
    """Answer one batch after the other in a worker process, until its parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches it, too: its parent ends it
    hold_to_one_thread()
    with suppress(EOFError, OSError):
        while True:
            jobs = connection.recv()
            answer: list[ExtractionResult] | Exception
            try:
                answer = examine_all(jobs, tree, extraction)
            except Exception as error:
                answer = _make_sendable(error)
            connection.send(answer)


def _make_sendable(error: Exception) -> Exception:
    """Return the error, or its text in a RuntimeError if it cannot be pickled; a note holds the worker's traceback."""
    lines = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(lines)
    return error
