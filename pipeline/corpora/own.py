"""A user's own recordings: all that lie in a folder, without labels, or those that a table lists."""

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
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.plugins import is_valid_name
from emodna.pipeline.tables import iterate_rows, read_table

#: Columns with a meaning; any other is carried into the store's index as it is.
COLUMNS: Final = ("path", "id", "emotion", "speaker", "gender", "language", "text", "intensity")

_GENDERS: Final[Mapping[str, Gender]] = {"f": "f", "female": "f", "m": "m", "male": "m"}


class OwnCorpus(Corpus):
    """Recordings that no publication describes. Raises `CorpusError`: a name that no corpus may have."""

    def __init__(self, name: str, *, title: str, layout: str) -> None:
        if not is_valid_name(name):
            raise CorpusError(f"--name {name}: only lower-case letters, digits, - and _ are valid, and not `all`")
        self.name = name
        emotions = {emotion: emotion for emotion in EMOTIONS}
        self.info = CorpusInfo(title=title, licence="the user's own", layout=layout, emotions=emotions)


class Recordings(OwnCorpus, PathCorpus):
    """Every recording below a folder or in an archive, unlabelled; a recording's id is its path."""

    suffixes = AUDIO_SUFFIXES

    def __init__(self, place: Path, name: str) -> None:
        super().__init__(name, title=f"own recordings in {place.name}", layout="recordings in any folders")

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Take any recording."""
        return Utterance(id=str(path), path=str(path))


class Manifest(OwnCorpus):
    """A table with a column `path`, and optionally those of `COLUMNS`.

    Paths are relative to the root, or absolute below it. `emotion` takes the categories of `emotions.EMOTIONS`; an
    empty cell is unlabelled, any other word is left out and counted. `gender` takes f, m, female, male; anything else
    is unknown. Without a column `id`, an utterance's id is its path.

    Raises `CorpusError`: a table that cannot be read or has no column `path`; a name that is not usable as a folder's.
    """

    suffixes = ("",)  # the table may list a file of any name

    def __init__(self, table: Path, name: str) -> None:
        listed = f"listed in {table.name}"
        super().__init__(name, title=f"own recordings {listed}", layout=f"the files {listed}")
        self._table = table
        content = read_table(table)
        own = [name for name in content.column_names if name not in COLUMNS]
        for column in own:
            if (meant := column.strip().lower()) in COLUMNS:
                raise CorpusError(f"--manifest {table}: column {column!r}: spell it {meant!r}, or rename it")
        try:
            check_column_names(own)
        except CorpusError as error:
            raise CorpusError(f"--manifest {table}: {error}") from None
        self._standard_columns = content.drop_columns(own)
        self._own_columns = content.select(own)

    def scan(self, tree: Tree) -> Scan:
        """Describe every row; a `CorpusError` for none, no path, one outside the root, or an id that occurs twice."""
        skipped: Counter[str] = Counter()
        kept = array("q")
        table = make_utterance_table(self._parse_rows(tree, skipped, kept))
        if not len(table):
            reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items()) or "it has no rows"
            raise CorpusError(f"{self._table}: no usable row ({reasons}); emotions are {', '.join(EMOTIONS)}")
        self._check_unique_ids(table["id"], kept)
        own = self._own_columns.take(pa.array(kept))
        for name in own.column_names:
            table = table.append_column(name, own[name])
        return Scan(table.sort_by("id"), dict(skipped))

    def _parse_rows(self, tree: Tree, skipped: Counter[str], kept: "array[int]") -> Iterator[Utterance]:
        """Yield the utterances of the rows; `kept` takes the number of each row that is one."""
        for number, row in enumerate(iterate_rows(self._standard_columns)):
            found = self._parse_row(row, number + 1, tree)
            if isinstance(found, Skip):
                skipped[found.reason] += 1
            else:
                kept.append(number)
                yield found

    def _check_unique_ids(self, ids: pa.ChunkedArray, kept: "array[int]") -> None:
        if pc.count_distinct(ids).as_py() == len(ids):
            return
        rows: dict[str, int] = {}
        for number, id in zip(kept, ids.to_pylist(), strict=True):
            if id in rows:
                raise CorpusError(f"{self._table}: rows {rows[id] + 1} and {number + 1}: id {id!r} occurs twice")
            rows[id] = number

    def _parse_row(self, row: Mapping[str, object], number: int, tree: Tree) -> Utterance | Skip:
        path = _read_cell(row, "path")
        if path is None:
            raise CorpusError(f"{self._table}: row {number}: no path")
        relative = tree.make_relative(path)
        if relative is None:
            raise CorpusError(
                f"{self._table}: row {number}: {path} lies outside the root {tree.root}; --root changes it"
            )
        code = _read_cell(row, "emotion")
        emotion = code and self.find_emotion(code.lower())
        if code is not None and emotion is None:
            return Skip(f"unknown emotion {code!r}")
        gender = _GENDERS.get((_read_cell(row, "gender") or "").lower())
        as_told: dict[str, Any] = {
            column: _read_cell(row, column) for column in ("speaker", "language", "text", "intensity")
        }
        id = _read_cell(row, "id") or relative
        return Utterance(id, relative, gender=gender, emotion_code=code, emotion=emotion, **as_told)


def derive_name(place: Path) -> str:
    """Name a corpus after its table's, folder's or archive's file name."""
    name = place.resolve().name.lower()
    ending = next((each for each in ARCHIVE_SUFFIXES if name.endswith(each)), place.suffix.lower())
    stem = name if place.is_dir() else name.removesuffix(ending)
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "own"


def _read_cell(row: Mapping[str, object], column: str) -> str | None:
    """Return a cell as text; None where it is empty or its column missing."""
    value = row.get(column)
    text = "" if value is None else str(value).strip()
    return text or None
