"""Executors that examine batches of recordings, in threads of this process or in other processes of this machine.

`cluster.connect_cluster` provides a third kind. All kinds give the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from emodna.pipeline.archives import Tree
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job, examine_all
from emodna.pipeline.processes import start_processes
from emodna.pipeline.threads import open_extraction_threads

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
        uses_processes = is_large and not extraction.features.needs_threads
        return (make_process_factory if uses_processes else make_thread_factory)(count)(tree, extraction, recordings)

    return start


def make_thread_factory(count: int) -> ExecutorFactory:
    """Return a factory of threads: libsndfile, soxr and torch's FFT release Python's global lock."""

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _recordings: int) -> Iterator[Executor]:
        with open_extraction_threads(count) as pool:
            yield Executor(pool, 2 * count, partial(examine_all, tree=tree, extraction=extraction))

    return start


def make_process_factory(count: int) -> ExecutorFactory:
    """Return a factory of worker processes."""

    @contextmanager
    def start(tree: Tree, extraction: ExtractionConfig, _recordings: int) -> Iterator[Executor]:
        make_examine = partial(partial, examine_all, tree=tree, extraction=extraction)
        # The preloaded module does not load torch; the processes do so in parallel (RAVDESS: 4.4 s, not 4.9 s).
        preload = [examine_all.__module__]
        with start_processes(count, make_examine, preload, resume=RESUME) as (pool, examine):
            yield Executor(pool, 2 * count, examine)

    return start
