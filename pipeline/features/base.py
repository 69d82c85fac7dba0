"""Base class of all feature sets: a name that hashes every parameter, and the extraction from a waveform."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio.trim import trim_silence
from emodna.pipeline.errors import AudioError

#: Peak of digital silence in dB: the floor of every logarithm (librosa's `amin`, 1e-10).
SILENCE_DB: Final = -100.0

#: Sample whose power, or that of a frame around it, may be infinite in float32.
_LARGE_SAMPLE: Final = 1e15

#: Type of a parameter. JSON and HDF5 attributes keep such values unchanged.
Parameter = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class FeatureSet(ABC):
    """A complete configuration of features, with the code that extracts them; hashable and picklable.

    A feature set is a frozen dataclass whose fields are its parameters. It implements `transform`, the properties
    below, and either `silence` or `dim`. Other modules treat features as arrays without a meaning.
    """

    fixed_samples: int | None = None
    """Length in samples to which both ends are cropped or zero-padded first; None: unchanged (the authors: 96 000)."""
    sample_rate: int = 22050
    """Sample rate in Hz of the audio for `extract`."""
    trim_db: float | None = None
    """dB below the loudest part of an utterance from which both its ends are cut as silence; None: no cut."""
    location: str | None = field(default=None, compare=False)
    """Place of the weights that the features need, such as a path; affects no value and no name."""

    #: Kind of features, the same for all parameters.
    kind: ClassVar[str]
    #: Name of one value of a frame, for the axis of a figure.
    value: ClassVar[str]
    #: Names of the values of a frame; empty if they have only numbers.
    value_names: ClassVar[tuple[str, ...]] = ()
    #: Unit of the values; empty if there is none.
    unit: ClassVar[str] = ""
    #: True if a model that was trained on recordings computes the values, so that results are marked by exposure.
    is_trained: ClassVar[bool] = True
    #: True if all values of a frame have the same scale, as in a spectrum.
    has_one_scale: ClassVar[bool] = True
    #: Type of the values in a store. Extracted values are rounded to it.
    storage: ClassVar[Literal["float32", "float16"]] = "float32"
    #: True if the distance between frames is known.
    has_frame_rate: ClassVar[bool] = True
    #: True if the features of digital silence are known, so that `silence` can pad a window with them.
    has_silence: ClassVar[bool] = True
    #: Further packages whose versions affect the features.
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    def licence(self) -> str | None:
        """Licence of the model or the program that computes the features; None if it sets no terms for results."""
        return None

    @property
    def citation(self) -> str | None:
        """Publication of that model or program; None if there is none to cite."""
        return None

    @property
    @abstractmethod
    def title(self) -> str:
        """Readable beginning of the name."""

    @property
    @abstractmethod
    def hop_length(self) -> int:
        """Distance between frames in samples."""

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """Length in samples of the shortest usable recording."""

    @abstractmethod
    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return the features (frames, dim) of (n,) samples, and their peak in dB, at least `SILENCE_DB`."""

    def silence(self, peak_db: float) -> NDArray[np.float32]:
        """Return one frame (dim,) of digital silence in an utterance with this peak in dB; only if `has_silence`."""
        raise NotImplementedError(f"{self.kind} features of digital silence at a peak of {peak_db} dB are unknown")

    def check_requirements(self) -> None:  # noqa: B027 - most sets need nothing
        """Raise an `EmodnaError` if packages or files that the extraction needs are missing here."""

    @property
    def needs_threads(self) -> bool:
        """True if all workers of a machine should be threads of one process, because they share a GPU."""
        return False

    @property
    def name(self) -> str:
        """Folder name of its stores, such as mfcc40-22050hz-1a2b3c4d: the title and a hash of every parameter."""
        # The channel was a parameter once; names keep its default in the hash, so that they stay the same.
        canonical = json.dumps({"channel": 0, **self.parameters()}, sort_keys=True).encode()
        return f"{self.title}-{hashlib.sha256(canonical).hexdigest()[:8]}"

    @property
    def dim(self) -> int:
        """Values per frame. Feature sets without `silence` define it."""
        return len(self.silence(SILENCE_DB))

    def parameters(self) -> dict[str, Parameter]:
        """Return every parameter that affects the features of given audio, as hashed for the name."""
        return {
            "features": self.kind,
            "sample_rate": self.sample_rate,
            "resampler": "soxr HQ",
            "fixed_samples": self.fixed_samples,
            # Not in the parameters of earlier versions, whose names stay the same.
            **({} if self.trim_db is None else {"trim_db": float(self.trim_db)}),
            **({} if self.storage == "float32" else {"storage": self.storage}),
            **self.details(),
        }

    def details(self) -> dict[str, Parameter]:
        """Return the parameters of this kind: its own fields, and its constants."""
        shared = {field.name for field in fields(FeatureSet)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in shared}

    def extract(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return float32 features (frames, dim) of (n,) samples and their peak in dB, or raise an `AudioError`.

        Silence is cut first, then the length is fixed. The values are those that a store holds.
        """
        if len(samples) < self.min_samples:
            length = f"{len(samples)} samples at {self.sample_rate} Hz"
            raise AudioError(f"too short: {length}, at least {self.min_samples} needed")
        if self.trim_db is not None:
            samples = trim_silence(samples, self.trim_db, self.min_samples)
        if self.fixed_samples is not None:
            samples = crop_or_pad(samples, self.fixed_samples)
        try:
            features, peak_db = self.transform(samples)
            self._check_shape(features)
        except Exception as error:
            from emodna.pipeline.features.plugin import explain_error  # it imports this module

            if (explained := explain_error(self.kind, error)) is None:
                raise
            raise explained from error
        if not np.isfinite(features).all():
            is_large = not np.abs(samples).max() < _LARGE_SAMPLE  # NaN is, too
            raise AudioError("samples too large: their power is not finite" if is_large else "features not finite")
        return self._round(features), peak_db

    def estimate_kept_seconds(
        self, durations: NDArray[np.float64], frames: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64] | None:
        """Return how much of each utterance (n,) in s remains without the silence, by its number of frames.

        Accurate to a frame. Returns None if no silence is cut, or if the frames do not tell.
        """
        if self.trim_db is None or self.fixed_samples is not None:
            return None
        return np.minimum(durations, frames * self.hop_length / self.sample_rate)

    def _check_shape(self, features: NDArray[np.float32]) -> None:
        """Raise a `TypeError` unless features are a float32 array (frames, dim) with at least one frame."""
        is_array = isinstance(features, np.ndarray) and features.dtype == np.float32 and features.ndim == 2
        if not is_array or not len(features) or features.shape[1] != self.dim:
            found = (
                f"{features.dtype} {features.shape}" if isinstance(features, np.ndarray) else type(features).__name__
            )
            raise TypeError(f"transform() must return float32 (frames, {self.dim}), not {found}")

    def _round(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features as a store holds them; raise an `AudioError` if its type cannot."""
        if self.storage == "float32":
            return features
        with np.errstate(over="ignore"):
            rounded = features.astype(self.storage).astype(np.float32)
        if not np.isfinite(rounded).all():
            raise AudioError(f"features too large for {self.storage}: {float(np.abs(features).max()):g}")
        return rounded


def measure_peak_db(samples: NDArray[np.float32]) -> float:
    """Return the peak of (n,) samples in dB relative to full scale, at least `SILENCE_DB`."""
    peak = float(np.abs(samples).max())
    return float(max(20 * np.log10(peak), SILENCE_DB)) if peak > 0 else SILENCE_DB


def crop_or_pad(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Crop or zero-pad (n,) samples to `length`, evenly at both ends."""
    spare = length - len(samples)
    if spare >= 0:
        return np.pad(samples, (spare // 2, spare - spare // 2))
    return samples[-spare // 2 :][:length]
