"""Parts of an audio file: byte ranges that libsndfile decodes as files of their own."""

from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, RawIOBase
from itertools import accumulate
from typing import Any, BinaryIO, Final, cast

#: Bytes per search step.
_SEARCH_BYTES: Final = 2**20
#: Bytes that are read in advance, because a decoder makes many small reads.
_BUFFER_BYTES: Final = 2**16

Piece = bytes | tuple[int, int] | int
"""Bytes, such as a corrected header; start and stop of a byte range of the file; or a number of zero bytes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file that is a complete recording, with a corrected header."""

    start: int
    stop: int
    """Byte range of the file that the part covers."""
    pieces: tuple[Piece, ...]
    """Content for the decoder."""
    length: int | None = None
    """Number of samples per channel that a header declares; None: the decoder knows it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Format of a file without a header, as arguments of `soundfile.SoundFile`."""
    is_known: bool = True
    """False for a container that only libsndfile recognises."""


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of one container in a file."""

    parts: tuple[Part, ...]
    stop: int
    """End of the container in the file."""
    remarks: tuple[str, ...] = ()
    """Bytes or samples that are not decoded, one clause each."""


class FileBytes:
    """Random access to the bytes of a seekable stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        #: The whole content if it is in memory anyway; this takes no copy.
        self._all = stream.getvalue() if type(stream) is BytesIO else None
        self.is_in_memory = self._all is not None
        self.size = stream.seek(0, 2)
        self.audio_stop = self.size
        """End of the file without tags."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range, fewer at the end of the file."""
        if self._all is not None:
            return self._all[start:stop]
        self.stream.seek(start)
        return self.stream.read(max(0, stop - start))

    def find(self, pattern: bytes, start: int, stop: int) -> int:
        """Return the first position of a pattern within a range, or -1."""
        if self._all is not None:
            return self._all.find(pattern, start, stop)
        while start < stop:
            at = self.read(start, min(start + _SEARCH_BYTES, stop)).find(pattern)
            if at >= 0:
                return start + at
            start += _SEARCH_BYTES - len(pattern) + 1
        return -1

    def is_zero(self, start: int, stop: int) -> bool:
        """Return True if all bytes of a range are zero."""
        return all(not any(self.read(at, min(at + _SEARCH_BYTES, stop))) for at in range(start, stop, _SEARCH_BYTES))


class PartStream:
    """The content of a part as a seekable stream whose methods raise nothing.

    libsndfile's callbacks print and lose exceptions. `seek` to an invalid position (from a damaged header) does
    nothing. After a read error, `readinto` returns 0 bytes and `raise_error` raises the error.
    """

    def __init__(self, file: FileBytes, part: Part) -> None:
        self._pieces = _PieceReader(file.stream, part.pieces)
        is_whole = part.pieces == ((0, file.size),)
        self._stream = cast(
            BufferedReader,  # which has the methods of BytesIO
            file.stream if is_whole and file.is_in_memory else BufferedReader(self._pieces, _BUFFER_BYTES),
        )
        self._stream.seek(0)
        self.read, self.tell, self.readinto = self._stream.read, self._stream.tell, self._stream.readinto

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position if it is valid; return the current position."""
        with suppress(ValueError, OSError, OverflowError):
            self._stream.seek(offset, whence)
        return self._stream.tell()

    def raise_error(self) -> None:
        """Raise the read error, if there was one."""
        if self._pieces.error is not None:
            raise self._pieces.error


class _PieceReader(RawIOBase):
    """The content of pieces of a stream; after a read error, it ends."""

    def __init__(self, stream: BinaryIO, pieces: tuple[Piece, ...]) -> None:
        self._stream, self._content = stream, pieces
        self._starts = [0, *accumulate(map(_measure, pieces))]
        self.size, self._position = self._starts[-1], 0
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._position >= self.size or self.error is not None:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        piece, offset = self._content[number], self._position - self._starts[number]
        count = min(len(buffer), self._starts[number + 1] - self._position)
        if isinstance(piece, tuple):
            try:
                self._stream.seek(piece[0] + offset)
                count = self._stream.readinto(memoryview(buffer)[:count])  # type: ignore[attr-defined]
            except OSError as error:
                self.error = error
                return 0
        else:
            buffer[:count] = piece[offset : offset + count] if isinstance(piece, bytes) else bytes(count)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self.size)[whence]
        if position < 0:
            raise ValueError("negative position")
        self._position = position
        return position


def _measure(piece: Piece) -> int:
    return piece if isinstance(piece, int) else len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
