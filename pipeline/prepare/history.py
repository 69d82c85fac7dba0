"""Results of earlier preparations that a new one can reuse: utterances, features and the state of audio files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import get_recording_ids
from emodna.pipeline.errors import ForeignStoreError, Remedy, StoreError, UnreadableStoreError, is_system_error
from emodna.pipeline.prepare.extract import ExtractionConfig, UtteranceInfo
from emodna.pipeline.store import layout
from emodna.pipeline.store.index import Index, read_checksummed, write_checksummed
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.shards import StoredFeatures, compute_feature_crc
from emodna.pipeline.store.snapshot import Snapshot, has_content, hash_file, read_snapshot

#: Keys of the segmentation and the provenance of the audio in the metadata of a journal file.
_SEGMENTATION: Final = b"segmentation"
_PROVENANCE: Final = b"provenance"


class History:
    """The reusable utterances of a store: committed ones, and those that an interrupted preparation finished.

    The store may be new. Utterances of another segmentation, and file times under another root, are ignored. `rehash`
    ignores all earlier hashes, of the audio and of the shards.

    Raises ForeignStoreError if the folder holds a store of another corpus or configuration.
    """

    def __init__(self, store: Path, corpus: str, extraction: ExtractionConfig, root: Path, *, rehash: bool) -> None:
        segmentation = extraction.segmentation
        self.store = store
        self.snapshot: Snapshot | None = None
        self.damage: str | None = None
        self.has_other_segmentation = False
        """True if the existing store has another segmentation."""
        sources = [layout.JOURNAL_SCHEMA.empty_table()]
        if (store / layout.STORE_JSON).exists():
            try:
                self.snapshot = read_snapshot(store)
                _check_identity(store, self.snapshot, corpus, extraction)
                self.has_other_segmentation = self.snapshot.segmentation != segmentation
                if not self.has_other_segmentation:
                    sources.append(_read_committed(store, self.snapshot, rehash=rehash))
            except (ForeignStoreError, UnreadableStoreError):
                raise
            except StoreError as error:
                self.snapshot, self.damage = None, f"{error.where}: {error.problem}"
        sources += _read_journal(store, extraction)
        utterances = pa.concat_tables(sources)
        # Counts are per source, because the journal may also list a committed shard.
        counts = [each for source in sources for each in pc.value_counts(source["file"]).to_pylist()]
        self.members: dict[str, int] = {each["values"]: each["counts"] for each in counts}
        """Number of utterances in each shard file."""
        has_own_ids = extraction.segmenter is None
        recordings = utterances["id"] if has_own_ids else get_recording_ids(utterances["id"])
        newest = pa.array(_find_newest(recordings, [len(each) for each in sources]))
        self.utterances = utterances.filter(newest)
        """Utterances with an existing shard: columns of `layout.JOURNAL_SCHEMA`."""
        self.recordings: pa.ChunkedArray = recordings.filter(newest)
        """Id of each utterance's recording, if a rule cut it, else of the utterance."""
        self._files = {file.name: file for file in (self.snapshot.files if self.snapshot else ())}
        is_valid = self.snapshot is not None and self.snapshot.root == str(root) and not rehash
        audio = read_checksummed(store / layout.AUDIO_STAT, layout.AUDIO_STAT_SCHEMA) if is_valid else None
        self.audio = audio or layout.AUDIO_STAT_SCHEMA.empty_table()
        """State of each audio file when it was hashed: columns of `layout.AUDIO_STAT_SCHEMA`."""

    def describe_shard_file(self, file: str, number: int) -> StoredFile:
        """Return the entry of an existing shard file as shard `number` of a new snapshot."""
        if file in self._files:
            return replace(self._files[file], shard=number)
        path = self.store / file
        return StoredFile(file, path.stat().st_size, hash_file(path), number)

    def write_audio_stat(self, paths: pa.ChunkedArray, opened: pa.Table) -> None:
        """Write the known states of the existing files `paths`.

        `opened` has those of the files that this preparation opened, null if unknown: columns of `AUDIO_STAT_SCHEMA`.
        """
        old = self.audio.filter(pc.is_in(self.audio["path"], value_set=paths))
        old = old.filter(pc.invert(pc.is_in(old["path"], value_set=opened["path"])))
        states = pa.concat_tables([old, opened.filter(pc.is_valid(opened["audio_sha256"]))])
        write_checksummed(self.store / layout.AUDIO_STAT, states.sort_by("path"))


def _find_newest(recordings: pa.ChunkedArray, lengths: Sequence[int]) -> NDArray[np.bool_]:
    """Return a mask (n,) of the utterances from the last source of their recording; `lengths` counts them by source.

    All segments of a recording that a rule finds come from one source, because they share a shard.
    """
    source = np.repeat(np.arange(len(lengths)), lengths)
    recording = recordings.combine_chunks().dictionary_encode().indices.to_numpy()
    newest = np.zeros(len(source), int)
    np.maximum.at(newest, recording, source)
    is_newest: NDArray[np.bool_] = source == newest[recording]
    return is_newest


def _check_identity(store: Path, snapshot: Snapshot, corpus: str, extraction: ExtractionConfig) -> None:
    if (snapshot.corpus, snapshot.feature_parameters) != (corpus, extraction.features.parameters()):
        problem = f"holds {snapshot.corpus} as {snapshot.feature_set}, not {corpus} as {extraction.features.name}"
        raise ForeignStoreError(problem, where=store, remedy=Remedy("move it away, or choose another {cache}"))
    if snapshot.provenance != extraction.provenance:
        problem = f"holds {snapshot.provenance} of {corpus}, not {extraction.provenance}"
        raise ForeignStoreError(problem, where=store, remedy=Remedy("choose another {name} or another {cache}"))


def _read_committed(store: Path, snapshot: Snapshot, *, rehash: bool) -> pa.Table:
    """Return the utterances of a snapshot whose shards are intact."""
    intact = {
        number: file.name
        for number, file in snapshot.shards.items()
        if has_content(store / file.name, file.size, file.sha256 if rehash else None)
    }
    numbers, names = pa.array(intact.keys(), pa.int32()), pa.array(intact.values(), pa.string())
    table = Index(store, snapshot).columns([*layout.AUDIO_COLUMNS, *layout.SPAN_COLUMNS, "shard"])
    files = names.take(pc.index_in(table["shard"].combine_chunks(), value_set=numbers))
    utterances = table.drop_columns("shard").append_column("file", files)
    return utterances.filter(pc.is_valid(utterances["file"])).select(layout.JOURNAL_SCHEMA.names)


def _read_journal(store: Path, extraction: ExtractionConfig) -> Iterator[pa.Table]:
    """Yield the utterances of each shard that an interrupted preparation finished.

    Damaged files of a killed preparation are ignored.
    """
    for path in sorted((store / layout.JOURNAL).glob(f"*{layout.CHECKSUMMED_SUFFIX}")):
        table = read_checksummed(path, layout.JOURNAL_SCHEMA)
        if table is None or not _is_intact(store / path.stem):
            continue
        metadata = table.schema.metadata or {}
        try:
            segmentation = json.loads(metadata.get(_SEGMENTATION, b"null"))
            provenance = json.loads(metadata.get(_PROVENANCE, b'{"channel": 0}'))  # missing in earlier versions
        except (ValueError, RecursionError):
            continue
        is_same = (segmentation, provenance) == (extraction.segmentation, extraction.provenance.parameters)
        if is_same and set(table["file"].to_pylist()) == {path.stem}:
            yield table.replace_schema_metadata(None)


def _is_intact(shard: Path) -> bool:
    """Return True if a shard exists and its content matches its name; False if it is unreadable.

    Raises OSError if the system cannot read at the moment.
    """
    try:
        return shard.name == layout.make_content_name("shard", hash_file(shard), layout.SHARD_SUFFIX)
    except OSError as error:
        if is_system_error(error):
            raise
        return False


def write_journal(store: Path, name: str, utterances: pa.Table, extraction: ExtractionConfig) -> None:
    """Record a finished shard, for reuse if the preparation is killed before its commit."""
    recorded = {_SEGMENTATION: extraction.segmentation, _PROVENANCE: extraction.provenance.parameters}
    table = utterances.replace_schema_metadata({key: json.dumps(value) for key, value in recorded.items()})
    write_checksummed(store / layout.JOURNAL / f"{name}{layout.CHECKSUMMED_SUFFIX}", table)


def read_features(shard: StoredFeatures, info: UtteranceInfo) -> StoredFeatures:
    """Return the features [frames, dim] of one utterance in a shard, as stored.

    Raises `StoreError`: they are damaged.
    """
    features = shard[info.offset : info.offset + info.frames]
    if compute_feature_crc(features) != info.feature_crc:
        raise StoreError(f"damaged: the features of {info.id!r} do not match their checksum", where=info.file)
    return features
