"""Parts of an audio file: byte ranges that libsndfile decodes as files of their own."""

from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO, Final

#: Bytes per search step.
_SEARCH_BYTES: Final = 2**20

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
        self.size = self.audio_stop = stream.seek(0, 2)
        """`audio_stop` leaves out the tags at the end of the file."""

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

    def __init__(self, stream: BinaryIO, part: Part) -> None:
        self._stream, self._pieces = stream, part.pieces
        self._starts = [0, *accumulate(map(_measure, part.pieces))]
        self._position = 0
        self._error: OSError | None = None

    def read(self, count: int = -1) -> bytes:
        """Return up to `count` bytes, all bytes by default."""
        buffer = bytearray(self._starts[-1] - self._position if count < 0 else count)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position; return the number of bytes."""
        target = memoryview(buffer).cast("B")
        done = 0
        with suppress(IndexError):  # the end of the last piece
            while done < len(target) and self._error is None:
                count = self._read_piece(target[done:])
                done += count
                self._position += count
                if not count:
                    break
        return done

    def _read_piece(self, target: memoryview) -> int:
        number = bisect_right(self._starts, self._position) - 1
        piece, offset = self._pieces[number], self._position - self._starts[number]
        count = min(len(target), self._starts[number + 1] - self._position)
        if isinstance(piece, bytes):
            target[:count] = piece[offset : offset + count]
            return count
        if isinstance(piece, int):
            target[:count] = bytes(count)
            return count
        try:
            self._stream.seek(piece[0] + offset)
            return int(self._stream.readinto(target[:count]))  # type: ignore[attr-defined]
        except OSError as error:
            self._error = error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position if it is valid; return the current position."""
        position = offset + (0, self._position, self._starts[-1])[whence]
        if position >= 0:
            self._position = position
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def raise_error(self) -> None:
        """Raise the read error, if there was one."""
        if self._error is not None:
            raise self._error


def _measure(piece: Piece) -> int:
    return piece if isinstance(piece, int) else len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
