"""The waveform itself, for models that learn their own front end."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features.base import SILENCE_DB, FeatureSet


@dataclass(frozen=True, slots=True)
class WaveSet(FeatureSet):
    """One sample per frame, in [-1, 1] for integer formats; too short is less than 400 samples."""

    sample_rate: int = 16000

    kind: ClassVar[str] = "wave"
    value: ClassVar[str] = "amplitude"

    @property
    def title(self) -> str:
        """Such as wave16k."""
        return f"wave{self.sample_rate / 1000:g}k"

    @property
    def hop_length(self) -> int:
        """A frame is a sample."""
        return 1

    @property
    def min_samples(self) -> int:
        """25 ms at 16 kHz: from fewer samples wav2vec 2.0's convolutions give no output at all."""
        return 400

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples into (n, 1) and their peak in dB relative to full scale."""
        peak = float(np.abs(samples).max())
        peak_db = max(20 * np.log10(peak), SILENCE_DB) if peak > 0 else SILENCE_DB
        return np.ascontiguousarray(samples[:, None]), float(peak_db)

    def silence(self, peak_db: float) -> NDArray[np.float32]:  # noqa: ARG002 - it is silent beside any peak
        """Zero."""
        return np.zeros(1, np.float32)
