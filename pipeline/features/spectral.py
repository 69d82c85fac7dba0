"""Log-mel spectrograms, and the cepstral coefficients that are made of them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features.base import SILENCE_DB, FeatureSet, Parameter


@dataclass(frozen=True, slots=True)
class LogMelSet(FeatureSet):
    """Log-mel spectrogram with librosa's defaults spelled out: power_to_db(melspectrogram(...), top_db=80).

    Too short is less than one analysis window (`n_fft` samples).
    """

    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    top_db: float = 80.0

    kind: ClassVar[str] = "logmel"
    value: ClassVar[str] = "mel band"
    unit: ClassVar[str] = "dB"

    @property
    def title(self) -> str:
        """Such as logmel128-22050hz."""
        return f"logmel{self.n_mels}-{self.sample_rate}hz"

    @property
    def min_samples(self) -> int:
        """One analysis window."""
        return self.n_fft

    def details(self) -> dict[str, Parameter]:
        """The spectrogram's parameters, those that cannot be changed included."""
        return {
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "window": "hann",
            "center": True,
            "pad_mode": "constant",
            "power": 2.0,
            "n_mels": self.n_mels,
            "mel_scale": "slaney",
            "mel_norm": "slaney",
            "fmin": 0.0,
            "fmax": self.sample_rate / 2,
            "amin": 1e-10,
            "top_db": self.top_db,
        }

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples into (1 + n // hop_length, n_mels) in dB and their maximum."""
        from emodna.pipeline.features.logmel import cached_log_mel  # torch: only where audio is really transformed

        return cached_log_mel(**self.front_end())(samples)

    def silence(self, peak_db: float) -> NDArray[np.float32]:
        """The floor that the spectrogram is cut off at, in every band."""
        return np.full(self.n_mels, self.floor_db(peak_db), np.float32)

    def floor_db(self, peak_db: float) -> float:
        """Lowest level in dB of an utterance with this peak: `top_db` below it, but not below digital silence."""
        return max(peak_db - self.top_db, SILENCE_DB)

    def front_end(self) -> dict[str, float]:
        """What the spectrogram is made with."""
        return {
            "sample_rate": self.sample_rate,
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "n_mels": self.n_mels,
            "top_db": self.top_db,
        }


@dataclass(frozen=True, slots=True)
class MfccSet(LogMelSet):
    """MFCCs with librosa's defaults spelled out: an orthonormal DCT-II of the log-mel spectrogram."""

    n_mfcc: int = 40

    kind: ClassVar[str] = "mfcc"
    value: ClassVar[str] = "coefficient"
    unit: ClassVar[str] = ""
    one_scale: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Such as mfcc40-22050hz."""
        return f"mfcc{self.n_mfcc}-{self.sample_rate}hz"

    def details(self) -> dict[str, Parameter]:
        """Those of the spectrogram, and of the transform behind it."""
        spectrogram = LogMelSet.details(self)  # super() does not know a dataclass with slots
        return {"n_mfcc": self.n_mfcc, **spectrogram, "dct_type": 2, "dct_norm": "ortho", "lifter": 0}

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples into (1 + n // hop_length, n_mfcc) and the maximum of the log-mel spectrogram in dB."""
        from emodna.pipeline.features.mfcc import cached_mfcc

        return cached_mfcc(n_mfcc=self.n_mfcc, **self.front_end())(samples)

    def silence(self, peak_db: float) -> NDArray[np.float32]:
        """c0 alone: the DCT of a constant, which the orthonormal one makes sqrt(n_mels) times as large."""
        frame = np.zeros(self.n_mfcc, np.float32)
        frame[0] = self.floor_db(peak_db) * float(np.sqrt(self.n_mels))
        return frame
