"""Names and schemas of everything in a feature store, in one place.

<cache>/<corpus>/<feature-set>/
    store.json               names every other file by size and SHA-256; its rename into place is the commit
    shard-<content>.h5       features of one bucket of utterances
    index-<content>.parquet  one row per utterance, in order of (shard, id)
    rejected-<content>.parquet
    audio-stat.sealed        side file: sizes and times of the audio, which spare hashing it again
    journal/                 side files: finished work of a run that has not committed yet
    .lock, .readers          kernel locks: one writer, any number of readers
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

FORMAT: Final = "emodna feature store"
FORMAT_VERSION: Final = 1

STORE_JSON: Final = "store.json"
AUDIO_STAT: Final = "audio-stat.sealed"
JOURNAL: Final = "journal"
WRITER_LOCK: Final = ".lock"
READER_LOCK: Final = ".readers"

CHECKSUMMED_SUFFIX: Final = ".sealed"
SHARD_SUFFIX: Final = ".h5"
TABLE_SUFFIX: Final = ".parquet"

#: Smallest mean number of recordings per shard at which the number of shards doubles: of whole utterances, and of
#: recordings that are cut into many.
UTTERANCES_PER_SHARD: Final = 128
CUT_RECORDINGS_PER_SHARD: Final = 16

INDEX_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("corpus", pa.string()),
        ("speaker", pa.string()),
        ("gender", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("intensity", pa.string()),
        ("emotion_code", pa.string()),
        ("emotion", pa.string()),
        ("arousal", pa.int8()),
        ("valence", pa.int8()),
        ("sample_rate", pa.int32()),
        ("channels", pa.int32()),
        ("duration", pa.float64()),
        ("frames", pa.int32()),
        ("peak_db", pa.float32()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("audio_sha256", pa.string()),
        ("feature_crc", pa.uint32()),
    ]
)

#: Columns by which a corpus describes a recording.
_DESCRIBED: Final = ("id", "path", "speaker", "gender", "language", "text", "intensity", "emotion_code", "emotion")
SCAN_SCHEMA: Final = pa.schema([INDEX_SCHEMA.field(name) for name in _DESCRIBED])

#: Column behind these, in a store of recordings that were cut into utterances: start of the piece in s.
START_COLUMN: Final = "start"

#: The columns that come from the audio and not from the corpus: what a later run can use again.
AUDIO_COLUMNS: Final = (
    *("id", "sample_rate", "channels", "duration", "frames", "peak_db"),
    *("offset", "audio_sha256", "feature_crc"),
)

JOURNAL_SCHEMA: Final = pa.schema([*(INDEX_SCHEMA.field(name) for name in AUDIO_COLUMNS), ("file", pa.string())])
REJECTED_SCHEMA: Final = pa.schema([("path", pa.string()), ("reason", pa.string())])
AUDIO_STAT_SCHEMA: Final = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("mtime_ns", pa.int64()), ("audio_sha256", pa.string())]
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, as store.json names it."""

    name: str
    size: int
    sha256: str
    shard: int | None = None
    """Number of the shard; None for the tables."""


def make_content_name(kind: str, sha256: str, suffix: str) -> str:
    """Return the name of a file of a kind by its content."""
    return f"{kind}-{sha256[:16]}{suffix}"


def is_content_name(name: str) -> bool:
    """Return True if a file's name is one that `make_content_name` makes."""
    return re.fullmatch(r"[a-z]+-[0-9a-f]{16}\.(h5|parquet)", name) is not None


def count_shards(recordings: int, *, cut: bool = False) -> int:
    """Return the number of shards, a power of two that follows from the recordings alone; more if they are `cut`."""
    per_shard = CUT_RECORDINGS_PER_SHARD if cut else UTTERANCES_PER_SHARD
    least = -(-recordings // per_shard)
    return 1 << max(least - 1, 0).bit_length()


def assign_shard(recording_id: str, shards: int) -> int:
    """Return the shard of a recording, and so of all its utterances: a bucket of the hash of its id."""
    digest = hashlib.sha256(recording_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % shards
