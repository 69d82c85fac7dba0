"""Find recordings that a store holds more than once: byte for byte, number for number, or altered.

An altered copy has another level, format, sample rate, start or some noise. It is looked for in two steps. First, the
nearest few of each utterance are found by a sketch of it (mean and deviation of the shape of its voice's spectrum).
Then each utterance is laid over these and moved in time until they fit best: only a copy of the same recording goes
along in every syllable, a second recording of the same sentence by the same speaker does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import get_recording_ids
from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect.spectra import Spectra
from emodna.pipeline.inspect.survey import Utterances, voice_weights
from emodna.pipeline.store import FeatureStore

#: Correlation from which on two utterances are one recording. docs/STATISTICS.md has what copies and others reach.
SAME_RECORDING: Final = 0.94
#: Largest distance of the sketches of two utterances that are compared, as a share of the spread among utterances.
_MAX_DISTANCE: Final = 0.5
#: Nearest by sketch that an utterance is compared with.
_NEAREST: Final = 3
#: dB and s: an utterance that varies less over time, or has less voice (each frame by its weight), has no course to be
#: recognised by.
_MIN_SPREAD: Final = 0.5
_MIN_VOICE: Final = 0.05
#: Places between two frames at which a fit is looked for.
_FINE: Final = 4


@dataclass(frozen=True, slots=True)
class Group:
    """Utterances that are one recording."""

    rows: tuple[int, ...]
    similarity: float
    """The smallest by which one of them was found, 1 of equal ones."""


def same_audio(store: FeatureStore) -> list[Group]:
    """Find recordings whose files are equal byte for byte; the pieces of one recording are none."""
    table = store.columns(["id", "audio_sha256"])
    recordings = table["id"] if store.snapshot.segmentation is None else get_recording_ids(table["id"])
    found = []
    for rows in _equal(table["audio_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()):
        first: dict[str, int] = {}
        for row, recording in zip(rows, recordings.take(rows).to_pylist(), strict=True):
            first.setdefault(recording, row)
        if len(first) > 1:
            found.append(Group(tuple(first.values()), 1.0))
    return found


def same_features(store: FeatureStore, silent: NDArray[np.bool_]) -> list[Group]:
    """Find utterances with equal features in unequal files; of silent ones (n,) that says nothing."""
    table = store.columns(["audio_sha256", "feature_crc", "frames"])
    checksum = table["feature_crc"].to_numpy().astype(np.int64) << 31 | table["frames"].to_numpy()
    audio = table["audio_sha256"].combine_chunks().dictionary_encode().indices.to_numpy()
    groups = []
    for rows in _equal(checksum):
        rows = [row for row in rows if not silent[row]]
        rows = [row for row in rows if np.array_equal(store[row], store[rows[0]])]  # a checksum may be chance
        if len({audio[row] for row in rows}) > 1:
            groups.append(Group(tuple(rows), 1.0))
    return groups


def altered_copies(store: FeatureStore, found: Utterances, equal: Sequence[Group]) -> list[Group]:
    """Find recordings that occur again, altered; of groups that are known to be equal, one stands for all."""
    usable = found.spread >= _MIN_SPREAD
    for group in equal:
        usable[list(group.rows[1:])] = False
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        return []
    pairs = rows[_candidates(found.sketch[rows])]
    courses = _Courses(store, found)
    links = [(int(i), int(j), courses.similarity(int(i), int(j))) for i, j in pairs]
    return _groups([link for link in links if link[2] >= SAME_RECORDING])


def _equal(values: NDArray[np.integer]) -> list[list[int]]:
    """Return the rows of each value that occurs more than once, in order of the first."""
    _, value, counts = np.unique(values, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[value] > 1)
    order = rows[np.argsort(value[rows], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(value[order])) + 1) if len(order) else []
    return sorted(group.tolist() for group in groups)


def _candidates(sketch: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pairs (m, 2) of rows whose sketches (n, d) are near each other: of each row its nearest few."""
    from sklearn.neighbors import NearestNeighbors

    scaled = (sketch - sketch.mean(axis=0)) / np.maximum(sketch.std(axis=0), 1e-6)
    nearest = NearestNeighbors(n_neighbors=min(_NEAREST, len(scaled) - 1), algorithm="brute").fit(scaled)
    distances, neighbours = nearest.kneighbors()  # of each row; not itself
    near = distances < _MAX_DISTANCE * np.sqrt(sketch.shape[1])
    pairs = np.column_stack([np.nonzero(near)[0], neighbours[near]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


class _Courses:
    """Compare the course of the voice in two utterances."""

    def __init__(self, store: FeatureStore, found: Utterances) -> None:
        self._store = store
        self._spectra = Spectra(rebuild_feature_set(store.snapshot.parameters))
        deviations = found.sketch[:, found.sketch.shape[1] // 2 :].astype(np.float64)
        self._scale = np.maximum(np.sqrt(np.mean(deviations**2, axis=0)), 1e-6)

    def similarity(self, one: int, other: int) -> float:
        """Return the largest correlation of c1 to c12 of two rows over all moves in time, in fractions of a frame."""
        import scipy.fft

        first, second = self._course(one), self._course(other)
        length = np.sqrt(np.square(first).sum() * np.square(second).sum())
        if not length:
            return 0.0
        size = scipy.fft.next_fast_len(len(first) + len(second), real=True)
        spectrum = scipy.fft.rfft(first, size, axis=0).conj() * scipy.fft.rfft(second, size, axis=0)
        correlation = scipy.fft.irfft(spectrum.sum(axis=1), size * _FINE) * _FINE
        return min(float(correlation.max() / length), 1.0)

    def _course(self, row: int) -> NDArray[np.float64]:
        """Return c1 to c12 (frames, 12) of the voice about its mean; 0 where there is none."""
        rows = slice(row, row + 1)
        frames = self._spectra(self._store[row], self._store.frames[rows], self._store.peak_db[rows])
        weights = voice_weights(frames)[:, None]
        if weights.sum() < _MIN_VOICE * self._spectra.frame_rate:
            return np.zeros((1, len(self._scale)))
        shape = frames.voice[:, 1:]
        course: NDArray[np.float64] = (shape - (weights * shape).sum(axis=0) / weights.sum()) * weights / self._scale
        return course


def _groups(links: Sequence[tuple[int, int, float]]) -> list[Group]:
    """Group rows that hang together by links (row, later row, similarity)."""
    import scipy.sparse
    import scipy.sparse.csgraph

    if not links:
        return []
    ones, others, similarities = zip(*links, strict=True)
    size = max(others) + 1
    graph = scipy.sparse.coo_array((similarities, (ones, others)), shape=(size, size))
    count, member = scipy.sparse.csgraph.connected_components(graph, directed=False)
    weakest = np.ones(count)
    np.minimum.at(weakest, member[list(ones)], similarities)
    groups = [Group(tuple(rows), float(weakest[member[rows[0]]])) for rows in _equal(member)]
    return sorted(groups, key=lambda group: -group.similarity)
