"""What earlier runs on a store left that a new run can use: facts, features, and the state of the audio files."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline import layout
from emodna.pipeline.errors import ForeignStoreError, StoreError
from emodna.pipeline.extract import AudioState, Facts
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.sealed import read_sealed, write_sealed
from emodna.pipeline.segment import recording_of
from emodna.pipeline.store import Snapshot, StoredFile, feature_crc, file_sha256, map_shard, read_index, read_snapshot
from emodna.pipeline.trees import Tree

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
        self._facts: dict[str, tuple[Facts, ...]] = {}
        if (store / layout.STORE_JSON).exists():
            try:
                self.snapshot = read_snapshot(store)
                _check_same(store, self.snapshot, corpus, features)
                self.cut_otherwise = self.snapshot.segmentation != segmentation
                if not self.cut_otherwise:
                    self._remember_snapshot(self.snapshot, rehash=rehash)
            except ForeignStoreError:
                raise
            except StoreError as error:
                self.snapshot, self.damage = None, str(error)
        self._remember_journal()
        self._files = {file.name: file for file in (self.snapshot.files if self.snapshot else ())}
        self._members = Counter(each.file for facts in self._facts.values() for each in facts)
        here = self.snapshot is not None and self.snapshot.root == str(root)
        self.audio: Mapping[str, AudioState] = _read_audio_stat(store) if here and not rehash else {}
        """State in which each audio file was when it was hashed."""

    @property
    def ids(self) -> Set[str]:
        """Recordings that an earlier run has facts of."""
        return self._facts.keys()

    def known(self, recording_id: str) -> tuple[Facts, ...]:
        """Facts of a recording's utterances, if an earlier run has them and their shard is there."""
        return self._facts.get(recording_id, ())

    def unchanged(self, tree: Tree, path: str, facts: Sequence[Facts]) -> bool:
        """Whether the audio at a relative path is, by its size and time, the one that the facts come from."""
        stamp = tree.stamp(path)
        return stamp is not None and all(self.audio.get(path) == AudioState(*stamp, f.audio_sha256) for f in facts)

    def whole_shard(self, facts: Sequence[Facts]) -> str | None:
        """Name of the shard that holds exactly these utterances in this order, if there is one."""
        files = {each.file for each in facts}
        if len(files) != 1 or self._members[facts[0].file] != len(facts):
            return None
        offsets = np.cumsum([0, *(each.frames for each in facts[:-1])])
        return facts[0].file if all(each.offset == at for each, at in zip(facts, offsets, strict=True)) else None

    def stored(self, file: str, number: int) -> StoredFile:
        """Describe an existing shard file as shard `number` of a new snapshot."""
        if file in self._files:
            return replace(self._files[file], shard=number)
        path = self.store / file
        return StoredFile(file, path.stat().st_size, file_sha256(path), number)

    def _remember_snapshot(self, snapshot: Snapshot, *, rehash: bool) -> None:
        intact = {number: file for number, file in snapshot.shards.items() if _intact(self.store, file, rehash=rehash)}
        table = read_index(self.store, snapshot, [*layout.FACT_COLUMNS, "shard"])
        files = [intact[shard].name if shard in intact else "" for shard in table["shard"].to_pylist()]
        self._remember(table.drop_columns("shard").append_column("file", pa.array(files, pa.string())))

    def _remember_journal(self) -> None:
        for path in sorted((self.store / layout.JOURNAL).glob(f"*{layout.SEALED_SUFFIX}")):
            table = read_sealed(path, layout.JOURNAL_SCHEMA)
            # A file of a run that was killed may be anything; if it is not whole, its work is done again.
            if table is None or not _named_by_its_content(self.store / path.stem):
                continue
            if _is_of(table, path.stem, self._segmentation):
                self._remember(table)

    def _remember(self, table: pa.Table) -> None:
        present = {file for file in set(table["file"].to_pylist()) if file and (self.store / file).exists()}
        columns = zip(*(table[name].to_pylist() for name in layout.JOURNAL_SCHEMA.names), strict=True)
        rows = [Facts(**dict(zip(layout.JOURNAL_SCHEMA.names, row, strict=True))) for row in columns]
        recordings: dict[str, list[Facts]] = {}
        for facts in rows:
            id = facts.id if self._segmentation is None else recording_of(facts.id)
            if facts.file in present:  # for all pieces of a recording or none: they share a shard
                recordings.setdefault(id, []).append(facts)
        self._facts |= {id: tuple(pieces) for id, pieces in recordings.items()}


def read_features(store: Path, facts: Facts) -> NDArray[np.float32]:
    """Read features written by an earlier run.

    Raises
    ------
    StoreError
        They are gone or damaged.
    """
    features = map_shard(store / facts.file)[facts.offset : facts.offset + facts.frames]
    if feature_crc(features) != facts.feature_crc:
        raise StoreError(f"{store / facts.file}: {facts.id!r} is damaged")
    return features


def write_journal(store: Path, name: str, facts: Iterable[Facts], segmentation: Mapping[str, Any] | None) -> None:
    """Note a finished shard, so that a run that is killed before its commit need not be repeated."""
    table = facts_table(facts).replace_schema_metadata({_SEGMENTATION: json.dumps(segmentation)})
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


def write_audio_stat(store: Path, states: Mapping[str, AudioState]) -> None:
    """Remember the state of every audio file whose hash is known."""
    rows = sorted((path, *state) for path, state in states.items())
    columns = list(zip(*rows, strict=True)) or [()] * len(layout.AUDIO_STAT_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, layout.AUDIO_STAT_SCHEMA, strict=True)]
    write_sealed(store / layout.AUDIO_STAT, pa.table(arrays, schema=layout.AUDIO_STAT_SCHEMA))


def _read_audio_stat(store: Path) -> dict[str, AudioState]:
    table = read_sealed(store / layout.AUDIO_STAT, layout.AUDIO_STAT_SCHEMA)
    if table is None:
        return {}  # a first run, or a damaged side file: everything is hashed
    columns = [table[name].to_pylist() for name in layout.AUDIO_STAT_SCHEMA.names]
    return {path: AudioState(*state) for path, *state in zip(*columns, strict=True)}


def _named_by_its_content(shard: Path) -> bool:
    return shard.is_file() and shard.name == layout.content_name("shard", file_sha256(shard), layout.SHARD_SUFFIX)


def _intact(store: Path, file: StoredFile, *, rehash: bool) -> bool:
    path = store / file.name
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return not rehash or file_sha256(path) == file.sha256


def _check_same(store: Path, snapshot: Snapshot, corpus: str, features: FeatureSet) -> None:
    if (snapshot.corpus, snapshot.parameters) != (corpus, features.parameters()):
        raise ForeignStoreError(
            f"{store}: holds {snapshot.corpus} as {snapshot.feature_set}, not {corpus} as {features.name}: "
            "move it away, or choose another --cache"
        )
