"""Log-mel spectrograms: those of librosa, and what the MFCCs are made of."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.fft

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.features import LogMelSet, MfccSet
from emodna.pipeline.features.logmel import mel_filters
from tests.pipeline.making import Float32, noise
from tests.pipeline.test_mfcc import RATE, REAL_DATA, SIGNALS

#: dB. The FFT here is one of float32, librosa's is one of float64: its rounding, some 1e-7 of the loudest bin of a
#: frame, shows in bands that lie 70 to 80 dB (1e-4 in amplitude) below. On the 1975 files of RAVDESS and EMODB the
#: largest difference is 1.5e-3 dB, the median of the files' largest 2e-4 dB.
TOLERANCE = 2e-3


def theirs(samples: Float32) -> Float32:
    """librosa's, [frames, bands]."""
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=2048, hop_length=512, n_mels=128)
    decibels: Float32 = librosa.power_to_db(mel, ref=1.0, amin=1e-10, top_db=80.0).T
    return decibels


def assert_librosas(samples: Float32) -> None:
    features, peak_db = LogMelSet().extract(samples)
    expected = theirs(samples)
    assert features.dtype == np.float32
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, rtol=0, atol=TOLERANCE)
    assert peak_db == pytest.approx(float(expected.max()), abs=1e-4)
    assert peak_db == features.max()


@pytest.mark.parametrize("name", SIGNALS)
def test_it_is_librosas_for_every_kind_of_signal(name: str) -> None:
    assert_librosas(SIGNALS[name]())


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA, reason="EMODNA_REAL_DATA is not set: a folder with ravdess/ and emodb/")
@pytest.mark.parametrize(("corpus", "files"), [("emodb", 535), ("ravdess", 1440)])
def test_it_is_librosas_for_every_real_recording(corpus: str, files: int) -> None:
    paths = sorted(Path(REAL_DATA or "", corpus).rglob("*.wav"))
    assert len(paths) == files
    for path in paths:
        with path.open("rb") as stream:
            recording = decode(stream)
        assert_librosas(resample(recording.samples, recording.sample_rate, RATE))


def test_it_is_cut_off_80_db_below_its_peak() -> None:
    features, peak_db = LogMelSet().extract(SIGNALS["tone"]())
    assert features.min() == np.float32(peak_db - 80)
    assert (features.min() == LogMelSet().silence(peak_db)).all()


def test_the_mfccs_are_its_cosine_transform() -> None:
    samples = noise(1.0, RATE)
    features, peak_db = LogMelSet().extract(samples)
    coefficients, peak_of_coefficients = MfccSet().extract(samples)
    expected = scipy.fft.dct(features.astype(np.float64), type=2, norm="ortho", axis=1)[:, :40]
    np.testing.assert_allclose(coefficients, expected, rtol=0, atol=1e-4)
    assert peak_db == peak_of_coefficients


@pytest.mark.parametrize("rate", [1600, 22_050, 48_000])
@pytest.mark.parametrize("bands", [40, 128])
def test_its_filters_are_librosas(rate: int, bands: int) -> None:
    """1600 Hz: where Slaney's scale never becomes logarithmic. 40 bands of 512 samples: some touch no bin at all."""
    for n_fft in (2048, 512):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Empty filters")
            expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands)
        filters = mel_filters(sample_rate=rate, n_fft=n_fft, n_mels=bands)
        assert filters.dtype == np.float32
        np.testing.assert_allclose(filters, expected, rtol=0, atol=1e-9)


def test_neither_librosa_nor_scipy_is_loaded_to_extract() -> None:
    """They take a second that every first run would wait for."""
    code = "import numpy, sys; from emodna.pipeline.features import MfccSet; MfccSet().extract(numpy.zeros(2048, 'f'))"
    run = [sys.executable, "-c", f"{code}; sys.exit('librosa' in sys.modules or 'scipy' in sys.modules)"]
    subprocess.run(run, check=True, timeout=120)
