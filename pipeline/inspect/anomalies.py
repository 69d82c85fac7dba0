"""Find what should be looked at: silent utterances, bands cut off, outliers; with the audio, clipping and offset."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.archives import open_tree
from emodna.pipeline.audio.decode import decode
from emodna.pipeline.errors import RECORDING_ERRORS, CorpusError, explain_rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.inspect.spectra import BAND_LIMITS, BEYOND
from emodna.pipeline.inspect.survey import Utterances
from emodna.pipeline.store import FeatureStore

#: Robust z-score from which on an utterance is an outlier. Of a normal distribution, one in five hundred million.
OUTLIER: Final = 6.0
#: Least that the usual distance from the median counts as, of log duration (5 %), peak (dB) and coefficients: where all
#: are alike, what differs by less is no outlier.
_LEAST_USUAL: Final = (0.05, 1.0, 1.0)
#: dB of level over time that no voice stays below.
_FLAT_DB: Final = 0.5
#: dB above the floor: less than this beyond a limit is nothing.
_NOTHING_DB: Final = 1.0
#: dB from floor to peak below which a recording is so quiet that high frequencies may fall below the floor.
_ENOUGH_HEADROOM: Final = 70.0
#: A limit says something only of a file whose sample rate promises so many times as much.
_PROMISED: Final = 1.2
#: Share of the store up to which a sample rate or a number of channels is an exception.
_EXCEPTION: Final = 0.1
#: Clipped is what stays at the file's extreme for so many samples: a smooth peak does so for one or two.
CLIPPED_RUN: Final = 3
#: Lowest extreme, relative to full scale, that a converter can have clipped at: audio may have been turned down since.
_LOWEST_CLIP: Final = 0.1
#: Mean, relative to full scale, from which on there is an offset (-46 dB).
OFFSET: Final = 0.005
#: s of samples that are exactly zero, from which on they are named.
ZEROS: Final = 0.1


def is_silent(store: FeatureStore) -> NDArray[np.bool_]:
    """Return True (n,) where all samples of an utterance are zero."""
    silent: NDArray[np.bool_] = store.peak_db <= SILENCE_DB
    return silent


def is_flat(store: FeatureStore, found: Utterances) -> NDArray[np.bool_]:
    """Return True (n,) where an utterance keeps one level and is not silent: a tone, a hum, steady noise."""
    flat: NDArray[np.bool_] = (found.spread < _FLAT_DB) & ~is_silent(store) & (store.frames > 1)
    return flat


def band_limits(store: FeatureStore, found: Utterances, features: FeatureSet) -> NDArray[np.float64]:
    """Return the lowest limit (n,) in Hz beyond which a file holds nothing that its rate has room for; else nan."""
    rates = store.columns(["sample_rate"])["sample_rate"].to_numpy()
    judged = (found.headroom >= _ENOUGH_HEADROOM) & ~is_flat(store, found)
    limits = np.full(len(store), np.nan)
    for limit, above in reversed(list(zip(BAND_LIMITS, found.beyond.T, strict=True))):
        if BEYOND * limit < features.sample_rate / 2:
            limits[judged & (above < _NOTHING_DB) & (rates / 2 >= _PROMISED * limit)] = limit
    return limits


def exceptions(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the rows whose value is so rare that it is an exception."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[index] <= _EXCEPTION * len(values))


def outliers(store: FeatureStore, found: Utterances) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows that are far out with the figure that is furthest out, the furthest first.

    Compared are the logarithm of the duration, the peak, and the mean of c0 to c12, each by its robust z-score: the
    distance from the median over 1.4826 times the median distance (of a normal distribution, the standard deviation).
    Silent utterances are left out.
    """
    duration = store.columns(["duration"])["duration"].to_numpy()
    names = ["duration", "peak_db", *(f"c{number}" for number in range(found.cepstra.shape[1]))]
    values = np.column_stack([duration, store.peak_db, found.cepstra]).astype(np.float64)
    compared = values.copy()
    compared[:, 0] = np.log(np.maximum(duration, 1e-3))
    heard = ~is_silent(store)
    if not heard.any():
        return
    median = np.median(compared[heard], axis=0)
    apart = np.abs(compared - median)
    least = [*_LEAST_USUAL[:2], *[_LEAST_USUAL[2]] * found.cepstra.shape[1]]
    scores = (compared - median) / np.maximum(1.4826 * np.median(apart[heard], axis=0), least)
    scores[~heard] = 0.0
    furthest = np.abs(scores).argmax(axis=1)
    largest = scores[np.arange(len(scores)), furthest]
    for row in np.argsort(-np.abs(largest), kind="stable"):
        if abs(largest[row]) < OUTLIER:
            return
        figure = furthest[row]
        yield int(row), {"figure": names[figure], "value": float(values[row, figure]), "z": float(largest[row])}


@dataclass(frozen=True, slots=True)
class Waveform:
    """Facts of the audio of one recording, or a problem."""

    row: int
    """Of the recording's first utterance."""
    clipped: int = 0
    """Samples in runs of at least `CLIPPED_RUN` at the file's own extreme."""
    offset: float = 0.0
    """Mean of the samples, relative to full scale."""
    zeros_before: float = 0.0
    """s of digital silence at the beginning."""
    zeros_behind: float = 0.0
    """s of digital silence at the end; 0 where all is silent."""
    problem: str | None = None
    """Reason why it could not be judged, if so."""


def waveforms(store: FeatureStore, root: Path | None, examined: Callable[[], None]) -> Iterator[Waveform]:
    """Read the audio of a store again, each recording once, in order of path; `examined` is called after each.

    A root of None is the one that the store records. Raises `CorpusError`: no such root.
    """
    table = store.columns(["path", "audio_sha256"])
    paths, hashes = (table[name].to_pylist() for name in ("path", "audio_sha256"))
    root = Path(store.snapshot.root) if root is None else root
    try:
        tree = open_tree(root, sorted({PurePosixPath(path).suffix.lower() for path in paths}))
    except CorpusError as error:
        raise CorpusError(f"--audio: {error} (give the one where the audio lies now by --root)") from error
    channel = int(store.snapshot.parameters["channel"])
    for path, rows in groupby(sorted(range(len(paths)), key=paths.__getitem__), key=paths.__getitem__):
        row = next(rows)
        try:
            with tree.open(path) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == hashes[row]:
                    recording = decode(stream, channel=channel, max_seconds=np.inf)
                    yield judge(row, recording.samples, recording.sample_rate)
                else:
                    yield Waveform(row, problem="not the audio that was prepared: changed since")
        except RECORDING_ERRORS as error:
            yield Waveform(row, problem=explain_rejection(error))
        examined()


def judge(row: int, samples: NDArray[np.float32], sample_rate: int) -> Waveform:
    """Judge samples (n,) at a rate in Hz."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return Waveform(row, zeros_before=len(samples) / sample_rate)
    return Waveform(
        row,
        clipped=_clipped(samples),
        offset=float(samples.mean(dtype=np.float64)),
        zeros_before=int(sounding[0]) / sample_rate,
        zeros_behind=(len(samples) - 1 - int(sounding[-1])) / sample_rate,
    )


def _clipped(samples: NDArray[np.float32]) -> int:
    """Count the samples in long enough runs at the highest or the lowest value that there is."""
    count = 0
    for extreme in (samples.max(), samples.min()):
        if abs(extreme) < _LOWEST_CLIP:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], samples == extreme, [False]])))
        runs = edges[1::2] - edges[::2]
        count += int(runs[runs >= CLIPPED_RUN].sum())
    return count
