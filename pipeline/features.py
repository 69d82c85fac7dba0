"""Feature sets: what a store can hold, by name. A new one is a frozen dataclass and one registry line."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, EmodnaError

#: Peak of digital silence: the power that every logarithm is cut off at (librosa's `amin`, 1e-10).
SILENCE_DB: Final = -100.0


class FeatureSet(Protocol):
    """A full feature configuration: hashable, picklable, and able to extract."""

    @property
    def name(self) -> str:
        """Folder name of its stores: what is inside, and a hash of every parameter."""

    @property
    def sample_rate(self) -> int:
        """Rate in Hz at which `extract` takes its audio."""

    @property
    def channel(self) -> int:
        """Channel of the file that is used, from 0."""

    def parameters(self) -> dict[str, str | int | float | bool | None]:
        """Every parameter that shapes the features: what is hashed, and written into each shard."""

    def extract(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples into (frames, dim) features and their peak in dB."""


@dataclass(frozen=True, slots=True)
class MfccSet:
    """MFCCs with librosa's defaults spelled out.

    Raises
    ------
    AudioError
        From `extract`: shorter than one analysis window (`n_fft` samples), or so loud that its power overflows.
    """

    channel: int = 0
    fixed_samples: int | None = None
    """Zero-pad or crop the waveform about its middle to this many samples first (the authors' own input: 96 000)."""
    sample_rate: int = 22050
    n_mfcc: int = 40
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    top_db: float = 80.0

    @property
    def name(self) -> str:
        """Folder name, such as mfcc40-22050hz-1a2b3c4d."""
        canonical = json.dumps(self.parameters(), sort_keys=True).encode()
        return f"mfcc{self.n_mfcc}-{self.sample_rate}hz-{hashlib.sha256(canonical).hexdigest()[:8]}"

    def parameters(self) -> dict[str, str | int | float | bool | None]:
        """Every parameter that shapes the features, those that cannot be changed included."""
        return {
            "features": "mfcc",
            "sample_rate": self.sample_rate,
            "channel": self.channel,
            "resampler": "soxr HQ",
            "fixed_samples": self.fixed_samples,
            "n_mfcc": self.n_mfcc,
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
            "dct_type": 2,
            "dct_norm": "ortho",
            "lifter": 0,
        }

    def extract(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples at `sample_rate` into (1 + n // hop_length, n_mfcc) float32 and the log-mel peak in dB."""
        from emodna.pipeline.mfcc import cached_mfcc  # torch and librosa: only where audio is really transformed

        if len(samples) < self.n_fft:
            raise AudioError(
                f"too short: {len(samples)} samples at {self.sample_rate} Hz, at least {self.n_fft} needed"
            )
        if self.fixed_samples is not None:
            samples = center_fit(samples, self.fixed_samples)
        extractor = cached_mfcc(
            sample_rate=self.sample_rate,
            n_mfcc=self.n_mfcc,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            top_db=self.top_db,
        )
        features, peak_db = extractor(samples)
        if not np.isfinite(features).all():
            raise AudioError("samples so large that their power is not finite")
        return features, peak_db


def center_fit(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Crop or zero-pad (n,) samples to `length`, evenly at both ends."""
    spare = length - len(samples)
    if spare >= 0:
        return np.pad(samples, (spare // 2, spare - spare // 2))
    return samples[-spare // 2 :][:length]


FEATURE_SETS: Final[Mapping[str, type[MfccSet]]] = {"mfcc40": MfccSet}
DEFAULT_FEATURE_SET: Final = "mfcc40"


def feature_set(name: str, *, channel: int = 0, fixed_samples: int | None = None) -> FeatureSet:
    """Return the feature set of this name, with the options that users choose set.

    Raises
    ------
    EmodnaError
        Unknown name; lists the valid ones.
    """
    if name not in FEATURE_SETS:
        raise EmodnaError(f"--feature-set {name}: unknown; valid: {', '.join(FEATURE_SETS)}")
    return FEATURE_SETS[name](channel=channel, fixed_samples=fixed_samples)


def feature_set_from(parameters: Mapping[str, object]) -> FeatureSet:
    """Rebuild the feature set whose `parameters()` these are: prediction extracts what the model was trained on.

    Raises
    ------
    EmodnaError
        Parameters of no registered feature set.
    """
    for kind in FEATURE_SETS.values():
        fields = {name: parameters[name] for name in kind.__dataclass_fields__ if name in parameters}
        candidate = kind(**fields)  # type: ignore[arg-type]
        if candidate.parameters() == dict(parameters):
            return candidate
    raise EmodnaError("feature parameters that this version cannot extract")
