"""Curves in block characters."""

import math

from hypothesis import given
from hypothesis import strategies as st

from emodna.cli.charts import curve, sparkline


def test_a_line_that_falls_falls() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8, ascii_only=False) == "█▇▆▅▄▃▂▁"


def test_columns_show_means_of_their_shares() -> None:
    assert sparkline([0, 2, 9, 7], 2, ascii_only=False) == sparkline([1, 8], 2, ascii_only=False) == "▁█"


def test_what_is_not_finite_is_a_gap() -> None:
    assert sparkline([1, math.nan, 2, math.inf], 4, ascii_only=False) == "▁ █ "


def test_a_chart_is_filled_from_below() -> None:
    assert curve([0, 1, 2], 3, 2, ascii_only=False) == [" ▁█", "▁██"]


@given(
    st.lists(st.floats()),
    st.integers(min_value=1, max_value=30),
    st.integers(min_value=1, max_value=5),
    st.booleans(),
)
def test_any_values_fit_their_place(values: list[float], width: int, height: int, ascii_only: bool) -> None:
    lines = curve(values, width, height, ascii_only=ascii_only)
    assert len(lines) == height
    assert {len(line) for line in lines} == {min(width, len(values))}
    if ascii_only:
        assert "".join(lines).isascii()
