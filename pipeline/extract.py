"""From one recording to its features and facts. Each utterance is computed alone: nothing else can change its bytes."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.audio import decode, resample
from emodna.pipeline.errors import AudioError
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.store import feature_crc

#: A file that changed this short before it was hashed may change again within the same tick of its clock.
_RACY_NS: Final = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What the audio of an utterance gave, and where its features lie."""

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
    """One utterance whose audio has to be looked at."""

    id: str
    path: str
    known: Facts | None
    """Of an earlier run; they stand if the audio's hash does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: features, earlier facts that still stand, or a rejection."""

    job: Job
    facts: Facts | None = None
    features: NDArray[np.float32] | None = None
    """[frames, dim], until they are written; None where the earlier facts stand."""
    extracted: bool = False
    rejection: str | None = None
    state: AudioState | None = None
    """Of the file when it was hashed; None if it was not opened, or changed so recently that it may have again."""
    looked_at: bool = False
    """Whether the audio was opened, or opening it failed."""


def examine_all(jobs: Sequence[Job], root: Path, features: FeatureSet, max_seconds: float) -> list[Outcome]:
    """Examine each of some jobs."""
    return [examine(job, root, features, max_seconds) for job in jobs]


def examine(job: Job, root: Path, features: FeatureSet, max_seconds: float) -> Outcome:
    """Hash one recording and, unless its earlier facts stand, extract its features. Never raises for a bad file."""
    try:
        with (root / job.path).open("rb") as stream:
            now, status = time.time_ns(), os.fstat(stream.fileno())
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            settled = status.st_mtime_ns < now - _RACY_NS
            state = AudioState(status.st_size, status.st_mtime_ns, sha256) if settled else None
            if job.known is not None and job.known.audio_sha256 == sha256 and job.known.duration <= max_seconds:
                return Outcome(job, job.known, state=state, looked_at=True)
            recording = decode(stream, channel=features.channel, max_seconds=max_seconds)
        samples = resample(recording.samples, recording.sample_rate, features.sample_rate)
        array, peak_db = features.extract(samples)
    except AudioError as error:
        return Outcome(job, rejection=str(error), looked_at=True)
    except OSError as error:
        return Outcome(job, rejection=f"cannot be read: {error.strerror or error}", looked_at=True)
    except ValueError as error:  # a path that no file can have
        return Outcome(job, rejection=f"cannot be read: {error}", looked_at=True)
    facts = Facts(
        id=job.id,
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        duration=recording.duration,
        frames=len(array),
        peak_db=peak_db,
        offset=0,
        audio_sha256=sha256,
        feature_crc=feature_crc(array),
        file="",
    )
    return Outcome(job, facts, array, extracted=True, state=state, looked_at=True)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Hold BLAS, FFT and OpenMP to one thread: the work is parallel over utterances, and the bytes must not vary."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
