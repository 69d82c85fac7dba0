"""What earlier runs on a store left that a new run can use: facts, features, and the state of the audio files."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import recordings_of
from emodna.pipeline.errors import ForeignStoreError, StoreError, UnreadableStoreError, of_the_machine
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.prepare.extract import Facts
from emodna.pipeline.store import layout
from emodna.pipeline.store.index import Index, read_sealed, write_sealed
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.shards import feature_crc, map_shard
from emodna.pipeline.store.snapshot import Snapshot, file_sha256, has_content, read_snapshot

#: Where a journal's file says how its recordings were cut.
_SEGMENTATION: Final = b"segmentation"


class History:
    """Facts of every utterance that was committed, or finished by a run that did not come to its commit.

    Parameters
    ----------
    store
        Folder of the store; may be new.
    corpus, features, segmentation, root
        What the store is asked to hold. What was cut into other pieces, and sizes and times of files under another
        root, say nothing.
    rehash
        Trust no earlier hash: neither the audio's nor the shards'.

    Raises
    ------
    ForeignStoreError
        The folder holds another store.
    """

    def __init__(
        self,
        store: Path,
        corpus: str,
        features: FeatureSet,
        segmentation: Mapping[str, Any] | None,
        root: Path,
        *,
        rehash: bool,
    ) -> None:
        self.store = store
        self._segmentation = segmentation
        self.snapshot: Snapshot | None = None
        self.damage: str | None = None
        """Why an existing store could not be used, if so."""
        self.cut_otherwise = False
        """Whether an existing store holds other pieces of its recordings than are asked for."""
        committed = layout.JOURNAL_SCHEMA.empty_table()
        if (store / layout.STORE_JSON).exists():
            try:
                self.snapshot = read_snapshot(store)
                _check_same(store, self.snapshot, corpus, features)
                self.cut_otherwise = self.snapshot.segmentation != segmentation
                if not self.cut_otherwise:
                    committed = _committed(store, self.snapshot, rehash=rehash)
            except (ForeignStoreError, UnreadableStoreError):
                raise
            except StoreError as error:
                self.snapshot, self.damage = None, str(error)
        finished = list(_finished(store, segmentation))
        self.members = _members([committed, *finished])
        """Shard file -> number of utterances in it."""
        self.facts = self._newest([committed, *finished])
        """Columns of `layout.JOURNAL_SCHEMA`; of utterances whose shard is there."""
        self._files = {file.name: file for file in (self.snapshot.files if self.snapshot else ())}
        here = self.snapshot is not None and self.snapshot.root == str(root)
        known = read_sealed(store / layout.AUDIO_STAT, layout.AUDIO_STAT_SCHEMA) if here and not rehash else None
        self.audio = layout.AUDIO_STAT_SCHEMA.empty_table() if known is None else known
        """State in which each audio file was when it was hashed: columns of `layout.AUDIO_STAT_SCHEMA`."""

    @property
    def recordings(self) -> pa.ChunkedArray:
        """Id of each fact's recording."""
        return self._recordings(self.facts)

    def stored(self, file: str, number: int) -> StoredFile:
        """Describe an existing shard file as shard `number` of a new snapshot."""
        if file in self._files:
            return replace(self._files[file], shard=number)
        path = self.store / file
        return StoredFile(file, path.stat().st_size, file_sha256(path), number)

    def _recordings(self, facts: pa.Table) -> pa.ChunkedArray:
        return facts["id"] if self._segmentation is None else recordings_of(facts["id"])

    def _newest(self, parts: Sequence[pa.Table]) -> pa.Table:
        """Facts of several sources; of a recording that several know, those of the last one.

        All pieces of a recording come from one source: they share a shard.
        """
        facts = _together(parts)
        source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        recording = self._recordings(facts).combine_chunks().dictionary_encode().indices.to_numpy()
        newest = np.zeros(len(facts), int)
        np.maximum.at(newest, recording, source)
        return facts.filter(pa.array(source == newest[recording]))


def _committed(store: Path, snapshot: Snapshot, *, rehash: bool) -> pa.Table:
    """Facts of the utterances of a snapshot whose shards are intact."""
    intact = {number: file.name for number, file in snapshot.shards.items() if _intact(store, file, rehash=rehash)}
    numbers, names = pa.array(intact.keys(), pa.int32()), pa.array(intact.values(), pa.string())
    table = Index(store, snapshot).columns([*layout.FACT_COLUMNS, "shard"])
    files = names.take(pc.index_in(table["shard"].combine_chunks(), value_set=numbers))
    facts = table.drop_columns("shard").append_column("file", files)
    return facts.filter(pc.is_valid(facts["file"])).select(layout.JOURNAL_SCHEMA.names)


def _finished(store: Path, segmentation: Mapping[str, Any] | None) -> Iterator[pa.Table]:
    """Facts of the shards that a run finished which did not come to its commit, a table per shard."""
    for path in sorted((store / layout.JOURNAL).glob(f"*{layout.SEALED_SUFFIX}")):
        table = read_sealed(path, layout.JOURNAL_SCHEMA)
        # A file of a run that was killed may be anything; if it is not whole, its work is done again.
        if table is None or not _named_by_its_content(store / path.stem):
            continue
        if _is_of(table, path.stem, segmentation):
            yield table.replace_schema_metadata(None)


def _together(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([layout.JOURNAL_SCHEMA.empty_table(), *parts])


def _members(parts: Iterable[pa.Table]) -> dict[str, int]:
    """Number of utterances in each shard file."""
    counts = [each for part in parts for each in pc.value_counts(part["file"]).to_pylist()]
    return {each["values"]: each["counts"] for each in counts}


class EarlierFeatures:
    """Features that earlier runs wrote.

    Parameters
    ----------
    store
        Folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._shards: dict[str, NDArray[np.float32]] = {}

    def read(self, facts: Facts) -> NDArray[np.float32]:
        """Features of an utterance.

        Raises
        ------
        StoreError
            They are gone or damaged.
        """
        if facts.file not in self._shards:
            self._shards[facts.file] = map_shard(self._store / facts.file)
        features = self._shards[facts.file][facts.offset : facts.offset + facts.frames]
        if feature_crc(features) != facts.feature_crc:
            raise StoreError(f"{self._store / facts.file}: {facts.id!r} is damaged")
        return features


def write_journal(store: Path, name: str, facts: pa.Table, segmentation: Mapping[str, Any] | None) -> None:
    """Note a finished shard, so that a run that is killed before its commit need not be repeated."""
    table = facts.replace_schema_metadata({_SEGMENTATION: json.dumps(segmentation)})
    write_sealed(store / layout.JOURNAL / f"{name}{layout.SEALED_SUFFIX}", table)


def _is_of(table: pa.Table, shard: str, segmentation: Mapping[str, Any] | None) -> bool:
    """Whether a journal's table tells of this shard alone, and of recordings that were cut in this way."""
    try:
        cut = json.loads((table.schema.metadata or {}).get(_SEGMENTATION, b"null"))
    except (ValueError, RecursionError):
        return False
    return bool(cut == segmentation) and set(table["file"].to_pylist()) == {shard}


def facts_table(facts: Iterable[Facts]) -> pa.Table:
    """Facts as a table with the columns of `layout.JOURNAL_SCHEMA`."""
    names = list(Facts.__dataclass_fields__)
    columns = list(zip(*map(astuple, facts), strict=True)) or [()] * len(names)
    table = pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})
    return table.select(layout.JOURNAL_SCHEMA.names).cast(layout.JOURNAL_SCHEMA)


def write_audio_stat(store: Path, states: pa.Table) -> None:
    """Remember the state of every audio file whose hash is known: columns of `layout.AUDIO_STAT_SCHEMA`."""
    write_sealed(store / layout.AUDIO_STAT, states.sort_by("path"))


def _named_by_its_content(shard: Path) -> bool:
    """Whether a shard is there and whole; one that its disk cannot read is not."""
    try:
        return shard.name == layout.content_name("shard", file_sha256(shard), layout.SHARD_SUFFIX)
    except OSError as error:
        if of_the_machine(error):
            raise
        return False


def _intact(store: Path, file: StoredFile, *, rehash: bool) -> bool:
    return has_content(store / file.name, file.size, file.sha256 if rehash else None)


def _check_same(store: Path, snapshot: Snapshot, corpus: str, features: FeatureSet) -> None:
    if (snapshot.corpus, snapshot.parameters) != (corpus, features.parameters()):
        raise ForeignStoreError(
            f"{store}: holds {snapshot.corpus} as {snapshot.feature_set}, not {corpus} as {features.name}: "
            "move it away, or choose another --cache"
        )
