"""A folder as a root."""

import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from emodna.pipeline.archives.base import Stamp, Tree, is_hidden
from emodna.pipeline.errors import CorpusError


class FolderTree(Tree):
    """The files below a folder; links are followed, but not in a circle."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise CorpusError(f"root {root}: {'not a folder' if root.exists() else 'no such folder'}")
        self.root = root.resolve()

    def list_files(self, suffixes: Sequence[str]) -> Iterator[str]:
        """Walk the folder."""

        def refuse(error: OSError) -> None:
            raise CorpusError(f"root {self.root}: cannot list {error.filename}: {error.strerror}") from error

        endings = tuple(suffixes)
        seen: set[str] = set()
        for folder, subfolders, names in os.walk(self.root, onerror=refuse, followlinks=True):
            if (real := os.path.realpath(folder)) in seen:  # links that lead in a circle
                subfolders.clear()
                continue
            seen.add(real)
            # A folder counts under its own name, not under that of a link to it.
            subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
            subfolders.sort(key=[name for name in subfolders if Path(folder, name).is_symlink()].count)
            below = "".join(f"{part}/" for part in Path(folder).relative_to(self.root).parts)
            for name in sorted(names):
                if not is_hidden(name) and name.lower().endswith(endings):
                    yield below + name

    def open(self, path: str) -> BufferedReader:
        """Open a file by its relative path."""
        return (self.root / path).open("rb")

    def read_stamp(self, path: str) -> Stamp | None:
        """Size and modification time."""
        try:
            status = os.stat(f"{self.root}/{path}")  # noqa: PTH116 (there may be a million, and a Path costs more than this)
        except (OSError, ValueError):  # ValueError: a path that no file can have
            return None
        return Stamp(status.st_size, status.st_mtime_ns)

    def make_relative(self, path: str) -> str | None:
        """Relative to the root, or absolute below it. Links inside the root are the user's choice."""
        lexical = Path(os.path.normpath(self.root / path))
        if not lexical.is_relative_to(self.root):  # the same place by another name, as where a part of it is a link
            try:
                lexical = lexical.parent.resolve() / lexical.name
            except (ValueError, RuntimeError):  # a path that no file can have; links in a circle
                return None
        return lexical.relative_to(self.root).as_posix() if lexical.is_relative_to(self.root) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderTree, (self.root,)
