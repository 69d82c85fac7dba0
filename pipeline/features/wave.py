"""The waveform as a feature set, for models that learn their own front end."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features.base import FeatureSet, measure_peak_db


@dataclass(frozen=True, slots=True)
class WaveSet(FeatureSet):
    """Features with one sample per frame, in [-1, 1] for integer formats."""

    sample_rate: int = 16000

    kind: ClassVar[str] = "wave"
    value: ClassVar[str] = "amplitude"
    is_trained: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Title such as wave16k."""
        return f"wave{self.sample_rate / 1000:g}k"

    @property
    def hop_length(self) -> int:
        """Distance between frames in samples: 1."""
        return 1

    @property
    def min_samples(self) -> int:
        """Length of the shortest usable recording: the receptive field of wav2vec 2.0, 25 ms at 16 kHz."""
        return 400

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return (n,) samples as (n, 1), and their peak in dB relative to full scale."""
        return np.ascontiguousarray(samples[:, None]), measure_peak_db(samples)

    def silence(self, peak_db: float) -> NDArray[np.float32]:  # noqa: ARG002 - the same for any peak
        """Return a frame with the sample 0."""
        return np.zeros(1, np.float32)
