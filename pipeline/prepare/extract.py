"""Extract the features of the utterances in one recording, independently of other recordings."""

import errno
import hashlib
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.audio.decode import Recording, decode, limit_bandwidth, resample, time_to_sample
from emodna.pipeline.audio.ffmpeg import read_ffmpeg_version
from emodna.pipeline.audio.provenance import AudioProvenance
from emodna.pipeline.audio.quality import measure_quality
from emodna.pipeline.audio.segment import Segmenter, make_segment_id
from emodna.pipeline.errors import (
    RECORDING_ERRORS,
    AudioError,
    EmodnaError,
    explain_rejection,
    is_read_error,
    is_system_error,
)
from emodna.pipeline.features import FeatureSet, ImportedSet, find_packages
from emodna.pipeline.features.base import Parameter, measure_peak_db
from emodna.pipeline.files import name_in_errors
from emodna.pipeline.spans import WHOLE, Span
from emodna.pipeline.store.shards import StoredFeatures, compute_feature_crc

#: Age in ns below which a file may change again without a new modification time.
_RACY_NS: Final = 2_000_000_000
#: Largest size in bytes of a file that is hashed and decoded from memory, which is faster than from the disk.
_MAX_IN_MEMORY: Final = 2**26
#: Hz: lowest limit of a band that still holds speech.
MIN_BANDWIDTH: Final = 500
#: Packages whose versions affect the features.
_FEATURE_PACKAGES: Final = ("emodna", "numpy", "soundfile", "soxr", "torch")
#: Packages whose versions affect the segmentation of recordings.
_SEGMENTATION_PACKAGES: Final = ("scipy",)
#: Other packages that store.json records: writers of its files, and the reference for the features.
_OTHER_PACKAGES: Final = ("librosa", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class UtteranceInfo:
    """Properties of the audio of one utterance, and the location of its features."""

    id: str
    sample_rate: int
    channels: int
    duration: float
    frames: int
    peak_db: float
    audio_sha256: str
    feature_crc: int
    start: float | None = None
    """Start in s of a segment that the corpus gives; None for other utterances."""
    end: float | None = None
    """Its end in s, as the corpus gives it; None: the end of the recording."""
    peak: float | None = None
    """Like the next three, a field of `AudioQuality`; None if it was extracted before these were measured."""
    level_db: float | None = None
    clipped: float | None = None
    bandwidth: float | None = None
    offset: int = 0
    """First frame in the shard."""
    file: str = ""
    """Name of the shard; empty before the features are written."""


class AudioState(NamedTuple):
    """Size, modification time and hash of an audio file. The same size and time mean the same hash."""

    size: int
    mtime_ns: int
    audio_sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to examine."""

    id: str
    """Id of its utterance, or prefix of the ids of the segments that a rule finds."""
    path: str
    copies: tuple[str, ...] = ()
    """Paths of further copies, one of which is used if those before it are unusable."""
    given: tuple[tuple[str, Span], ...] = ()
    """Id and span of each segment that the corpus gives; empty if it gives whole recordings."""
    known: tuple[UtteranceInfo, ...] = ()
    """Utterances from an earlier preparation; valid if the hash of the audio is unchanged."""
    embeddings: tuple[tuple[str, NDArray[np.float32]], ...] = field(default=(), compare=False)
    """Id and imported features (frames, dim) of its utterances."""


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """Result of examining one recording: new features, reused utterances, or a rejection."""

    job: Job
    """The job, with the path of the copy that was used."""
    utterances: tuple[UtteranceInfo, ...] = ()
    features: tuple[StoredFeatures, ...] = ()
    """Features [frames, dim] of the first utterances, which are new, as stored. The other utterances are reused."""
    rejection: str | None = None
    """Reason for rejecting the recording."""
    segment_rejections: tuple[str, ...] = ()
    """Reason for rejecting each unusable one of the given segments."""
    remarks: tuple[str, ...] = ()
    """Parts of the file that were not decoded, one clause each."""
    read_error: str | None = None
    """Reason why the existing file cannot be read. Its earlier utterances stay in the store."""
    state: AudioState | None = None
    """State of the file when it was hashed; None if it was not opened or has just changed."""
    unusable_copies: tuple[tuple[str, str], ...] = ()
    """Path and reason of other copies that were examined; they came before the copy that was used."""

    @property
    def is_usable(self) -> bool:
        """True if the file was read."""
        return bool(self.utterances) and self.read_error is None

    @property
    def rejections(self) -> tuple[tuple[str, str], ...]:
        """Path and reason of the rejected recording with its copies, or of rejected segments of it."""
        if self.rejection is None:
            return tuple((self.job.path, reason) for reason in self.segment_rejections)
        return ((self.job.path, self.rejection), *self.unusable_copies)


@dataclass(frozen=True, slots=True)
class ExtractionConfig:
    """Configuration of the extraction of features from recordings.

    Raises `EmodnaError`: the bandwidth is not a whole number of Hz, too low, or not below half the features' rate.
    """

    features: FeatureSet
    max_seconds: float = 3600.0
    """Length in s above which recordings are rejected."""
    segmenter: Segmenter | None = None
    """Rule that cuts recordings into utterances; None: each recording or given segment is one utterance."""
    channel: int = 0
    """Channel of the recordings to use, from 0."""
    bandwidth: float | None = None
    """Frequency in Hz above which the audio is removed; None: keep all."""
    ffmpeg: bool = False
    """True to decode formats that libsndfile cannot read by ffmpeg."""
    has_given_segments: bool = False
    """True if the corpus gives segments of its recordings, instead of whole recordings."""
    needs_quality: bool = False
    """True to extract utterances again whose quality an earlier version did not measure."""

    def __post_init__(self) -> None:
        """Check the bandwidth, and that ffmpeg runs."""
        limit = (self.features.sample_rate - 1) // 2
        if self.bandwidth is not None and self.bandwidth not in range(MIN_BANDWIDTH, limit + 1):
            problem = f"must be a whole number of Hz from {MIN_BANDWIDTH} to {limit}"
            remedy = f"these features contain nothing from {self.features.sample_rate / 2:g} Hz on"
            raise EmodnaError(problem, field="bandwidth", value=f"{self.bandwidth:g}", remedy=remedy)
        if self.ffmpeg:
            read_ffmpeg_version()

    @property
    def provenance(self) -> AudioProvenance:
        """The part of the audio that the features come from."""
        return AudioProvenance(self.channel, self.bandwidth)

    @property
    def store_parameters(self) -> dict[str, Parameter]:
        """Parameters of the features and provenance of the audio, as a store records them."""
        features = self.features.parameters()
        # The order of the attributes affects the bytes of a shard.
        first = {name: features[name] for name in ("features", "sample_rate")}
        return {**first, **self.provenance.parameters, **features}

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Parameters that affect the content of a shard."""
        return {**self.store_parameters, **(self.segmentation or {})}

    @property
    def segmentation(self) -> dict[str, str | float] | None:
        """Parameters of the segmentation in the store. Segments with other parameters are not reused."""
        if self.has_given_segments:
            return {"segment": "table", "max_seconds": self.max_seconds}
        return None if self.segmenter is None else {**self.segmenter.parameters(), "max_seconds": self.max_seconds}

    def get_versions(self) -> dict[str, str]:
        """Return the versions that affect the features. Machines with equal versions can work on one store."""
        segmentation = _SEGMENTATION_PACKAGES if self.segmenter else ()
        versions = read_feature_versions(ffmpeg=self.ffmpeg) | {name: read_versions()[name] for name in segmentation}
        return versions | read_package_versions(find_packages(self.features))

    def read_all_versions(self) -> Mapping[str, str]:
        """Return the versions that store.json records: libraries, machine and, if used, ffmpeg."""
        versions = {**read_versions(), **read_package_versions(find_packages(self.features))}
        return versions | ({"ffmpeg": read_ffmpeg_version()} if self.ffmpeg else {})


def read_feature_versions(*, ffmpeg: bool) -> dict[str, str]:
    """Return the versions of libraries, machine and, if used, ffmpeg that affect the features."""
    names = (*_FEATURE_PACKAGES, "libsndfile", "libsoxr", "machine")
    return {name: read_versions()[name] for name in names} | ({"ffmpeg": read_ffmpeg_version()} if ffmpeg else {})


def read_package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of these packages that are installed."""
    versions = {}
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@cache
def read_versions() -> Mapping[str, str]:
    """Return the versions of libraries and machine."""
    import soundfile
    import soxr

    packages = (*_FEATURE_PACKAGES, *_SEGMENTATION_PACKAGES, *_OTHER_PACKAGES)
    return {name: importlib.metadata.version(name) for name in packages} | {
        # The packages bundle these, or use those of the system.
        "libsndfile": soundfile.__libsndfile_version__,
        "libsoxr": soxr.__libsoxr_version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def examine_all(jobs: Sequence[Job], tree: Tree, extraction: ExtractionConfig) -> list[ExtractionResult]:
    """Examine the recordings of a batch one by one."""
    return [examine(job, tree, extraction) for job in jobs]


def examine(job: Job, tree: Tree, extraction: ExtractionConfig) -> ExtractionResult:
    """Hash one recording and extract its features, unless its earlier utterances are reusable.

    The first usable copy of the recording counts. A bad file gives a rejection, not an error. Raises an OSError that
    names the file if the system fails, for example without memory, file descriptors or network.
    """
    first = _examine_copy(job, tree, extraction)
    results = [first]
    for path in job.copies:
        if results[-1].is_usable:
            break
        results.append(_examine_copy(replace(job, path=path, copies=()), tree, extraction))
    best = results[-1] if results[-1].is_usable else first
    unusable = ((each.job.path, each.rejection or each.read_error or "") for each in results if each is not best)
    return replace(best, unusable_copies=tuple(unusable))


def _examine_copy(job: Job, tree: Tree, extraction: ExtractionConfig) -> ExtractionResult:
    try:
        with name_in_errors(tree.root / job.path):
            return _examine(job, tree, extraction)
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(tree.root / job.path)) from error
    except RECORDING_ERRORS as error:
        if is_system_error(error):
            raise
        if is_read_error(error) and _is_reusable(job.known, extraction):
            return ExtractionResult(job, job.known, read_error=explain_rejection(error))
        return ExtractionResult(job, rejection=explain_rejection(error))


def _examine(job: Job, tree: Tree, extraction: ExtractionConfig) -> ExtractionResult:
    if isinstance(extraction.features, ImportedSet) and not job.embeddings:
        raise _make_absent_error(job.id)  # before decoding
    now, stamp = time.time_ns(), tree.read_stamp(job.path)
    with tree.open(job.path) as opened:
        stream = BytesIO(opened.read()) if stamp is not None and stamp.size <= _MAX_IN_MEMORY else opened
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        state = AudioState(*stamp, sha256) if stamp is not None and stamp.mtime_ns < now - _RACY_NS else None
        is_known = _is_reusable(job.known, extraction) and all(each.audio_sha256 == sha256 for each in job.known)
        known = job.known if is_known else ()
        if extraction.needs_quality:
            known = tuple(each for each in known if each.peak is not None)
        if known and len(known) == (len(job.given) or len(job.known)):
            return ExtractionResult(job, known, state=state)
        recording = decode(
            stream,
            channel=extraction.channel,
            max_seconds=extraction.max_seconds,
            name=job.path,
            ffmpeg=extraction.ffmpeg,
        )
    utterances, features, rejections = [], [], []
    limited, limited_rate = limit_bandwidth(recording.samples, recording.sample_rate, extraction.bandwidth)
    samples = resample(limited, limited_rate, extraction.features.sample_rate)
    reused = {each.id for each in known}
    for id, span in _list_spans(job, recording, extraction):
        if id in reused:
            continue
        try:
            info, array = _extract(id, span, recording, samples, sha256, extraction, dict(job.embeddings))
        except AudioError as error:
            if not job.given:
                raise
            rejections.append(f"{span}: {error}")
        else:
            utterances.append(info)
            features.append(array)
    return ExtractionResult(
        job,
        (*utterances, *known),
        tuple(features),
        segment_rejections=tuple(rejections),
        remarks=recording.remarks,
        state=state,
    )


def _take_embeddings(
    id: str, embeddings: Mapping[str, NDArray[np.float32]], samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    """Return the imported features (frames, dim) of an utterance, and the peak in dB of its (n,) samples."""
    if id not in embeddings:
        raise _make_absent_error(id)
    if not len(samples):
        raise AudioError("too short: no samples")
    return embeddings[id], measure_peak_db(samples)


def _make_absent_error(id: str) -> AudioError:
    return AudioError(f"no embeddings with the id {id!r}")


def _is_reusable(known: Sequence[UtteranceInfo], extraction: ExtractionConfig) -> bool:
    """Return True if the same audio would give these utterances again."""
    return bool(known) and all(each.duration <= extraction.max_seconds for each in known)


def _list_spans(job: Job, recording: Recording, extraction: ExtractionConfig) -> Sequence[tuple[str, Span]]:
    """Return id and span of each utterance in a recording."""
    if extraction.segmenter is None:
        return job.given or [(job.id, WHOLE)]
    # At the original sample rate, so that all feature sets have the same segments.
    found = extraction.segmenter.find_segments(recording.samples, recording.sample_rate)
    return [(make_segment_id(job.id, start), Span(start, stop)) for start, stop in found]


def _extract(
    id: str,
    span: Span,
    recording: Recording,
    samples: NDArray[np.float32],
    sha256: str,
    extraction: ExtractionConfig,
    embeddings: Mapping[str, NDArray[np.float32]],
) -> tuple[UtteranceInfo, StoredFeatures]:
    """Return info and features, as stored, of one utterance.

    `samples` (n,) are those of the recording, at the features' rate.
    """
    start, end = span.fit(recording.duration)
    # Resampling may round the length up.
    is_last = extraction.segmenter is None and end == recording.duration
    segment, native = (
        signal[time_to_sample(start, hertz) : None if is_last else time_to_sample(end, hertz)]
        for signal, hertz in ((samples, extraction.features.sample_rate), (recording.samples, recording.sample_rate))
    )
    if isinstance(extraction.features, ImportedSet):
        extracted, peak_db = _take_embeddings(id, embeddings, segment)
    else:
        extracted, peak_db = extraction.features.extract(segment)
    features: StoredFeatures = extracted.astype(extraction.features.storage, copy=False)
    quality = measure_quality(native, recording.sample_rate)
    info = UtteranceInfo(
        id=id,
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        duration=end - start,
        frames=len(features),
        peak_db=peak_db,
        audio_sha256=sha256,
        feature_crc=compute_feature_crc(features),
        start=span.start if extraction.has_given_segments else None,
        end=span.end if extraction.has_given_segments else None,
        peak=quality.peak,
        level_db=quality.level_db,
        clipped=quality.clipped,
        bandwidth=min(quality.bandwidth, extraction.bandwidth or math.inf),
    )
    return info, features
