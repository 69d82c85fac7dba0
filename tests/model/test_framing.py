"""Windows of a fixed length: cropping, paddings and normalisations."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodna.model.config import NORMALISATIONS, PADDINGS, Padding
from emodna.model.data import normalisation
from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.features import FEATURE_SETS, FeatureSet, LogMelSet, MfccSet, WaveSet
from emodna.pipeline.store import FeatureStore
from tests.model.small import fit_small

Float32 = NDArray[np.float32]
MFCC = MfccSet()
SILENCE = MfccSet(n_mfcc=3).silence


def noise(n: int, dim: int = 3, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def window(framer: Framer, features: Float32, peak_db: float = 0.0) -> tuple[Float32, int]:
    out = np.full((framer.frames, features.shape[1]), np.nan, np.float32)
    length = framer(features, peak_db, out)
    return out, length


def make_plain_framer(frames: int, padding: Padding, dim: int = 3) -> Framer:
    """Return a framer that does not normalise."""
    return Framer(frames, padding, Statistics.identity(dim), SILENCE)


def make_speech(seconds: float, level: float, rate: int = MFCC.sample_rate) -> Float32:
    """Return low-passed noise with four syllables per second."""
    n = int(seconds * rate)
    white = np.random.default_rng(1).normal(size=n)
    coloured = np.convolve(white, np.exp(-np.arange(40) / 8), mode="same")
    envelope = 1.1 - np.cos(2 * np.pi * 4 * np.arange(n) / rate)
    samples = coloured * envelope
    return (level * samples / np.abs(samples).max()).astype(np.float32)


class TestSilencePadding:
    # Relative to full scale; the last peak is less than 80 dB above the floor of -100 dB.
    @pytest.mark.parametrize("level", [0.9, 1e-2, 1e-4])
    @pytest.mark.parametrize("frames", [80, 81, 188])
    @pytest.mark.parametrize("spectral", [MFCC, MfccSet(n_mfcc=39), LogMelSet()], ids=lambda each: each.title)
    def test_silence_padding_equals_zeros_around_speech(self, spectral: LogMelSet, level: float, frames: int) -> None:
        samples = make_speech(1.3, level)
        features, peak_db = spectral.extract(samples)
        before = (frames - len(features)) // 2
        after = (frames - 1) * spectral.hop_length - before * spectral.hop_length - len(samples)
        truth, _ = spectral.extract(np.pad(samples, (before * spectral.hop_length, after)))
        assert (peak_db - 80 < -100) == (level == 1e-4)

        framer = Framer(frames, "silence", Statistics.identity(spectral.dim), spectral.silence)
        mine, length = window(framer, features, peak_db)
        assert truth.shape == mine.shape
        assert length == frames
        wrong = np.flatnonzero(np.abs(mine - truth).max(axis=1) > 1e-3)
        # Only frames that overlap both padding and speech can differ.
        assert len(wrong) <= 4
        edges = {before - 2, before - 1, before + len(features), before + len(features) + 1}
        assert set(wrong.tolist()) <= edges

    @pytest.mark.parametrize("frames", [20_800, 20_801, 70_000])
    def test_silence_padding_of_wave_features_is_zero(self, frames: int) -> None:
        wave = WaveSet()
        samples = make_speech(1.3, 0.5, wave.sample_rate)
        features, peak_db = wave.extract(samples)
        mine, length = window(Framer(frames, "silence", Statistics.identity(1), wave.silence), features, peak_db)
        before = (frames - len(samples)) // 2
        assert np.array_equal(mine[:, 0], np.pad(samples, (before, frames - before - len(samples))))
        assert length == frames

    @pytest.mark.parametrize("features", [each for each in FEATURE_SETS.values() if each.has_silence])
    def test_silence_padding_of_digital_silence_continues_it(self, features: FeatureSet) -> None:
        extracted, peak_db = features.extract(np.zeros(22050, np.float32))
        framer = Framer(len(extracted) + 57, "silence", Statistics.identity(features.dim), features.silence)
        mine, _ = window(framer, extracted, peak_db)
        np.testing.assert_allclose(mine, np.broadcast_to(extracted[0], mine.shape), atol=1e-3)

    @pytest.mark.parametrize(("peak_db", "floor_db"), [(30.0, -50.0), (-20.0, -100.0), (-90.0, -100.0)])
    def test_silence_is_80_db_below_the_peak_but_not_below_minus_100_db(self, peak_db: float, floor_db: float) -> None:
        out, _ = window(make_plain_framer(6, "silence"), noise(2), peak_db)
        np.testing.assert_allclose(out[[0, 1, 4, 5]], [[floor_db * 128**0.5, 0, 0]] * 4, rtol=1e-6)


@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_is_normalised_like_the_speech(padding: Padding) -> None:
    values = Statistics(np.array([-900, 2, 3], np.float32), np.array([90, 0.5, 7], np.float32))
    out, _ = window(Framer(8, padding, values, SILENCE), noise(3), -30.0)
    pad = np.zeros(3, np.float32) if padding == "zero" else SILENCE(-30.0)
    assert np.array_equal(out[6:], np.tile((pad - values.mean) / values.std, (2, 1)))
    assert np.array_equal(out[:2], out[6:]) == (padding != "mask")


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(1, 40),
    frames=st.integers(1, 40),
    padding=st.sampled_from(PADDINGS),
    peak_db=st.floats(-100, 60),
    per_utterance=st.booleans(),
)
def test_every_window_is_full_and_contains_the_speech_in_order(
    n: int, frames: int, padding: Padding, peak_db: float, per_utterance: bool
) -> None:
    features = noise(n, seed=n)
    statistics = Statistics.of_frames(features) if per_utterance else Statistics.identity(3)
    framer = Framer(frames, padding, None if per_utterance else statistics, SILENCE)
    out, length = window(framer, features, peak_db)
    transposed = np.full((3, frames), np.nan, np.float32)
    assert framer(features, peak_db, transposed.T) == length
    assert np.array_equal(transposed.T, out)
    assert np.isfinite(out).all()
    assert 1 <= length <= frames
    assert length == (min(n, frames) if padding == "mask" else frames)
    held = min(n, frames)
    expected = (features - statistics.mean) / statistics.std
    where = [
        (i, j)
        for i in range(frames - held + 1)
        for j in range(n - held + 1)
        if np.allclose(out[i : i + held], expected[j : j + held], atol=1e-5)
    ]
    # In the middle of both, except for the mask, which pads after the speech.
    assert any(
        abs(j - (n - held - j)) <= 1 and (i == 0 if padding == "mask" else abs(i - (frames - held - i)) <= 1)
        for i, j in where
    )


class TestStatistics:
    @pytest.mark.parametrize("values", [1, 2000, 4000, 10**9])
    def test_statistics_of_a_corpus_are_over_all_its_frames(
        self, values: int, source: FeatureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(normalisation, "_CHUNK_VALUES", values)
        rows = np.array([3, 0, 17, 31])
        together = np.concatenate([source[row] for row in rows.tolist()]).astype(np.float64)
        statistics = Statistics.of_corpora([(source, rows)])
        np.testing.assert_allclose(statistics.mean, together.mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(statistics.std, together.std(axis=0), rtol=1e-4)
        assert statistics.mean.dtype == statistics.std.dtype == np.float32

    def test_constant_features_stay_finite(self) -> None:
        constant = np.full((5, 3), -1131.0, np.float32)
        for padding in PADDINGS:
            assert np.isfinite(window(Framer(9, padding, None, SILENCE), constant, -100.0)[0]).all()

    @pytest.mark.parametrize("normalisation", NORMALISATIONS)
    def test_the_saved_model_normalises_as_set(
        self, normalisation: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "run", steps=1, settings={"normalisation": normalisation})
        statistics = TrainedModel.load(tmp_path / "run").framer.statistics
        if normalisation == "per-utterance":
            assert statistics is None
            return
        assert statistics is not None
        if normalisation == "none":
            assert (statistics.mean == 0).all()
            assert (statistics.std == 1).all()
            return
        frames = np.concatenate(list(source if normalisation == "source" else target)).astype(np.float64)
        np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(statistics.std, frames.std(axis=0), rtol=1e-4)
