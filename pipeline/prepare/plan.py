"""Plan a preparation: find the recordings to examine and the shards to write.

The plan consists of arrays with a row per recording or utterance, not of objects, because a store may have millions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.corpora.base import Scan
from emodna.pipeline.prepare.embeddings import EmbeddingFile
from emodna.pipeline.prepare.extract import ExtractionConfig, Job, UtteranceInfo
from emodna.pipeline.prepare.history import History
from emodna.pipeline.spans import Span
from emodna.pipeline.store import layout
from emodna.pipeline.tables import NOT_FOUND, find_positions, iterate_values


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Plan for one shard."""

    number: int
    recordings: NDArray[np.int64]
    """Numbers of the recordings of the shard."""
    unexamined: NDArray[np.int64]
    """Recordings to examine: a part of `recordings`."""
    known: slice
    """Known utterances of the shard: rows of `PreparationPlan.known`."""
    is_complete: bool
    """True if one shard file contains exactly the known utterances."""

    @property
    def is_up_to_date(self) -> bool:
        """True if there is nothing to do."""
        return self.is_complete and not len(self.unexamined)


class PreparationPlan:
    """Plan for a store: the recordings of a scan, compared with the history of the store."""

    def __init__(
        self,
        scan: Scan,
        tree: Tree,
        history: History,
        extraction: ExtractionConfig,
        embeddings: EmbeddingFile | None = None,
    ) -> None:
        self.extraction = extraction
        self._embeddings = embeddings
        self._copies = scan.copies
        self._segments = scan.table.select(["id", *layout.SPAN_COLUMNS])
        ids, paths, recording = _list_recordings(scan, extraction)
        self._ids, self._paths = ids, paths
        self._rows = np.argsort(recording, kind="stable")
        """Rows of the scan, ordered by recording."""
        self._first_row = np.searchsorted(recording[self._rows], np.arange(len(ids) + 1))
        count = layout.count_shards(len(scan), cut=extraction.segmenter is not None)
        shard = np.fromiter((layout.assign_shard(id, count) for id in iterate_values(ids)), np.int64, len(ids))
        row = find_positions(history.recordings, scan.table["id"])
        self.missing_recordings: list[str] = sorted(
            pc.unique(history.recordings.filter(pa.array(row == NOT_FOUND))).to_pylist()
        )
        """Recordings, or given segments, of earlier preparations that no longer exist."""
        if extraction.has_given_segments:
            row[~_find_equal_spans(history.utterances, scan.table, row)] = NOT_FOUND
        owner = np.where(row == NOT_FOUND, NOT_FOUND, recording[row])
        order = pc.sort_indices(history.utterances["id"]).to_numpy()
        order = order[owner[order] != NOT_FOUND]
        order = order[np.argsort(shard[owner[order]], kind="stable")]
        self.known: pa.Table = history.utterances.take(pa.array(order)).combine_chunks()
        """Known utterances of existing recordings, sorted by (shard, id)."""
        self._owner = owner[order]
        is_unexamined = ~self._find_up_to_date(tree, history.audio, extraction)
        self.shards: Sequence[ShardPlan] = list(self._plan_shards(shard, is_unexamined, history))

    @property
    def unexamined_count(self) -> int:
        """Number of recordings to examine."""
        return sum(len(shard.unexamined) for shard in self.shards)

    def make_jobs(self, shard: ShardPlan, recordings: NDArray[np.int64]) -> list[Job]:
        """Return the jobs for some recordings of a shard, each with its known utterances."""
        ids, paths = (column.take(pa.array(recordings)).to_pylist() for column in (self._ids, self._paths))
        given = self._list_given(recordings)
        is_wanted = np.isin(self._owner[shard.known], recordings)
        known = [UtteranceInfo(**row) for row in self.known[shard.known].filter(pa.array(is_wanted)).to_pylist()]
        owner = self._owner[shard.known][is_wanted]
        return [
            Job(
                id,
                path,
                tuple(self._copies.get(id, ())),
                segments,
                tuple(known[at] for at in np.flatnonzero(owner == recording)),
            )
            for recording, id, path, segments in zip(recordings, ids, paths, given, strict=True)
        ]

    def add_embeddings(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs with the imported features of their utterances, so that no worker reads the file of these."""
        if self._embeddings is None:
            return list(jobs)
        found = ([id for id in _list_ids(job) if id in self._embeddings] for job in jobs)
        return [
            replace(job, embeddings=tuple((id, self._embeddings[id]) for id in ids))
            for job, ids in zip(jobs, found, strict=True)
        ]

    def _list_given(self, recordings: NDArray[np.int64]) -> list[tuple[tuple[str, Span], ...]]:
        """Return id and span of each segment that the corpus gives, by recording."""
        if not self.extraction.has_given_segments:
            return [()] * len(recordings)
        rows = [self._rows[self._first_row[each] : self._first_row[each + 1]] for each in recordings]
        columns = (column.to_pylist() for column in self._segments.take(pa.array(np.concatenate(rows))).columns)
        segments = ((id, Span(start, end)) for id, start, end in zip(*columns, strict=True))
        return [tuple(islice(segments, len(each))) for each in rows]

    def _find_up_to_date(self, tree: Tree, audio: pa.Table, extraction: ExtractionConfig) -> NDArray[np.bool_]:
        """Return a mask (n,) of the recordings with unchanged size and time, all utterances, and none too long."""
        recordings = np.unique(self._owner)
        state = find_positions(self._paths.take(pa.array(recordings)), audio["path"])
        recordings, state = (each[state != NOT_FOUND] for each in (recordings, state))
        recorded = audio.take(pa.array(state))
        paths = iterate_values(self._paths.take(pa.array(recordings)))
        stamps = (tree.read_stamp(path) or (NOT_FOUND, NOT_FOUND) for path in paths)
        current = np.fromiter(stamps, np.dtype((np.int64, 2)), len(recordings))
        up_to_date = np.zeros(len(self._ids), bool)
        up_to_date[recordings] = (current[:, 0] == recorded["size"].to_numpy()) & (
            current[:, 1] == recorded["mtime_ns"].to_numpy()
        )
        # Each segment, because a table may move one from another recording to this one.
        position = np.full(len(self._ids), NOT_FOUND)
        position[recordings] = np.arange(len(recordings))
        row = position[self._owner]
        hashes = recorded["audio_sha256"].take(pa.array(row, mask=row == NOT_FOUND))
        is_other = pc.not_equal(hashes, self.known["audio_sha256"]).fill_null(True).to_numpy()
        up_to_date[self._owner[is_other]] = False
        up_to_date[self._owner[self.known["duration"].to_numpy() > extraction.max_seconds]] = False
        if extraction.segmenter is None:
            up_to_date &= np.bincount(self._owner, minlength=len(self._ids)) == np.diff(self._first_row)
        return up_to_date

    def _plan_shards(
        self, shard: NDArray[np.int64], is_unexamined: NDArray[np.bool_], history: History
    ) -> Iterator[ShardPlan]:
        order = np.argsort(shard, kind="stable")
        numbers = np.unique(shard)
        recordings = np.split(order, np.flatnonzero(np.diff(shard[order])) + 1)
        known = np.searchsorted(shard[self._owner], [*numbers, np.inf])
        files = self.known["file"].combine_chunks().dictionary_encode()
        file, offset = files.indices.to_numpy(), self.known["offset"].to_numpy()
        size = np.array([history.members[name] for name in files.dictionary.to_pylist()])
        end = offset + self.known["frames"].to_numpy()
        adjoins = (file[1:] == file[:-1]) & (offset[1:] == end[:-1])  # the next utterance follows in the same file
        for number, rows, (start, stop) in zip(numbers, recordings, pairwise(map(int, known)), strict=True):
            is_complete = (
                start < stop
                and offset[start] == 0
                and adjoins[start : stop - 1].all()
                and size[file[start]] == stop - start
            )
            yield ShardPlan(int(number), rows, rows[is_unexamined[rows]], slice(start, stop), bool(is_complete))


def _list_ids(job: Job) -> list[str]:
    return [id for id, _ in job.given] or [job.id]


def _list_recordings(
    scan: Scan, extraction: ExtractionConfig
) -> tuple[pa.ChunkedArray, pa.ChunkedArray, NDArray[np.int64]]:
    """Return the ids (n,) and paths (n,) of the recordings, and the recording (m,) of each row of a scan.

    All segments of a recording belong together, so that it is decoded once. Its id is then its path.
    """
    ids, paths = scan.table["id"], scan.table["path"]
    if not extraction.has_given_segments:
        return ids, paths, np.arange(len(scan))
    encoded = paths.combine_chunks().dictionary_encode()
    recordings = pa.chunked_array([encoded.dictionary])
    return recordings, recordings, encoded.indices.to_numpy().astype(np.int64)


def _find_equal_spans(utterances: pa.Table, scanned: pa.Table, row: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask (n,) of the utterances whose row of a scan gives them the same start and end."""
    rows = scanned.select(layout.SPAN_COLUMNS).take(pa.array(np.maximum(row, 0)))
    equal = [
        utterances[name].fill_null(np.inf).to_numpy() == rows[name].fill_null(np.inf).to_numpy()
        for name in layout.SPAN_COLUMNS
    ]
    is_equal: NDArray[np.bool_] = np.logical_and(*equal)
    return is_equal
