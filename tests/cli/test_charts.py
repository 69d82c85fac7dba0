"""Tests of charts in the terminal: curves of block characters, and features as images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.cli.charts import draw_curve, draw_features, draw_sparkline
from emodna.pipeline.features import FEATURE_SETS
from tests.pipeline.making import Float32

LINES = 20


def lines(features: Float32, name: str, width: int = 61) -> list[str]:
    return draw_features(features, FEATURE_SETS[name], width, coloured=False).plain.splitlines()


def sine(seconds: float, hertz: float = 2.0) -> Float32:
    times = np.arange(int(seconds * 16_000)) / 16_000
    return np.sin(2 * np.pi * hertz * times).astype(np.float32)[:, None]


def test_a_falling_curve_is_drawn_falling() -> None:
    assert draw_sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8, ascii_only=False) == "█▇▆▅▄▃▂▁"


def test_columns_show_means() -> None:
    assert draw_sparkline([0, 2, 9, 7], 2, ascii_only=False) == draw_sparkline([1, 8], 2, ascii_only=False) == "▁█"


def test_non_finite_values_are_gaps() -> None:
    assert draw_sparkline([1, math.nan, 2, math.inf], 4, ascii_only=False) == "▁ █ "


def test_a_curve_is_filled_from_below() -> None:
    assert draw_curve([0, 1, 2], 3, 2, ascii_only=False) == [" ▁█", "▁██"]


@given(
    st.lists(st.floats()), st.integers(min_value=1, max_value=30), st.integers(min_value=1, max_value=5), st.booleans()
)
def test_any_values_fit_width_and_height(values: list[float], width: int, height: int, ascii_only: bool) -> None:
    lines = draw_curve(values, width, height, ascii_only=ascii_only)
    assert len(lines) == height
    assert {len(line) for line in lines} == {min(width, len(values))}
    if ascii_only:
        assert "".join(lines).isascii()


class TestTerminal:
    def test_a_waveform_is_drawn_as_a_curve(self) -> None:
        drawn = lines(sine(1.0, 1.0), "wave16k", 41)
        assert (len(drawn), {len(line) for line in drawn}) == (LINES, {40})
        assert "@" in drawn[0][5:15]
        assert "@" not in drawn[0][20:]
        assert "@" in drawn[-1][25:35]
        assert "@" not in drawn[-1][:20]
        assert all("@" in column for column in zip(*drawn, strict=True))

    @pytest.mark.parametrize("band", [0, 1, 64, 126, 127])
    def test_every_mel_band_is_visible(self, band: int) -> None:
        features = np.full((200, 128), -80.0, np.float32)
        assert len(lines(features, "logmel")) == LINES
        features[50:150, band] = 0.0
        drawn = draw_features(features, FEATURE_SETS["logmel"], 61, coloured=True)
        rows = [str(span.style) for span in drawn.spans[30::60]]  # a column in the middle, from the top
        (row,) = [number for number, style in enumerate(rows) if style != "color(17) on color(17)"]
        assert row == pytest.approx(LINES - 1 - band * LINES / 128, abs=1)

    def test_every_coefficient_is_visible(self) -> None:
        for coefficient in range(40):
            features = np.zeros((60, 40), np.float32)
            features[20:40, coefficient] = 1.0
            drawn = lines(features, "mfcc40")
            (row,) = [number for number, line in enumerate(drawn) if line.strip()]
            assert row == LINES - 1 - coefficient // 2

    def test_coefficients_have_their_own_scales(self) -> None:
        features = np.random.default_rng(0).normal(size=(100, 40)).astype(np.float32)
        features[:, 1:] *= 1e-3
        assert all(len(set(line)) > 3 for line in lines(features, "mfcc40"))

    @pytest.mark.parametrize("coloured", [True, False])
    @pytest.mark.parametrize("name", [name for name in FEATURE_SETS if name != "egemaps"])
    def test_any_length_fits(self, name: str, coloured: bool) -> None:
        for frames in (1, 2, 59, 60, 61, 5000):
            features = np.random.default_rng(frames).normal(size=(frames, FEATURE_SETS[name].dim)).astype(np.float32)
            drawn = draw_features(features, FEATURE_SETS[name], 61, coloured=coloured).plain.splitlines()
            assert (len(drawn), {len(line) for line in drawn}) == (LINES, {min(frames, 60)})
