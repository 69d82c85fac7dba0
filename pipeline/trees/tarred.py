"""A tar file as a root, compressed or not."""

import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from emodna.pipeline.errors import CorpusError
from emodna.pipeline.trees.archive import RATIO, ArchiveTree, Member, refusal

_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class TarTree(ArchiveTree):
    """The members of a tar file.

    A plain tar is read where it lies. A compressed one has no beginning but its own, so that it is unpacked once, into
    a temporary file without a name, which ends with the process: only the members with one of the suffixes, and
    nothing under a name of the archive's choosing.

    Parameters
    ----------
    suffixes
        Lower-case endings of the members that will be asked for.

    Raises
    ------
    CorpusError
        Not a tar file, an incomplete one, or one that expands without measure.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        super().__init__(root)
        self._suffixes = tuple(suffixes)
        with _readable(self.root):
            self._content = self._index() if _is_plain(self.root) else self._unpack()

    def _read(self, member: Member) -> bytes:
        # At a position of its own, so that several threads may read.
        return os.pread(self._content.fileno(), member.size, member.place)

    def _index(self) -> IO[bytes]:
        with tarfile.open(self.root, "r:") as archive:
            for info in archive:
                if self._is_file(info):
                    self._add(info.name, Member(info.size, info.offset_data, refusal(info.size, info.size)))
        return self.root.open("rb")

    def _unpack(self) -> IO[bytes]:
        packed = self.root.stat().st_size
        content = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the tree)
        with tarfile.open(self.root, "r|*") as archive:
            for info in archive:
                if info.offset_data + info.size > max(RATIO * packed, 2**24):
                    raise tarfile.ReadError(f"{packed} bytes that expand to more than {info.offset_data + info.size}")
                if not self._is_file(info) or not info.name.lower().endswith(self._suffixes):
                    continue
                why = refusal(info.size, info.size)
                self._add(info.name, Member(info.size, content.tell(), why))
                stream = archive.extractfile(info)
                if why is None and stream is not None:
                    shutil.copyfileobj(stream, content)
        content.flush()
        return content

    def _is_file(self, info: tarfile.TarInfo) -> bool:
        if info.isdir():
            return False
        if info.islnk() and (same := self._members.get(info.linkname)) is not None:
            self._add(info.name, same)  # a second name of a file before it
        elif info.issym() or info.islnk():
            self._leave_out("link in an archive")
        elif not info.isreg() or info.issparse():
            self._leave_out("neither a file nor a folder")
        else:
            return True
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        return TarTree, (self.root, self._suffixes)


def _is_plain(root: Path) -> bool:
    try:
        with tarfile.open(root, "r:"):
            return True
    except tarfile.ReadError:
        return False


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise CorpusError(f"root {root}: not readable as a tar file ({error}): incomplete?") from error
    except OSError as error:
        if error.errno is None:  # of a decompressor, not of the disk
            raise CorpusError(f"root {root}: not readable as a tar file ({error}): incomplete?") from error
        reason = f"{error.strerror} ($TMPDIR, {tempfile.gettempdir()}, takes its files)"
        raise CorpusError(f"root {root}: cannot be unpacked: {reason}") from error
