"""Tests of figures of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emodna.cli.store_figures import draw_features_over_time
from emodna.pipeline.features import FeatureSet, LogMelSet, MfccSet, WaveSet
from tests.pipeline.making import Float32


def draw_axes(features: Float32, feature_set: FeatureSet) -> list[Any]:
    """Return the matplotlib axes of the figure."""
    return draw_features_over_time(features, feature_set, "title").axes


class TestFeatures:
    def test_a_waveform_is_a_curve_over_seconds(self) -> None:
        (axes,) = draw_axes(np.zeros((3200, 1), np.float32), WaveSet())
        (line,) = axes.lines
        assert len(line.get_xdata()) == 3200
        assert line.get_xdata()[-1] == pytest.approx(0.2)
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("time (s)", "amplitude", "title")

    def test_a_long_waveform_keeps_its_peaks(self) -> None:
        samples = np.zeros((16_000 * 600, 1), np.float32)
        samples[1_234_567] = 0.75
        samples[7_654_321] = -0.5
        (axes,) = draw_axes(samples, WaveSet())
        times, values = axes.lines[0].get_data()
        assert len(values) <= 4000
        assert (values.max(), values.min()) == (0.75, -0.5)
        assert times[values.argmax()] == pytest.approx(1_234_567 / 16_000, abs=0.5)
        assert times[-1] == 600

    def test_a_log_mel_spectrogram_is_a_heat_map(self) -> None:
        features = np.random.default_rng(0).normal(size=(43, 128)).astype(np.float32)
        axes, colours = draw_axes(features, LogMelSet())
        (image,) = axes.images
        assert image.get_array().shape == (128, 43)
        assert image.get_extent() == pytest.approx((0, 43 * 512 / 22_050, -0.5, 127.5))
        assert (axes.get_ylabel(), colours.get_ylabel()) == ("mel band", "dB")

    def test_mfccs_are_a_curve_of_c0_and_a_heat_map(self) -> None:
        features = np.random.default_rng(0).normal(size=(43, 40)).astype(np.float32)
        upper, lower, _colours = draw_axes(features, MfccSet())
        assert np.array_equal(upper.lines[0].get_ydata(), features[:, 0])
        assert np.array_equal(lower.images[0].get_array(), features[:, 1:].T)
        assert lower.images[0].get_extent() == pytest.approx((0, 43 * 512 / 22_050, 0.5, 39.5))
        assert (upper.get_ylabel(), lower.get_ylabel(), lower.get_xlabel()) == ("c0", "coefficient", "time (s)")
