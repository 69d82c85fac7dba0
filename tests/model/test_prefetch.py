"""A thread that works ahead: in order, not too far, honest about errors, and gone when it is no longer needed."""

import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.model.data.loading import prefetch
from tests.model.small import assert_no_thread_left


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, 9), count=st.integers(0, 12), ahead=st.integers(0, 4))
def test_gives_what_the_function_makes_of_each_step_in_order(first: int, count: int, ahead: int) -> None:
    steps = range(first, first + count)
    with assert_no_thread_left(), closing(prefetch(str, steps, ahead)) as results:
        assert list(results) == [str(step) for step in steps]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_is_never_further_ahead_than_asked_for(ahead: int) -> None:
    made: list[int] = []
    with closing(prefetch(made.append, range(20), ahead)) as results:
        for taken in range(1, 11):
            next(results)
            time.sleep(0.005)  # room to run away in
            assert taken <= len(made) <= taken + ahead


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_error_is_raised_where_its_step_is_asked_for(ahead: int) -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("damaged")
        return step

    with assert_no_thread_left(), closing(prefetch(make, range(9), ahead)) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="damaged"):
            next(results)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_leaving_ends_the_thread_and_starts_nothing_more(error: type[BaseException]) -> None:
    made: list[int] = []

    def interrupted() -> None:
        with closing(prefetch(made.append, range(1000), 100)) as results:
            next(results)
            raise error

    with assert_no_thread_left(), pytest.raises(error):
        interrupted()
    left = len(made)
    assert left <= 101
    time.sleep(0.005)
    assert len(made) == left
