"""The prediction of a model for a recording or a window."""

from dataclasses import dataclass

import numpy as np

from emodna.model.data.domain import Deviation, join_measures
from emodna.model.inference.inputs import Input
from emodna.model.inference.trained_model import Extracted, Window
from emodna.model.metrics import assign_labels
from emodna.pipeline.audio.quality import OVERLOAD_PEAK


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's prediction for a file or a window, or an error."""

    file: str
    start: float | None = None
    """Start in s of the window, or of the part of the file that the model used; None for an unusable file."""
    end: float | None = None
    probabilities: tuple[float, ...] | None = None
    """Probability of each class."""
    error: str | None = None
    duration: float | None = None
    """Duration of the file in s."""
    model: int = 0
    remarks: tuple[str, ...] = ()
    """Parts of the file that were not decoded, one clause each; of several windows, the last one has them."""
    channel: int | None = 0
    """Channel of the file; None if the file could not be opened to find it."""
    channels: int | None = None
    """Number of channels of the file; None if it could not be decoded."""
    peak: float | None = None
    """Largest absolute sample of the file or window; 1 is full scale. None for an error."""
    deviations: tuple[Deviation, ...] | None = None
    """Deviations from the training audio; None if they are unknown: an error, or a model of an earlier version."""
    has_own_statistics: bool | None = None
    """True if statistics of the speaker normalised it, False if those of the target did because the speaker has few
    utterances; None for an error, and for models without normalisation by speaker."""

    @property
    def outside(self) -> str | None:
        """Measures that are outside the training audio, separated by commas; empty if none is, None if unknown."""
        return None if self.deviations is None else join_measures(self.deviations)

    @property
    def is_overloaded(self) -> bool:
        """True if the samples go far beyond full scale."""
        return self.peak is not None and self.peak > OVERLOAD_PEAK

    @property
    def probability(self) -> float | None:
        """Probability of class 1 of two classes; None for an error, or for more classes."""
        return None if self.probabilities is None or len(self.probabilities) > 2 else self.probabilities[1]

    @property
    def label(self) -> int | None:
        """Most probable class, see `assign_labels`."""
        return None if self.probabilities is None else int(assign_labels(np.array([self.probabilities]))[0])

    @property
    def has_failed(self) -> bool:
        """True for an unusable file; a window of digital silence is not a failure."""
        return self.error is not None and self.start is None


@dataclass(frozen=True, slots=True)
class PendingPrediction:
    """A prediction without its probabilities, and the window to classify; a complete prediction without a window."""

    input: Input
    prediction: Prediction
    window: Window | None = None
    utterance: Extracted | None = None
    """Features that become a window once the statistics of their speaker are known, and their peak in dB."""
