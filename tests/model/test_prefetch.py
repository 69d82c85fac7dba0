"""A thread that works ahead: in order, not too far, honest about errors, and gone when it is no longer needed."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.data.prefetch import Prefetched
from tests.model.small import no_thread_left


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, 9), count=st.integers(0, 12), ahead=st.integers(0, 4))
def test_gives_what_the_function_makes_of_each_step_in_order(first: int, count: int, ahead: int) -> None:
    steps = range(first, first + count)
    with no_thread_left(), Prefetched(str, steps, ahead) as prefetched:
        assert list(prefetched) == [str(step) for step in steps]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_is_never_further_ahead_than_asked_for(ahead: int) -> None:
    made: list[int] = []
    with Prefetched(made.append, range(20), ahead) as prefetched:
        for taken in range(1, 11):
            next(prefetched)
            time.sleep(0.005)  # room to run away in
            assert taken <= len(made) <= taken + ahead


def test_works_while_the_caller_does() -> None:
    made = threading.Event()
    with Prefetched(lambda step: made.set() if step else None, range(2), 1) as prefetched:
        next(prefetched)
        assert made.wait(5)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_error_is_raised_where_its_step_is_asked_for(ahead: int) -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("damaged")
        return step

    with no_thread_left(), Prefetched(make, range(9), ahead) as prefetched:
        assert [next(prefetched) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="damaged"):
            next(prefetched)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_leaving_ends_the_thread_and_starts_nothing_more(error: type[BaseException]) -> None:
    made: list[int] = []

    def interrupted() -> None:
        with Prefetched(made.append, range(1000), 100) as prefetched:
            next(prefetched)
            raise error

    with no_thread_left(), pytest.raises(error):
        interrupted()
    left = len(made)
    assert left <= 101
    time.sleep(0.005)
    assert len(made) == left


def test_tells_how_long_it_kept_the_caller_waiting() -> None:
    for ahead in (0, 2):
        with Prefetched(lambda _: time.sleep(0.01), range(3), ahead) as prefetched:
            list(prefetched)
        assert prefetched.blocked_seconds > 0.01
