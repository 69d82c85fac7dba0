"""Low-level descriptors of eGeMAPS by openSMILE: loudness, spectral shape, pitch, voice quality and formants.

The package opensmile extracts them in the calling thread. It is imported on the first transform.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, EmodnaError
from emodna.pipeline.features.base import FeatureSet, Parameter, measure_peak_db

if TYPE_CHECKING:
    from opensmile import Smile

#: Names of the descriptors, as the package gives them.
_NAMES: Final = (
    *("Loudness_sma3", "alphaRatio_sma3", "hammarbergIndex_sma3", "slope0-500_sma3", "slope500-1500_sma3"),
    *("spectralFlux_sma3", "mfcc1_sma3", "mfcc2_sma3", "mfcc3_sma3", "mfcc4_sma3"),
    *("F0semitoneFrom27.5Hz_sma3nz", "jitterLocal_sma3nz", "shimmerLocaldB_sma3nz", "HNRdBACF_sma3nz"),
    *("logRelF0-H1-H2_sma3nz", "logRelF0-H1-A3_sma3nz"),
    *("F1frequency_sma3nz", "F1bandwidth_sma3nz", "F1amplitudeLogRelF0_sma3nz"),
    *("F2frequency_sma3nz", "F2bandwidth_sma3nz", "F2amplitudeLogRelF0_sma3nz"),
    *("F3frequency_sma3nz", "F3bandwidth_sma3nz", "F3amplitudeLogRelF0_sma3nz"),
)
_PACKAGE: Final = "opensmile"
_LICENCE: Final = (
    "openSMILE is free for private, research and educational use (audEERING Research License); "
    "commercial use needs a licence of audEERING"
)
_CITATION: Final = (
    "Eyben et al. 2016, The Geneva Minimalistic Acoustic Parameter Set, IEEE Transactions on Affective Computing 7(2), "
    "doi 10.1109/TAFFC.2015.2457417"
)
#: Largest sample: the package converts samples to 16 bits without a check, so that 1.0 would become -1.0.
_MAX_SAMPLE: Final = np.float32(1 - 2**-15)


@dataclass(frozen=True, slots=True)
class EgemapsSet(FeatureSet):
    """The 25 low-level descriptors of eGeMAPSv02, as openSMILE gives them: a frame per 10 ms.

    F0, jitter, shimmer, harmonics and the like are 0, and the amplitudes of formants are -201, in unvoiced frames.
    """

    sample_rate: int = 16000

    kind: ClassVar[str] = "egemaps"
    value: ClassVar[str] = "descriptor"
    value_names: ClassVar[tuple[str, ...]] = _NAMES
    is_trained: ClassVar[bool] = False
    has_one_scale: ClassVar[bool] = False
    has_silence: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = (_PACKAGE,)

    @property
    def title(self) -> str:
        """Title such as egemaps-v02-16000hz."""
        return f"egemaps-v02-{self.sample_rate}hz"

    @property
    def hop_length(self) -> int:
        """Distance between frames in samples: 10 ms."""
        return self.sample_rate // 100

    @property
    def min_samples(self) -> int:
        """Length of the shortest usable recording: the window of the pitch, 60 ms."""
        return self.sample_rate * 60 // 1000

    @property
    def dim(self) -> int:
        """Values per frame: 25."""
        return len(_NAMES)

    @property
    def licence(self) -> str:
        """Licence of openSMILE."""
        return _LICENCE

    @property
    def citation(self) -> str:
        """Publication of the set."""
        return _CITATION

    def details(self) -> dict[str, Parameter]:
        """Return the configuration of openSMILE."""
        return {"configuration": "eGeMAPSv02", "level": "low-level descriptors"}

    def check_requirements(self) -> None:
        """Raise an `EmodnaError` if the package is missing."""
        if importlib.util.find_spec(_PACKAGE) is None:
            problem, remedy = "needs the package opensmile", f"pip install 'emodna[egemaps]' ({_LICENCE})"
            raise EmodnaError(problem, field="feature_set", value=self.kind, remedy=remedy)

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return the descriptors (1 + (n - 800) // 160 at 16 kHz, 25) of (n,) samples, and the samples' peak in dB."""
        peak_db = measure_peak_db(samples)
        if not np.isfinite(peak_db):
            raise AudioError("samples too large: their power is not finite")
        self.check_requirements()
        extracted = _load_extractor()(np.clip(samples, -1, _MAX_SAMPLE), self.sample_rate)  # (1, 25, frames)
        return np.ascontiguousarray(extracted[0].T, np.float32), peak_db


@cache
def _load_extractor() -> "Smile":
    """Return the extractor. Each call of it makes its own components, so that threads can share it."""
    from opensmile import FeatureLevel, FeatureSet, Smile

    return Smile(FeatureSet.eGeMAPSv02, FeatureLevel.LowLevelDescriptors)
