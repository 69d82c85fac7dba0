"""Files of a root by relative path, wherever they lie, and what ZIP and tar share.

Members of archives are read in place, into memory, and never extracted to a name of their choosing.
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
from typing import Final, NamedTuple

from emodna.pipeline.errors import AudioError

#: Endings of what `open_tree` takes for an archive.
ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

#: Larger members are refused: each is held in memory while it is decoded.
MEMBER_BYTES: Final = 2**30
#: What expands further than this is no speech, once it is larger than `_SMALL`: even lossless silence is rarely longer.
RATIO: Final = 200
_SMALL: Final = 2**24


class Stamp(NamedTuple):
    """Size in bytes and time in ns by which a file is known to be the one that it was."""

    size: int
    mtime_ns: int


class Tree(ABC):
    """Files below a root, for several threads; pickled, it is opened anew. `CorpusError` if they cannot be listed."""

    root: Path
    """Absolute, links resolved."""

    @property
    def skip_counts(self) -> Mapping[str, int]:
        """Numbers of files that `files` leaves out, by reason."""
        return {}

    @property
    def is_quick_to_open(self) -> bool:
        """True if another process opens it without delay, where it is unpickled."""
        return True

    @abstractmethod
    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """List the relative POSIX paths of visible files with one of these lower-case suffixes, in order of names."""

    @abstractmethod
    def open(self, path: str) -> BufferedReader | BytesIO:
        """Open a file, seekable, by its relative path; raises `OSError`, or `AudioError` for an unusable member."""

    @abstractmethod
    def read_stamp(self, path: str) -> Stamp | None:
        """Return size and time of a file; None if there is none."""

    @abstractmethod
    def make_relative(self, path: str) -> str | None:
        """Spell a user's path as `files` would; None if it leads out of the root."""


def is_hidden(name: str) -> bool:
    """Return True if a file or folder is none of the user's: hidden, or left by macOS."""
    return name.startswith(".") or name == "__MACOSX"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    size: int
    """Bytes, as the archive declares them."""
    place: int
    """Offset or number, as the kind of archive needs it."""
    refusal: str | None = None
    """Reason why its content cannot be used, if so."""


class ArchiveTree(Tree):
    """The members of one archive file; names that lead out of it, links and devices are left out and counted."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._mtime_ns = self.root.stat().st_mtime_ns
        self._members: dict[str, Member] = {}
        self._skip_counts: Counter[str] = Counter()

    @property
    def skip_counts(self) -> dict[str, int]:
        """Numbers of members that no unpacking should create, by reason."""
        return dict(self._skip_counts)

    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """List the visible members, in sorted order."""
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
        """Return size of the member, time of the archive: whoever writes into it changes that."""
        return Stamp(self._members[path].size, self._mtime_ns) if path in self._members else None

    def make_relative(self, path: str) -> str | None:
        """Spell a member's path; members have no other place than below the root."""
        return _normalise_path(path)

    @abstractmethod
    def _read(self, member: Member) -> bytes:
        """Read the content of a member."""

    def _add(self, name: str, member: Member) -> None:
        """Note a member under its name, if that is one a file below the root could have."""
        path = _normalise_path(name)
        if path is None:
            self._skip_counts["name that leads out of the archive"] += 1
            return
        if path in self._members:
            self._skip_counts["earlier member of the same name"] += 1
        self._members[path] = member


def refusal(size: int, packed: int) -> str | None:
    """Return the reason not to read a member of this size, packed into so many bytes; None if there is none."""
    if size > MEMBER_BYTES:
        return f"{size} bytes in an archive, at most {MEMBER_BYTES}: unpack it"
    if size > _SMALL and size > RATIO * packed:
        return f"{packed} bytes that expand to {size}: not read out of an archive"
    return None


def _normalise_path(name: str) -> str | None:
    """Return a member's name as a relative POSIX path; None if it is absolute, leads upwards or is no name."""
    path = posixpath.normpath(name.replace("\\", "/"))  # some Windows archivers write backslashes
    outside = path.startswith(("/", "../")) or path in ("..", ".") or re.match("[A-Za-z]:", path) or "\0" in path
    return None if outside else path
