"""Threads to extract in: the work is parallel over recordings, and each is computed by one thread."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def limit_to_one_thread() -> None:
    """Hold BLAS, FFT, OpenMP and torch to one thread each where they are called by the present thread."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@contextmanager
def open_extraction_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads to extract in, BLAS, FFT and OpenMP held to one thread each, so that the bytes do not vary."""
    from threadpoolctl import threadpool_limits

    with (
        limit_torch_to_one_thread(),
        threadpool_limits(1),
        ThreadPoolExecutor(workers, initializer=limit_to_one_thread) as pool,
    ):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def limit_torch_to_one_thread() -> Iterator[None]:
    """Hold torch to one thread in here, for work that is too small to share; several change the last digits, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
