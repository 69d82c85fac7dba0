"""Who examines recordings: threads of this process, or whoever they hand the work to."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from emodna.pipeline.extract import Extraction, Job, Outcome, examine_all, extracting_threads
from emodna.pipeline.trees import Tree

Examination = Callable[[Sequence[Job]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class Workers:
    """Threads of this process, and what each of them calls to have recordings examined."""

    pool: ThreadPoolExecutor
    size: int
    """Threads of the pool."""
    examine: Examination


#: Starts workers for the files of one root. They end with the context: nothing is at work behind it.
StartWorkers = Callable[[Tree, Extraction], AbstractContextManager[Workers]]


def local_threads(count: int) -> StartWorkers:
    """Threads that examine themselves: libsndfile, soxr and torch's FFT work outside Python's global lock."""

    @contextmanager
    def start(tree: Tree, extraction: Extraction) -> Iterator[Workers]:
        with extracting_threads(count) as pool:
            yield Workers(pool, count, partial(examine_all, tree=tree, extraction=extraction))

    return start
