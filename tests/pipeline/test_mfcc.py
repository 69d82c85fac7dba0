"""MFCCs and log-mel spectrograms equal librosa's, with the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.audio.mel import mel_filters
from emodna.pipeline.features import LogMelSet, MfccSet
from tests.pipeline.making import Float32, noise

RATE = 22050
TOLERANCE = 5e-4
#: dB. The FFT here uses float32, librosa's float64. The rounding (about 1e-7 of the loudest bin in a frame) is visible
#: in bands 70 to 80 dB lower (1e-4 in amplitude). On the 1975 files of RAVDESS and EMODB, the largest difference is
#: 1.5e-3 dB; the median of the largest per file is 2e-4 dB.
TOLERANCE_DB = 2e-3


def assert_equal_to_librosa(samples: Float32) -> None:
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE)
    log_mel = librosa.power_to_db(mel, ref=1.0).T
    mfcc = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=40).T
    for features, expected, tolerance in ((MfccSet(), mfcc, TOLERANCE), (LogMelSet(), log_mel, TOLERANCE_DB)):
        extracted, peak_db = features.extract(samples)
        assert extracted.dtype == np.float32
        assert extracted.shape == expected.shape
        np.testing.assert_allclose(extracted, expected, rtol=0, atol=tolerance)
        assert peak_db == pytest.approx(float(log_mel.max()), abs=1e-4)


def make_tone(hertz: float, level: float = 0.5, seconds: float = 1.0) -> Float32:
    times = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def make_click() -> Float32:
    samples = np.zeros(RATE, np.float32)
    samples[5000] = 1.0
    return samples


SIGNALS: dict[str, Callable[[], Float32]] = {
    "noise": partial(noise, 1.0, RATE),
    "tone": partial(make_tone, 440.0),
    "tone near the upper end": partial(make_tone, 11_000.0),
    "very quiet": partial(noise, 1.0, RATE, level=1e-6),
    "a few bits": lambda: (np.round(noise(1.0, RATE, level=1.0) * 1.5) / 32768).astype(np.float32),
    "silence": lambda: np.zeros(RATE, np.float32),
    "silence, then noise": lambda: np.concatenate([np.zeros(RATE, np.float32), noise(0.5, RATE)]),
    "clipped": lambda: np.clip(10 * make_tone(200.0), -1, 1),
    "full scale": lambda: np.ones(RATE, np.float32) * np.float32(-1.0) ** np.arange(RATE, dtype=np.float32),
    "constant": lambda: np.full(RATE, 0.25, np.float32),
    "one click": make_click,
    "louder than full scale": partial(make_tone, 300.0, level=30.0),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_features_of_any_signal_equal_librosas(name: str) -> None:
    assert_equal_to_librosa(SIGNALS[name]())


@pytest.mark.parametrize("length", [2048, 2559, 2560, 511 * 7, 131_073])
def test_features_of_any_length_equal_librosas(length: int) -> None:
    assert_equal_to_librosa(noise(length / RATE, RATE, seed=length))


def test_features_of_speech_equal_librosas(emodb_root: Path, ravdess_root: Path) -> None:
    paths = [*sorted(emodb_root.rglob("*.wav"))[::8], *sorted(ravdess_root.rglob("*.wav"))[::8]]
    assert len(paths) > 3
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        assert_equal_to_librosa(librosa.resample(samples, orig_sr=rate, target_sr=RATE))


def test_39_coefficients_are_the_first_of_40() -> None:
    samples = noise(1.0, RATE)
    first = MfccSet().extract(samples)[0][:, :39]
    np.testing.assert_allclose(MfccSet(n_mfcc=39).extract(samples)[0], first, rtol=0, atol=1e-4)


def test_features_of_silence_are_known() -> None:
    features, peak_db = MfccSet().extract(np.zeros(4096, np.float32))
    assert peak_db == -100.0
    np.testing.assert_allclose(features[:, 0], -100 * np.sqrt(128), rtol=1e-6)
    np.testing.assert_allclose(features[:, 1:], 0, atol=1e-4)


def test_threads_do_not_disturb_each_other() -> None:
    signals = [noise(0.3 + 0.1 * number, RATE, seed=number) for number in range(6)]
    alone = [MfccSet().extract(signal)[0].tobytes() for signal in signals]
    with ThreadPoolExecutor(4) as pool:
        together = [features.tobytes() for features, _ in pool.map(MfccSet().extract, signals * 3)]
    assert together == alone * 3


def test_the_alignment_of_samples_in_memory_does_not_matter() -> None:
    samples = noise(0.3, RATE)
    alone = MfccSet().extract(samples)[0].tobytes()
    for shift in range(1, 16):
        buffer = np.zeros(len(samples) + 16, np.float32)
        buffer[shift:][: len(samples)] = samples
        assert MfccSet().extract(buffer[shift:][: len(samples)])[0].tobytes() == alone


def test_the_spectrogram_is_limited_to_80_db_below_its_peak() -> None:
    features, peak_db = LogMelSet().extract(SIGNALS["tone"]())
    assert features.min() == np.float32(peak_db - 80)
    assert (features.min() == LogMelSet().silence(peak_db)).all()


@pytest.mark.parametrize("rate", [1600, 22_050, 48_000])
@pytest.mark.parametrize("bands", [40, 128])
def test_mel_filters_equal_librosas(rate: int, bands: int) -> None:
    """At 1600 Hz, Slaney's scale is linear only. With 512 samples, some of the bands cover no bin."""
    for n_fft in (2048, 512):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Empty filters")
            expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands)
        filters = mel_filters(sample_rate=rate, n_fft=n_fft, n_mels=bands)
        assert filters.dtype == np.float32
        np.testing.assert_allclose(filters, expected, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_extraction_loads_neither_librosa_nor_scipy() -> None:
    """Loading them would delay every preparation by a second."""
    code = "import numpy, sys; from emodna.pipeline.features import MfccSet; MfccSet().extract(numpy.zeros(2048, 'f'))"
    run = [sys.executable, "-c", f"{code}; sys.exit('librosa' in sys.modules or 'scipy' in sys.modules)"]
    subprocess.run(run, check=True, timeout=120)


REAL_DATA = os.environ.get("EMODNA_REAL_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA, reason="EMODNA_REAL_DATA is not set: a folder with ravdess/ and emodb/")
@pytest.mark.parametrize(("corpus", "files"), [("emodb", 535), ("ravdess", 1440)])
def test_features_of_real_recordings_equal_librosas(corpus: str, files: int) -> None:
    paths = sorted(Path(REAL_DATA or "", corpus).rglob("*.wav"))
    assert len(paths) == files
    for path in paths:
        with path.open("rb") as stream:
            recording = decode(stream)
        assert_equal_to_librosa(resample(recording.samples, recording.sample_rate, RATE))
