"""Base of all feature sets: a name that follows from every parameter, and the way from a waveform to features."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError

#: Peak of digital silence: the power that every logarithm is cut off at (librosa's `amin`, 1e-10).
SILENCE_DB: Final = -100.0

#: What a parameter can be: it has to come back from JSON and from HDF5 attributes as it was.
Parameter = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class FeatureSet(ABC):
    """A full feature configuration: hashable, picklable, and able to extract.

    A feature set is a frozen dataclass whose fields are its parameters, with one function, `transform`, and the few
    properties below that the rest of the house asks for: nothing else knows what the numbers mean.
    """

    channel: int = 0
    """Channel of the file that is used, from 0."""
    fixed_samples: int | None = None
    """Zero-pad or crop the waveform about its middle to this many samples first (the authors' own input: 96 000)."""
    sample_rate: int = 22050
    """Rate in Hz at which `extract` takes its audio."""

    #: Kind of features, which every set of this class shares whatever its parameters.
    kind: ClassVar[str]
    #: What one value of a frame is, as the axis of a picture says it.
    value: ClassVar[str]
    #: Of the values, if they have any.
    unit: ClassVar[str] = ""
    #: Whether the values of a frame have one scale, as those of a spectrum do.
    has_one_scale: ClassVar[bool] = True

    @property
    @abstractmethod
    def title(self) -> str:
        """Beginning of the name, which says what is inside."""

    @property
    @abstractmethod
    def hop_length(self) -> int:
        """Samples from one frame to the next."""

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """Length in samples below which a recording is too short."""

    @abstractmethod
    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples, of the right length, into (frames, dim) features and their peak, >= `SILENCE_DB` (dB)."""

    @abstractmethod
    def silence(self, peak_db: float) -> NDArray[np.float32]:
        """One frame (dim,) of digital silence in an utterance with this peak (dB)."""

    @property
    def name(self) -> str:
        """Folder name of its stores, such as mfcc40-22050hz-1a2b3c4d: what is inside, and a hash of every parameter."""
        canonical = json.dumps(self.parameters(), sort_keys=True).encode()
        return f"{self.title}-{hashlib.sha256(canonical).hexdigest()[:8]}"

    @property
    def dim(self) -> int:
        """Values per frame."""
        return len(self.silence(SILENCE_DB))

    def parameters(self) -> dict[str, Parameter]:
        """Every parameter that shapes the features: what is hashed, and written into each shard."""
        return {
            "features": self.kind,
            "sample_rate": self.sample_rate,
            "channel": self.channel,
            "resampler": "soxr HQ",
            "fixed_samples": self.fixed_samples,
            **self.details(),
        }

    def details(self) -> dict[str, Parameter]:
        """Return the parameters of this kind alone: its fields, and whatever of it cannot be changed."""
        shared = {field.name for field in fields(FeatureSet)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in shared}

    def extract(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Turn (n,) samples into float32 features (frames, dim) and their peak (dB); `AudioError` if short or loud."""
        if len(samples) < self.min_samples:
            found = f"{len(samples)} samples at {self.sample_rate} Hz"
            raise AudioError(f"too short: {found}, at least {self.min_samples} needed")
        if self.fixed_samples is not None:
            samples = crop_or_pad(samples, self.fixed_samples)
        features, peak_db = self.transform(samples)
        if not np.isfinite(features).all():
            raise AudioError("samples so large that their power is not finite")
        return features, peak_db


def crop_or_pad(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Crop or zero-pad (n,) samples to `length`, evenly at both ends."""
    spare = length - len(samples)
    if spare >= 0:
        return np.pad(samples, (spare // 2, spare - spare // 2))
    return samples[-spare // 2 :][:length]
