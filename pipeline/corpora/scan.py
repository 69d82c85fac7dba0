"""Result of a scan: utterances as a corpus describes them, kept as a table, since there may be millions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import pyarrow as pa

from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import layout
from emodna.pipeline.tables import ROWS_AT_ONCE

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
    """A row per utterance, in order of id: `layout.DESCRIBED_SCHEMA`, then the corpus's own columns."""
    skipped: Mapping[str, int]
    """Files left out, counted by reason."""

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.table)

    @property
    def utterances(self) -> Sequence[Utterance]:
        """Return the utterances as objects, made anew each time."""
        own = self.own_columns().to_pylist() or [{}] * len(self)
        rows = self.table.select(layout.DESCRIBED_SCHEMA.names).to_pylist()
        return [Utterance(**row, extra=extra) for row, extra in zip(rows, own, strict=True)]

    def own_columns(self) -> pa.Table:
        """Return the corpus's own columns."""
        return self.table.drop_columns(layout.DESCRIBED_SCHEMA.names)


def utterance_table(utterances: Iterable[Utterance]) -> pa.Table:
    """Turn utterances into a table, in their order; few are objects at a time.

    Raises
    ------
    CorpusError
        Utterances with different columns of the corpus's own, one of those named like a column of the store, or values
        of different types in one.
    """
    parts = list(_parts(iter(utterances)))
    try:
        return pa.concat_tables(parts, promote_options="permissive") if parts else layout.DESCRIBED_SCHEMA.empty_table()
    except pa.ArrowException as error:
        raise CorpusError(f"columns with values of no common type ({error})") from error


def refuse_reserved(columns: Iterable[str]) -> None:
    """Refuse columns of a corpus's own that are named like one of the store's.

    Raises
    ------
    CorpusError
        Names them.
    """
    if reserved := sorted(set(columns) & set(layout.INDEX_SCHEMA.names)):
        raise CorpusError(f"the store has columns {', '.join(reserved)} of its own: rename yours")


def _parts(utterances: Iterator[Utterance]) -> Iterator[pa.Table]:
    first: Utterance | None = None
    while rows := list(islice(utterances, ROWS_AT_ONCE)):
        if first is None:
            first = rows[0]
            refuse_reserved(first.extra)
        if odd := next((each for each in rows if each.extra.keys() != first.extra.keys()), None):
            raise CorpusError(f"{odd.id!r} has columns {list(odd.extra)}, but {first.id!r} has {list(first.extra)}")
        columns = [pa.array([getattr(each, f.name) for each in rows], f.type) for f in layout.DESCRIBED_SCHEMA]
        columns += [_own_column(rows, name) for name in first.extra]
        yield pa.table(columns, names=[*layout.DESCRIBED_SCHEMA.names, *first.extra])


def _own_column(rows: Sequence[Utterance], name: str) -> pa.Array:
    try:
        return pa.array([each.extra[name] for each in rows])
    except (pa.ArrowException, OverflowError) as error:
        raise CorpusError(f"column {name}: values of no common type ({error})") from error
