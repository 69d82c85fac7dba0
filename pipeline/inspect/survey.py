"""Read all features of a store once, in memory that does not grow with their number; compare two stores by it."""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect.spectra import Frames, Spectra
from emodna.pipeline.store import FeatureStore

#: Values that are looked at together: some MB as float64.
BLOCK: Final = 1 << 20
#: Frames at each end of an utterance that reach beyond it: half a window of four hops.
_EDGE: Final = 2
#: dB below an utterance's loudest frame at which its frames count nothing; between, in proportion. The quiet ones are
#: the room's and the codec's, not the voice's.
VOICE_RANGE: Final = 20.0
#: Utterances of a store that are shown as points.
_POINTS: Final = 2000


@dataclass(slots=True)
class Moments:
    """Mean, deviation and range of each value of a frame, (dim,) each, over all frames so far; in float64."""

    frames: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    """Sum of squared differences from the mean."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def none(cls, dim: int) -> "Moments":
        """Return the moments of no frame."""
        return cls(0, np.zeros(dim), np.zeros(dim), np.full(dim, np.inf), np.full(dim, -np.inf))

    def add(self, features: NDArray[np.float32]) -> None:
        """Add some frames (n, dim): merged by means (Chan, Golub & LeVeque 1983), since sums of squares lose digits."""
        block = features.astype(np.float64)
        mean = block.mean(axis=0)
        total = self.frames + len(block)
        apart = mean - self.mean
        self.squares += np.square(block - mean).sum(axis=0) + apart**2 * (self.frames * len(block) / total)
        self.mean += apart * (len(block) / total)
        self.low, self.high = np.minimum(self.low, block.min(axis=0)), np.maximum(self.high, block.max(axis=0))
        self.frames = total

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation."""
        std: NDArray[np.float64] = np.sqrt(self.squares / max(self.frames, 1))
        return std


@dataclass(frozen=True, slots=True)
class Utterances:
    """Figures of each utterance, in the store's order."""

    cepstra: NDArray[np.float32]
    """(n, 13) mean of c0 to c12."""
    sketch: NDArray[np.float32]
    """(n, 24) mean and deviation over its voice of c1 to c12 of the voice band: no level changes them."""
    beyond: NDArray[np.float32]
    """(n, 3) level of its voice beyond each of `BAND_LIMITS`, in dB above the floor."""
    spread: NDArray[np.float32]
    """(n,) deviation of its level over time, in dB."""
    silent_share: NDArray[np.float32]
    """(n,) share of its frames that are what digital silence would be beside its peak."""
    headroom: NDArray[np.float32]
    """(n,) from the floor of its spectrum to the peak, in dB."""


def overall(store: FeatureStore) -> Moments:
    """Return mean, deviation and range of all frames of a store. Raises `StoreError`: damaged features."""
    moments = Moments.none(store.dim)
    for _, features in store.iterate_blocks(BLOCK):
        moments.add(features)
    return moments


def survey(store: FeatureStore) -> tuple[Moments, Utterances]:
    """Read all features of a store once. Raises `StoreError`: damaged features."""
    spectra = Spectra(rebuild_feature_set(store.snapshot.parameters))
    moments = Moments.none(store.dim)
    blocks = []
    for rows, features in store.iterate_blocks(BLOCK):
        moments.add(features)
        blocks.append(_figures(spectra(features, store.frames[rows], store.peak_db[rows])))
    names = [field.name for field in fields(Utterances)]
    return moments, Utterances(**{name: np.concatenate([block[name] for block in blocks]) for name in names})


def mean_difference(one: Moments, other: Moments) -> NDArray[np.float64]:
    """Return Cohen's d (dim,) of groups of one size: how many mean deviations the second store lies above the first."""
    pooled = np.sqrt((one.std**2 + other.std**2) / 2)
    return np.divide(other.mean - one.mean, pooled, out=np.zeros_like(pooled), where=pooled > 0)


def plane(parts: list[Utterances]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]], list[float]]:
    """Project the utterances of some stores, each as its mean c0 to c12, onto their principal plane.

    The coefficients are standardised over all of them, so that c0 does not drown the others. Of a large store some
    utterances are drawn by lot, the same each time. Returns, for each store, the rows of the utterances shown and their
    points (rows, 2), then the shares of the variance along the two axes.
    """
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    rows = [np.sort(random.permutation(len(part.cepstra))[:_POINTS]) for part in parts]
    values = np.vstack([part.cepstra[chosen] for part, chosen in zip(parts, rows, strict=True)]).astype(np.float64)
    scaled = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    if not scaled.any():  # also of a single utterance
        return rows, [np.zeros((len(chosen), 2)) for chosen in rows], [0.0, 0.0]
    fitted = PCA(2, svd_solver="full").fit(scaled)
    points = np.split(fitted.transform(scaled), np.cumsum([len(chosen) for chosen in rows])[:-1])
    explained: list[float] = fitted.explained_variance_ratio_.tolist()
    return rows, points, explained


def described(rows: NDArray[np.int64], points: NDArray[np.float64], ids: list[str]) -> dict[str, Any]:
    """Return the points of one store as plain values."""
    return {"ids": [ids[row] for row in rows], "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}


def voice_weights(frames: Frames) -> NDArray[np.float64]:
    """Weigh frames (frames,) by the voice in them: 1 the loudest of an utterance, 0 from `VOICE_RANGE` below it on."""
    loudest = np.repeat(np.maximum.reduceat(frames.level, frames.starts), frames.frames)
    weights: NDArray[np.float64] = np.clip((frames.level - loudest + VOICE_RANGE) / VOICE_RANGE, 0.0, 1.0)
    return weights


def _inner(frames: Frames) -> NDArray[np.float64]:
    """Return 0 where a frame (frames,) reaches beyond the ends of the audio, so that its level falls; else 1."""
    counts = np.repeat(frames.frames, frames.frames)
    place = np.arange(len(counts)) - np.repeat(frames.starts, frames.frames)
    within = (place >= _EDGE) & (place < counts - _EDGE)
    return (within | (counts <= 4 * _EDGE)).astype(np.float64)


def _figures(frames: Frames) -> dict[str, NDArray[np.float32]]:
    """Return the fields of `Utterances` of some utterances, summed over their frames."""

    def per_utterance(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.add.reduceat(values, frames.starts, axis=0)
        return sums

    weights = voice_weights(frames)[:, None]
    weight = per_utterance(weights)
    shape = frames.voice[:, 1:]
    mean = per_utterance(weights * shape) / weight
    apart = shape - np.repeat(mean, frames.frames, axis=0)
    deviation = np.sqrt(per_utterance(weights * apart**2) / weight)
    inner = _inner(frames)
    level = per_utterance(inner * frames.level) / per_utterance(inner)
    unlike = frames.level - np.repeat(level, frames.frames)
    figures = {
        "cepstra": per_utterance(frames.cepstra) / frames.frames[:, None],
        "sketch": np.hstack([mean, deviation]),
        "beyond": per_utterance(weights * frames.beyond) / weight,
        "spread": np.sqrt(per_utterance(inner * unlike**2) / per_utterance(inner)),
        "silent_share": per_utterance(frames.silent.astype(np.float64)) / frames.frames,
        "headroom": frames.headroom,
    }
    return {name: values.astype(np.float32) for name, values in figures.items()}
