"""Recordings to predict for: files, folders, archives, standard input, the rows of a table."""

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

#: The name of standard input.
STDIN: Final = "-"

#: Files up to this size are read at once and decoded from memory: libsndfile asks for them in small pieces.
_AT_ONCE: Final = 2**26


@dataclass(frozen=True, slots=True)
class Input:
    """One recording."""

    file: str
    """Its name in answers."""
    open: Callable[[], BinaryIO]
    """Opens it, seekable, any number of times; raises one of `RECORDING_ERRORS`, as reading it may."""
    number: int | None = None
    """Number of its row in a table, from 0."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The other cells of that row."""


def find_inputs(names: Iterable[str]) -> Iterator[Input]:
    """Yield recordings by their names: files as they are, those in folders and archives in the order of a walk.

    Folders are searched for audio by its endings, without hidden files and those that macOS leaves beside others. `-`
    is standard input, which like a pipe is read to its end, here and not in the thread that decodes it.
    """
    for name in names:
        path = Path(name)
        if name == STDIN:
            yield Input(name, partial(BytesIO, sys.stdin.buffer.read()))
        elif path.is_fifo():
            yield Input(str(path), partial(BytesIO, path.read_bytes()))
        elif path.is_dir() or name.lower().endswith(ARCHIVE_SUFFIXES):
            yield from _search(path)
        else:
            yield Input(str(path), partial(_open, path))


def find_table_inputs(rows: Iterable[Mapping[str, Any]], tree: Tree) -> Iterator[Input]:
    """Yield the recordings of a user's table, by the `path` of each row below a root."""
    for number, row in enumerate(rows):
        path = "" if row["path"] is None else str(row["path"]).strip()
        beside = {column: cell for column, cell in row.items() if column != "path"}
        yield Input(path or f"row {number + 1}", partial(_open_row, tree, path), number, beside)


def _search(place: Path) -> Iterator[Input]:
    problem = f"no audio in it; looked for {' '.join(AUDIO_SUFFIXES)}"
    try:
        tree = open_tree(place, AUDIO_SUFFIXES)
        for path in tree.list_files(AUDIO_SUFFIXES):
            problem = ""
            yield Input(str(place / path), partial(tree.open, path))
    except CorpusError as error:
        problem = str(error)
    if problem:
        yield Input(str(place), partial(_refuse, problem))


def _refuse(problem: str) -> BinaryIO:
    raise AudioError(problem)


def _open(file: Path) -> BinaryIO:
    stream = file.open("rb")
    if os.fstat(stream.fileno()).st_size > _AT_ONCE:
        return stream
    with stream:
        return BytesIO(stream.read())


def _open_row(tree: Tree, path: str) -> BinaryIO:
    found = tree.make_relative(path) if path else None
    if found is None:
        raise AudioError(f"lies outside the root {tree.root}; --root changes it" if path else "no path")
    return tree.open(found)
