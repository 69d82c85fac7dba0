"""Commit a preparation: make its shards and tables the new content of the store."""

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
from emodna.pipeline.features import find_packages
from emodna.pipeline.files import flush_folder, write_atomically
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.prepare.history import History
from emodna.pipeline.store import layout
from emodna.pipeline.store.gc import delete_leftovers
from emodna.pipeline.store.shards import write_table
from emodna.pipeline.store.snapshot import Snapshot, compute_checksum, encode_document
from emodna.pipeline.tables import find_positions, iterate_batches
from emodna.pipeline.tasks import BUILT_IN_TASKS

#: Number of shards per index file.
_SHARDS_PER_INDEX: Final = 512


def commit(
    corpus: Corpus,
    root: Path,
    extraction: ExtractionConfig,
    history: History,
    scan: Scan,
    utterances: pa.Table,
    shards: NDArray[np.int64],
    rejections: Sequence[tuple[str, str]],
) -> None:
    """Write the tables, commit them with the shards if anything changed, and delete leftovers.

    `utterances` holds the utterances in the shards on disk, sorted by (shard, id): columns of `layout.JOURNAL_SCHEMA`.
    `shards` (n,) holds the shard number of each. `rejections` holds path and reason.
    """
    store, parameters = history.store, extraction.store_parameters
    numbers, first = np.unique(shards, return_index=True)
    names = utterances["file"].take(pa.array(first)).to_pylist()
    files = [history.describe_shard_file(name, int(number)) for number, name in zip(numbers, names, strict=True)]
    index = _build_index(corpus, scan, utterances, shards, extraction)
    # Each index file covers some shards, so that a change rewrites one file.
    edges = np.flatnonzero(np.diff(shards // _SHARDS_PER_INDEX)) + 1
    for start, stop in pairwise([0, *map(int, edges), len(index)]):
        files.append(write_table(store, "index", index.slice(start, stop - start)))
    if rejections:
        paths, reasons = zip(*rejections, strict=True)
        table = pa.table([pa.array(paths), pa.array(reasons)], schema=layout.REJECTED_SCHEMA)
        files.append(write_table(store, "rejected", table))
    earlier = history.snapshot
    libraries = dict(extraction.read_all_versions())
    earlier_libraries = {} if earlier is None else earlier.libraries
    for name in ("ffmpeg", *find_packages(extraction.features)):
        if name in earlier_libraries:  # it may have decoded or extracted the reused recordings
            libraries.setdefault(name, earlier_libraries[name])
    snapshot = Snapshot(
        corpus=corpus.name,
        feature_set=extraction.features.name,
        parameters=parameters,
        libraries=libraries,
        root=str(root),
        licence=corpus.info.licence,
        citation=corpus.info.citation,
        counts={
            "utterances": len(index),
            "rejected": len(rejections),
            "frames": pc.sum(index["frames"]).as_py(),
            "seconds": math.fsum(index["duration"].to_numpy()),
        },
        fingerprint=_compute_fingerprint(parameters, index),
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        segmentation=extraction.segmentation,
        location=extraction.features.location,
    )
    flush_folder(store)  # file names from a killed preparation may not be on the disk yet
    if earlier is None or replace(snapshot, created=earlier.created, libraries=earlier.libraries) != earlier:
        content = asdict(snapshot) | {"format": layout.FORMAT, "version": layout.FORMAT_VERSION}
        if snapshot.location is None:  # earlier versions refuse an unknown key
            del content["location"]
        content["checksum"] = compute_checksum(content)
        # The commit: it renames store.json into place.
        write_atomically(store / layout.STORE_JSON, encode_document(content))
    delete_leftovers(store, snapshot)


def _build_index(
    corpus: Corpus, scan: Scan, utterances: pa.Table, shards: NDArray[np.int64], extraction: ExtractionConfig
) -> pa.Table:
    """Return a row per utterance, sorted by (shard, id), with the columns of its row in the scan."""
    is_cut = extraction.segmenter is not None
    recordings = get_recording_ids(utterances["id"]) if is_cut else utterances["id"]
    scanned = scan.table.take(pa.array(find_positions(recordings, scan.table["id"])))
    labels = {name: task.assign_labels(scanned[task.column]) for name, task in BUILT_IN_TASKS.items()}
    computed = {
        "corpus": pa.repeat(corpus.name, len(utterances)),
        **{name: pa.array(each, mask=each < 0) for name, each in labels.items()},
        "shard": pa.array(shards, pa.int32()),
    }
    sources = [utterances.select(layout.AUDIO_COLUMNS), pa.table(computed), scanned]
    columns = {name: next(s[name] for s in sources if name in s.column_names) for name in layout.INDEX_SCHEMA.names}
    if is_cut:
        columns[layout.START_COLUMN] = get_segment_starts(utterances["id"])
    elif extraction.has_given_segments:
        columns |= {name: scanned[name] for name in layout.SPAN_COLUMNS}
    columns |= {name: scanned[name] for name in scanned.column_names if name not in layout.SCAN_SCHEMA.names}
    # The chunks of a table affect the bytes of its file.
    return pa.table(columns).combine_chunks()


def _compute_fingerprint(parameters: Mapping[str, Any], index: pa.Table) -> str:
    """Return the SHA-256 of the content of a store, independent of the library versions that wrote its files."""
    digest = hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode())
    for column in ("id", "speaker", "gender", "language", "emotion", "audio_sha256", "feature_crc"):
        for number, batch in enumerate(iterate_batches(index[column])):  # the column as one JSON array
            digest.update(f"{', ' if number else '['}{json.dumps(batch)[1:-1]}".encode())
        digest.update(b"]")
    return digest.hexdigest()
