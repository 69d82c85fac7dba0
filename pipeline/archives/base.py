"""What a root is to the rest of the pipeline: files by relative path, wherever they lie."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Stamp(NamedTuple):
    """Size in bytes and time in ns by which a file is known to be the one that it was."""

    size: int
    mtime_ns: int


class Tree(ABC):
    """Files below a root. Can be used by several threads at once, and pickled: it is opened anew where it is unpickled.

    Raises
    ------
    CorpusError
        From the constructor, unpickling and `files`: no such root, or it cannot be listed.
    """

    root: Path
    """Absolute, links resolved."""

    @property
    def left_out(self) -> Mapping[str, int]:
        """Files that `files` does not name though they are there, counted by reason."""
        return {}

    @property
    def opens_at_once(self) -> bool:
        """Whether another process has it open at once, where it is unpickled."""
        return True

    @abstractmethod
    def files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Relative POSIX paths of the files with one of these lower-case suffixes.

        Their order depends on the names alone. macOS's `._*` side files and hidden folders are left out.
        """

    @abstractmethod
    def open(self, path: str) -> BufferedReader | BytesIO:
        """Open a file, seekable, by its relative path.

        Raises
        ------
        OSError
            No such file, or it cannot be read.
        AudioError
            A member of an archive that cannot be used.
        """

    @abstractmethod
    def stamp(self, path: str) -> Stamp | None:
        """Size and time of a file; None if there is none."""

    @abstractmethod
    def relative(self, path: str) -> str | None:
        """A path that a user wrote, as `files` would spell it; None if it leads out of the root."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: hidden, or left by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def selected(paths: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """Those of some relative paths that are visible and have one of the lower-case suffixes, in sorted order."""
    endings = tuple(suffixes)
    return sorted(
        path for path in paths if path.lower().endswith(endings) and not any(map(is_hidden, PurePosixPath(path).parts))
    )
