"""Decode one recording, choose a channel, resample."""

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emodna.pipeline.complete import check_complete
from emodna.pipeline.errors import AudioError

#: What a writer that cannot seek back (a pipe) puts where the length of the audio belongs.
_UNKNOWN_LENGTH = 0xFFFFFFFF
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
    """Decode one channel of anything that libsndfile reads.

    The first channel, not the mean: two microphones that stand apart comb-filter the voice when averaged.

    Parameters
    ----------
    stream
        A seekable binary stream.
    channel
        Which channel to take, from 0.
    max_seconds
        Longer recordings are refused before they are decoded.

    Raises
    ------
    AudioError
        Empty, truncated or unreadable file, no such channel, too long, or samples that are not finite.
    """
    _check_wav_complete(stream)
    check_complete(stream)
    stream.seek(0)
    source = _Source(stream)
    try:
        with soundfile.SoundFile(source) as file:
            rate, channels, declared = file.samplerate, file.channels, file.frames
            if channel >= channels:
                raise AudioError(f"no channel {channel}: the file has {channels}")
            if declared >= _NO_LENGTH:
                raise AudioError("its header declares no length")
            if declared > max_seconds * rate:
                raise AudioError(f"too long: {declared / rate:.0f} s, at most {max_seconds:g} s")
            chosen = _read_channel(source, file, channel)
        source.check()
    except MemoryError as error:  # for as many samples as a header may declare
        raise AudioError(f"not enough memory for the {declared} samples that its header declares") from error
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:  # TypeError: a name in .raw
        source.check()
        raise AudioError(f"not readable as audio: {getattr(error, 'error_string', error)}") from error
    if len(chosen) < declared:
        raise AudioError(f"truncated: {len(chosen)} of {declared} samples could be decoded")
    return Recording(chosen, rate, channels)


def resample(samples: NDArray[np.float32], source: int, target: int) -> NDArray[np.float32]:
    """Resample by soxr HQ, as librosa does by default, to ceil(n * target / source) samples.

    Parameters
    ----------
    samples
        (n,)
    source, target
        Sample rates in Hz.
    """
    if source == target:
        return samples
    length = -(-len(samples) * target // source)
    resampled: NDArray[np.float32] = soxr.resample(samples, source, target, quality="HQ")[:length]
    return resampled if len(resampled) == length else np.pad(resampled, (0, length - len(resampled)))


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
    """A sound file that is read from its beginning on.

    After each block of a file that it can seek in, soundfile seeks to where it is, and there some decoders start anew.
    """

    def seekable(self) -> bool:
        """Tell soundfile not to."""
        return False


def _read_channel(source: _Source, file: soundfile.SoundFile, channel: int) -> NDArray[np.float32]:
    """Decode a file that was just opened, in blocks of which one channel is kept: of eight, the others are the most."""
    # libsndfile's own way from 16 bits to float32 takes three times as long, to the same values.
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    if file.channels == 1 or file.frames * file.channels <= _BLOCK_SAMPLES or not file.seekable():
        # Told how many: soundfile does not know it of a file that it cannot seek in (GSM 6.10 in a WAV, say).
        return _to_float(file.read(file.frames, dtype=dtype, always_2d=True)[:, channel])
    block = np.empty((max(1, _BLOCK_SAMPLES // file.channels), file.channels), dtype)
    chosen, decoded = np.empty(file.frames, np.float32), 0
    source.seek(0)
    with _ReadOn(source) as again:
        while decoded < len(chosen):
            samples = again.read(out=block[: len(chosen) - decoded])
            chosen[decoded : decoded + len(samples)] = _to_float(samples[:, channel])
            decoded += len(samples)
            if len(samples) < len(block):
                break
    return chosen[:decoded]


def _to_float(samples: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel as float32 without gaps, 16-bit integers scaled to [-1, 1)."""
    if samples.dtype == np.int16:
        return np.multiply(samples, np.float32(2**-15), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("samples that are not finite (NaN or infinity)")
    return np.ascontiguousarray(samples, np.float32)


def _check_wav_complete(stream: BinaryIO) -> None:
    """Refuse a WAV that holds less audio than its header declares: libsndfile reads such a file without a word."""
    size = stream.seek(0, 2)
    if size == 0:
        raise AudioError("empty file (0 bytes)")
    stream.seek(0)
    head = stream.read(12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return
    order = ">" if head[:4] == b"RIFX" else "<"
    position, long_length = 12, _UNKNOWN_LENGTH
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack(f"{order}4sI", stream.read(8))
        if name == b"ds64":  # where an RF64 keeps the length that needs 64 bits
            long_length = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))[0]
        if name == b"data":
            held = size - position - 8
            declared = long_length if length == _UNKNOWN_LENGTH else length
            if declared > held and declared != _UNKNOWN_LENGTH:
                raise AudioError(f"truncated: the header declares {declared} bytes of audio, the file holds {held}")
            return
        position += 8 + length + length % 2
    raise AudioError("truncated: a WAV header without audio data")
