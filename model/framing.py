"""From whole utterances to windows of a fixed number of frames: crop about the middle, or pad, then normalise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.store import FeatureStore

Padding = Literal["silence", "zero", "mask"]
PADDINGS: tuple[Padding, ...] = get_args(Padding)

Normalisation = Literal["source", "none", "per-corpus", "per-utterance"]
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)

_MIN_STD = 1e-5


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of each value of a frame, (dim,) each."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def identity(cls, dim: int) -> "Statistics":
        """Statistics that change nothing."""
        return cls(np.zeros(dim, np.float32), np.ones(dim, np.float32))

    @classmethod
    def of_frames(cls, features: NDArray[np.float32]) -> "Statistics":
        """Statistics over the frames of one utterance [frames, dim]."""
        return cls(features.mean(axis=0), np.maximum(features.std(axis=0), _MIN_STD))

    @classmethod
    def of_corpus(cls, store: FeatureStore, rows: NDArray[np.int64]) -> "Statistics":
        """Statistics over all frames of some utterances, in float64, one utterance at a time."""
        frames, total, squares = 0, np.zeros(store.dim), np.zeros(store.dim)
        for row in rows:
            features = store[int(row)].astype(np.float64)
            frames += len(features)
            total += features.sum(axis=0)
            squares += np.square(features).sum(axis=0)
        mean = total / frames
        std = np.sqrt(np.maximum(squares / frames - mean**2, _MIN_STD**2))
        return cls(mean.astype(np.float32), std.astype(np.float32))


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
