"""Turn utterances into windows of a fixed number of frames: crop to the middle or pad, then normalise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emodna.model.config import Padding
from emodna.model.data.normalisation import Statistics
from emodna.pipeline.features import FeatureSet

Utterance = tuple[NDArray[np.float32], float, Statistics | None]
"""Features (frames, dim), their peak in dB, and statistics to normalise them by; None means those of the framer."""


@dataclass(frozen=True)
class Framer:
    """A function that turns an utterance into a window of `frames` frames.

    The padding `silence` equals the features of a waveform with as many zeros at both ends, except for up to 4
    spectral frames at the edges of the speech. `zero` pads with zeros. `mask` pads with silence after the speech only,
    and does not count it as length; without known features of silence, it pads with the mean.
    """

    frames: int
    padding: Padding
    statistics: Statistics | None
    """Statistics to normalise by; None normalises each utterance by its own."""
    silence: Callable[[float], NDArray[np.float32]] | None
    """`FeatureSet.silence`: a frame (dim,) of digital silence in an utterance with this peak (dB); None: unknown."""

    def __call__(
        self,
        features: NDArray[np.float32],
        peak_db: float,
        out: NDArray[np.float32],
        statistics: Statistics | None = None,
    ) -> int:
        """Write the window of an utterance (n, dim) to `out` (frames, dim) of any layout; return its length.

        Given `statistics`, such as those of its speaker, replace those of the framer.
        """
        length = min(len(features), self.frames)
        first = (len(features) - length) // 2
        before = 0 if self.padding == "mask" else (self.frames - length) // 2
        if statistics is None and self._statistics_per_frame is not None:
            mean, std = self._statistics_per_frame
        else:
            mean, std = self._repeat(statistics or Statistics.of_frames(features))
        # One transposing copy of cached values is faster than strided arithmetic.
        window = out if out.flags.c_contiguous else np.empty_like(out, order="C")
        speech = window[before : before + length]
        np.subtract(features[first : first + length], mean[:length], out=speech)
        np.divide(speech, std[:length], out=speech)
        if length < self.frames:
            window[:before] = window[before + length :] = (self._choose_padding(peak_db, mean[0]) - mean[0]) / std[0]
        if window is not out:
            out[:] = window
        return length if self.padding == "mask" else self.frames

    def _choose_padding(self, peak_db: float, mean: NDArray[np.float32]) -> NDArray[np.float32] | float:
        if self.padding == "zero":
            return 0.0
        return mean if self.silence is None else self.silence(peak_db)

    @cached_property
    def _statistics_per_frame(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Statistics repeated for each frame: one operation on all values is twice as fast as one per frame."""
        if self.statistics is None:
            return None
        mean, std = (np.tile(values, (self.frames, 1)) for values in (self.statistics.mean, self.statistics.std))
        return mean, std

    def _repeat(self, statistics: Statistics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shape = self.frames, len(statistics.mean)
        return np.broadcast_to(statistics.mean, shape), np.broadcast_to(statistics.std, shape)


def get_silence(features: FeatureSet) -> Callable[[float], NDArray[np.float32]] | None:
    """Return the function of a feature set for `Framer.silence`; None if its features of silence are unknown."""
    return features.silence if features.has_silence else None


def compute_window_seconds(frames: int, features: FeatureSet) -> float:
    """Return the length in s of a recording that fits into a window of this many frames."""
    seconds = frames * features.hop_length / features.sample_rate
    return seconds if features.fixed_samples is None else min(seconds, features.fixed_samples / features.sample_rate)
