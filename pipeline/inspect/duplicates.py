"""Find duplicate recordings in a store: equal bytes, equal features, or altered copies.

An altered copy differs in level, format, sample rate, start or noise. The search has two steps. A sketch (mean and
deviation of the voice's cepstrum) finds the nearest utterances of each. Then the cepstral contours of each pair are
cross-correlated over all shifts in time. Only copies of one recording correlate in every syllable; two recordings of
one sentence by one speaker do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect.spectra import SpectrumAnalyser
from emodna.pipeline.inspect.survey import UtteranceStatistics, compute_voice_weights
from emodna.pipeline.store import FeatureStore

#: Least correlation of two copies of one recording. docs/STATISTICS.md lists measured correlations.
SAME_RECORDING: Final = 0.94
#: Largest distance between the sketches of a pair to compare, relative to their deviation over all utterances.
_MAX_DISTANCE: Final = 0.5
#: Number of nearest utterances to compare each with.
_NEAREST: Final = 3
#: Least deviation of the level over time (dB) and least weighted duration of voice (s) of a contour to compare.
_MIN_SPREAD: Final = 0.5
_MIN_VOICE: Final = 0.05
#: Shifts per frame at which the correlation is evaluated.
_SHIFTS_PER_FRAME: Final = 4


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Utterances that contain one recording."""

    rows: tuple[int, ...]
    similarity: float
    """Smallest correlation that links them; 1 if they are equal."""


def find_equal_audio(store: FeatureStore) -> list[DuplicateGroup]:
    """Find files with equal bytes, except segments of one recording."""
    recording = "id" if store.snapshot.segmentation is None else "path"
    table = store.columns([recording, "audio_sha256"])
    recordings = table[recording]
    groups = []
    for rows in _group_equal_values(table["audio_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()):
        first: dict[str, int] = {}
        for row, recording in zip(rows, recordings.take(rows).to_pylist(), strict=True):
            first.setdefault(recording, row)
        if len(first) > 1:
            groups.append(DuplicateGroup(tuple(first.values()), 1.0))
    return groups


def find_equal_features(store: FeatureStore, silent: NDArray[np.bool_]) -> list[DuplicateGroup]:
    """Find utterances with equal features from different files, except silent ones (n,)."""
    table = store.columns(["audio_sha256", "feature_crc", "frames"])
    checksum = table["feature_crc"].to_numpy().astype(np.int64) << 31 | table["frames"].to_numpy()
    audio = table["audio_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    groups = []
    for rows in _group_equal_values(checksum):
        rows = [row for row in rows if not silent[row]]
        rows = [row for row in rows if np.array_equal(store[row], store[rows[0]])]  # checksums may collide
        if len({audio[row] for row in rows}) > 1:
            groups.append(DuplicateGroup(tuple(rows), 1.0))
    return groups


def find_altered_copies(
    store: FeatureStore, utterances: UtteranceStatistics, equal: Sequence[DuplicateGroup]
) -> list[DuplicateGroup]:
    """Find altered copies; of each group of equal recordings, only the first is compared.

    Features without a spectrum show none: in them, two recordings of a sentence by a speaker may be as similar.
    """
    if utterances.spectrum is None:
        return []
    sketch = utterances.spectrum.sketch
    usable = utterances.spectrum.spread >= _MIN_SPREAD
    for group in equal:
        usable[list(group.rows[1:])] = False
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        return []
    matcher = _ContourMatcher(store, sketch)
    pairs = rows[_find_candidates(sketch[rows])].tolist()
    file = store.columns(["audio_sha256"])["audio_sha256"].to_pylist()
    # Segments of one recording may overlap.
    links = [(i, j, matcher.compute_similarity(i, j)) for i, j in pairs if file[i] != file[j]]
    return _group_links([link for link in links if link[2] >= SAME_RECORDING])


def _group_equal_values(values: NDArray[np.integer]) -> list[list[int]]:
    _, value, counts = np.unique(values, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[value] > 1)
    order = rows[np.argsort(value[rows], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(value[order])) + 1) if len(order) else []
    return sorted(group.tolist() for group in groups)


def _find_candidates(sketch: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pairs of rows (m, 2) where the sketch (n, d) of one is among the nearest of the other."""
    from sklearn.neighbors import NearestNeighbors

    scaled = (sketch - sketch.mean(axis=0)) / np.maximum(sketch.std(axis=0), 1e-6)
    nearest = NearestNeighbors(n_neighbors=min(_NEAREST, len(scaled) - 1), algorithm="brute").fit(scaled)
    distances, neighbours = nearest.kneighbors()  # a row is not its own neighbour
    near = distances < _MAX_DISTANCE * np.sqrt(sketch.shape[1])
    pairs = np.column_stack([np.nonzero(near)[0], neighbours[near]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


class _ContourMatcher:
    def __init__(self, store: FeatureStore, sketch: NDArray[np.float32]) -> None:
        self._store = store
        self._analyse = SpectrumAnalyser(rebuild_feature_set(store.snapshot.parameters))
        deviations = sketch[:, sketch.shape[1] // 2 :].astype(np.float64)
        self._scale = np.maximum(np.sqrt(np.mean(deviations**2, axis=0)), 1e-6)

    def compute_similarity(self, one: int, other: int) -> float:
        """Return the largest correlation of c1 to c12 of two rows over all shifts by fractions of a frame."""
        import scipy.fft

        first, second = self._compute_contour(one), self._compute_contour(other)
        length = np.sqrt(np.square(first).sum() * np.square(second).sum())
        if not length:
            return 0.0
        size = scipy.fft.next_fast_len(len(first) + len(second), real=True)
        spectrum = scipy.fft.rfft(first, size, axis=0).conj() * scipy.fft.rfft(second, size, axis=0)
        correlation = scipy.fft.irfft(spectrum.sum(axis=1), size * _SHIFTS_PER_FRAME) * _SHIFTS_PER_FRAME
        return min(float(correlation.max() / length), 1.0)

    def _compute_contour(self, row: int) -> NDArray[np.float64]:
        """Return c1 to c12 (frames, 12) of the voice minus their mean; zeros if there is no voice."""
        rows = slice(row, row + 1)
        frames = self._analyse(self._store[row], self._store.frames[rows], self._store.peak_db[rows])
        weights = compute_voice_weights(frames)[:, None]
        if weights.sum() < _MIN_VOICE * self._analyse.frame_rate:
            return np.zeros((1, len(self._scale)))
        shape = frames.voice[:, 1:]
        contour: NDArray[np.float64] = (shape - (weights * shape).sum(axis=0) / weights.sum()) * weights / self._scale
        return contour


def _group_links(links: Sequence[tuple[int, int, float]]) -> list[DuplicateGroup]:
    """Return the connected components of links (row, later row, similarity), the most similar first."""
    import scipy.sparse
    import scipy.sparse.csgraph

    if not links:
        return []
    firsts, others, similarities = zip(*links, strict=True)
    size = max(others) + 1
    graph = scipy.sparse.coo_array((similarities, (firsts, others)), shape=(size, size))
    count, member = scipy.sparse.csgraph.connected_components(graph, directed=False)
    weakest = np.ones(count)
    np.minimum.at(weakest, member[list(firsts)], similarities)
    groups = [DuplicateGroup(tuple(rows), float(weakest[member[rows[0]]])) for rows in _group_equal_values(member)]
    return sorted(groups, key=lambda group: -group.similarity)
