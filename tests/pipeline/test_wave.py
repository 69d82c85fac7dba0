"""The waveform as a feature set: the samples of the file, at 16 kHz."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.features import SILENCE_DB, WaveSet
from tests.pipeline.making import noise, wav

WAVE = WaveSet()


def test_features_are_the_samples_of_the_file() -> None:
    content = wav(noise(0.5), 16_000)
    recording = decode(io.BytesIO(content))
    features, _ = WAVE.extract(resample(recording.samples, recording.sample_rate, WAVE.sample_rate))
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    assert np.array_equal(features[:, 0], expected)


@pytest.mark.parametrize(
    ("level", "peak_db"), [(1.0, 0.0), (-0.5, -6.0206), (1e-3, -60.0), (4.0, 12.0412), (1e-5, -100.0)]
)
def test_the_peak_is_relative_to_full_scale(level: float, peak_db: float) -> None:
    samples = np.zeros(1000, np.float32)
    samples[500] = level
    assert WAVE.extract(samples)[1] == pytest.approx(peak_db, abs=1e-3)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-30, 1e-45])
def test_inaudible_samples_count_as_digital_silence(level: float) -> None:
    assert WAVE.extract(np.full(400, level, np.float32))[1] == SILENCE_DB
