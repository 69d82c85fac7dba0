"""From one recording to the features and facts of its utterances.

Usually a recording is an utterance. Each is computed alone: nothing else can change its bytes.
"""

import errno
import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.audio.decode import Recording, decode, resample, time_to_sample
from emodna.pipeline.audio.segment import Segmenter, make_segment_id
from emodna.pipeline.errors import RECORDING_ERRORS, explain_rejection, is_read_error, is_system_error
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.files import naming
from emodna.pipeline.store.shards import compute_feature_crc

#: A file that changed this short before it was hashed may change again within the same tick of its clock.
_RACY_NS: Final = 2_000_000_000
#: Files up to this size are read at once, and hashed and decoded from memory: from the disk, both take longer.
_AT_ONCE: Final = 2**26
#: Packages whose versions shape the features.
_SHAPING_FEATURES: Final = ("emodna", "numpy", "soundfile", "soxr", "torch")
#: Packages whose versions shape the places where recordings are cut, as well.
_SHAPING_CUTS: Final = ("scipy",)
#: Packages that store.json names besides: they write the files, or stand for the reference that the features follow.
_RECORDED: Final = ("librosa", "h5py", "pyarrow")


@dataclass(frozen=True, slots=True)
class UtteranceInfo:
    """Properties of an utterance's audio, and the place of its features."""

    id: str
    sample_rate: int
    channels: int
    duration: float
    frames: int
    peak_db: float
    offset: int
    """First frame in the shard."""
    audio_sha256: str
    feature_crc: int
    file: str
    """Name of the shard; empty while the features are not written."""


class AudioState(NamedTuple):
    """Size and time by which a file is known to be the one that was hashed."""

    size: int
    mtime_ns: int
    audio_sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """One recording whose audio has to be looked at."""

    id: str
    """Of its utterance, or what the ids of its pieces begin with."""
    path: str
    known: tuple[UtteranceInfo, ...] = ()
    """Of an earlier run; they stand if the audio's hash does."""


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """Result of a job: features, earlier facts that still stand, or a rejection."""

    job: Job
    facts: tuple[UtteranceInfo, ...] = ()
    """Of each utterance."""
    features: tuple[NDArray[np.float32], ...] = ()
    """[frames, dim] of each utterance, until they are written; empty where the earlier facts stand."""
    extracted: bool = False
    rejection: str | None = None
    unread: str | None = None
    """Why the audio could not be read, though it is there: what an earlier run knew stands until it can."""
    state: AudioState | None = None
    """Of the file when it was hashed; None if it was not opened, or changed so recently that it may have again."""


@dataclass(frozen=True, slots=True)
class ExtractionConfig:
    """Rules by which recordings become features."""

    features: FeatureSet
    max_seconds: float = 3600.0
    """Longer recordings are rejected."""
    segmenter: Segmenter | None = None
    """Cuts recordings into utterances; None takes each as one."""

    @property
    def parameters(self) -> dict[str, str | int | float | bool | None]:
        """Everything that shapes what a shard holds."""
        return {**self.features.parameters(), **(self.segmentation or {})}

    @property
    def segmentation(self) -> dict[str, str | float] | None:
        """Rule by which recordings are cut, as the store records it: facts of pieces cut otherwise are of no use."""
        return None if self.segmenter is None else {**self.segmenter.parameters(), "max_seconds": self.max_seconds}

    def versions(self) -> dict[str, str]:
        """Return the versions that shape the features: machines where they agree may work on one store."""
        everything = get_library_versions()
        names = (*_SHAPING_FEATURES, "libsndfile", "libsoxr", "machine", *(_SHAPING_CUTS if self.segmenter else ()))
        return {name: everything[name] for name in names}


@cache
def get_library_versions() -> Mapping[str, str]:
    """Return the versions that store.json records, of libraries and of the machine."""
    import soundfile
    import soxr

    packages = (*_SHAPING_FEATURES, *_SHAPING_CUTS, *_RECORDED)
    return {name: importlib.metadata.version(name) for name in packages} | {
        # The packages bring these along, or use those of the system.
        "libsndfile": soundfile.__libsndfile_version__,
        "libsoxr": soxr.__libsoxr_version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def examine_all(jobs: Sequence[Job], tree: Tree, extraction: ExtractionConfig) -> list[ExtractionResult]:
    """Examine each of some jobs."""
    return [examine(job, tree, extraction) for job in jobs]


def examine(job: Job, tree: Tree, extraction: ExtractionConfig) -> ExtractionResult:
    """Hash one recording and, unless its earlier facts stand, extract its features. Never raises for a bad file.

    Raises OSError, which names the file, if the machine fails at the moment: no descriptor, no memory, no network.
    """
    try:
        with naming(tree.root / job.path):
            return _examine(job, tree, extraction)
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(tree.root / job.path)) from error
    except RECORDING_ERRORS as error:
        if is_system_error(error):
            raise
        if is_read_error(error) and _stands(job.known, extraction):
            return ExtractionResult(job, job.known, unread=explain_rejection(error))
        return ExtractionResult(job, rejection=explain_rejection(error))


def _examine(job: Job, tree: Tree, extraction: ExtractionConfig) -> ExtractionResult:
    now, stamp = time.time_ns(), tree.stamp(job.path)
    with tree.open(job.path) as opened:
        stream = BytesIO(opened.read()) if stamp is not None and stamp.size <= _AT_ONCE else opened
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        settled = stamp is not None and stamp.mtime_ns < now - _RACY_NS
        state = AudioState(*stamp, sha256) if stamp is not None and settled else None
        if _stands(job.known, extraction) and all(each.audio_sha256 == sha256 for each in job.known):
            return ExtractionResult(job, job.known, state=state)
        recording = decode(stream, channel=extraction.features.channel, max_seconds=extraction.max_seconds)
    facts, arrays = zip(*_extract(job.id, recording, sha256, extraction), strict=True)
    return ExtractionResult(job, facts, arrays, extracted=True, state=state)


def _stands(known: Sequence[UtteranceInfo], extraction: ExtractionConfig) -> bool:
    """Return True if facts of an earlier run are what this one would find in the same audio."""
    return bool(known) and all(each.duration <= extraction.max_seconds for each in known)


def _extract(
    recording_id: str, recording: Recording, sha256: str, extraction: ExtractionConfig
) -> Iterator[tuple[UtteranceInfo, NDArray[np.float32]]]:
    """Yield facts and features of a recording, or of each of its pieces."""
    rate = extraction.features.sample_rate
    samples = resample(recording.samples, recording.sample_rate, rate)
    pieces = [(recording_id, samples, recording.duration)]
    if extraction.segmenter is not None:
        # Found in what was recorded: the pieces are the same for all feature sets.
        cuts = extraction.segmenter.find_segments(recording.samples, recording.sample_rate)
        pieces = [
            (
                make_segment_id(recording_id, start),
                samples[time_to_sample(start, rate) : time_to_sample(stop, rate)],
                stop - start,
            )
            for start, stop in cuts
        ]
    for id, piece, duration in pieces:
        features, peak_db = extraction.features.extract(piece)
        facts = UtteranceInfo(
            id=id,
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            duration=duration,
            frames=len(features),
            peak_db=peak_db,
            offset=0,
            audio_sha256=sha256,
            feature_crc=compute_feature_crc(features),
            file="",
        )
        yield facts, features
