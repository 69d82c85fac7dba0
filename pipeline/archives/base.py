"""Interface to the files of a root, and the base class of ZIP and tar roots.

Members of archives are read into memory. They are never extracted to a path that the archive names.
"""

import os
import posixpath
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from emodna.pipeline.errors import AudioError, CorpusError, Remedy

#: Suffixes of the archives that `open_tree` recognises.
ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

#: Maximum size of a member in bytes; members are decoded in memory.
MAX_MEMBER_BYTES: Final = 2**30
#: Maximum expansion of a member larger than `_SMALL_BYTES`. Even losslessly packed silence rarely expands further.
MAX_EXPANSION: Final = 200
_SMALL_BYTES: Final = 2**24


class Stamp(NamedTuple):
    """Size in bytes and modification time in ns; another stamp means a changed file."""

    size: int
    mtime_ns: int


class Tree(ABC):
    """Files below a root. Thread-safe; reopened when unpickled. Raises `CorpusError`: files cannot be listed."""

    root: Path
    """Absolute path with links resolved."""
    skip_counts: Mapping[str, int] = MappingProxyType({})
    """Reason -> number of files that `list_files` skips."""

    @property
    def is_quick_to_open(self) -> bool:
        """True if it can be unpickled without unpacking an archive."""
        return True

    @abstractmethod
    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Return the relative POSIX paths of the visible files with one of these lower-case suffixes, sorted."""

    @abstractmethod
    def open(self, path: str) -> BufferedReader | BytesIO:
        """Open a file for seekable reading. Raises `OSError`, or `AudioError` for an unusable member."""

    @abstractmethod
    def read_stamp(self, path: str) -> Stamp | None:
        """Return the size and time of a file; None if there is no such file."""

    @abstractmethod
    def make_relative(self, path: str) -> str | None:
        """Return a user's path in the form of `list_files`; None if this tree has no such path."""

    def locate(self, path: str) -> str:
        """Return a path of a user's table as `make_relative` does. Raises `CorpusError`: this tree has no such path."""
        relative = self.make_relative(path)
        if relative is None and is_windows_path(path):
            problem = f"{path} is a path of Windows, which does not exist here"
            raise CorpusError(problem, remedy="write paths relative to the root")
        if relative is None:
            remedy = Remedy("choose another {root}, or write paths relative to it")
            raise CorpusError(f"{path} is outside the root {self.root}", remedy=remedy)
        return relative


def is_hidden(name: str) -> bool:
    """Return True if a file or folder is hidden or made by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def is_windows_path(path: str) -> bool:
    """Return True if a path begins with a drive letter or the name of a Windows server."""
    return re.match(r"[A-Za-z]:[\\/]|\\\\", path) is not None


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    size: int
    """Size in bytes, as the archive declares it."""
    position: int
    """Offset of the content in a tar, number of the member in a ZIP."""
    refusal: str | None = None
    """Reason not to read its content; None if there is none."""


class ArchiveTree(Tree):
    """Members of an archive file. Links, devices and names outside the archive are skipped and counted."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._mtime_ns = self.root.stat().st_mtime_ns
        self._members: dict[str, Member] = {}
        self.skip_counts: Counter[str] = Counter()

    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Return the visible members, sorted."""
        paths = (path for path in self._members if path.lower().endswith(tuple(suffixes)))
        return iter(sorted(path for path in paths if not any(map(is_hidden, path.split("/")))))

    def open(self, path: str) -> BytesIO:
        """Read a member into memory."""
        if path not in self._members:
            raise FileNotFoundError(2, os.strerror(2), f"{self.root}/{path}")
        member = self._members[path]
        if member.refusal is not None:
            raise AudioError(member.refusal)
        content = self._read(member)
        if len(content) != member.size:
            raise AudioError(f"damaged in its archive: {len(content)} of {member.size} bytes")
        return BytesIO(content)

    def read_stamp(self, path: str) -> Stamp | None:
        """Return the size of the member and the time of the archive."""
        return Stamp(self._members[path].size, self._mtime_ns) if path in self._members else None

    def make_relative(self, path: str) -> str | None:
        """Return the normalised path of a member."""
        return _normalise_path(path)

    @abstractmethod
    def _read(self, member: Member) -> bytes: ...

    def _add(self, name: str, member: Member) -> None:
        path = _normalise_path(name)
        if path is None:
            self.skip_counts["name that leads out of the archive"] += 1
            return
        if path in self._members:
            self.skip_counts["earlier member of the same name"] += 1
        self._members[path] = member


def check_size(size: int, packed: int) -> str | None:
    """Return the reason not to read a member with this size and packed size in bytes; None if there is none."""
    if size > MAX_MEMBER_BYTES:
        return f"{size} bytes, but at most {MAX_MEMBER_BYTES} can be read from an archive; unpack it"
    if size > _SMALL_BYTES and size > MAX_EXPANSION * packed:
        return f"{packed} bytes that expand to {size}, too many to be read from an archive"
    return None


def _normalise_path(name: str) -> str | None:
    """Return a member's name as a relative POSIX path; None if it is absolute, leads upwards or is invalid."""
    path = posixpath.normpath(name.replace("\\", "/"))  # some Windows archivers write backslashes
    outside = path.startswith(("/", "../")) or path in ("..", ".") or re.match("[A-Za-z]:", path) or "\0" in path
    return None if outside else path
