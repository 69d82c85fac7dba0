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

from emodna.pipeline.archives.base import RATIO, ArchiveTree, Member, check_size
from emodna.pipeline.errors import CorpusError

#: Errors of damaged files. RecursionError: a thousand attribute headers in a row.
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError)

#: First bytes of a compressed file -> its opener. All read and check concatenated streams (pbzip2 writes many).
_COMPRESSIONS: Final[Mapping[bytes, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
#: Types of headers whose content tarfile reads into memory: names and attributes of the next member.
_BEFORE_A_MEMBER: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_ATTRIBUTE_BYTES: Final = 2**20
_CHUNK: Final = 2**18


class TarTree(ArchiveTree):
    """Members of a tar file with one of the lower-case `suffixes`.

    A plain tar is read in place. A compressed one cannot be read from the middle: its members are unpacked once, into
    one unnamed temporary file that ends with the process.

    Raises `CorpusError`: not a tar file, incomplete, or expands too far.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        super().__init__(root)
        self._suffixes = tuple(suffixes)
        try:
            self._content = self._index() if self.is_quick_to_open else self._unpack()
        except (*_BROKEN, OSError) as error:
            if not isinstance(error, OSError) or error.errno is None:  # a decompressor raises OSError without errno
                raise CorpusError(f"not a tar file, or an incomplete one: {error}", where=root) from error
            problem = f"cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}"
            raise CorpusError(problem, where=root, remedy="choose another folder with $TMPDIR") from error

    @property
    def is_quick_to_open(self) -> bool:
        """True if the tar is not compressed."""
        return _is_plain(self.root)

    def _read(self, member: Member) -> bytes:
        # pread does not move the file position, so that several threads can read.
        return os.pread(self._content.fileno(), member.size, member.position)

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
                        if not self._has_content(info) or not info.name.lower().endswith(self._suffixes):
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
        """Return True if a member is a file with its own content; add hard links, and count other members."""
        if info.size < 0:
            raise tarfile.ReadError(f"a member of {info.size} bytes")
        if info.isdir():
            return False
        if info.islnk() and (same := self._members.get(self.make_relative(info.linkname) or "")) is not None:
            self._add(info.name, same)  # a second name of an earlier file
        elif info.issym() or info.islnk():
            self._skip_counts["link in an archive"] += 1
        elif not info.isreg() or info.issparse():
            self._skip_counts["neither a file nor a folder"] += 1
        else:
            return True
        return False

    def __del__(self) -> None:
        with suppress(AttributeError):  # __init__ has failed
            self._content.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return TarTree, (self.root, self._suffixes)


class _Header(tarfile.TarInfo):
    """A header that raises errors if it is damaged or missing; tarfile would take it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # end of the archive
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _BEFORE_A_MEMBER and header.size > _ATTRIBUTE_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _iterate_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield each member; tarfile would keep them all in memory."""
    while (info := archive.next()) is not None:
        yield info
        archive.members.clear()  # type: ignore[attr-defined]  # not in typeshed


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
        if isinstance(error, OSError) and error.errno is not None:  # not of a decompressor
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
    """Open a compressed file as a stream of its content, with a limit to its expansion."""
    packed = root.stat().st_size
    limit = max(RATIO * packed, 2**24)
    with root.open("rb") as file:
        start = file.read(max(map(len, _COMPRESSIONS)))
        opener = next((each for magic, each in _COMPRESSIONS.items() if start.startswith(magic)), None)
        if opener is None:
            raise tarfile.ReadError("neither a tar header nor a known compression")
        file.seek(0)
        with opener(file) as stream:
            error = f"{packed} bytes that expand to more than {limit}"
            yield cast(IO[bytes], _LimitedStream(stream, limit, error))
