"""Who examines recordings: threads or processes of this machine, or whoever they hand the work to."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from emodna.pipeline.archives import Tree
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.prepare.extract import Extraction, Job, Outcome, examine_all
from emodna.pipeline.threads import extracting_threads, hold_to_one_thread

Examination = Callable[[Sequence[Job]], list[Outcome]]

#: Recordings for each worker from which on processes are worth their start.
_WORTH_A_PROCESS: Final = 100
#: Seconds between two looks whether a process has died while a result is waited for.
_LOOK: Final = 1.0


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads of this process, and what each of them calls to have recordings examined."""

    pool: ThreadPoolExecutor
    size: int
    """Threads of the pool."""
    examine: Examination


#: Starts workers for so many files of one root. They end with the context: nothing is at work behind it.
StartWorkers = Callable[[Tree, Extraction, int], AbstractContextManager[Workers]]


def local_workers(count: int) -> StartWorkers:
    """Processes where there is enough for each to do, else threads: both find the same bytes."""

    def start(tree: Tree, extraction: Extraction, due: int) -> AbstractContextManager[Workers]:
        many = count > 1 and due >= count * _WORTH_A_PROCESS and tree.opens_at_once
        return (local_processes if many else local_threads)(count)(tree, extraction, due)

    return start


def local_threads(count: int) -> StartWorkers:
    """Threads that examine themselves: libsndfile, soxr and torch's FFT work outside Python's global lock."""

    @contextmanager
    def start(tree: Tree, extraction: Extraction, _due: int) -> Iterator[Workers]:
        with extracting_threads(count) as pool:
            yield Workers(pool, count, partial(examine_all, tree=tree, extraction=extraction))

    return start


def local_processes(count: int) -> StartWorkers:
    """Processes, which do not wait for each other's global lock; threads here hand them batches, and write shards."""

    @contextmanager
    def start(tree: Tree, extraction: Extraction, _due: int) -> Iterator[Workers]:
        linux = sys.platform == "linux"
        context = multiprocessing.get_context("forkserver" if linux else "spawn")
        if linux:  # loads the libraries once for all
            context.set_forkserver_preload([examine_all.__module__, "emodna.pipeline.features.mfcc"])
        processes = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(tree, extraction))

        def examine(jobs: Sequence[Job]) -> list[Outcome]:
            try:
                return _result(processes.submit(_examine, jobs), processes)
            except BrokenProcessPool as error:
                raise WorkerError(
                    "a worker process died (killed, or out of memory): try fewer --workers; finished shards are kept, "
                    "the same command goes on from there"
                ) from error

        size = 2 * count  # while a process works, its next batch is at hand
        with ThreadPoolExecutor(size) as pool:
            try:
                yield Workers(pool, size, examine)
            finally:
                processes.shutdown(cancel_futures=True)

    return start


def _result(future: Future[list[Outcome]], processes: ProcessPoolExecutor) -> list[Outcome]:
    while not future.done():
        try:
            return future.result(_LOOK)
        except TimeoutError:  # or what the examination itself raised: then it is done
            _break_off_if_one_died(processes)
    return future.result()


def _break_off_if_one_died(processes: ProcessPoolExecutor) -> None:
    """Let the executor notice what it does not: a worker that is killed while it sends leaves half a message.

    For its end the executor waits as long as anybody could send it, itself included: for ever (seen in Python 3.11).
    """
    workers = list((processes._processes or {}).values())
    if any(worker.exitcode is not None for worker in workers):
        for worker in workers:
            worker.kill()
        processes._result_queue._writer.close()  # type: ignore[attr-defined]


_work: list[tuple[Tree, Extraction]] = []


def _begin(tree: Tree, extraction: Extraction) -> None:
    """Begin a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it, too: it ends with its parent, in order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    hold_to_one_thread()
    _work.append((tree, extraction))


def _end_with_parent() -> None:
    """Where the parent is killed, nobody else would end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _examine(jobs: Sequence[Job]) -> list[Outcome]:
    tree, extraction = _work[0]
    return examine_all(jobs, tree, extraction)
