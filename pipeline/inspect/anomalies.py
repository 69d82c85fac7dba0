"""Find anomalies in the features of a store (silence, missing bands, outliers) and in its audio (clipping, offset)."""

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
from emodna.pipeline.audio.quality import measure_quality
from emodna.pipeline.errors import RECORDING_ERRORS, CorpusError, Remedy, explain_rejection
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.inspect.spectra import BAND_LIMITS, CUTOFF_RATIO
from emodna.pipeline.inspect.survey import UtteranceStatistics
from emodna.pipeline.store import FeatureStore

#: Least robust z-score of an outlier: one in five hundred million for a normal distribution.
OUTLIER_SCORE: Final = 6.0
#: Least deviations of log duration (5 %), peak (dB) and coefficients: nearly equal values must not become outliers.
_MIN_DEVIATIONS: Final = (0.05, 1.0, 1.0)
#: Least deviation of the logarithm of a distance.
_MIN_DISTANCE: Final = 0.1
#: dB: least deviation of the level of a voice over time.
_FLAT_DB: Final = 0.5
#: dB above the floor below which a band counts as empty.
_EMPTY_BAND_DB: Final = 1.0
#: Least distance in dB from floor to peak: a higher floor may hide high frequencies.
_MIN_HEADROOM: Final = 70.0
#: Ratio of a measured bandwidth to a band limit that it may reach: the width of a filter's slope.
_LIMIT_TOLERANCE: Final = 1.03
#: Least ratio of a file's Nyquist frequency to a band limit that is reported.
_MIN_RATE_RATIO: Final = 1.2
#: Largest share of the store that a rare sample rate or number of channels has.
_MAX_RARE_SHARE: Final = 0.1
#: Least mean, relative to full scale, that counts as an offset (-46 dB).
MIN_OFFSET: Final = 0.005
#: s: least digital silence at an end that is reported.
MIN_ZEROS: Final = 0.1


def is_silent(store: FeatureStore) -> NDArray[np.bool_]:
    """Return True (n,) for utterances whose samples are all zero."""
    return store.peak_db <= SILENCE_DB


def is_flat(store: FeatureStore, utterances: UtteranceStatistics) -> NDArray[np.bool_]:
    """Return True (n,) for utterances of constant level that are not silent: a tone, a hum, steady noise.

    False for all utterances whose features have no spectrum.
    """
    if utterances.spectrum is None:
        return np.zeros(len(store), bool)
    return (utterances.spectrum.spread < _FLAT_DB) & ~is_silent(store) & (store.frames > 1)


def find_band_limits(store: FeatureStore, utterances: UtteranceStatistics, features: FeatureSet) -> NDArray[np.float64]:
    """Return the lowest limit (n,) in Hz above which a file is empty despite a higher sample rate; NaN if none.

    Uses the bandwidth of the audio, or the spectra of utterances for which it was not measured. The bandwidth of the
    store is not a limit of its files.
    """
    spectrum = utterances.spectrum
    columns = store.columns(["sample_rate", "bandwidth"])
    rates, bandwidths = columns["sample_rate"].to_numpy(), columns["bandwidth"].to_numpy()
    unmeasured = np.isnan(bandwidths) & (spectrum is not None and spectrum.headroom >= _MIN_HEADROOM)
    varied = ~is_flat(store, utterances)
    limits = np.full(len(store), np.nan)
    for number, limit in reversed(list(enumerate(BAND_LIMITS))):
        if CUTOFF_RATIO * limit >= (store.snapshot.provenance.bandwidth or np.inf):
            continue
        is_empty = (bandwidths > 0) & (bandwidths <= _LIMIT_TOLERANCE * limit)
        if spectrum is not None and CUTOFF_RATIO * limit < features.sample_rate / 2:
            is_empty |= unmeasured & (spectrum.beyond[:, number] < _EMPTY_BAND_DB)
        limits[is_empty & varied & (rates / 2 >= _MIN_RATE_RATIO * limit)] = limit
    return limits


def find_rare_values(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the rows whose value is rare in the store."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[index] <= _MAX_RARE_SHARE * len(values))


def find_outliers(store: FeatureStore, utterances: UtteranceStatistics) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each outlier's row and its most extreme value, the most extreme row first.

    Compares log duration, peak and mean c0 to c12 by robust z-scores: the distance from the median, divided by 1.4826
    times the median absolute deviation, which equals the standard deviation of a normal distribution. Skips silence.

    Of features without a spectrum, which may have hundreds of values, it compares the logarithm of one distance: the
    root mean square of the z-scores of all means.
    """
    duration = store.columns(["duration"])["duration"].to_numpy()
    audible = ~is_silent(store)
    if not audible.any():
        return
    has_spectrum = utterances.spectrum is not None
    means = utterances.means if has_spectrum else _measure_distances(utterances.means, audible)[:, None]
    names = [f"c{number}" for number in range(means.shape[1])] if has_spectrum else ["distance"]
    least = [_MIN_DEVIATIONS[2] if has_spectrum else _MIN_DISTANCE] * means.shape[1]
    names = ["duration", "peak_db", *names]
    values = np.column_stack([duration, store.peak_db, means]).astype(np.float64)
    compared = values.copy()
    compared[:, 0] = np.log(np.maximum(duration, 1e-3))
    if not has_spectrum:
        compared[:, 2] = np.log(np.maximum(values[:, 2], 1e-3))
    scores = _score(compared, audible, np.array([*_MIN_DEVIATIONS[:2], *least]))
    scores[~audible] = 0.0
    columns = np.abs(scores).argmax(axis=1)
    largest = scores[np.arange(len(scores)), columns]
    for row in np.argsort(-np.abs(largest), kind="stable"):
        if abs(largest[row]) < OUTLIER_SCORE:
            return
        column = columns[row]
        yield int(row), {"figure": names[column], "value": float(values[row, column]), "z": float(largest[row])}


def _score(values: NDArray[np.float64], audible: NDArray[np.bool_], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return robust z-scores (n, d) of values (n, d); `least` (d,) are the least deviations."""
    distances = values - np.median(values[audible], axis=0)
    scores: NDArray[np.float64] = distances / np.maximum(1.4826 * np.median(np.abs(distances[audible]), axis=0), least)
    return scores


def _measure_distances(means: NDArray[np.float32], audible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the root mean square (n,) of the robust z-scores of means (n, d), without constant values."""
    varied = means[:, np.ptp(means[audible], axis=0) > 0].astype(np.float64)
    if not varied.shape[1]:
        return np.zeros(len(means), np.float32)
    deviations = varied[audible].std(axis=0)
    # A value that most utterances share has a median deviation of 0.
    distances: NDArray[np.float64] = np.sqrt(np.square(_score(varied, audible, 0.1 * deviations)).mean(axis=1))
    return distances.astype(np.float32)


@dataclass(frozen=True, slots=True)
class WaveformStatistics:
    """Measurements of the audio of one recording, or the reason why there are none."""

    row: int
    """Row of the recording's first utterance."""
    clipped: int = 0
    """Number of clipped samples."""
    offset: float = 0.0
    """Mean of the samples, relative to full scale."""
    zeros_before: float = 0.0
    """Digital silence at the beginning in s."""
    zeros_behind: float = 0.0
    """Digital silence at the end in s; 0 if the whole recording is silent."""
    problem: str | None = None
    """Reason why the audio could not be measured."""


def measure_waveforms(
    store: FeatureStore, root: Path | None, on_recording: Callable[[], None]
) -> Iterator[WaveformStatistics]:
    """Read and measure each recording of a store, ordered by path; call `on_recording` after each.

    `root` is that of the store by default (None). Raises `CorpusError` if the root does not exist or has none of them.
    """
    table = store.columns(["path", "audio_sha256"])
    paths, hashes = table["path"].to_pylist(), table["audio_sha256"].to_pylist()
    root = Path(store.snapshot.root) if root is None else root
    remedy = Remedy("set {root} to the current path of the audio")
    try:
        tree = open_tree(root, sorted({PurePosixPath(path).suffix.lower() for path in paths}))
    except CorpusError as error:
        raise CorpusError(error.problem, where=root, remedy=remedy) from error
    if all(tree.read_stamp(path) is None for path in set(paths)):
        raise CorpusError("contains no recording of this store", where=root, remedy=remedy)
    channel, ffmpeg = store.snapshot.provenance.channel, "ffmpeg" in store.snapshot.libraries
    for path, rows in groupby(sorted(range(len(paths)), key=paths.__getitem__), key=paths.__getitem__):
        row = next(rows)
        try:
            with tree.open(path) as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == hashes[row]:
                    recording = decode(stream, channel=channel, max_seconds=np.inf, name=path, ffmpeg=ffmpeg)
                    yield measure_waveform(row, recording.samples, recording.sample_rate)
                else:
                    yield WaveformStatistics(row, problem="changed since it was prepared")
        except RECORDING_ERRORS as error:
            yield WaveformStatistics(row, problem=explain_rejection(error))
        on_recording()


def measure_waveform(row: int, samples: NDArray[np.float32], sample_rate: int) -> WaveformStatistics:
    """Measure samples (n,) at a rate in Hz."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return WaveformStatistics(row, zeros_before=len(samples) / sample_rate)
    return WaveformStatistics(
        row,
        clipped=round(measure_quality(samples, sample_rate).clipped * len(samples)),
        offset=float(samples.mean(dtype=np.float64)),
        zeros_before=int(sounding[0]) / sample_rate,
        zeros_behind=(len(samples) - 1 - int(sounding[-1])) / sample_rate,
    )
