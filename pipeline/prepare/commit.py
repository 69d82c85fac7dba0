"""The commit: from written shards to a new content of the store."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.audio.segment import get_recording_ids, get_segment_starts
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.emotions import AROUSAL, EMOTIONS, VALENCE
from emodna.pipeline.files import flush_folder, write_atomically
from emodna.pipeline.prepare.extract import ExtractionConfig, get_library_versions
from emodna.pipeline.prepare.history import History
from emodna.pipeline.store import layout
from emodna.pipeline.store.gc import delete_leftovers
from emodna.pipeline.store.shards import write_table
from emodna.pipeline.store.snapshot import Snapshot, compute_checksum, encode_document
from emodna.pipeline.tables import batches, positions

#: Shards whose utterances share one index file.
_SHARDS_PER_INDEX: Final = 512


def commit(
    corpus: Corpus,
    root: Path,
    extraction: ExtractionConfig,
    history: History,
    scan: Scan,
    facts: pa.Table,
    shards: NDArray[np.int64],
    rejections: Sequence[tuple[str, str]],
) -> None:
    """Write the tables, and make them and the shards the store's content, unless they are already.

    Parameters
    ----------
    facts
        Of the utterances that the shards on disk hold, in order of (shard, id): columns of `layout.JOURNAL_SCHEMA`.
    shards
        (n,) number of each one's shard.
    rejections
        Path and reason.
    """
    store, parameters = history.store, extraction.features.parameters()
    numbers, first = np.unique(shards, return_index=True)
    names = facts["file"].take(pa.array(first)).to_pylist()
    files = [history.describe_shard_file(name, int(number)) for number, name in zip(numbers, names, strict=True)]
    index = _index(corpus, scan, facts, shards, segmented=extraction.segmenter is not None)
    # Cut between shards, so that a change rewrites one part.
    edges = np.flatnonzero(np.diff(shards // _SHARDS_PER_INDEX)) + 1
    for start, stop in pairwise([0, *map(int, edges), len(index)]):
        files.append(write_table(store, "index", index.slice(start, stop - start)))
    if rejections:
        paths, reasons = zip(*rejections, strict=True)
        table = pa.table([pa.array(paths), pa.array(reasons)], schema=layout.REJECTED_SCHEMA)
        files.append(write_table(store, "rejected", table))
    snapshot = Snapshot(
        corpus=corpus.name,
        feature_set=extraction.features.name,
        parameters=parameters,
        libraries=get_library_versions(),
        root=str(root),
        licence=corpus.facts.licence,
        citation=corpus.facts.citation,
        counts={
            "utterances": len(index),
            "rejected": len(rejections),
            "frames": pc.sum(index["frames"]).as_py(),
            "seconds": math.fsum(index["duration"].to_numpy()),
        },
        fingerprint=_fingerprint(parameters, index),
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        segmentation=extraction.segmentation,
    )
    earlier = history.snapshot
    flush_folder(store)  # the files that a killed run made may not have their names on the disk yet
    if earlier is None or replace(snapshot, created=earlier.created, libraries=earlier.libraries) != earlier:
        content = asdict(snapshot) | {"format": layout.FORMAT, "version": layout.FORMAT_VERSION}
        content["checksum"] = compute_checksum(content)
        # Renaming store.json into place is the only commit.
        write_atomically(store / layout.STORE_JSON, encode_document(content))
    delete_leftovers(store, snapshot)


def _index(corpus: Corpus, scan: Scan, facts: pa.Table, shards: NDArray[np.int64], *, segmented: bool) -> pa.Table:
    """One row per utterance, in order of (shard, id); a piece is described as its recording is."""
    recordings = get_recording_ids(facts["id"]) if segmented else facts["id"]
    described = scan.table.take(pa.array(positions(recordings, scan.table["id"])))
    emotion = pc.index_in(described["emotion"], value_set=pa.array(EMOTIONS))
    computed = {
        "corpus": pa.repeat(corpus.name, len(facts)),
        "arousal": pa.array(AROUSAL.values(), pa.int8()).take(emotion),
        "valence": pa.array(VALENCE.values(), pa.int8()).take(emotion),
        "shard": pa.array(shards, pa.int32()),
    }
    sources = [facts.select(layout.AUDIO_COLUMNS), pa.table(computed), described]
    columns = {name: next(s[name] for s in sources if name in s.column_names) for name in layout.INDEX_SCHEMA.names}
    if segmented:
        columns[layout.START_COLUMN] = get_segment_starts(facts["id"])
    own = described.drop_columns(layout.SCAN_SCHEMA.names)
    columns |= {name: own[name] for name in own.column_names}
    # In one piece: how a table was put together would show in the bytes of its file.
    return pa.table(columns).combine_chunks()


def _fingerprint(parameters: Mapping[str, Any], index: pa.Table) -> str:
    """SHA-256 of a store's content, whatever the versions of the libraries that wrote its files."""
    digest = hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode())
    for column in ("id", "speaker", "gender", "language", "emotion", "audio_sha256", "feature_crc"):
        for number, batch in enumerate(batches(index[column])):  # the column as one JSON array
            digest.update(f"{', ' if number else '['}{json.dumps(batch)[1:-1]}".encode())
        digest.update(b"]")
    return digest.hexdigest()
