"""Read the files of a folder."""

import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from emodna.pipeline.archives.base import Stamp, Tree, is_hidden
from emodna.pipeline.errors import CorpusError


class FolderTree(Tree):
    """Files below a folder. Links are followed, but not in circles."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise CorpusError("not a folder" if root.exists() else "not found", where=root)
        self.root = root.resolve()

    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Yield the relative paths of visible files, depth first, links to folders last."""

        def fail(error: OSError) -> None:
            raise CorpusError(f"cannot be listed: {error.strerror}", where=error.filename) from error

        endings = tuple(suffixes)
        visited: set[str] = set()
        for folder, subfolders, names in os.walk(self.root, onerror=fail, followlinks=True):
            if (real := os.path.realpath(folder)) in visited:  # through a link
                subfolders.clear()
                continue
            visited.add(real)
            # A folder comes before the links to it, so that they are skipped.
            subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
            subfolders.sort(key=[name for name in subfolders if Path(folder, name).is_symlink()].count)
            prefix = "".join(f"{part}/" for part in Path(folder).relative_to(self.root).parts)
            for name in sorted(names):
                if not is_hidden(name) and name.lower().endswith(endings):
                    yield prefix + name

    def open(self, path: str) -> BufferedReader:
        """Open a file."""
        return (self.root / path).open("rb")

    def read_stamp(self, path: str) -> Stamp | None:
        """Return the size and modification time of a file."""
        try:
            status = os.stat(f"{self.root}/{path}")  # noqa: PTH116 (a Path is slower; a root may have a million files)
        except (OSError, ValueError):  # ValueError: impossible path
            return None
        return Stamp(status.st_size, status.st_mtime_ns)

    def make_relative(self, path: str) -> str | None:
        """Return a path relative to the root. Links below the root may lead out of it."""
        normalised = Path(os.path.normpath(self.root / path))
        if not normalised.is_relative_to(self.root):  # a link outside may lead below the root
            try:
                normalised = normalised.parent.resolve() / normalised.name
            except (ValueError, RuntimeError):  # impossible path; circle of links
                return None
        return normalised.relative_to(self.root).as_posix() if normalised.is_relative_to(self.root) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderTree, (self.root,)
