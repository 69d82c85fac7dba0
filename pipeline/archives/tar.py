"""Read the members of a tar file, compressed or not."""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Self, cast

from emodna.pipeline.archives.base import MAX_EXPANSION, ArchiveTree, Member, check_size
from emodna.pipeline.errors import CorpusError

#: Errors of damaged files. RecursionError: a thousand attribute headers in a row.
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError)

#: First bytes of a compressed file -> function that opens it. Each reads and checks all streams (pbzip2 writes many).
_OPENERS: Final[Mapping[bytes, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
#: Types of headers that hold names and attributes of the next member. tarfile reads their content into memory.
_ATTRIBUTE_HEADERS: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_MAX_ATTRIBUTE_BYTES: Final = 2**20
_CHUNK: Final = 2**18


class TarTree(ArchiveTree):
    """Members of a tar file. Those with one of the lower-case `suffixes` can be read.

    A plain tar is read in place. A compressed one cannot be read from the middle: its members are unpacked once, into
    an unnamed temporary file that is deleted with the tree.

    Raises `CorpusError`: not a tar file, incomplete, or expands too far.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        super().__init__(root)
        self._suffixes = tuple(suffixes)
        try:
            self._content = self._index() if self.is_quick_to_open else self._unpack()
        except (*_BROKEN, OSError) as error:
            if not isinstance(error, OSError) or error.errno is None:  # a decompressor raises OSError without errno
                raise CorpusError(f"not a complete tar file: {error}", where=root) from error
            problem = f"cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}"
            raise CorpusError(problem, where=root, remedy="choose another folder with $TMPDIR") from error

    @property
    def is_quick_to_open(self) -> bool:
        """True if the tar is not compressed."""
        return _is_plain(self.root)

    def _read(self, member: Member) -> bytes:
        return os.pread(self._content.fileno(), member.size, member.position)  # thread-safe: no file position is moved

    def _index(self) -> IO[bytes]:
        with tarfile.open(self.root, "r:", tarinfo=_Header) as archive:
            for info in _iterate_members(archive):
                if self._has_content(info):
                    self._add(info.name, Member(info.size, info.offset_data, check_size(info.size, info.size)))
        return self.root.open("rb")

    def _unpack(self) -> IO[bytes]:
        content = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the tree)
        try:
            with _open_decompressed(self.root) as packed:
                with tarfile.open(fileobj=packed, mode="r|", bufsize=_CHUNK, tarinfo=_Header) as archive:
                    for info in _iterate_members(archive):
                        if not self._has_content(info):
                            continue
                        if not info.name.lower().endswith(self._suffixes):
                            self._add(info.name, Member(info.size, 0, "not unpacked"))
                            continue
                        refusal = check_size(info.size, info.size)
                        self._add(info.name, Member(info.size, content.tell(), refusal))
                        stream = archive.extractfile(info)
                        if refusal is None and stream is not None:
                            shutil.copyfileobj(stream, content)
                while packed.read(_CHUNK):  # the checksum follows the last member
                    pass
            content.flush()
        except BaseException:
            content.close()
            raise
        return content

    def _has_content(self, info: tarfile.TarInfo) -> bool:
        """Return True if a member is a file with its own content. Add a hard link; count any other member."""
        if info.size < 0:
            raise tarfile.ReadError(f"a member of {info.size} bytes")
        if info.isdir():
            return False
        if info.islnk() and (target := self._members.get(self.make_relative(info.linkname) or "")) is not None:
            self._add(info.name, target)  # a second name of an earlier file
        elif info.issym() or info.islnk():
            self.skip_counts["link in an archive"] += 1
        elif not info.isreg() or info.issparse():
            self.skip_counts["neither a file nor a folder"] += 1
        else:
            return True
        return False

    def __del__(self) -> None:
        with suppress(AttributeError):  # if __init__ has failed
            self._content.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return TarTree, (self.root, self._suffixes)


class _Header(tarfile.TarInfo):
    """A header. A damaged or missing one is an error; tarfile would take it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # end of the archive
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _ATTRIBUTE_HEADERS and header.size > _MAX_ATTRIBUTE_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _iterate_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        yield info
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all in memory


class _LimitedStream:
    """A stream that raises a `tarfile.ReadError` after a number of bytes."""

    def __init__(self, stream: IO[bytes], limit: int, error: str) -> None:
        self._stream, self._left, self._error = stream, limit, error

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError(self._error)
        return content


def is_tar(root: Path) -> bool:
    """Return True if a file starts like a tar, compressed or not. Raises `OSError`: cannot be read."""
    try:
        if not _is_plain(root):
            with _open_decompressed(root) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header):
                pass
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not from a decompressor
            raise
        return False
    return True


def _is_plain(root: Path) -> bool:
    try:
        with tarfile.open(root, "r:", tarinfo=_Header):
            return True
    except _BROKEN:
        return False


@contextmanager
def _open_decompressed(root: Path) -> Iterator[IO[bytes]]:
    packed = root.stat().st_size
    limit = max(MAX_EXPANSION * packed, 2**24)
    with root.open("rb") as file:
        start = file.read(max(map(len, _OPENERS)))
        opener = next((each for magic, each in _OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            raise tarfile.ReadError("neither a tar header nor a known compression")
        file.seek(0)
        with opener(file) as stream:
            yield cast(IO[bytes], _LimitedStream(stream, limit, f"{packed} bytes that expand to more than {limit}"))
