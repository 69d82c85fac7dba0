"""Decode one recording, choose a channel, resample."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emodna.pipeline.audio.containers import check_complete
from emodna.pipeline.errors import AudioError

#: Samples of all channels together that are decoded at a time.
_BLOCK_SAMPLES: Final = 1 << 20
#: From here on libsndfile's number of frames means that it knows none (a streamed FLAC).
_NO_LENGTH = 2**62


@dataclass(frozen=True, slots=True)
class Recording:
    """One decoded channel and what the file says of itself."""

    samples: NDArray[np.float32]
    """(n,) in [-1, 1] for integer formats, at `sample_rate`."""
    sample_rate: int
    """Hz, as in the file."""
    channels: int
    """Channels in the file, of which `samples` is one."""

    @property
    def duration(self) -> float:
        """Length in s."""
        return len(self.samples) / self.sample_rate


def decode(stream: BinaryIO, *, channel: int = 0, max_seconds: float = 3600.0) -> Recording:
    """Decode one channel, counted from 0, of anything that libsndfile reads from a seekable binary stream.

    The first channel, not the mean: two microphones that stand apart comb-filter the voice when averaged. Raises
    `AudioError`: empty, truncated or unreadable file, no such channel, samples that are not finite, or a recording of
    more than `max_seconds`, which is refused before it is decoded.
    """
    pieces = RecordingReader(stream, channel=channel, max_seconds=max_seconds)
    return Recording(pieces.joined(), pieces.sample_rate, pieces.channels)


def resample(samples: NDArray[np.float32], source: int, target: int) -> NDArray[np.float32]:
    """Resample (n,) samples by soxr HQ, as librosa does by default, to ceil(n * target / source). Rates are in Hz."""
    if source == target:
        return samples
    length = -(-len(samples) * target // source)
    resampled: NDArray[np.float32] = soxr.resample(samples, source, target, quality="HQ")[:length]
    return resampled if len(resampled) == length else np.pad(resampled, (0, length - len(resampled)))


class RecordingReader:
    """One channel of a recording, some of it at a time: of any length in little memory, and the samples of `decode`.

    It takes what `decode` takes, and raises `AudioError` as that does: for what the header tells from the constructor,
    for the rest while it is read.
    """

    def __init__(self, stream: BinaryIO, *, channel: int = 0, max_seconds: float = math.inf) -> None:
        check_complete(stream)
        stream.seek(0)
        self._source, self._channel = _Source(stream), channel
        with self._explaining():
            self._file = soundfile.SoundFile(self._source)
            self.sample_rate: int = self._file.samplerate
            """Hz, as in the file."""
            self.channels: int = self._file.channels
            """Channels in the file."""
            self.length: int = self._file.frames
            """Samples that the header declares; there are as many, or `AudioError` is raised."""
            if channel >= self.channels:
                raise AudioError(f"no channel {channel}: the file has {self.channels}")
            if self.length >= _NO_LENGTH:
                raise AudioError("its header declares no length")
            if self.length > max_seconds * self.sample_rate:
                raise AudioError(f"too long: {self.length / self.sample_rate:.0f} s, at most {max_seconds:g} s")

    @property
    def duration(self) -> float:
        """Length in s."""
        return self.length / self.sample_rate

    def joined(self) -> NDArray[np.float32]:
        """Decode all, (n,). Of eight channels, the others are the most: those are never there as a whole."""
        with self._explaining():
            chosen = np.empty(self.length, np.float32)
        decoded = 0
        for block in self:
            chosen[decoded : decoded + len(block)] = block
            decoded += len(block)
        return chosen

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Decode, once."""
        decoded, blocks = 0, self._blocks()
        while True:
            with self._explaining():
                block = next(blocks, None)
            if block is None:
                break
            decoded += len(block)
            yield block
        self._source.check()
        if decoded < self.length:
            raise AudioError(f"truncated: {decoded} of {self.length} samples could be decoded")

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        # libsndfile's own way from 16 bits to float32 takes three times as long, to the same values.
        dtype = "int16" if self._file.subtype == "PCM_16" else "float32"
        with self._file as file:
            if self.length * self.channels <= _BLOCK_SAMPLES or not file.seekable():
                # Told how many: soundfile does not know it of a file that it cannot seek in (GSM 6.10 in a WAV, say).
                yield _to_float(file.read(self.length, dtype=dtype, always_2d=True)[:, self._channel])
                return
        left = self.length
        self._source.seek(0)
        with _ReadOn(self._source) as file:
            while left:
                wanted = min(left, max(1, _BLOCK_SAMPLES // self.channels))
                block = file.read(wanted, dtype=dtype, always_2d=True)
                yield _to_float(block[:, self._channel])
                if len(block) < wanted:
                    break
                left -= len(block)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except MemoryError as error:  # for as many samples as a header may declare
            raise AudioError(f"not enough memory for the {self.length} samples that its header declares") from error
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:  # TypeError: a name in .raw
            self._source.check()
            raise AudioError(f"not readable as audio: {getattr(error, 'error_string', error)}") from error


def resample_blocks(blocks: Iterable[NDArray[np.float32]], source: int, target: int) -> Iterator[NDArray[np.float32]]:
    """Resample a signal that comes in blocks (n,): the samples of `resample`, some at a time."""
    if source == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    taken = given = 0
    for block in blocks:
        resampled = stream.resample_chunk(block)
        taken, given = taken + len(block), given + len(resampled)
        yield resampled
    left = -(-taken * target // source) - given
    rest = stream.resample_chunk(np.empty(0, np.float32), last=True)[:left]
    yield np.pad(rest, (0, left - len(rest)))


def time_to_sample(time: float, sample_rate: int) -> int:
    """Return the sample at a time in s, whatever the rounding of that time: a block may end between two samples."""
    return int(time * sample_rate + 1e-3)


class _Source:
    """A stream for libsndfile, out of whose callbacks no exception can come: it would be printed, and lost.

    libsndfile goes where a damaged header sends it, and learns from its place whether it got there. An error of reading
    waits until it is done.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._error: OSError | None = None
        self.read, self.tell = stream.read, stream.tell

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is, or nothing from an error on."""
        try:
            return 0 if self._error else self._stream.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            self._error = error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, or stay."""
        with suppress(ValueError, OSError, OverflowError):
            self._stream.seek(offset, whence)
        return self._stream.tell()

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self._error is not None:
            raise self._error


class _ReadOn(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that soundfile does not seek in after each block: there some decoders start anew."""

    def seekable(self) -> bool:
        """Tell soundfile not to."""
        return False


def _to_float(samples: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel as float32 without gaps, 16-bit integers scaled to [-1, 1)."""
    if samples.dtype == np.int16:
        return np.multiply(samples, np.float32(2**-15), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("samples that are not finite (NaN or infinity)")
    return np.ascontiguousarray(samples, np.float32)
