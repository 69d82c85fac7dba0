"""A tar file as a root, compressed or not."""

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

from emodna.pipeline.archives.base import RATIO, ArchiveTree, Member, refusal
from emodna.pipeline.errors import CorpusError

#: RecursionError: of a header of attributes before a header of attributes, a thousand times.
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError)

#: How a compressed file begins, and what reads it: each reads all of its parts (pbzip2 writes many), and checks them.
_COMPRESSIONS: Final[Mapping[bytes, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
#: Kinds of headers whose content is read into memory: names and attributes of the member behind them.
_BEFORE_A_MEMBER: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_ATTRIBUTE_BYTES: Final = 2**20
_CHUNK: Final = 2**18


class TarTree(ArchiveTree):
    """The members of a tar file.

    A plain tar is read where it lies. A compressed one has no beginning but its own, so that it is unpacked once, into
    a temporary file without a name, which ends with the process: only the members with one of the suffixes, and
    nothing under a name of the archive's choosing. `suffixes` are lower-case endings of the members that will be asked
    for. Raises `CorpusError`: not a tar file, an incomplete one, or one that expands without measure.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        super().__init__(root)
        self._suffixes = tuple(suffixes)
        try:
            self._content = self._index() if self.is_quick_to_open else self._unpack()
        except (*_BROKEN, OSError) as error:
            if not isinstance(error, OSError) or error.errno is None:  # of tarfile or a decompressor, not of the disk
                raise CorpusError(f"root {root}: not readable as a tar file ({error}): incomplete?") from error
            reason = f"{error.strerror} ($TMPDIR, {tempfile.gettempdir()}, takes its files)"
            raise CorpusError(f"root {root}: cannot be unpacked: {reason}") from error

    @property
    def is_quick_to_open(self) -> bool:
        """False if it would be unpacked again."""
        return _is_plain(self.root)

    def _read(self, member: Member) -> bytes:
        # At a position of its own, so that several threads may read.
        return os.pread(self._content.fileno(), member.size, member.place)

    def _index(self) -> IO[bytes]:
        with tarfile.open(self.root, "r:", tarinfo=_Header) as archive:
            for info in _iterate_members(archive):
                if self._has_content(info):
                    self._add(info.name, Member(info.size, info.offset_data, refusal(info.size, info.size)))
        return self.root.open("rb")

    def _unpack(self) -> IO[bytes]:
        content = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the tree)
        try:
            with _open_decompressed(self.root) as packed:
                with tarfile.open(fileobj=packed, mode="r|", bufsize=_CHUNK, tarinfo=_Header) as archive:
                    for info in _iterate_members(archive):
                        if not self._has_content(info) or not info.name.lower().endswith(self._suffixes):
                            continue
                        why = refusal(info.size, info.size)
                        self._add(info.name, Member(info.size, content.tell(), why))
                        stream = archive.extractfile(info)
                        if why is None and stream is not None:
                            shutil.copyfileobj(stream, content)
                while packed.read(_CHUNK):  # the checksum stands behind the last member
                    pass
            content.flush()
        except BaseException:
            content.close()
            raise
        return content

    def _has_content(self, info: tarfile.TarInfo) -> bool:
        """Return True if a member is a file with a content of its own; what is none is noted here."""
        if info.size < 0:
            raise tarfile.ReadError(f"a member of {info.size} bytes")
        if info.isdir():
            return False
        if info.islnk() and (same := self._members.get(self.make_relative(info.linkname) or "")) is not None:
            self._add(info.name, same)  # a second name of a file before it
        elif info.issym() or info.islnk():
            self._skip_counts["link in an archive"] += 1
        elif not info.isreg() or info.issparse():
            self._skip_counts["neither a file nor a folder"] += 1
        else:
            return True
        return False

    def __del__(self) -> None:
        with suppress(AttributeError):  # of a tree that could not be made
            self._content.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return TarTree, (self.root, self._suffixes)


class _Header(tarfile.TarInfo):
    """A header that is sound, or an error: tarfile takes a damaged one, and a missing one, for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the mark of the end
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _BEFORE_A_MEMBER and header.size > _ATTRIBUTE_BYTES):
            raise tarfile.ReadError(f"a header that announces {header.size} bytes")
        return header


def _iterate_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield each member in turn; tarfile itself would keep them all."""
    while (info := archive.next()) is not None:
        yield info
        archive.members.clear()  # type: ignore[attr-defined]  # not in typeshed


class _LimitedStream:
    """A stream that ends in an error where it is longer than it may be."""

    def __init__(self, stream: IO[bytes], limit: int, complaint: str) -> None:
        self._stream, self._left, self._complaint = stream, limit, complaint

    def read(self, size: int) -> bytes:
        """Read on."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError(self._complaint)
        return content


def is_tar(root: Path) -> bool:
    """Return True if a file begins as a tar does, compressed or not. Raises `OSError`: it cannot be read."""
    try:
        if not _is_plain(root):
            with _open_decompressed(root) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header):
                pass
    except (*_BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of a decompressor
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
    """Open the content of a compressed file, to be read once from its beginning."""
    packed = root.stat().st_size
    limit = max(RATIO * packed, 2**24)
    with root.open("rb") as file:
        start = file.read(max(map(len, _COMPRESSIONS)))
        opener = next((each for magic, each in _COMPRESSIONS.items() if start.startswith(magic)), None)
        if opener is None:
            raise tarfile.ReadError("neither a tar header nor a known compression")
        file.seek(0)
        with opener(file) as stream:
            complaint = f"{packed} bytes that expand to more than {limit}"
            yield cast(IO[bytes], _LimitedStream(stream, limit, complaint))
