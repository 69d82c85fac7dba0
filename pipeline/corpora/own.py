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
from emodna.pipeline.audio import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from emodna.pipeline.audio.segment import make_span_id
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
from emodna.pipeline.emotions import EMOTIONS, SYNONYMS, find_emotion, normalise_word
from emodna.pipeline.errors import CorpusError, format_count
from emodna.pipeline.left_out import INNER_ARCHIVE_SUFFIXES, open_recordings
from emodna.pipeline.plugins import NAME_RULE, is_valid_name
from emodna.pipeline.spans import RENAME_SPANS, Span, SpanError, read_spans
from emodna.pipeline.store.layout import SPAN_COLUMNS
from emodna.pipeline.tables import is_missing, iterate_listed_rows, read_table

#: Standard columns. All others are the user's own and are copied to the store's index.
COLUMNS: Final = ("path", "id", "emotion", "speaker", "gender", "language", "text", "intensity", *SPAN_COLUMNS)

#: Words for the gender of a speaker, in any case.
GENDERS: Final[Mapping[str, Gender]] = {
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich"), "f"),
    **dict.fromkeys(("m", "male", "man", "männlich"), "m"),
}
#: Advice for a table without ids whose rows have the same path and times.
_ADD_COLUMNS: Final = "add columns start and end for segments of a recording, or a column id"
#: Number of unknown words that are listed, the most frequent first.
_MAX_WORDS: Final = 20


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

    def open(self, root: Path) -> Tree:
        """Open a root with `open_recordings`."""
        return open_recordings(root, (*self.suffixes, *(FFMPEG_SUFFIXES if self.uses_ffmpeg else ())))

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Return the utterance of any path."""
        return Utterance(id=str(path), path=str(path))


class Manifest(OwnCorpus):
    """The recordings, or segments of recordings, that a table lists.

    The table has a column `path`, others of `COLUMNS`, and the user's own. Paths are relative to the root, or absolute.
    `emotion` is a word of `emotions`, or empty if unlabelled; a row with any other word is skipped and counted.
    `gender` is a word of `GENDERS`; any other word is unknown and counted. Cells of `tables.MISSING_WORDS` are empty.

    `start` and `end` in s cut a recording. A row without both is the whole recording. Rows whose times are unusable are
    skipped and counted. Without a column `id`, the id of an utterance is its path, followed by the span of a segment.

    Raises `CorpusError`: invalid name, unreadable table, or no column `path`.
    """

    suffixes = ("",)  # the table may list files of any name

    def __init__(self, table: Path, name: str) -> None:
        source = f"listed in {table.name}"
        super().__init__(name, title=f"own recordings {source}", layout=f"the files {source}")
        self._table = table
        content = read_table(table, COLUMNS)
        own = [name for name in content.column_names if name not in COLUMNS]
        try:
            check_column_names(own)
        except CorpusError as error:
            raise CorpusError(error.problem, where=table, remedy=error.remedy) from None
        self._content = content
        self._own_columns = content.select(own)

    def scan(self, tree: Tree) -> Scan:
        """Describe every row.

        Raises `CorpusError`: no usable row, a path that is missing or outside the root, or an id that occurs twice.
        """
        rows = _Rows(self._table, self._content, tree)
        table = make_utterance_table(rows.parse())
        skipped = rows.list_skipped()
        if not len(table):
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items())
            problem = f"no usable row ({reasons})" if reasons else "no rows below the header"
            raise CorpusError(problem, where=self._table, remedy=RENAME_SPANS if rows.unusable_spans else None)
        self._check_unique_ids(table["id"], rows.used)
        own = self._own_columns.take(pa.array(rows.used))
        for name in own.column_names:
            table = table.append_column(name, own[name])
        warnings = rows.list_warnings()
        if own.column_names and "emotion" not in self._content.column_names:
            columns = ", ".join(own.column_names)
            warnings.append(f"no column emotion: only a task of your own can have labels, of the columns: {columns}")
        return Scan(table.sort_by("id"), skipped, warnings=warnings)

    def _check_unique_ids(self, ids: pa.ChunkedArray, used_rows: "array[int]") -> None:
        if pc.count_distinct(ids).as_py() == len(ids):
            return
        rows: dict[str, int] = {}
        for number, id in zip(used_rows, ids.to_pylist(), strict=True):
            if id in rows:
                where = f"{self._table}: rows {rows[id] + 1} and {number + 1}"
                remedy = "give each row another id" if "id" in self._content.column_names else _ADD_COLUMNS
                raise CorpusError(f"id {id!r} occurs twice", where=where, remedy=remedy)
            rows[id] = number


class _Rows:
    """The rows of a user's table, and the counts of those that are unusable."""

    def __init__(self, table: Path, content: pa.Table, tree: Tree) -> None:
        self._table, self._content, self._tree = table, content, tree
        self._columns = [name for name in content.column_names if name in COLUMNS and name not in SPAN_COLUMNS]
        self.used = array("q")
        """Numbers of the rows that are utterances, from 0."""
        self._unknown_emotions = Counter[str]()
        self._first_unknown_emotion: dict[str, int] = {}
        """Word -> number of its first row."""
        self.unusable_spans: dict[str, list[str]] = {}
        """Reason -> row and value of each."""
        self._unknown_genders = Counter[str]()

    def parse(self) -> Iterator[Utterance]:
        """Yield the utterances. Raises `CorpusError`: a path is missing or outside the root."""
        spans = list(read_spans(self._content))
        for number, row in iterate_listed_rows(self._content, self._columns):
            utterance = self._parse_row(row, number + 1, spans[number])
            if utterance is not None:
                self.used.append(number)
                yield utterance

    def _parse_row(self, row: Mapping[str, object], number: int, span: Span | SpanError) -> Utterance | None:
        path, where = _read_cell(row, "path"), f"{self._table}: row {number}"
        if path is None:
            raise CorpusError("no path", where=where)
        try:
            relative = self._tree.locate(path)
        except CorpusError as error:
            raise CorpusError(error.problem, where=where, remedy=error.remedy) from None
        code = _read_cell(row, "emotion")
        emotion = None if code is None else find_emotion(code)
        if code is not None and emotion is None:
            unknown = normalise_word(code)
            self._unknown_emotions[unknown] += 1
            self._first_unknown_emotion.setdefault(unknown, number)
            return None
        if isinstance(span, SpanError):
            self.unusable_spans.setdefault(span.kind, []).append(f"row {number}, {span.cell}")
            return None
        word = _read_cell(row, "gender")
        gender = None if word is None else GENDERS.get(word.lower())
        if word is not None and gender is None:
            self._unknown_genders[word] += 1
        texts: dict[str, Any] = {name: _read_name(row, name) for name in ("speaker", "language", "text", "intensity")}
        id = _read_cell(row, "id") or make_span_id(relative, span)
        start, end = span
        return Utterance(id, relative, gender=gender, emotion_code=code, emotion=emotion, start=start, end=end, **texts)

    def list_skipped(self) -> dict[str, int]:
        """Return the number of skipped rows by reason."""
        skipped = {f"{kind} (the first: {places[0]})": len(places) for kind, places in self.unusable_spans.items()}
        if not self._unknown_emotions:
            return skipped
        return {self._describe_unknown_emotions(): self._unknown_emotions.total()} | skipped

    def _describe_unknown_emotions(self) -> str:
        """Return the unknown words, each with its first row and its number of rows, and the valid words."""
        words = self._unknown_emotions.most_common()
        rows = self._first_unknown_emotion
        listed = ", ".join(
            f"{word!r} ({f'{count}, ' if words[1:] else ''}the first: row {rows[word]})"
            for word, count in words[:_MAX_WORDS]
        )
        if more := len(words[_MAX_WORDS:]):
            listed += f" and {format_count(more, 'other word')}"
        valid = ", ".join(f"{emotion} ({', '.join(synonyms)})" for emotion, synonyms in SYNONYMS.items())
        return f"unknown emotion {listed}; valid: {valid}"

    def list_warnings(self) -> list[str]:
        """Return the unknown words for gender and the valid ones."""
        lines = []
        if self._unknown_genders:
            words = ", ".join(f"{word!r} ({count})" for word, count in self._unknown_genders.most_common(_MAX_WORDS))
            lines.append(f"unknown words for gender: {words}; valid: {', '.join(GENDERS)}")
        return lines


def derive_name(path: Path) -> str:
    """Return a corpus name made from the name of a table, folder or archive."""
    name = path.resolve().name.lower()
    suffix = next((each for each in ARCHIVE_SUFFIXES if name.endswith(each)), path.suffix.lower())
    stem = name if path.is_dir() else name.removesuffix(suffix)
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "own"


def _read_cell(row: Mapping[str, object], column: str) -> str | None:
    """Return a cell as text; None if it has no value or the table has no such column."""
    value = row.get(column)
    return None if is_missing(value) else str(value).strip()


def _read_name(row: Mapping[str, object], column: str) -> str | None:
    """Return a cell as text, a whole number without decimals: pandas writes 1.0 for 1 next to missing cells."""
    cell = _read_cell(row, column)
    return cell[:-2] if cell is not None and re.fullmatch(r"\d+[.,]0", cell) else cell
