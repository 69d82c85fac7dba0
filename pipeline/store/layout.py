"""Names and schemas of all files in a feature store.

<cache>/<corpus>/<feature-set>/
    store.json               lists every other file with size and SHA-256; its rename into place is the commit
    shard-<content>.h5       features of one bucket of utterances
    index-<content>.parquet  one row per utterance, sorted by (shard, id)
    rejected-<content>.parquet
    audio-stat.sealed        side file: sizes and times of the audio, which avoid hashing it again
    journal/                 side files: finished shards of a preparation before its commit
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

#: Largest mean number of recordings per shard; above it, the number of shards doubles. The second is for recordings
#: that are cut into utterances.
UTTERANCES_PER_SHARD: Final = 128
CUT_RECORDINGS_PER_SHARD: Final = 16

#: Columns with the fields of `AudioQuality`; null in utterances of stores from before these columns.
QUALITY_COLUMNS: Final = ("peak", "level_db", "clipped", "bandwidth")

INDEX_SCHEMA: Final = pa.schema(
    {
        **dict.fromkeys(("id", "path", "corpus", "speaker", "gender", "language", "text", "intensity"), pa.string()),
        **dict.fromkeys(("emotion_code", "emotion"), pa.string()),
        **dict.fromkeys(("arousal", "valence"), pa.int8()),
        **dict.fromkeys(("sample_rate", "channels"), pa.int32()),
        "duration": pa.float64(),
        "frames": pa.int32(),
        "peak_db": pa.float32(),
        **dict.fromkeys(QUALITY_COLUMNS, pa.float32()),
        "shard": pa.int32(),
        "offset": pa.int64(),
        "audio_sha256": pa.string(),
        "feature_crc": pa.uint32(),
    }
)

#: Columns of a corpus scan, one row per recording or given segment; start and end of the segment follow.
_SCAN_COLUMNS: Final = ("id", "path", "speaker", "gender", "language", "text", "intensity", "emotion_code", "emotion")
SCAN_SCHEMA: Final = pa.schema(
    [*(INDEX_SCHEMA.field(name) for name in _SCAN_COLUMNS), ("start", pa.float64()), ("end", pa.float64())]
)

#: Additional columns if recordings are cut into utterances: start of the segment in s, and, if the corpus gives the
#: segments, its end in s as the corpus gives it, null for the end of the recording.
START_COLUMN: Final = "start"
SPAN_COLUMNS: Final = (START_COLUMN, "end")

#: Columns that come from the audio, not from the corpus. Later preparations reuse them.
AUDIO_COLUMNS: Final = (
    *("id", "sample_rate", "channels", "duration", "frames", "peak_db", *QUALITY_COLUMNS),
    *("offset", "audio_sha256", "feature_crc"),
)

#: Columns that tables of earlier versions lack.
LATER_SCHEMA: Final = pa.schema(
    [*(INDEX_SCHEMA.field(name) for name in QUALITY_COLUMNS), *((name, pa.float64()) for name in SPAN_COLUMNS)]
)

JOURNAL_SCHEMA: Final = pa.schema(
    [
        *(INDEX_SCHEMA.field(name) for name in AUDIO_COLUMNS),
        *(LATER_SCHEMA.field(name) for name in SPAN_COLUMNS),
        ("file", pa.string()),
    ]
)
REJECTED_SCHEMA: Final = pa.schema({"path": pa.string(), "reason": pa.string()})
AUDIO_STAT_SCHEMA: Final = pa.schema(
    {"path": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "audio_sha256": pa.string()}
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a store, as listed in store.json."""

    name: str
    size: int
    sha256: str
    shard: int | None = None
    """Number of the shard; None for the tables."""


def make_content_name(kind: str, sha256: str, suffix: str) -> str:
    """Return the file name for content of this kind."""
    return f"{kind}-{sha256[:16]}{suffix}"


def is_content_name(name: str) -> bool:
    """Return True if a name has the form of `make_content_name`."""
    return re.fullmatch(r"[a-z]+-[0-9a-f]{16}\.(h5|parquet)", name) is not None


def count_shards(recordings: int, *, cut: bool = False) -> int:
    """Return the number of shards for a number of recordings: a power of two, and larger if they are `cut`."""
    per_shard = CUT_RECORDINGS_PER_SHARD if cut else UTTERANCES_PER_SHARD
    return 1 << max(-(-recordings // per_shard) - 1, 0).bit_length()


def assign_shard(recording_id: str, shards: int) -> int:
    """Return the shard of a recording and all its utterances: a bucket of the hash of its id."""
    digest = hashlib.sha256(recording_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % shards
