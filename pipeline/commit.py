"""The commit: from written shards to a new content of the store."""

import fcntl
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from emodna.pipeline import layout
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.emotions import AROUSAL, VALENCE
from emodna.pipeline.extract import Extraction, Facts
from emodna.pipeline.files import write_atomically
from emodna.pipeline.history import History, facts_table
from emodna.pipeline.segment import recording_of, start_of
from emodna.pipeline.shards import write_table
from emodna.pipeline.store import Snapshot, checksum, encoded

#: Shards whose utterances share one index file.
_SHARDS_PER_INDEX: Final = 512


def commit(
    corpus: Corpus,
    root: Path,
    extraction: Extraction,
    history: History,
    scan: Scan,
    own_columns: pa.Table,
    shards: Mapping[int, Sequence[Facts]],
    rejections: Sequence[tuple[str, str]],
) -> None:
    """Write the tables, and make them and the shards the store's content, unless they are already.

    Parameters
    ----------
    own_columns
        Of the corpus, a row per utterance of the scan.
    shards
        Number -> facts of the utterances that the shard on disk holds, in order.
    rejections
        Path and reason.
    """
    store, parameters = history.store, extraction.features.parameters()
    files = [history.stored(facts[0].file, number) for number, facts in sorted(shards.items())]
    index = _index(corpus, scan, own_columns, shards, segmented=extraction.segmenter is not None)
    files += [write_table(store, "index", part) for part in _parts(index)]
    if rejections:
        paths, reasons = zip(*rejections, strict=True)
        table = pa.table([pa.array(paths), pa.array(reasons)], schema=layout.REJECTED_SCHEMA)
        files.append(write_table(store, "rejected", table))
    snapshot = Snapshot(
        corpus=corpus.name,
        feature_set=extraction.features.name,
        parameters=parameters,
        libraries=_library_versions(),
        root=str(root),
        licence=corpus.facts.licence,
        citation=corpus.facts.citation,
        counts={
            "utterances": len(index),
            "rejected": len(rejections),
            "frames": sum(index["frames"].to_pylist()),
            "seconds": sum(index["duration"].to_pylist()),
        },
        fingerprint=_fingerprint(parameters, index),
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        segmentation=extraction.segmentation,
    )
    earlier = history.snapshot
    if earlier is None or replace(snapshot, created=earlier.created, libraries=earlier.libraries) != earlier:
        _write_store_json(store, snapshot)
    _sweep(store, snapshot)


def _index(
    corpus: Corpus, scan: Scan, own_columns: pa.Table, shards: Mapping[int, Sequence[Facts]], *, segmented: bool
) -> pa.Table:
    """One row per utterance, in order of (shard, id); a piece is described as its recording is."""
    place = {utterance.id: number for number, utterance in enumerate(scan.utterances)}
    rows = [(number, each) for number, facts in sorted(shards.items()) for each in facts]
    places = [place[recording_of(each.id) if segmented else each.id] for _, each in rows]
    utterances = [scan.utterances[number] for number in places]
    facts = facts_table([each for _, each in rows])
    computed = {
        "corpus": [corpus.name] * len(rows),
        "arousal": [AROUSAL.get(utterance.emotion or "") for utterance in utterances],
        "valence": [VALENCE.get(utterance.emotion or "") for utterance in utterances],
        "shard": [number for number, _ in rows],
    }
    columns = {}
    for column in layout.INDEX_SCHEMA:
        if column.name in layout.FACT_COLUMNS:
            columns[column.name] = facts[column.name]
        else:
            values = computed.get(column.name) or [getattr(utterance, column.name) for utterance in utterances]
            columns[column.name] = pa.array(values, column.type)
    if segmented:
        columns[layout.START] = pa.array([start_of(each.id) for _, each in rows], pa.float64())
    columns |= {name: own_columns[name].take(pa.array(places)) for name in own_columns.column_names}
    return pa.table(columns)


def _parts(index: pa.Table) -> Iterator[pa.Table]:
    """Cut the index between shards, so that a change rewrites one part."""
    start = 0
    for _, group in groupby(index["shard"].to_pylist(), lambda shard: shard // _SHARDS_PER_INDEX):
        length = sum(1 for _ in group)
        yield index.slice(start, length)
        start += length


def _fingerprint(parameters: Mapping[str, Any], index: pa.Table) -> str:
    """SHA-256 of a store's content, whatever the versions of the libraries that wrote its files."""
    digest = hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode())
    for column in ("id", "speaker", "gender", "language", "emotion", "audio_sha256", "feature_crc"):
        digest.update(json.dumps(index[column].to_pylist()).encode())
    return digest.hexdigest()


def _write_store_json(store: Path, snapshot: Snapshot) -> None:
    """Make a snapshot the store's content. Renaming store.json into place is the only commit."""
    content = asdict(snapshot)
    content |= {"format": layout.FORMAT, "version": layout.FORMAT_VERSION}
    content["checksum"] = checksum(content)
    write_atomically(store / layout.STORE_JSON, encoded(content))


def _sweep(store: Path, snapshot: Snapshot) -> None:
    """Remove what the committed snapshot does not name; data files stay while a reader may hold an older snapshot."""
    for path in (store / layout.JOURNAL).iterdir():
        path.unlink(missing_ok=True)
    with (store / layout.READER_LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # a later commit removes it
        named = {file.name for file in snapshot.files}
        for path in store.iterdir():
            data = path.suffix in (layout.SHARD_SUFFIX, layout.TABLE_SUFFIX)
            if (data and path.name not in named) or path.suffix == ".tmp":
                path.unlink(missing_ok=True)


def _library_versions() -> dict[str, str]:
    """Versions of what shapes the bytes of a store."""
    names = ("emodna", "numpy", "soundfile", "soxr", "torch", "librosa", "h5py", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in names}
    return versions | {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
