"""A user's own recordings: all of a folder or archive, unlabelled, or those that a table lists."""

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.archives import ARCHIVE_SUFFIXES, Tree
from emodna.pipeline.audio import AUDIO_SUFFIXES
from emodna.pipeline.corpora.base import (
    Corpus,
    CorpusInfo,
    Gender,
    PathCorpus,
    Scan,
    Skip,
    Utterance,
    check_column_names,
    make_utterance_table,
)
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.errors import CorpusError, Remedy
from emodna.pipeline.left_out import INNER_ARCHIVE_SUFFIXES
from emodna.pipeline.plugins import NAME_RULE, is_valid_name
from emodna.pipeline.tables import iterate_rows, read_table

#: Standard columns. All others are the user's own and are copied to the store's index.
COLUMNS: Final = ("path", "id", "emotion", "speaker", "gender", "language", "text", "intensity")

_GENDERS: Final[Mapping[str, Gender]] = {"f": "f", "female": "f", "m": "m", "male": "m"}


class OwnCorpus(Corpus):
    """A corpus of the user's own recordings. Raises `CorpusError`: invalid name."""

    def __init__(self, name: str, *, title: str, layout: str) -> None:
        if not is_valid_name(name):
            raise CorpusError(f"must consist of {NAME_RULE}", field="name", value=name)
        self.name = name
        emotions = {emotion: emotion for emotion in EMOTIONS}
        self.info = CorpusInfo(title=title, licence="the user's own", layout=layout, emotions=emotions)


class Recordings(OwnCorpus, PathCorpus):
    """The recordings of a folder or archive, unlabelled. The id of a recording is its path."""

    suffixes = AUDIO_SUFFIXES
    left_out_suffixes = INNER_ARCHIVE_SUFFIXES

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(name, title=f"own recordings in {root.name}", layout=f"{', '.join(AUDIO_SUFFIXES)}")

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Return the utterance of any path."""
        return Utterance(id=str(path), path=str(path))


class Manifest(OwnCorpus):
    """The recordings that a table lists: a column `path`, others of `COLUMNS`, and the user's own.

    Paths are relative to the root, or absolute below it. `emotion` is one of `emotions.EMOTIONS`, or empty if
    unlabelled; a row with any other word is skipped and counted. `gender` is f, m, female or male; any other word is
    unknown. Without a column `id`, the id of an utterance is its path.

    Raises `CorpusError`: invalid name, unreadable table, or no column `path`.
    """

    suffixes = ("",)  # the table may list files of any name

    def __init__(self, table: Path, name: str) -> None:
        source = f"listed in {table.name}"
        super().__init__(name, title=f"own recordings {source}", layout=f"the files {source}")
        self._table = table
        content = read_table(table)
        own = [name for name in content.column_names if name not in COLUMNS]
        for column in own:
            if (known := column.strip().lower()) in COLUMNS:
                raise CorpusError(f"unknown column {column!r}", where=table, remedy=f"write {known!r} or rename it")
        try:
            check_column_names(own)
        except CorpusError as error:
            raise CorpusError(error.problem, where=table, remedy=error.remedy) from None
        self._standard_columns = content.drop_columns(own)
        self._own_columns = content.select(own)

    def scan(self, tree: Tree) -> Scan:
        """Describe every row.

        Raises `CorpusError`: no usable row, a path that is missing or outside the root, or an id that occurs twice.
        """
        skipped, used_rows = Counter[str](), array("q")
        table = make_utterance_table(self._parse_rows(tree, skipped, used_rows))
        if not len(table):
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
            problem = f"no usable row ({reasons})" if reasons else "no rows below the header"
            raise CorpusError(problem, where=self._table, valid=EMOTIONS if reasons else ())
        self._check_unique_ids(table["id"], used_rows)
        own = self._own_columns.take(pa.array(used_rows))
        for name in own.column_names:
            table = table.append_column(name, own[name])
        return Scan(table.sort_by("id"), dict(skipped))

    def _parse_rows(self, tree: Tree, skipped: Counter[str], used_rows: "array[int]") -> Iterator[Utterance]:
        """Yield the utterances. Count skipped rows; append the number of each used row to `used_rows`."""
        for number, row in enumerate(iterate_rows(self._standard_columns)):
            parsed_row = self._parse_row(row, number + 1, tree)
            if isinstance(parsed_row, Skip):
                skipped[parsed_row.reason] += 1
            else:
                used_rows.append(number)
                yield parsed_row

    def _check_unique_ids(self, ids: pa.ChunkedArray, used_rows: "array[int]") -> None:
        if pc.count_distinct(ids).as_py() == len(ids):
            return
        rows: dict[str, int] = {}
        for number, id in zip(used_rows, ids.to_pylist(), strict=True):
            if id in rows:
                where = f"{self._table}: rows {rows[id] + 1} and {number + 1}"
                raise CorpusError(f"id {id!r} occurs twice", where=where)
            rows[id] = number

    def _parse_row(self, row: Mapping[str, object], number: int, tree: Tree) -> Utterance | Skip:
        path, where = _read_cell(row, "path"), f"{self._table}: row {number}"
        if path is None:
            raise CorpusError("no path", where=where)
        relative = tree.make_relative(path)
        if relative is None:
            problem = f"{path} is outside the root {tree.root}"
            raise CorpusError(problem, where=where, remedy=Remedy("choose another {root}"))
        code = _read_cell(row, "emotion")
        emotion = code and self.find_emotion(code.lower())
        if code is not None and emotion is None:
            return Skip(f"unknown emotion {code!r}")
        gender = _GENDERS.get((_read_cell(row, "gender") or "").lower())
        texts: dict[str, Any] = {name: _read_cell(row, name) for name in ("speaker", "language", "text", "intensity")}
        id = _read_cell(row, "id") or relative
        return Utterance(id, relative, gender=gender, emotion_code=code, emotion=emotion, **texts)


def derive_name(path: Path) -> str:
    """Return a corpus name made from the name of a table, folder or archive."""
    name = path.resolve().name.lower()
    suffix = next((each for each in ARCHIVE_SUFFIXES if name.endswith(each)), path.suffix.lower())
    stem = name if path.is_dir() else name.removesuffix(suffix)
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "own"


def _read_cell(row: Mapping[str, object], column: str) -> str | None:
    """Return a cell as text; None if it is empty or the table has no such column."""
    value = row.get(column)
    return None if value is None else str(value).strip() or None
