"""Silence at both ends of an utterance is cut as by librosa.effects.trim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emodna.pipeline.audio.trim import trim_silence
from emodna.pipeline.errors import AudioError
from emodna.pipeline.features import FeatureSet, MfccSet
from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import EXTRACTABLE, Float32, age, noise, prepare_corpus, wav


def make_utterance(quiet_before: int, loud: int, quiet_after: int, level: float, seed: int = 0) -> Float32:
    """Return noise at a level of 0.1 with noise at `level` around it; lengths are in samples."""
    samples = noise((quiet_before + loud + quiet_after) / 16_000, seed=seed)
    samples[:quiet_before] *= level / 0.1
    samples[quiet_before + loud :] *= level / 0.1
    return samples


@settings(max_examples=30)
@given(
    lengths=st.tuples(*[st.integers(0, 9000)] * 3),
    level=st.sampled_from([0.0, 1e-7, 1e-4, 2e-3, 0.02, 0.1]),
    gain=st.sampled_from([1.0, 1e-2, 1e-4, 1e-5]),
    trim_db=st.floats(3, 90),
    seed=st.integers(0, 100),
)
def test_the_cut_equals_that_of_librosa(
    lengths: tuple[int, int, int], level: float, gain: float, trim_db: float, seed: int
) -> None:
    assume(sum(lengths) > 0)
    samples = make_utterance(*lengths, level, seed) * np.float32(gain)
    # Its float32 rounds at 1e-7: a frame that is as close to the limit may count as either.
    with np.errstate(divide="ignore"):
        power = librosa.feature.rms(y=samples)[0].astype(float) ** 2
    below = 10 * np.log10(np.maximum(power.max(), 1e-10) / np.maximum(power, 1e-10))
    assume((np.abs(below - trim_db) > 1e-4).all())
    expected, (start, end) = librosa.effects.trim(samples, top_db=trim_db)
    trimmed = trim_silence(samples, trim_db, 1)
    assert trimmed.base is samples
    assert len(trimmed) == end - start
    assert np.array_equal(trimmed, expected)


@pytest.mark.parametrize("position", [0, 100, 15_000, 30_000, 39_999])
def test_a_click_keeps_enough_samples_around_it(position: int) -> None:
    samples = np.zeros(40_000, np.float32)
    samples[position] = 0.5
    trimmed = trim_silence(samples, 30, 8192)
    assert len(trimmed) == 8192
    assert trimmed.max() == 0.5
    assert len(trim_silence(samples[:8192], 30, 8192)) == 8192


def test_samples_that_are_all_zeros_are_kept() -> None:
    assert len(trim_silence(np.zeros(5000, np.float32), 30, 2048)) == 5000


@pytest.mark.parametrize("features", EXTRACTABLE.values(), ids=EXTRACTABLE)
def test_features_are_those_of_the_trimmed_audio(features: FeatureSet) -> None:
    samples = make_utterance(20_000, 20_000, 20_000, 1e-4)
    trimmed = trim_silence(samples, 30, 1)
    for fixed_samples in (None, 30_000):
        plain = replace(features, fixed_samples=fixed_samples, trim_db=None)
        expected, expected_peak = plain.extract(trimmed)
        extracted, peak_db = replace(plain, trim_db=30.0).extract(samples)
        assert extracted.tobytes() == expected.tobytes()
        assert peak_db == expected_peak


def test_bad_samples_have_the_same_reasons() -> None:
    for samples in (np.full(4096, np.inf, np.float32), np.full(4096, np.nan, np.float32), noise(0.01)):
        with pytest.raises(AudioError) as plain:
            MfccSet().extract(samples)
        with pytest.raises(AudioError) as trimmed:
            MfccSet(trim_db=30.0).extract(samples)
        assert str(trimmed.value) == str(plain.value)


def test_a_store_of_trimmed_utterances_keeps_the_durations(tmp_path: Path) -> None:
    samples = make_utterance(16_000, 16_000, 16_000, 1e-4)
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "03a01Wa.wav").write_bytes(wav(samples))
    age((tmp_path / "wav").iterdir())
    whole = FeatureStore(prepare_corpus(tmp_path, tmp_path / "cache").store)
    store = FeatureStore(prepare_corpus(tmp_path, tmp_path / "cache", features=MfccSet(trim_db=30.0)).store)
    assert store.path != whole.path
    assert store.column("duration") == whole.column("duration") == [3.0]
    assert store.frames[0] < whole.frames[0] / 2
