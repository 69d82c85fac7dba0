"""Read the files of a folder."""

import os
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from emodna.pipeline.archives.base import Stamp, Tree, is_hidden, is_windows_path
from emodna.pipeline.errors import AudioError, CorpusError


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
        """Open a file. Raises `AudioError` for a device or a pipe, which may have no end."""
        file = self.root / path
        if not stat.S_ISREG(mode := file.stat().st_mode) and not stat.S_ISDIR(mode):
            raise AudioError("not a regular file")
        return file.open("rb")

    def read_stamp(self, path: str) -> Stamp | None:
        """Return the size and modification time of a file."""
        try:
            status = os.stat(os.path.join(self.root, path))  # noqa: PTH116, PTH118 (a Path is slower; millions of files)
        except (OSError, ValueError):  # ValueError: impossible path
            return None
        return Stamp(status.st_size, status.st_mtime_ns)

    def make_relative(self, path: str) -> str | None:
        """Return a path relative to the root, or an absolute path outside it; None if a relative path leaves the root.

        Links below the root may lead out of it. Separators of Windows and the home folder `~/` are understood, unless
        a file of exactly this name exists.
        """
        if ("\\" in path or path.startswith("~/") or is_windows_path(path)) and self.read_stamp(path) is None:
            if is_windows_path(path):
                return None
            path = os.path.expanduser(path).replace("\\", "/")  # noqa: PTH111 (raises nothing without a home)
        normalised = Path(os.path.normpath(self.root / path))
        if not normalised.is_relative_to(self.root):  # a link outside may lead below the root
            try:
                resolved = normalised.parent.resolve() / normalised.name
            except (ValueError, RuntimeError):  # impossible path; circle of links
                return None
            if not resolved.is_relative_to(self.root):
                return str(normalised) if Path(path).is_absolute() else None
            normalised = resolved
        return normalised.relative_to(self.root).as_posix()

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderTree, (self.root,)
