"""Decode one recording, choose a channel, resample."""

import functools
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emodna.pipeline.audio.containers import find_parts
from emodna.pipeline.audio.ffmpeg import FfmpegReader, ForeignFormat, make_format_error, recognise_format
from emodna.pipeline.audio.parts import FileBytes, Part, PartStream
from emodna.pipeline.errors import AudioError, format_count

#: Samples per decoded block, all channels together; readers at several rates keep dozens of blocks.
_BLOCK_SAMPLES: Final = 1 << 17
#: Longest recording in s that ffmpeg decodes, because a hostile file may never end.
_MAX_FOREIGN_SECONDS: Final = 48 * 3600.0
#: Longest recording of which ffmpeg's samples are kept, in samples; a longer one is decoded again.
_KEPT_SAMPLES: Final = 1 << 23
#: Smallest number of frames that means an unknown length in libsndfile, as in a streamed FLAC.
_NO_LENGTH: Final = 2**62


@dataclass(frozen=True, slots=True)
class Recording:
    """One decoded channel and the properties of its file."""

    samples: NDArray[np.float32]
    """(n,) in [-1, 1] for integer formats, at `sample_rate`."""
    sample_rate: int
    """Hz, as in the file."""
    channels: int
    remarks: tuple[str, ...] = ()
    """Parts of the file that were not decoded, one clause each."""

    @property
    def duration(self) -> float:
        """Length in s."""
        return len(self.samples) / self.sample_rate


def decode(
    stream: BinaryIO, *, channel: int = 0, max_seconds: float = 3600.0, name: str | None = None, ffmpeg: bool = False
) -> Recording:
    """Decode one channel (from 0) of any format that libsndfile reads from a seekable binary stream.

    `name` is the name of the file. Its suffix decides where the content alone does not. With `ffmpeg`, the program
    ffmpeg decodes further formats.

    Channels are never averaged: the mean of two distant microphones comb-filters the voice. Raises `AudioError`: empty,
    truncated or unreadable file, no such channel, samples that are not finite, or a recording longer than `max_seconds`
    (detected before decoding).
    """
    reader = RecordingReader(stream, channel=channel, max_seconds=max_seconds, name=name, ffmpeg=ffmpeg)
    return Recording(reader.read_all(), reader.sample_rate, reader.channels, tuple(reader.remarks))


def resample(samples: NDArray[np.float32], source: int, target: int) -> NDArray[np.float32]:
    """Resample (n,) samples to ceil(n * target / source), by soxr HQ like librosa. Rates in Hz."""
    if source == target:
        return samples
    length = -(-len(samples) * target // source)
    resampled: NDArray[np.float32] = soxr.resample(samples, source, target, quality="HQ")[:length]
    return resampled if len(resampled) == length else np.pad(resampled, (0, length - len(resampled)))


def limit_bandwidth(
    samples: NDArray[np.float32], sample_rate: int, bandwidth: float | None
) -> tuple[NDArray[np.float32], int]:
    """Remove the frequencies of (n,) samples above a `bandwidth` in Hz, as a lower sample rate does.

    Returns the samples and their rate of twice the bandwidth; or the given ones, if that is not lower.
    """
    if bandwidth is None or sample_rate <= 2 * bandwidth:
        return samples, sample_rate
    rate = round(2 * bandwidth)
    return resample(samples, sample_rate, rate), rate


class RecordingReader:
    """A recording that is decoded block by block in little memory, with the same samples as from `decode`.

    Takes the parameters of `decode` and raises the same `AudioError`: from the constructor for errors in the headers,
    during iteration for all others.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        channel: int = 0,
        max_seconds: float = math.inf,
        name: str | None = None,
        ffmpeg: bool = False,
    ) -> None:
        content = FileBytes(stream)
        parts, self.remarks = find_parts(content, PurePath(name or "").suffix.lower())
        """Parts of the file that are not decoded, and wrong lengths in headers, one clause each."""
        self._channel = channel
        first: _OpenPart | _ForeignRecording
        try:
            first = _OpenPart(content, parts[0], channel)
        except _UnreadableError:
            found = recognise_format(stream)
            if found is None or not (ffmpeg or found.only_ffmpeg):
                raise
            if not ffmpeg:
                raise make_format_error(found) from None
            first, parts = _ForeignRecording(stream, found, channel, max_seconds), []
            self.remarks.clear()
        self._first = first
        self.sample_rate: int = first.sample_rate
        """Hz, as in the file."""
        self.channels: int = first.channels
        _check_channel(channel, self.channels)
        self.length: int = first.length
        """Number of samples; iteration raises `AudioError` if there are fewer."""
        self._others = [part for part in parts[1:] if self._is_alike(content, part)]
        self._content = content
        if self.length > max_seconds * self.sample_rate:
            raise AudioError(f"too long: {self.length / self.sample_rate:.0f} s, at most {max_seconds:g} s")

    def _is_alike(self, content: FileBytes, part: Part) -> bool:
        """Add the length of a further part if its rate and channels are those of the first; add a remark otherwise."""
        place = f"{format_count(part.stop - part.start, 'byte')} from byte {part.start} on"
        try:
            opened = _OpenPart(content, part, self._channel)
        except AudioError as error:
            self.remarks.append(f"{place}: {error}")
            return False
        rate, channels = opened.sample_rate, opened.channels
        if (rate, channels) != (self.sample_rate, self.channels):
            other = f"{opened.length / rate:.2f} s at {rate} Hz in {format_count(channels, 'channel')}"
            self.remarks.append(f"{place}: {other}, unlike the audio before, not read")
            return False
        self.length += opened.length
        return True

    @property
    def duration(self) -> float:
        """Length in s."""
        return self.length / self.sample_rate

    def read_all(self) -> NDArray[np.float32]:
        """Decode all samples, (n,). Memory never holds the other channels as a whole."""
        try:
            samples = np.empty(self.length, np.float32)
        except (MemoryError, ValueError) as error:  # a header may declare any number of samples
            raise AudioError(f"not enough memory for the {self.length} samples that its header declares") from error
        decoded = 0
        for block in self:
            samples[decoded : decoded + len(block)] = block
            decoded += len(block)
        return samples

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks (n,); works once."""
        yield from self._first.decode()
        for part in self._others:
            yield from _OpenPart(self._content, part, self._channel).decode()


class _UnreadableError(AudioError):
    """A file that libsndfile cannot read."""


class _OpenPart:
    """One channel of a part of a file, with its decoder. Raises `AudioError` if libsndfile cannot read its header."""

    def __init__(self, file: FileBytes, part: Part, channel: int) -> None:
        self._channel = channel
        self._source = PartStream(file, part)
        with self._translate_errors():
            self._file = _SequentialSoundFile(self._source, **part.options)
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.length: int = self._file.frames if part.length is None else part.length
        if self.length >= _NO_LENGTH:
            raise AudioError("its header declares no length")
        if not part.is_known:
            _check_log(self._file.extra_info)

    def decode(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks (n,); raises `AudioError` if there are fewer than declared."""
        # libsndfile's own conversion from 16 bits to float32 gives the same values and takes three times as long.
        dtype = "int16" if self._file.subtype == "PCM_16" else "float32"
        left = self.length
        with self._file:
            while left:
                wanted = min(left, max(1, _BLOCK_SAMPLES // self._file.channels))
                with self._translate_errors():
                    block = self._file.read(wanted, dtype=dtype, always_2d=True)[:, self._channel]
                    samples = _to_float(block)
                left -= len(samples)
                yield samples
                if len(samples) < wanted:
                    break
        self._source.raise_error()
        if left:
            raise AudioError(f"truncated: {self.length - left} of {self.length} samples could be decoded")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:  # TypeError: a .raw name
            self._source.raise_error()
            raise _UnreadableError(f"not readable as audio: {getattr(error, 'error_string', '') or error}") from error


class _ForeignRecording:
    """One channel of a recording that ffmpeg decodes.

    Only decoding tells the length. A short recording keeps its samples; a longer one is decoded again.
    """

    def __init__(self, stream: BinaryIO, found: ForeignFormat, channel: int, max_seconds: float) -> None:
        self._open, self._channel = functools.partial(FfmpegReader, stream, found), channel
        reader = self._open()
        self.sample_rate, self.channels, self.length = reader.sample_rate, reader.channels, 0
        _check_channel(channel, self.channels)
        max_seconds = min(max_seconds, _MAX_FOREIGN_SECONDS)
        self._kept: list[NDArray[np.float32]] = []
        for block in reader:
            self.length += len(block)
            if self.length <= _KEPT_SAMPLES:
                self._kept.append(_to_float(block[:, channel]))
            if self.length > max_seconds * self.sample_rate:
                raise AudioError(f"too long: more than {max_seconds:g} s")

    def decode(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples in blocks (n,)."""
        if self.length <= _KEPT_SAMPLES:
            yield from self._kept
            return
        self._kept.clear()
        for block in self._open():
            yield _to_float(block[:, self._channel])


def _check_channel(channel: int, channels: int) -> None:
    if channel >= channels:
        found = "only channel 0" if channels == 1 else f"channels 0 to {channels - 1}"
        raise AudioError(f"no channel {channel}; the file has {found}")


def resample_blocks(blocks: Iterable[NDArray[np.float32]], source: int, target: int) -> Iterator[NDArray[np.float32]]:
    """Resample a signal in blocks (n,); the samples are the same as from `resample`."""
    if source == target:
        yield from blocks
        return
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    input_length = output_length = 0
    for block in blocks:
        resampled = stream.resample_chunk(block)
        input_length, output_length = input_length + len(block), output_length + len(resampled)
        yield resampled
    left = -(-input_length * target // source) - output_length
    rest = stream.resample_chunk(np.empty(0, np.float32), last=True)[:left]
    yield np.pad(rest, (0, left - len(rest)))


def time_to_sample(time: float, sample_rate: int) -> int:
    """Return the index of the sample at a time in s; tolerates rounding of the time."""
    return int(time * sample_rate + 1e-3)


class _SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file without seeking after each block, which would restart some decoders."""

    def seekable(self) -> bool:
        return False


def _to_float(samples: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert one channel to contiguous float32; 16-bit integers are scaled to [-1, 1)."""
    if samples.dtype == np.int16:
        return np.multiply(samples, np.float32(2**-15), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("samples that are not finite (NaN or infinity)")
    return np.ascontiguousarray(samples, np.float32)


def _check_log(log: str) -> None:
    """Raise an `AudioError` if libsndfile's log of a header tells that a file is truncated."""
    sizes = re.findall(r"(\d+) \(should be (\d+)\)", log)
    if "truncated" in log or any(int(declared) > int(held) for declared, held in sizes):
        raise AudioError("truncated: the file holds less than its header declares")
