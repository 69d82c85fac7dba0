"""Base classes of the corpora: published information, and a scan that turns files into utterances.

A scan reads paths and label files. It opens no audio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.archives import Tree, open_tree
from emodna.pipeline.audio import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from emodna.pipeline.download import Download
from emodna.pipeline.errors import CorpusError, check_list, format_count
from emodna.pipeline.left_out import find_suffix, make_left_out_error
from emodna.pipeline.store import layout
from emodna.pipeline.tables import ROWS_PER_BATCH, iterate_values

Gender = Literal["f", "m"]

#: Reason for skipping a file that has the id of another one.
SECOND_COPY: Final = "second copy of an utterance"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance, as its corpus describes it."""

    id: str
    """Identifier from the file name or label file, unique in the corpus, independent of the corpus's location."""
    path: str
    """POSIX path relative to the root."""
    speaker: str | None = None
    gender: Gender | None = None
    language: str | None = None
    """ISO 639-1 code."""
    text: str | None = None
    """Id of the spoken sentence."""
    intensity: str | None = None
    emotion_code: str | None = None
    """Emotion as the corpus writes it."""
    emotion: str | None = None
    """Category, one of `emotions.EMOTIONS`; None if unlabelled."""
    start: float = 0.0
    """Start of the utterance in its recording, in s."""
    end: float | None = None
    """End of the utterance in its recording, in s; None: the end of the recording."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """The corpus's own columns, the same ones for all its utterances."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A skipped file. Skips are counted by reason, so a reason names no file."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The utterances of a corpus below a root."""

    table: pa.Table
    """One row per utterance, sorted by id: `layout.SCAN_SCHEMA`, then the corpus's own columns."""
    skipped: Mapping[str, int]
    """Number of skipped files by reason."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Suffix -> number of files that hold or may hold recordings of the corpus but are not read."""
    warnings: Sequence[str] = ()
    """Problems of the labels, one per line."""
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Id of an utterance -> paths of further copies of its recording, the nearest to the root first."""

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.table)

    @property
    def is_segmented(self) -> bool:
        """True if an utterance is a part of its recording."""
        starts, ends = self.table["start"], self.table["end"]
        return ends.null_count < len(ends) or bool(pc.any(pc.greater(starts, 0)).as_py())

    @property
    def utterances(self) -> Sequence[Utterance]:
        """Return the utterances as new objects."""
        own = self.select_own_columns().to_pylist() or [{}] * len(self)
        rows = self.table.select(layout.SCAN_SCHEMA.names).to_pylist()
        return [Utterance(**row, extra=extra) for row, extra in zip(rows, own, strict=True)]

    def replace_paths(self, paths: Mapping[str, str]) -> Scan:
        """Return the scan with other paths for some utterances, given by id."""
        position = pc.index_in(self.table["id"], value_set=pa.array(paths.keys(), pa.string()))
        column = pc.coalesce(pc.take(pa.array(paths.values(), pa.string()), position), self.table["path"])
        return replace(self, table=self.table.set_column(self.table.column_names.index("path"), "path", column))

    def select_own_columns(self) -> pa.Table:
        """Return the corpus's own columns."""
        return self.table.drop_columns(layout.SCAN_SCHEMA.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """Published information about a corpus; None for values that are not published."""

    title: str
    language: str | None = None
    utterances: int | None = None
    speakers: int | None = None
    sample_rate: int | None = None
    """Native sample rate in Hz."""
    channels: str = ""
    """Rule for the channels of its files; empty if all are mono."""
    licence: str
    citation: str = ""
    layout: str
    """File names and folders, as shown in error messages."""
    emotions: Mapping[str, str]
    """Emotion code of the corpus -> category."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Category -> published number of utterances."""
    homepage: str = ""
    obtain: str = ""
    """Instructions to get the corpus, without commands."""
    download: Download | None = None
    """File that holds the whole corpus; None if it cannot be downloaded freely."""


class Corpus(ABC):
    """A corpus: its published `info`, and a `scan` for its utterances.

    A corpus whose file names hold all labels is a `PathCorpus`. A corpus with label files reads them in `scan`, then
    calls `scan_files`.
    """

    name: str
    info: CorpusInfo
    suffixes: Sequence[str] = (".wav",)
    """Lower-case suffixes of its audio files."""
    label_suffixes: Sequence[str] = ()
    """Lower-case suffixes of its label files."""
    subsets: ClassVar[Mapping[str, str]] = {}
    """Further selections of utterances: name -> description. The constructor takes the name."""

    left_out_suffixes: Sequence[str] = ()
    """Lower-case suffixes of other files that `Scan.left_out` counts, such as archives."""
    uses_ffmpeg: bool = False
    """True to read files in other formats as well, in place of those with the first of `suffixes`."""

    def __init_subclass__(cls) -> None:
        """Raise an EmodnaError if a class has one suffix instead of a list."""
        super().__init_subclass__()
        for name in ("suffixes", "label_suffixes", "left_out_suffixes"):
            check_list(name, getattr(cls, name))

    @abstractmethod
    def scan(self, tree: Tree) -> Scan:
        """Describe every file of a tree. A second copy of an utterance is counted, and used if the first is unusable.

        Raises `CorpusError`: no file belongs to this corpus.
        """

    def open(self, root: Path) -> Tree:
        """Open a root with `open_tree` for recordings and label files."""
        foreign = self._foreign_suffixes if self.uses_ffmpeg else ()
        return open_tree(root, (*self.suffixes, *foreign), self.label_suffixes)

    @property
    def _foreign_suffixes(self) -> tuple[str, ...]:
        return tuple(each for each in (*AUDIO_SUFFIXES, *FFMPEG_SUFFIXES) if each not in self.suffixes)

    def allow_ffmpeg(self) -> Self:
        """Return a copy of this corpus that reads files in other formats as well, if need be by ffmpeg."""
        corpus = copy(self)
        corpus.uses_ffmpeg = True
        return corpus

    def scan_files(
        self,
        tree: Tree,
        describe: Callable[[PurePosixPath], Utterance | Skip | None],
        skipped: Mapping[str, int] | None = None,
    ) -> Scan:
        """Describe every audio file with a function like `PathCorpus.describe`; add to the counts in `skipped`."""
        skip_counts = Counter(skipped or {})
        unknown_paths: list[str] = []
        foreign_suffixes = self._foreign_suffixes
        other_suffixes = (*foreign_suffixes, *self.left_out_suffixes)
        left_out = Counter[str]()
        foreign_paths: list[str] = []
        unread: list[Utterance] = []

        def list_native() -> Iterator[str]:
            for path in tree.list_files((*self.suffixes, *other_suffixes)):
                suffix = find_suffix(path, other_suffixes)
                if suffix is None:
                    yield path
                elif suffix in foreign_suffixes:
                    foreign_paths.append(path)
                else:
                    left_out[suffix] += 1

        def describe_all() -> Iterator[Utterance]:
            for path in _sort_by_depth(list_native(), skip_counts):
                yield from select(path, describe(PurePosixPath(path)))
            # They come last, so that a copy in the corpus's own format is preferred.
            for path in _sort_by_depth(iter(foreign_paths), skip_counts):
                found = describe(PurePosixPath(path)) or describe(PurePosixPath(path).with_suffix(self.suffixes[0]))
                found = replace(found, path=path) if isinstance(found, Utterance) else found
                if self.uses_ffmpeg:
                    yield from select(path, found)
                elif isinstance(found, Utterance):
                    unread.append(found)

        def select(path: str, described: Utterance | Skip | None) -> Iterator[Utterance]:
            match described:
                case None:
                    unknown_paths.append(path)
                case Skip(reason):
                    skip_counts[reason] += 1
                case Utterance() as utterance:
                    yield utterance

        table = make_utterance_table(describe_all())
        if unread:
            ids = set(table["id"].to_pylist())
            left_out.update(PurePosixPath(each.path).suffix.lower() for each in unread if each.id not in ids)
        if not len(table):
            raise self._make_empty_error(tree, skip_counts, unknown_paths, left_out)
        ids_and_rows = table.select(["id"]).append_column("row", pa.array(np.arange(len(table))))
        rows = ids_and_rows.group_by("id").aggregate([("row", "min")]).sort_by("id")["row_min"]  # nearest the root
        copies: defaultdict[str, list[str]] = defaultdict(list)
        if len(rows) < len(table):
            skip_counts[SECOND_COPY] += len(table) - len(rows)
            is_copy = np.ones(len(table), bool)
            is_copy[rows.to_numpy()] = False
            others = table.filter(pa.array(is_copy))
            for id, path in zip(iterate_values(others["id"]), iterate_values(others["path"]), strict=True):
                copies[id].append(path)
        if unknown_paths:
            skip_counts["file name outside the corpus's grammar"] = len(unknown_paths)
        return Scan(table.take(rows), dict(skip_counts), dict(left_out), copies=dict(copies))

    def _make_empty_error(
        self, tree: Tree, skip_counts: Mapping[str, int], unknown_paths: Sequence[str], left_out: Mapping[str, int]
    ) -> CorpusError:
        """Return the error for a root without a usable file."""
        if skips := {**skip_counts, **tree.skip_counts}:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in skips.items())
            problem = f"no usable file of {self.name} ({reasons})"
        elif unknown_paths:
            files = format_count(len(unknown_paths), "audio file")
            problem = f"{files}, none of {self.name} (the first: {unknown_paths[0]})"
        elif left_out:
            return make_left_out_error(left_out, tree.root)
        else:
            problem = f"no {self.suffixes[0]} file" if len(self.suffixes) == 1 else "no audio file"
            problem += " in this folder or its subfolders" if tree.root.is_dir() else " in this archive"
        problem += f"; expected {self.info.layout}"
        if not left_out:
            return CorpusError(problem, where=tree.root)
        error = make_left_out_error(left_out, None)
        return CorpusError(f"{problem}; {error.problem}", where=tree.root, remedy=error.remedy)

    def find_emotion(self, code: str) -> str | None:
        """Return the category of an emotion code of the corpus; None if the code is unknown."""
        return self.info.emotions.get(code)

    def find_differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """Return the differences from the published corpus, one per line; `sample_rates`: Hz -> number of files."""
        info = self.info
        lines = []
        if info.utterances is not None and len(scan) != info.utterances:
            lines.append(f"{format_count(len(scan), 'utterance')}, {info.utterances} published")
        counts = Counter({row["values"]: row["counts"] for row in pc.value_counts(scan.table["emotion"]).to_pylist()})
        differing = [f"{name} {counts[name]} (published {n})" for name, n in info.counts.items() if counts[name] != n]
        if differing:
            lines.append("emotion counts differ: " + ", ".join(differing))
        speakers = len(pc.unique(scan.table["speaker"]))
        if info.speakers is not None and speakers != info.speakers:
            lines.append(f"{format_count(speakers, 'speaker')}, {info.speakers} published")
        for rate, files in sorted(sample_rates.items()):
            if info.sample_rate is not None and rate != info.sample_rate:
                found = format_count(files, "file")
                lines.append(f"{found} at {rate} Hz, published at {info.sample_rate} Hz: an altered copy?")
        return lines


class PathCorpus(Corpus):
    """A corpus whose file and folder names hold all labels."""

    @abstractmethod
    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Return the utterance of a relative path, or a `Skip`; None if the path is not in the corpus's grammar."""

    def scan(self, tree: Tree) -> Scan:
        """Describe every file."""
        return self.scan_files(tree, self.describe)

    def find_unknown(self, code: str, **values: tuple[str, Container[str]]) -> Skip | None:
        """Return a `Skip` for an unknown emotion code or the first invalid one of `values`: (value, valid ones)."""
        if self.find_emotion(code) is None:
            return Skip(f"unknown emotion code {code}")
        unknown = (Skip(f"unknown {kind} {value}") for kind, (value, valid) in values.items() if value not in valid)
        return next(unknown, None)

    def make_utterance(self, path: PurePosixPath, code: str, **values: Any) -> Utterance:
        """Return the utterance of a known emotion code, in the corpus's language."""
        emotion = self.find_emotion(code)
        return Utterance(path=str(path), language=self.info.language, emotion_code=code, emotion=emotion, **values)


def _sort_by_depth(paths: Iterator[str], skip_counts: Counter[str]) -> Iterator[str]:
    """Sort paths by depth, then by name. Skip and count paths that are not UTF-8: no table can hold them."""
    chunks = []
    while chunk := list(islice(paths, ROWS_PER_BATCH)):
        usable = [path for path in chunk if path.encode(errors="replace").decode() == path]
        if len(usable) < len(chunk):
            skip_counts["file name that is not valid UTF-8"] += len(chunk) - len(usable)
        chunks.append(pa.array(usable, pa.string()))
    names = pa.chunked_array(chunks, pa.string())
    table = pa.table({"depth": pc.count_substring(names, "/"), "path": names})
    yield from iterate_values(table.sort_by([("depth", "ascending"), ("path", "ascending")])["path"])


def make_utterance_table(utterances: Iterable[Utterance]) -> pa.Table:
    """Return a table of utterances in the same order, converted in batches.

    Raises `CorpusError`: utterances differ in their own columns or types, or use a column name of the store.
    """
    parts = list(_make_tables(iter(utterances)))
    try:
        return pa.concat_tables(parts, promote_options="permissive") if parts else layout.SCAN_SCHEMA.empty_table()
    except pa.ArrowException as error:
        raise CorpusError(f"own columns: values of different types ({error})") from error


def check_column_names(columns: Iterable[str]) -> None:
    """Raise a `CorpusError` if a corpus's own column has the name of a column of the store."""
    if reserved := sorted(set(columns) & {*layout.INDEX_SCHEMA.names, *layout.SCAN_SCHEMA.names}):
        raise CorpusError(f"reserved column names: {', '.join(reserved)}", remedy="rename these columns")


def _make_tables(utterances: Iterator[Utterance]) -> Iterator[pa.Table]:
    first: Utterance | None = None
    while rows := list(islice(utterances, ROWS_PER_BATCH)):
        if first is None:
            first = rows[0]
            check_column_names(first.extra)
        if bad := next((each for each in rows if each.extra.keys() != first.extra.keys()), None):
            raise CorpusError(f"own columns {list(bad.extra)}, but {first.id!r} has {list(first.extra)}", where=bad.id)
        columns = {f.name: pa.array([getattr(each, f.name) for each in rows], f.type) for f in layout.SCAN_SCHEMA}
        for name in first.extra:
            try:
                columns[name] = pa.array([each.extra[name] for each in rows])
            except (pa.ArrowException, OverflowError) as error:
                raise CorpusError(f"values of different types ({error})", where=f"column {name}") from error
        yield pa.table(columns)
