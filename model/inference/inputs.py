"""The recordings that somebody asks about: files, folders, archives, standard input, the rows of a table."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from emodna.pipeline.archives import ARCHIVE_SUFFIXES, Tree, open_tree
from emodna.pipeline.audio import AUDIO_SUFFIXES
from emodna.pipeline.errors import AudioError, CorpusError

#: Stands for standard input.
STDIN: Final = "-"

#: Files up to this size are read at once and decoded from memory: libsndfile asks for them in small pieces.
_AT_ONCE: Final = 2**26


@dataclass(frozen=True, slots=True)
class Input:
    """One recording."""

    file: str
    """As answers name it."""
    open: Callable[[], BinaryIO]
    """Opens it, seekable, more than once if asked to; raises one of `UNUSABLE`, as reading it may."""
    number: int | None = None
    """Of its row in a table, from 0."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """What that says beside the path."""


def named(names: Iterable[str]) -> Iterator[Input]:
    """Recordings by their names: files as they are, those below folders and in archives in the order of a walk.

    Folders are searched for endings of audio; what is hidden, and what macOS leaves beside files, is passed by. `-` is
    standard input, which like a pipe is read to its end, here and not in the thread that decodes it.
    """
    for name in names:
        path = Path(name)
        if name == STDIN:
            yield _buffered(STDIN, sys.stdin.buffer)
        elif path.is_fifo():
            with path.open("rb") as pipe:
                yield _buffered(str(path), pipe)
        elif path.is_dir() or name.lower().endswith(ARCHIVE_SUFFIXES):
            yield from _below(path)
        else:
            yield Input(str(path), partial(_open, path))


def listed(rows: Iterable[Mapping[str, Any]], tree: Tree) -> Iterator[Input]:
    """Recordings of a user's table, by the `path` of each row below a root."""
    for number, row in enumerate(rows):
        path = "" if row["path"] is None else str(row["path"]).strip()
        beside = {column: cell for column, cell in row.items() if column != "path"}
        yield Input(path or f"row {number + 1}", partial(_open_listed, tree, path), number, beside)


def _below(place: Path) -> Iterator[Input]:
    empty = True
    try:
        tree = open_tree(place, AUDIO_SUFFIXES)
        for path in tree.files(AUDIO_SUFFIXES):
            empty = False
            yield Input(str(place / path), partial(tree.open, path))
    except CorpusError as error:
        yield _refused(place, str(error))
    else:
        if empty:
            yield _refused(place, f"no audio in it; looked for {' '.join(AUDIO_SUFFIXES)}")


def _refused(place: Path, why: str) -> Input:
    def refuse() -> BinaryIO:
        raise AudioError(why)

    return Input(str(place), refuse)


def _buffered(name: str, stream: BinaryIO) -> Input:
    content = stream.read()
    return Input(name, lambda: BytesIO(content))


def _open(file: Path) -> BinaryIO:
    stream = file.open("rb")
    if os.fstat(stream.fileno()).st_size > _AT_ONCE:
        return stream
    with stream:
        return BytesIO(stream.read())


def _open_listed(tree: Tree, path: str) -> BinaryIO:
    found = tree.relative(path) if path else None
    if found is None:
        raise AudioError(f"lies outside the root {tree.root}; --root changes it" if path else "no path")
    return tree.open(found)
