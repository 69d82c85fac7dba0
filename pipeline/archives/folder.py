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
        # Text, because a Path takes three times as long, and a table may have a million rows.
        normalised = os.path.normpath(os.path.join(self.root, path))  # noqa: PTH118
        if (relative := self._strip_root(normalised)) is not None:
            return relative
        try:  # a link outside may lead below the root
            resolved = os.path.join(Path(normalised).parent.resolve(), Path(normalised).name)  # noqa: PTH118
        except (ValueError, RuntimeError):  # impossible path; circle of links
            return None
        return self._strip_root(resolved) or (normalised if Path(path).is_absolute() else None)

    def _strip_root(self, path: str) -> str | None:
        """Return an absolute path relative to the root; None if it is outside."""
        root = str(self.root)
        if path == root:
            return "."
        prefix = root.rstrip("/") + "/"
        return path[len(prefix) :] if path.startswith(prefix) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderTree, (self.root,)
