"""Mel-frequency cepstral coefficients that equal those of librosa.feature.mfcc, computed several times as fast.

The log-mel spectrogram is that of `logmel`. The DCT is a float64 matrix product: in float32, its rounding (a sum of 128
values of up to 100 dB) would be the largest error.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features.base import Parameter
from emodna.pipeline.features.logmel import LogMelSet


@dataclass(frozen=True, slots=True)
class MfccSet(LogMelSet):
    """MFCCs with librosa's defaults: an orthonormal DCT-II of the log-mel spectrogram."""

    n_mfcc: int = 40

    kind: ClassVar[str] = "mfcc"
    value: ClassVar[str] = "coefficient"
    unit: ClassVar[str] = ""
    has_one_scale: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Title such as mfcc40-22050hz."""
        return f"mfcc{self.n_mfcc}-{self.sample_rate}hz"

    def details(self) -> dict[str, Parameter]:
        """Return the parameters of the spectrogram and of the DCT."""
        spectrogram = LogMelSet.details(self)  # super() fails in a dataclass with slots
        return {"n_mfcc": self.n_mfcc, **spectrogram, "dct_type": 2, "dct_norm": "ortho", "lifter": 0}

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return the MFCCs (1 + n // hop_length, n_mfcc) of (n,) samples and the peak of the spectrogram in dB."""
        log_mel, peak_db = LogMelSet.transform(self, samples)
        return (log_mel.astype(np.float64) @ _make_truncated_dct(self.n_mels, self.n_mfcc)).astype(np.float32), peak_db

    def silence(self, peak_db: float) -> NDArray[np.float32]:
        """Return a frame with c0 only: the orthonormal DCT of a constant is sqrt(n_mels) times that constant."""
        frame = np.zeros(self.n_mfcc, np.float32)
        frame[0] = self.compute_floor_db(peak_db) * float(np.sqrt(self.n_mels))
        return frame


def dct_matrix(size: int) -> NDArray[np.float64]:
    """Return the matrix (values, coefficients) of the orthonormal DCT-II."""
    values, coefficients = np.arange(size)[:, None], np.arange(size)
    matrix: NDArray[np.float64] = np.sqrt(2 / size) * np.cos(np.pi / size * (values + 0.5) * coefficients)
    matrix[:, 0] = np.sqrt(1 / size)
    return matrix


@lru_cache(maxsize=8)
def _make_truncated_dct(n_mels: int, n_mfcc: int) -> NDArray[np.float64]:
    return dct_matrix(n_mels)[:, :n_mfcc].copy()
