"""From whole utterances to windows of a fixed number of frames: crop about the middle, or pad, then normalise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emodna.model.normalisation import Statistics
from emodna.pipeline.features import FeatureSet

Padding = Literal["silence", "zero", "mask"]
PADDINGS: tuple[Padding, ...] = get_args(Padding)


@dataclass(frozen=True, slots=True)
class Framer:
    """Turns an utterance into a window.

    Parameters
    ----------
    frames
        Length of the window.
    padding
        `silence`: as if the waveform had been padded with zeros evenly at both ends (exact but for up to 4 frames of a
        spectrum at the edges of the speech). `zero`: zeros instead. `mask`: silence, all behind the speech, and not
        counted as length.
    statistics
        Of the normalisation; None normalises each utterance by its own.
    silence
        Of the feature set at hand: one frame (dim,) of digital silence in an utterance with this peak (dB).
    """

    frames: int
    padding: Padding
    statistics: Statistics | None
    silence: Callable[[float], NDArray[np.float32]]

    def __call__(self, features: NDArray[np.float32], peak_db: float, out: NDArray[np.float32]) -> int:
        """Write the window of an utterance [n, dim] to `out` [frames, dim]; return its length in frames."""
        statistics = Statistics.of_frames(features) if self.statistics is None else self.statistics
        spare = self.frames - len(features)
        if spare <= 0:
            start = -spare // 2
            out[:] = features[start : start + self.frames]
        else:
            before = 0 if self.padding == "mask" else spare // 2
            out[:] = 0.0 if self.padding == "zero" else self.silence(peak_db)
            out[before : before + len(features)] = features
        out -= statistics.mean
        out /= statistics.std
        return min(len(features), self.frames) if self.padding == "mask" else self.frames


def window_seconds(frames: int, features: FeatureSet) -> float:
    """Length in s of what a window of so many frames can hold of a recording."""
    seconds = frames * features.hop_length / features.sample_rate
    return seconds if features.fixed_samples is None else min(seconds, features.fixed_samples / features.sample_rate)
