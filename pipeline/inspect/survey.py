"""Summarise the features of a store block by block, and compare stores by the result."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import FeatureSet, rebuild_feature_set
from emodna.pipeline.inspect.spectra import FrameStatistics, SpectrumAnalyser, has_spectrum
from emodna.pipeline.store import FeatureStore

#: Number of values in a block: 8 MiB as float64.
BLOCK_VALUES: Final = 1 << 20
#: Number of frames at each end of an utterance whose window extends past the audio (half a window of four hops).
_EDGE: Final = 2
#: dB from the loudest frame of an utterance to a frame of weight 0. Quiet frames contain noise rather than voice.
VOICE_RANGE: Final = 20.0
#: Largest number of utterances of a store to draw.
_MAX_POINTS: Final = 2000
#: Largest number of values that is decomposed in full.
_MAX_FULL: Final = 64


@dataclass(slots=True)
class Moments:
    """Running mean, deviation and range (dim,) of the values of a frame, in float64."""

    frames: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    """Sum of squared deviations from the mean."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """Return the moments of zero frames."""
        return cls(0, np.zeros(dim), np.zeros(dim), np.full(dim, np.inf), np.full(dim, -np.inf))

    def add(self, features: NDArray[np.float32]) -> None:
        """Add frames (n, dim). Merges means (Chan, Golub & LeVeque 1983), since sums of squares would lose digits."""
        block = features.astype(np.float64)
        mean = block.mean(axis=0)
        total = self.frames + len(block)
        shift = mean - self.mean
        self.squares += np.square(block - mean).sum(axis=0) + shift**2 * (self.frames * len(block) / total)
        self.mean += shift * (len(block) / total)
        self.low, self.high = np.minimum(self.low, block.min(axis=0)), np.maximum(self.high, block.max(axis=0))
        self.frames = total

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation."""
        std: NDArray[np.float64] = np.sqrt(self.squares / max(self.frames, 1))
        return std


@dataclass(frozen=True, slots=True)
class SpectrumStatistics:
    """Statistics of the spectrum of each utterance, in the store's order."""

    sketch: NDArray[np.float32]
    """Voice-weighted mean and deviation of c1 to c12 of the voice band (n, 24); they do not depend on the level."""
    beyond: NDArray[np.float32]
    """Level of the voice above each of `BAND_LIMITS` in dB over the floor (n, 3)."""
    spread: NDArray[np.float32]
    """Deviation of the level over time in dB (n,)."""
    silent_share: NDArray[np.float32]
    """Share of frames of digital silence (n,)."""
    headroom: NDArray[np.float32]
    """Distance from floor to peak of the spectrum in dB (n,)."""


@dataclass(frozen=True, slots=True)
class UtteranceStatistics:
    """Statistics of each utterance, in the store's order."""

    means: NDArray[np.float32]
    """Mean over time of c0 to c12 (n, 13); for features without a spectrum, of each value of a frame (n, dim)."""
    spectrum: SpectrumStatistics | None
    """Statistics of the spectrum; None for features without one, such as those of an encoder."""


def compute_moments(store: FeatureStore) -> Moments:
    """Return the moments of all frames of a store. Raises `StoreError` if damaged."""
    moments = Moments.empty(store.dim)
    for _, features in store.iterate_blocks(BLOCK_VALUES):
        moments.add(features)
    return moments


def survey_store(store: FeatureStore) -> tuple[Moments, UtteranceStatistics]:
    """Return the moments of all frames and the statistics of each utterance. Raises `StoreError` if damaged."""
    feature_set = rebuild_feature_set(store.snapshot.parameters)
    analyse = SpectrumAnalyser(feature_set) if has_spectrum(feature_set) else None
    moments = Moments.empty(store.dim)
    means, blocks = [], []
    for rows, features in store.iterate_blocks(BLOCK_VALUES):
        moments.add(features)
        if analyse is None:
            means.append(_average_utterances(features.astype(np.float64), store.frames[rows].astype(np.int64)))
        else:
            frames = analyse(features, store.frames[rows], store.peak_db[rows])
            means.append(_average_utterances(frames.cepstra, frames.frames))
            blocks.append(_summarise_spectra(frames))
    spectrum = None
    if analyse is not None:
        names = [field.name for field in fields(SpectrumStatistics)]
        spectrum = SpectrumStatistics(**{name: np.concatenate([block[name] for block in blocks]) for name in names})
    return moments, UtteranceStatistics(np.concatenate(means), spectrum)


def standardise_difference(one: Moments, other: Moments) -> NDArray[np.float64]:
    """Return Cohen's d (dim,) of `other` minus `one`, for groups of equal size."""
    pooled = np.sqrt((one.std**2 + other.std**2) / 2)
    return np.divide(other.mean - one.mean, pooled, out=np.zeros_like(pooled), where=pooled > 0)


def project_utterances(
    parts: Sequence[UtteranceStatistics],
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]], list[float]]:
    """Project the means of the utterances of several stores onto their first two principal axes.

    The values are standardised over all stores, so that none, such as c0, dominates. Large stores are subsampled with a
    fixed seed. Returns, for each store, the rows and points (rows, 2) of the utterances, then the shares of the
    variance along the two axes.
    """
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    rows = [np.sort(random.permutation(len(part.means))[:_MAX_POINTS]) for part in parts]
    values = np.vstack([part.means[chosen] for part, chosen in zip(parts, rows, strict=True)]).astype(np.float64)
    scaled = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    if not scaled.any():  # also for a single utterance
        return rows, [np.zeros((len(chosen), 2)) for chosen in rows], [0.0, 0.0]
    # A full decomposition of the many values of an encoder would take seconds.
    is_small = min(scaled.shape) <= _MAX_FULL
    fitted = PCA(2, svd_solver="full" if is_small else "arpack", random_state=0).fit(scaled)
    points = np.split(fitted.transform(scaled), np.cumsum([len(chosen) for chosen in rows])[:-1])
    explained: list[float] = fitted.explained_variance_ratio_.tolist()
    return rows, points, explained


def list_moments(moments: Moments, features: FeatureSet) -> dict[str, Any]:
    """Return mean and deviation of each value of a frame as JSON values."""
    mean, std = moments.mean.tolist(), moments.std.tolist()
    names = {"value": features.value, "names": list(features.value_names), "unit": features.unit}
    return {**names, "frames": moments.frames, "mean": mean, "std": std}


def list_points(rows: NDArray[np.int64], points: NDArray[np.float64], ids: list[str]) -> dict[str, Any]:
    """Return the points of one store as JSON values."""
    return {"ids": [ids[row] for row in rows], "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}


def compute_voice_weights(frames: FrameStatistics) -> NDArray[np.float64]:
    """Return weights (frames,): 1 for the loudest frame of an utterance, 0 at `VOICE_RANGE` below it."""
    loudest = np.repeat(np.maximum.reduceat(frames.level, frames.starts), frames.frames)
    weights: NDArray[np.float64] = np.clip((frames.level - loudest + VOICE_RANGE) / VOICE_RANGE, 0.0, 1.0)
    return weights


def _mark_inner_frames(frames: FrameStatistics) -> NDArray[np.float64]:
    """Return 0 for frames (frames,) near the ends, whose level is lower since their window is padded; else 1."""
    counts = np.repeat(frames.frames, frames.frames)
    position = np.arange(len(counts)) - np.repeat(frames.starts, frames.frames)
    is_inner = (position >= _EDGE) & (position < counts - _EDGE)
    return (is_inner | (counts <= 4 * _EDGE)).astype(np.float64)


def _average_utterances(values: NDArray[np.float64], frames: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean (n, d) of values (frames, d) over each of n utterances, given their numbers of frames."""
    sums = np.add.reduceat(values, np.cumsum(frames) - frames, axis=0)
    means: NDArray[np.float32] = (sums / frames[:, None]).astype(np.float32)
    return means


def _summarise_spectra(frames: FrameStatistics) -> dict[str, NDArray[np.float32]]:
    """Return the fields of `SpectrumStatistics`."""

    def sum_frames(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.add.reduceat(values, frames.starts, axis=0)
        return sums

    weights = compute_voice_weights(frames)[:, None]
    weight = sum_frames(weights)
    shape = frames.voice[:, 1:]
    mean = sum_frames(weights * shape) / weight
    centred = shape - np.repeat(mean, frames.frames, axis=0)
    deviation = np.sqrt(sum_frames(weights * centred**2) / weight)
    inner = _mark_inner_frames(frames)
    level = sum_frames(inner * frames.level) / sum_frames(inner)
    level_change = frames.level - np.repeat(level, frames.frames)
    statistics = {
        "sketch": np.hstack([mean, deviation]),
        "beyond": sum_frames(weights * frames.beyond) / weight,
        "spread": np.sqrt(sum_frames(inner * level_change**2) / sum_frames(inner)),
        "silent_share": sum_frames(frames.silent.astype(np.float64)) / frames.frames,
        "headroom": frames.headroom,
    }
    return {name: values.astype(np.float32) for name, values in statistics.items()}
