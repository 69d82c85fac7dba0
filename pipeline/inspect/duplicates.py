"""Recordings that a store holds more than once: byte for byte, number for number, or altered.

An altered copy has another level, format, sample rate, start or some noise. It is looked for in two steps. First, by a
sketch of each utterance (mean and deviation of the shape of its voice's spectrum), with which similar ones fall into
the same cells of random grids: the work grows with the number of utterances, not with that of pairs. Then each
utterance is laid over its few nearest and moved in time until they fit best: only a copy of the same recording goes
along in every syllable, a second recording of the same sentence by the same speaker does not.

References
----------
Datar, Immorlica, Indyk & Mirrokni 2004, Locality-sensitive hashing scheme based on p-stable distributions, SCG.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import recordings_of
from emodna.pipeline.features import feature_set_from
from emodna.pipeline.inspect.moments import Utterances, voice_weights
from emodna.pipeline.inspect.spectra import Spectra
from emodna.pipeline.store import FeatureStore

#: Correlation from which on two utterances are one recording. docs/STATISTICS.md has what copies and others reach.
SAME_RECORDING: Final = 0.94
#: Largest distance of the sketches of two utterances that are compared, as a share of the spread among utterances.
_MAX_DISTANCE: Final = 0.5
#: Nearest by sketch that an utterance is compared with.
_NEAREST: Final = 3
#: Grids, width of their cells (in spreads), and neighbours in a cell that are looked at.
_GRIDS: Final = 16
_CELL: Final = 1.0
_NEIGHBOURS: Final = 32
#: Pairs per utterance that are held until the nearest are chosen.
_HELD: Final = 16
#: dB and s: an utterance that varies less over time, or has less voice (each frame by its weight), has no course to be
#: recognised by.
_MIN_SPREAD: Final = 0.5
_MIN_VOICE: Final = 0.05
#: Places between two frames at which a fit is looked for.
_FINE: Final = 4
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Utterances that are one recording."""

    rows: tuple[int, ...]
    similarity: float
    """The smallest by which one of them was found, 1 of equal ones."""


def same_audio(store: FeatureStore) -> list[Group]:
    """Recordings whose files are equal byte for byte; the pieces of one recording are none."""
    table = store.columns(["id", "audio_sha256"])
    groups = _equal(table["audio_sha256"].combine_chunks().dictionary_encode().indices.to_numpy())
    if store.snapshot.segmentation is None:
        return [Group(tuple(rows), 1.0) for rows in groups]
    found = []
    for rows in groups:
        recordings = recordings_of(table["id"].take(rows)).to_pylist()
        first = dict(zip(reversed(recordings), reversed(rows), strict=True))
        if len(first) > 1:
            found.append(Group(tuple(sorted(first.values())), 1.0))
    return found


def same_features(store: FeatureStore, silent: NDArray[np.bool_]) -> list[Group]:
    """Utterances whose features are equal though their files are not; of silent ones that says nothing.

    Parameters
    ----------
    silent
        (n,) which utterances are digital silence.
    """
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
    """Recordings that occur again, altered.

    Parameters
    ----------
    found
        Figures of each utterance.
    equal
        Groups that are known already: one of each stands for all.
    """
    usable = found.spread >= _MIN_SPREAD
    for group in equal:
        usable[list(group.rows[1:])] = False
    rows = np.flatnonzero(usable)
    if len(rows) < 2:
        return []
    pairs = rows[_candidates(found.sketch[rows].astype(np.float64))]
    courses = _Courses(store, found)
    links = [(int(i), int(j), courses.similarity(int(i), int(j))) for i, j in pairs]
    return _groups([link for link in links if link[2] >= SAME_RECORDING])


def _equal(values: NDArray[np.integer]) -> list[list[int]]:
    """Rows of each value that occurs more than once, in order of the first."""
    _, value, counts = np.unique(values, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[value] > 1)
    order = rows[np.argsort(value[rows], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(value[order])) + 1) if len(order) else []
    return sorted(group.tolist() for group in groups)


def _candidates(sketch: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pairs (m, 2) of rows whose sketches are near each other: of each row its nearest few, as far as grids show them.

    Parameters
    ----------
    sketch
        (n, d)
    """
    count, size = sketch.shape
    scaled = ((sketch - sketch.mean(axis=0)) / np.maximum(sketch.std(axis=0), 1e-6)).astype(np.float32)
    random = np.random.default_rng(_SEED)
    # The more utterances, the finer the grids: a cell holds a few, however many there are.
    axes = max(2, round(np.log2(count) / 2))
    best = np.empty((0, 2), np.int64)
    near = np.empty(0, np.float32)
    for _ in range(_GRIDS):
        directions = random.standard_normal((size, axes + 1)) / np.sqrt(size)
        places = scaled @ directions.astype(np.float32) / _CELL + random.random(axes + 1, np.float32)
        cells = np.floor(places[:, :axes]).astype(np.int64)
        cell = np.add.reduce(cells * random.integers(1, 2**62, axes), axis=1)  # a hash; chance only adds neighbours
        order = np.lexsort((places[:, axes], cell))
        for pairs, distance in _neighbours(scaled, order, cell):
            best, near = np.vstack([best, pairs]), np.concatenate([near, distance])
            if len(best) > _HELD * count:
                best, near = _nearest(best, near)
        best, near = _nearest(best, near)
    return np.unique(np.sort(best, axis=1), axis=0)


def _neighbours(
    scaled: NDArray[np.float32], order: NDArray[np.int64], cell: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Pairs, both ways, of rows that lie near each other in the order of a cell, and near enough by their distance."""
    for step in range(1, _NEIGHBOURS + 1):
        one, other = order[:-step], order[step:]
        together = cell[one] == cell[other]
        if not together.any():
            return
        one, other = one[together], other[together]
        distance = np.sqrt(np.square(scaled[one] - scaled[other]).mean(axis=1))
        close = distance < _MAX_DISTANCE
        pairs = np.stack([one[close], other[close]], axis=1)
        yield np.vstack([pairs, pairs[:, ::-1]]), np.tile(distance[close], 2)


def _nearest(pairs: NDArray[np.int64], distance: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Of some pairs, which may occur twice, those of each first row with its nearest few."""
    order = np.lexsort((pairs[:, 1], distance, pairs[:, 0]))
    pairs, distance = pairs[order], distance[order]
    # Twins have the same distance, so they stand together.
    once = np.ones(len(pairs), bool)
    once[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    pairs, distance = pairs[once], distance[once]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 0], pairs[:, 0])
    return pairs[rank < _NEAREST], distance[rank < _NEAREST]


class _Courses:
    """Compares how the voice of two utterances goes."""

    def __init__(self, store: FeatureStore, found: Utterances) -> None:
        self._store = store
        self._spectra = Spectra(feature_set_from(store.snapshot.parameters))
        deviations = found.sketch[:, found.sketch.shape[1] // 2 :].astype(np.float64)
        self._scale = np.maximum(np.sqrt(np.mean(deviations**2, axis=0)), 1e-6)

    def similarity(self, one: int, other: int) -> float:
        """Largest correlation of c1 to c12 of two rows over all moves in time, those between two frames included."""
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
        """(frames, 12) of the voice about its mean; 0 where there is none."""
        rows = slice(row, row + 1)
        frames = self._spectra(self._store[row], self._store.frames[rows], self._store.peak_db[rows])
        weights = voice_weights(frames)[:, None]
        if weights.sum() < _MIN_VOICE * self._spectra.frame_rate:
            return np.zeros((1, len(self._scale)))
        shape = frames.voice[:, 1:]
        course: NDArray[np.float64] = (shape - (weights * shape).sum(axis=0) / weights.sum()) * weights / self._scale
        return course


def _groups(links: Sequence[tuple[int, int, float]]) -> list[Group]:
    """Rows that hang together by links (row, row, similarity)."""
    import scipy.sparse
    import scipy.sparse.csgraph

    if not links:
        return []
    rows, ends = np.unique([link[:2] for link in links], return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = scipy.sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(rows), len(rows)))
    count, member = scipy.sparse.csgraph.connected_components(graph, directed=False)
    weakest = np.ones(count)
    np.minimum.at(weakest, member[ends[:, 0]], [link[2] for link in links])
    order = np.split(rows[np.argsort(member, kind="stable")], np.cumsum(np.bincount(member))[:-1])
    groups = [Group(tuple(each.tolist()), float(low)) for each, low in zip(order, weakest, strict=True)]
    return sorted(groups, key=lambda group: -group.similarity)
