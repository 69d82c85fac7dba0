"""Base classes of the corpora: facts about one, and a reader that tells what each of its files holds.

A corpus names its utterances from their paths (and label files) alone; no audio is opened here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.archives import Tree, open_tree
from emodna.pipeline.download import Download
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import layout
from emodna.pipeline.tables import ROWS_PER_BATCH, iterate_values

Gender = Literal["f", "m"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording, as its corpus describes it."""

    id: str
    """Unique in the corpus, from its file grammar: never from the content, never dependent on where the corpus lies."""
    path: str
    """Relative to the root, POSIX."""
    speaker: str | None = None
    gender: Gender | None = None
    language: str | None = None
    """ISO 639-1."""
    text: str | None = None
    """Sentence id."""
    intensity: str | None = None
    emotion_code: str | None = None
    """Code in the corpus."""
    emotion: str | None = None
    """One of `emotions.EMOTIONS`; None if unlabelled."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further columns of the corpus's own, the same for all its utterances."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A file that is left out, and why. Reasons are counted, so they name no file."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """Utterances that a corpus found under a root."""

    table: pa.Table
    """A row per utterance, in order of id: `layout.SCAN_SCHEMA`, then the corpus's own columns."""
    skipped: Mapping[str, int]
    """Files left out, counted by reason."""

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.table)

    @property
    def utterances(self) -> Sequence[Utterance]:
        """Return the utterances as objects, made anew each time."""
        own = self.select_own_columns().to_pylist() or [{}] * len(self)
        rows = self.table.select(layout.SCAN_SCHEMA.names).to_pylist()
        return [Utterance(**row, extra=extra) for row, extra in zip(rows, own, strict=True)]

    def select_own_columns(self) -> pa.Table:
        """Return the corpus's own columns."""
        return self.table.drop_columns(layout.SCAN_SCHEMA.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """Published facts about a corpus; None where nothing is published."""

    title: str
    language: str | None = None
    utterances: int | None = None
    speakers: int | None = None
    sample_rate: int | None = None
    """Native, in Hz."""
    licence: str
    citation: str = ""
    layout: str
    """The file grammar, as a user sees it."""
    emotions: Mapping[str, str]
    """Code in the corpus -> category."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Category -> published number of utterances."""
    homepage: str = ""
    obtain: str = ""
    """Instructions to get it, in a few sentences."""
    download: Download | None = None
    """File that `emodna-prep --download` gets; None for a corpus behind a form or a counter."""


class Corpus(ABC):
    """A corpus: its `info`, and `scan`, which says what each of its files holds.

    Most corpora tell everything in their file names, and are a `PathCorpus`; one with label files reads those first,
    and then has its files `scan_files`.
    """

    name: str
    info: CorpusInfo
    suffixes: Sequence[str] = (".wav",)
    """Endings of its audio files, lower case."""
    label_suffixes: Sequence[str] = ()
    """Endings of its label files, lower case, if it has any."""
    subsets: ClassVar[Mapping[str, str]] = {}
    """Other selections of the corpus than the usual one: name -> what it holds. Its constructor takes the name."""

    @abstractmethod
    def scan(self, tree: Tree) -> Scan:
        """Describe every file of a tree; a second copy of an utterance is counted, not used.

        Raises `CorpusError`: nothing belongs to this corpus; says the layout expected and what was found instead.
        """

    def open(self, root: Path) -> Tree:
        """Open a root with all files that a scan needs, as `open_tree` does."""
        return open_tree(root, self.suffixes, self.label_suffixes)

    def scan_files(
        self,
        tree: Tree,
        describe: Callable[[PurePosixPath], Utterance | Skip | None],
        skipped: Mapping[str, int] | None = None,
    ) -> Scan:
        """Describe every audio file by a function like `PathCorpus.describe`; `skipped` counts what is left out."""
        skip_counts = Counter(skipped or {})
        unknown_paths: list[str] = []

        def utterances() -> Iterator[Utterance]:
            for path in _sort_by_depth(tree.list_files(self.suffixes), skip_counts):
                match describe(PurePosixPath(path)):
                    case None:
                        unknown_paths.append(path)
                    case Skip(reason):
                        skip_counts[reason] += 1
                    case Utterance() as utterance:
                        yield utterance

        table = make_utterance_table(utterances())
        if not len(table):
            found = f"no {self.suffixes[0]} file" if len(self.suffixes) == 1 else "no audio file"
            if skips := {**skip_counts, **tree.skip_counts}:
                reasons = ", ".join(f"{count} x {reason}" for reason, count in skips.items())
                found = f"no usable {self.name} file ({reasons})"
            elif unknown_paths:
                found = f"none of the {len(unknown_paths)} audio files is {self.name}'s (the first: {unknown_paths[0]})"
            raise CorpusError(f"root {tree.root}: {found}; expected {self.info.layout}")
        nearest = table.select(["id"]).append_column("row", pa.array(np.arange(len(table))))
        rows = nearest.group_by("id").aggregate([("row", "min")]).sort_by("id")["row_min"]
        if copies := len(table) - len(rows):
            skip_counts["second copy of an utterance"] += copies
        if unknown_paths:
            skip_counts["file name outside the corpus's grammar"] = len(unknown_paths)
        return Scan(table.take(rows), dict(skip_counts))

    def find_emotion(self, code: str) -> str | None:
        """Return the category of one of the corpus's emotion codes; None if unknown: never guessed."""
        return self.info.emotions.get(code)

    def find_differences(self, scan: Scan, sample_rates: Mapping[int, int]) -> list[str]:
        """Return the differences from the published corpus, a line each; `sample_rates` are numbers of files by Hz."""
        info = self.info
        lines = []
        if info.utterances is not None and len(scan) != info.utterances:
            lines.append(f"{len(scan)} utterances, {info.utterances} published")
        counts = {each["values"]: each["counts"] for each in pc.value_counts(scan.table["emotion"]).to_pylist()}
        differing = [
            f"{emotion} {counts.get(emotion, 0)} (published {published})"
            for emotion, published in info.counts.items()
            if counts.get(emotion, 0) != published
        ]
        if differing:
            lines.append("emotion counts differ: " + ", ".join(differing))
        speakers = len(pc.unique(scan.table["speaker"]))
        if info.speakers is not None and speakers != info.speakers:
            lines.append(f"{speakers} speakers, {info.speakers} published")
        for rate, files in sorted(sample_rates.items()):
            if info.sample_rate is not None and rate != info.sample_rate:
                lines.append(f"{files} files at {rate} Hz, published at {info.sample_rate} Hz: an altered copy?")
        return lines


class PathCorpus(Corpus):
    """A corpus whose file names (and folders) tell everything."""

    @abstractmethod
    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Tell what the file at a relative path is; None for a file outside the corpus's grammar."""

    def scan(self, tree: Tree) -> Scan:
        """Describe every file."""
        return self.scan_files(tree, self.describe)

    def find_unknown(self, code: str, **values: tuple[str, Container[str]]) -> Skip | None:
        """Return a Skip of an unknown emotion code, or of the first unknown of `values` (value, valid ones)."""
        if self.find_emotion(code) is None:
            return Skip(f"unknown emotion code {code}")
        unknown = (Skip(f"unknown {kind} {value}") for kind, (value, valid) in values.items() if value not in valid)
        return next(unknown, None)

    def make_utterance(self, path: PurePosixPath, code: str, **values: Any) -> Utterance:
        """Return the utterance of a known emotion code, in the corpus's language."""
        emotion = self.find_emotion(code)
        return Utterance(path=str(path), language=self.info.language, emotion_code=code, emotion=emotion, **values)


def _sort_by_depth(paths: Iterator[str], skip_counts: Counter[str]) -> Iterator[str]:
    """Paths in order of their depth, then of themselves; those that no table can hold are left out."""
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
    """Turn utterances into a table, in their order; few are objects at a time.

    Raises `CorpusError`: columns that differ or have values of different types, or a name that the store has taken.
    """
    parts = list(_make_tables(iter(utterances)))
    try:
        return pa.concat_tables(parts, promote_options="permissive") if parts else layout.SCAN_SCHEMA.empty_table()
    except pa.ArrowException as error:
        raise CorpusError(f"columns with values of no common type ({error})") from error


def check_column_names(columns: Iterable[str]) -> None:
    """Refuse columns of a corpus's own that are named like one of the store's. Raises `CorpusError`: names them."""
    if reserved := sorted(set(columns) & set(layout.INDEX_SCHEMA.names)):
        raise CorpusError(f"the store has columns {', '.join(reserved)} of its own: rename yours")


def _make_tables(utterances: Iterator[Utterance]) -> Iterator[pa.Table]:
    first: Utterance | None = None
    while rows := list(islice(utterances, ROWS_PER_BATCH)):
        if first is None:
            first = rows[0]
            check_column_names(first.extra)
        if odd := next((each for each in rows if each.extra.keys() != first.extra.keys()), None):
            raise CorpusError(f"{odd.id!r} has columns {list(odd.extra)}, but {first.id!r} has {list(first.extra)}")
        columns = {f.name: pa.array([getattr(each, f.name) for each in rows], f.type) for f in layout.SCAN_SCHEMA}
        for name in first.extra:
            try:
                columns[name] = pa.array([each.extra[name] for each in rows])
            except (pa.ArrowException, OverflowError) as error:
                raise CorpusError(f"column {name}: values of no common type ({error})") from error
        yield pa.table(columns)
