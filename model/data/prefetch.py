"""Results of a function of the step, computed by a thread while those before them are in use."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Made = TypeVar("Made")


class Prefetched(Generic[Made]):
    """An iterator over what a function makes of each step, in order; to be entered, and left, as a context.

    What the function raises at a step is raised where that step's result is asked for. Leaving waits for what is being
    made and cancels the rest: no thread stays.

    Parameters
    ----------
    make
        Called once for each step, in order; by a thread, unless `ahead` is 0.
    ahead
        Results that may lie ready at once. 0 makes each when it is asked for, without a thread.
    """

    def __init__(self, make: Callable[[int], Made], steps: range, ahead: int) -> None:
        self._make, self._steps, self._ahead = make, iter(steps), ahead
        self._pending: deque[Future[Made]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emodna-prefetch")
        self.blocked_seconds = 0.0
        """Time that was spent waiting for results, or making them."""

    def __enter__(self) -> Self:
        self._order()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Made]:
        return self

    def __next__(self) -> Made:
        began = time.perf_counter()
        try:
            if not self._ahead:
                return self._make(next(self._steps))
            if not self._pending:
                raise StopIteration
            made = self._pending.popleft().result()
            self._order()
            return made
        finally:
            self.blocked_seconds += time.perf_counter() - began

    def _order(self) -> None:
        """Have the thread make as many results as may lie ready."""
        while len(self._pending) < self._ahead and (step := next(self._steps, None)) is not None:
            self._pending.append(self._thread.submit(self._make, step))
