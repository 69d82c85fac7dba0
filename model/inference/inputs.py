"""Find recordings to predict for: files, folders, archives, standard input, the rows of a table."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import count, groupby
from pathlib import Path
from typing import Any, BinaryIO, Final

from emodna.pipeline.archives import ARCHIVE_SUFFIXES, Stamp, Tree
from emodna.pipeline.audio import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from emodna.pipeline.errors import AudioError, CorpusError, EmodnaError, check_list
from emodna.pipeline.left_out import INNER_ARCHIVE_SUFFIXES, find_suffix, make_left_out_error, open_recordings
from emodna.pipeline.spans import WHOLE, Span, SpanError

STDIN: Final = "-"

Warn = Callable[[EmodnaError], None]
"""Function that shows the user a warning."""

#: Largest file in bytes that is read into memory before decoding, because libsndfile reads in small pieces.
_MAX_BYTES_IN_MEMORY: Final = 2**26


@dataclass(frozen=True, slots=True)
class Input:
    """A recording to predict for."""

    file: str
    """Name of the recording."""
    open: Callable[[], BinaryIO]
    """Function that opens a seekable stream, any number of times; raises one of `RECORDING_ERRORS`."""
    number: int | None = None
    """Number of the recording's row in a table, from 0."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """Other cells of that row."""
    read_stamp: Callable[[], Stamp | None] | None = None
    """Function that returns size and time of the recording, None if it is missing; None for a stream."""
    ffmpeg: bool = False
    """True to decode formats that libsndfile cannot read by ffmpeg."""
    span: Span | None = None
    """Part of the recording to predict for; None: the whole recording."""
    speaker: str | None = None
    """Speaker of its row in a table; None: unknown."""


def find_inputs(names: Iterable[str], *, ffmpeg: bool = False, warn: Warn = lambda _warning: None) -> Iterator[Input]:
    """Yield the recordings with these names, and the audio files in folders and archives with these names.

    Folders are searched by suffixes, without hidden files; with `ffmpeg`, also for formats that only ffmpeg decodes.
    `warn` gets a warning about the files of a folder or archive that are left out. `-` is standard input. Standard
    input and pipes are read to their end here, not in the thread that decodes them.
    """
    check_list("names", names)
    for name in names:
        path = Path(name)
        if name == STDIN:
            yield Input(name, partial(BytesIO, sys.stdin.buffer.read()), ffmpeg=ffmpeg)
        elif path.is_fifo():
            yield Input(str(path), partial(BytesIO, path.read_bytes()), ffmpeg=ffmpeg)
        elif path.is_dir() or name.lower().endswith(ARCHIVE_SUFFIXES):
            yield from _search(path, warn, ffmpeg=ffmpeg)
        else:
            path = path.absolute()  # another process may have another working folder
            yield Input(str(Path(name)), partial(_open, path), read_stamp=partial(_read_stamp, path), ffmpeg=ffmpeg)


def find_table_inputs(
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    spans: Sequence[Span | SpanError],
    tree: Tree,
    *,
    ffmpeg: bool = False,
) -> Iterator[Input]:
    """Yield the recording, or the segment of one, of each row of a table.

    `rows` have their numbers in the table, from 0, and a column `path` as the table writes it for the root of `tree`;
    a column `speaker` names the speakers.
    `spans` are those of all rows of the table, from `read_spans`.
    """
    from emodna.pipeline.tables import is_missing  # needs pyarrow, which prediction without a table does not

    for number, row in rows:
        path = "" if is_missing(row["path"]) else str(row["path"]).strip()
        speaker = None if is_missing(row.get("speaker")) else str(row["speaker"]).strip() or None
        other_cells = {column: cell for column, cell in row.items() if column != "path"}
        opened, read_stamp = partial(_open_row, tree, path), partial(_read_row_stamp, tree, path)
        span = spans[number]
        if isinstance(span, SpanError):
            opened, span = partial(_refuse, str(span)), WHOLE
        segment = None if span == WHOLE else span
        name = path or f"row {number + 1}"
        yield Input(name, opened, number, other_cells, read_stamp, ffmpeg, segment, speaker)


def group_segments(inputs: Iterable[Input]) -> Iterator[list[Input]]:
    """Yield consecutive segments of one recording together, and each whole recording alone."""
    alone = count()
    for _, group in groupby(inputs, lambda each: next(alone) if each.span is None else each.file):
        yield list(group)


def _search(root: Path, warn: Warn, *, ffmpeg: bool) -> Iterator[Input]:
    """Yield the audio files of a folder or an archive; if there are none, an input that raises the reason."""
    suffixes = (*AUDIO_SUFFIXES, *FFMPEG_SUFFIXES) if ffmpeg else AUDIO_SUFFIXES
    others = tuple(each for each in (*FFMPEG_SUFFIXES, *INNER_ARCHIVE_SUFFIXES) if each not in suffixes)
    problem: EmodnaError | None = AudioError("no audio file", valid=suffixes)
    left_out = Counter[str]()
    try:
        tree = open_recordings(root, suffixes)
        for path in tree.list_files((*suffixes, *others)):
            if (suffix := find_suffix(path, others)) is not None:
                left_out[suffix] += 1
                continue
            problem, read_stamp = None, partial(tree.read_stamp, path)
            yield Input(str(root / path), partial(tree.open, path), read_stamp=read_stamp, ffmpeg=ffmpeg)
    except CorpusError as error:
        problem = error
    if left_out and problem is None:
        warn(make_left_out_error(left_out, root))
    elif problem is not None:
        problem = make_left_out_error(left_out, None) if left_out else problem
        yield Input(str(root), partial(_refuse, str(problem)), read_stamp=partial(_read_stamp, root.absolute()))


def _refuse(problem: str) -> BinaryIO:
    raise AudioError(problem)


def _open(file: Path) -> BinaryIO:
    stream = file.open("rb")
    if os.fstat(stream.fileno()).st_size > _MAX_BYTES_IN_MEMORY:
        return stream
    with stream:
        return BytesIO(stream.read())


def _read_stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: impossible path
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def _open_row(tree: Tree, path: str) -> BinaryIO:
    if not path:
        raise AudioError("no path")
    try:
        return tree.open(tree.locate(path))
    except CorpusError as error:
        raise AudioError(error.problem) from error
    except FileNotFoundError:
        raise AudioError(f"not found in the root {tree.root}") from None


def _read_row_stamp(tree: Tree, path: str) -> Stamp | None:
    relative = tree.make_relative(path) if path else None
    return None if relative is None else tree.read_stamp(relative)
