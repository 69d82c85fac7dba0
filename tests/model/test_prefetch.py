"""Prefetching keeps the order and its limit, raises errors at their step, and leaves no thread."""

import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.data.loading import prefetch
from tests.model.small import assert_no_thread_left


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, 9), count=st.integers(0, 12), ahead=st.integers(0, 4))
def test_results_are_in_the_order_of_the_steps(first: int, count: int, ahead: int) -> None:
    steps = range(first, first + count)
    with assert_no_thread_left(), closing(prefetch(str, steps, ahead)) as results:
        assert list(results) == [str(step) for step in steps]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_prefetching_stops_at_its_limit(ahead: int) -> None:
    made: list[int] = []
    with closing(prefetch(made.append, range(20), ahead)) as results:
        for taken in range(1, 11):
            next(results)
            time.sleep(0.005)  # time to exceed the limit
            assert taken <= len(made) <= taken + ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_error_is_raised_at_its_step(ahead: int) -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("damaged")
        return step

    with assert_no_thread_left(), closing(prefetch(make, range(9), ahead)) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="damaged"):
            next(results)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_closing_ends_the_thread_and_starts_nothing_more(error: type[BaseException]) -> None:
    made: list[int] = []

    def interrupted() -> None:
        with closing(prefetch(made.append, range(1000), 100)) as results:
            next(results)
            raise error

    with assert_no_thread_left(), pytest.raises(error):
        interrupted()
    count = len(made)
    assert count <= 101
    time.sleep(0.005)
    assert len(made) == count
