"""Limit numerical libraries to one thread: extraction is parallel over recordings, not within one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def limit_to_one_thread() -> None:
    """Limit BLAS, FFT, OpenMP and torch to one thread in calls from the current thread."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@contextmanager
def open_extraction_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool for extraction. BLAS, FFT and OpenMP use one thread, which makes results reproducible."""
    from threadpoolctl import threadpool_limits

    pool = ThreadPoolExecutor(workers, initializer=limit_to_one_thread)
    with limit_torch_to_one_thread(), threadpool_limits(1), pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def limit_torch_to_one_thread() -> Iterator[None]:
    """Limit torch to one thread in this block. More threads would change the last digits of results."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
