"""Archives as roots: their members are read in place, into memory, and never extracted to a name of their choosing."""

import os
import posixpath
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from emodna.pipeline.archives.base import Stamp, Tree, selected
from emodna.pipeline.errors import AudioError

#: Endings of what `open_tree` takes for an archive.
ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

#: Larger members are refused: each is held in memory while it is decoded.
MEMBER_BYTES: Final = 2**30
#: What expands further than this is no speech, once it is larger than `_SMALL`: even lossless silence is rarely longer.
RATIO: Final = 200
_SMALL: Final = 2**24


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    size: int
    """Bytes, as the archive declares them."""
    place: int
    """Where to find it: offset or number, as the kind of archive needs it."""
    refusal: str | None = None
    """Why its content cannot be used, if so."""


class ArchiveTree(Tree):
    """The members of one archive file.

    Names that lead out of the archive, links and devices are left out and counted; of members of one name the last
    counts, as it would after unpacking.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._mtime_ns = self.root.stat().st_mtime_ns
        self._members: dict[str, Member] = {}
        self._left_out: Counter[str] = Counter()

    @property
    def left_out(self) -> dict[str, int]:
        """Members that no unpacking should create, counted by reason."""
        return dict(self._left_out)

    def files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """List the members."""
        return iter(selected(self._members, suffixes))

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

    def stamp(self, path: str) -> Stamp | None:
        """Size of the member, time of the archive: whoever writes into it changes that."""
        return Stamp(self._members[path].size, self._mtime_ns) if path in self._members else None

    def relative(self, path: str) -> str | None:
        """Members have no other place than below the root."""
        return _member_path(path)

    @abstractmethod
    def _read(self, member: Member) -> bytes:
        """Content of a member."""

    def _add(self, name: str, member: Member) -> None:
        """Note a member under its name, if that is one a file below the root could have."""
        path = _member_path(name)
        if path is None:
            self._leave_out("name that leads out of the archive")
            return
        if path in self._members:
            self._leave_out("earlier member of the same name")
        self._members[path] = member

    def _leave_out(self, reason: str) -> None:
        self._left_out[reason] += 1


def refusal(size: int, packed: int) -> str | None:
    """Why a member of this size, packed into so many bytes, is not to be read; None if nothing speaks against it."""
    if size > MEMBER_BYTES:
        return f"{size} bytes in an archive, at most {MEMBER_BYTES}: unpack it"
    if size > _SMALL and size > RATIO * packed:
        return f"{packed} bytes that expand to {size}: not read out of an archive"
    return None


def _member_path(name: str) -> str | None:
    """Name of a member as a relative POSIX path; None if it is absolute, leads upwards or is no name at all."""
    path = posixpath.normpath(name.replace("\\", "/"))  # some Windows archivers write backslashes
    outside = path.startswith(("/", "../")) or path in ("..", ".") or re.match("[A-Za-z]:", path) or "\0" in path
    return None if outside else path
