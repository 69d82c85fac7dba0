"""What earlier runs on a store left that a new run can use: facts, features, and the state of the audio files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import get_recording_ids
from emodna.pipeline.errors import ForeignStoreError, StoreError, UnreadableStoreError, is_system_error
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.prepare.extract import UtteranceInfo
from emodna.pipeline.store import layout
from emodna.pipeline.store.index import Index, read_checksummed, write_checksummed
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.shards import compute_feature_crc
from emodna.pipeline.store.snapshot import Snapshot, has_content, hash_file, read_snapshot

#: Key in a journal file's metadata: how its recordings were cut.
_SEGMENTATION: Final = b"segmentation"


class History:
    """Facts of every utterance that was committed, or finished by a run that did not come to its commit.

    Parameters
    ----------
    store
        Folder of the store; may be new.
    corpus, features, segmentation, root
        Content that the store is asked to hold. Facts of recordings that were cut otherwise, and sizes and times of
        files under another root, are not used.
    rehash
        Trust no earlier hash: neither the audio's nor the shards'.

    Raises ForeignStoreError if the folder holds another store.
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
        self.snapshot: Snapshot | None = None
        self.damage: str | None = None
        """Why an existing store could not be used, if so."""
        self.has_other_segmentation = False
        """True if an existing store holds other pieces of its recordings than are asked for."""
        sources = [layout.JOURNAL_SCHEMA.empty_table()]
        if (store / layout.STORE_JSON).exists():
            try:
                self.snapshot = read_snapshot(store)
                _check_same(store, self.snapshot, corpus, features)
                self.has_other_segmentation = self.snapshot.segmentation != segmentation
                if not self.has_other_segmentation:
                    sources.append(_committed_facts(store, self.snapshot, rehash=rehash))
            except (ForeignStoreError, UnreadableStoreError):
                raise
            except StoreError as error:
                self.snapshot, self.damage = None, str(error)
        sources += _journal_facts(store, segmentation)
        facts = pa.concat_tables(sources)
        # By source: the journal may name a shard that is committed, too.
        counts = [each for source in sources for each in pc.value_counts(source["file"]).to_pylist()]
        self.members: dict[str, int] = {each["values"]: each["counts"] for each in counts}
        """Shard file -> number of utterances in it."""
        recordings = facts["id"] if segmentation is None else get_recording_ids(facts["id"])
        newest = pa.array(_of_newest(recordings, [len(each) for each in sources]))
        self.facts = facts.filter(newest)
        """Columns of `layout.JOURNAL_SCHEMA`; of utterances whose shard is there."""
        self.recordings: pa.ChunkedArray = recordings.filter(newest)
        """Id of each fact's recording."""
        self._files = {file.name: file for file in (self.snapshot.files if self.snapshot else ())}
        same_root = self.snapshot is not None and self.snapshot.root == str(root)
        known = (
            read_checksummed(store / layout.AUDIO_STAT, layout.AUDIO_STAT_SCHEMA) if same_root and not rehash else None
        )
        self.audio = known or layout.AUDIO_STAT_SCHEMA.empty_table()
        """State of each audio file when it was hashed: columns of `layout.AUDIO_STAT_SCHEMA`."""

    def describe_shard_file(self, file: str, number: int) -> StoredFile:
        """Describe an existing shard file as shard `number` of a new snapshot."""
        if file in self._files:
            return replace(self._files[file], shard=number)
        path = self.store / file
        return StoredFile(file, path.stat().st_size, hash_file(path), number)

    def write_audio_stat(self, paths: pa.ChunkedArray, opened: pa.Table) -> None:
        """Remember the state of every audio file whose hash is known, as before or as this run found it.

        `paths` are the files that there are. `opened` has the state of those that this run opened: columns of
        `layout.AUDIO_STAT_SCHEMA`, null where it is not known.
        """
        old = self.audio.filter(pc.is_in(self.audio["path"], value_set=paths))
        old = old.filter(pc.invert(pc.is_in(old["path"], value_set=opened["path"])))
        states = pa.concat_tables([old, opened.filter(pc.is_valid(opened["audio_sha256"]))])
        write_checksummed(self.store / layout.AUDIO_STAT, states.sort_by("path"))


def _of_newest(recordings: pa.ChunkedArray, lengths: Sequence[int]) -> NDArray[np.bool_]:
    """Return per fact, (n,), if no later source knows its recording; `lengths` are the numbers of facts by source.

    All pieces of a recording come from one source: they share a shard.
    """
    source = np.repeat(np.arange(len(lengths)), lengths)
    recording = recordings.combine_chunks().dictionary_encode().indices.to_numpy()
    newest = np.zeros(len(source), int)
    np.maximum.at(newest, recording, source)
    of_newest: NDArray[np.bool_] = source == newest[recording]
    return of_newest


def _check_same(store: Path, snapshot: Snapshot, corpus: str, features: FeatureSet) -> None:
    if (snapshot.corpus, snapshot.parameters) != (corpus, features.parameters()):
        raise ForeignStoreError(
            f"{store}: holds {snapshot.corpus} as {snapshot.feature_set}, not {corpus} as {features.name}: "
            "move it away, or choose another --cache"
        )


def _committed_facts(store: Path, snapshot: Snapshot, *, rehash: bool) -> pa.Table:
    """Return the facts of the utterances of a snapshot whose shards are intact."""
    intact = {
        number: file.name
        for number, file in snapshot.shards.items()
        if has_content(store / file.name, file.size, file.sha256 if rehash else None)
    }
    numbers, names = pa.array(intact.keys(), pa.int32()), pa.array(intact.values(), pa.string())
    table = Index(store, snapshot).columns([*layout.AUDIO_COLUMNS, "shard"])
    files = names.take(pc.index_in(table["shard"].combine_chunks(), value_set=numbers))
    facts = table.drop_columns("shard").append_column("file", files)
    return facts.filter(pc.is_valid(facts["file"])).select(layout.JOURNAL_SCHEMA.names)


def _journal_facts(store: Path, segmentation: Mapping[str, Any] | None) -> Iterator[pa.Table]:
    """Yield the facts of each shard that was finished by a run that did not come to its commit.

    A file of a run that was killed may be anything; if it is not whole, its work is done again.
    """
    for path in sorted((store / layout.JOURNAL).glob(f"*{layout.CHECKSUMMED_SUFFIX}")):
        table = read_checksummed(path, layout.JOURNAL_SCHEMA)
        if table is None or not _is_whole(store / path.stem):
            continue
        try:
            cut = json.loads((table.schema.metadata or {}).get(_SEGMENTATION, b"null"))
        except (ValueError, RecursionError):
            continue
        if cut == segmentation and set(table["file"].to_pylist()) == {path.stem}:
            yield table.replace_schema_metadata(None)


def _is_whole(shard: Path) -> bool:
    """Return True if a shard is there and has the content that it is named by; if its disk cannot read it, it is not.

    Raises OSError if the machine fails to read it at the moment.
    """
    try:
        return shard.name == layout.make_content_name("shard", hash_file(shard), layout.SHARD_SUFFIX)
    except OSError as error:
        if is_system_error(error):
            raise
        return False


def write_journal(store: Path, name: str, facts: pa.Table, segmentation: Mapping[str, Any] | None) -> None:
    """Note a finished shard, so that a run that is killed before its commit need not be repeated."""
    table = facts.replace_schema_metadata({_SEGMENTATION: json.dumps(segmentation)})
    write_checksummed(store / layout.JOURNAL / f"{name}{layout.CHECKSUMMED_SUFFIX}", table)


def read_features(shard: NDArray[np.float32], facts: UtteranceInfo) -> NDArray[np.float32]:
    """Return the features [frames, dim] of an utterance out of its shard's; raises StoreError if they are damaged."""
    features = shard[facts.offset : facts.offset + facts.frames]
    if compute_feature_crc(features) != facts.feature_crc:
        raise StoreError(f"{facts.file}: {facts.id!r} is damaged")
    return features
