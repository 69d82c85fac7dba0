"""Detect truncated audio files by their headers, because libsndfile reads a truncated file without an error.

Decoders of compressed formats detect truncation themselves. The exception is Ogg: a file that ends between two pages
looks like a finished broadcast.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from emodna.pipeline.errors import AudioError

#: Placeholder for the length of the audio, from a writer that cannot seek back, such as a pipe.
_UNKNOWN: Final = 2**32 - 1


def check_complete(stream: BinaryIO) -> None:
    """Raise an `AudioError` if a WAV, AIFF, AU or Wave64 file is empty or holds less than its header declares."""
    size = stream.seek(0, 2)
    if size == 0:
        raise AudioError("empty file (0 bytes)")
    stream.seek(0)
    head = stream.read(24)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        _check_wav(stream, size, ">4sI" if head[:4] == b"RIFX" else "<4sI")
    elif head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        for name, declared, available in _iterate_chunks(stream, size, position=12, header=">4sI"):
            if name == b"SSND":
                return _check_length(declared, available)
    elif head[:4] == b"riff" and len(head) == 24:
        for name, declared, available in _iterate_chunks(
            stream, size, position=40, header="<4s12xQ", align=8, counted=24
        ):
            if name == b"data":
                return _check_length(declared, available)
    elif head[:4] in (b".snd", b"dns.") and len(head) == 24:
        start, declared = struct.unpack((">" if head[:4] == b".snd" else "<") + "4xII12x", head)
        if declared != _UNKNOWN:
            _check_length(declared, size - start)
    return None


def _check_wav(stream: BinaryIO, size: int, header: str) -> None:
    long_length = _UNKNOWN
    for name, length, available in _iterate_chunks(stream, size, position=12, header=header):
        if name == b"ds64":  # holds the 64-bit length of an RF64
            long_length = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))[0]
        if name == b"data":
            declared = long_length if length == _UNKNOWN else length
            if declared != _UNKNOWN:
                _check_length(declared, available)
            return
    raise AudioError("truncated: a WAV header without audio data")


def _iterate_chunks(
    stream: BinaryIO, size: int, *, position: int, header: str, align: int = 2, counted: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, declared length without `counted` bytes of its header, and number of bytes left."""
    header_size = struct.calcsize(header)
    while position + header_size <= size:
        stream.seek(position)
        name, length = struct.unpack(header, stream.read(header_size))
        position += header_size
        yield name, length - counted, size - position
        content = max(length - counted, 0)
        position += content + -content % align


def _check_length(declared: int, available: int) -> None:
    if declared > available:
        held = max(available, 0)
        raise AudioError(f"truncated: the header declares {declared} bytes of audio, the file holds {held}")
