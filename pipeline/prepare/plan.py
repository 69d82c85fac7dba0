"""What a run has to do: which recordings need a look at their audio, and which shards are as they should be.

Held as arrays with a row per recording or utterance, not as objects: a store may have millions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.corpora.base import Scan
from emodna.pipeline.prepare.extract import ExtractionConfig, Job, UtteranceInfo
from emodna.pipeline.prepare.history import History
from emodna.pipeline.store import layout
from emodna.pipeline.tables import NOWHERE, positions, values


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Work to be done for one shard."""

    number: int
    recordings: NDArray[np.int64]
    """Rows of the scan, in order of id."""
    due: NDArray[np.int64]
    """Those of them whose audio has to be looked at."""
    known: slice
    """Facts that earlier runs found of the shard's utterances: rows of `PreparationPlan.known`."""
    whole: bool
    """True if one shard file holds exactly what is known."""

    @property
    def stands(self) -> bool:
        """True if nothing is to be done."""
        return self.whole and not len(self.due)


class PreparationPlan:
    """Work to be done for a store: the recordings of a scan, less what its history says of them already."""

    def __init__(self, scan: Scan, tree: Tree, history: History, extraction: ExtractionConfig) -> None:
        self._ids, self._paths = scan.table["id"], scan.table["path"]
        count = layout.count_shards(len(scan), cut=extraction.segmenter is not None)
        shard = np.fromiter((layout.assign_shard(id, count) for id in values(self._ids)), np.int64, len(scan))
        owner = positions(history.recordings, self._ids)
        self.missing_recordings: list[str] = sorted(
            pc.unique(history.recordings.filter(pa.array(owner == NOWHERE))).to_pylist()
        )
        """Recordings of earlier runs that are there no more."""
        order = pc.sort_indices(history.facts["id"]).to_numpy()
        order = order[owner[order] != NOWHERE]
        order = order[np.argsort(shard[owner[order]], kind="stable")]
        self.known: pa.Table = history.facts.take(pa.array(order)).combine_chunks()
        """Facts of the utterances of recordings that are there, in order of (shard, id)."""
        self._owner = owner[order]
        due = ~self._up_to_date(tree, history.audio, extraction.max_seconds)
        self.shards: Sequence[ShardPlan] = list(self._by_shard(shard, due, history))

    @property
    def due(self) -> int:
        """Number of recordings whose audio has to be looked at."""
        return sum(len(shard.due) for shard in self.shards)

    def jobs(self, shard: ShardPlan, recordings: NDArray[np.int64]) -> list[Job]:
        """Return the jobs for some of a shard's recordings, each with what is known of it."""
        rows = pa.array(recordings)
        described = zip(recordings, self._ids.take(rows).to_pylist(), self._paths.take(rows).to_pylist(), strict=True)
        mine = np.isin(self._owner[shard.known], recordings)  # a batch is a small part of its shard
        facts = [UtteranceInfo(**row) for row in self.known[shard.known].filter(pa.array(mine)).to_pylist()]
        owner = self._owner[shard.known][mine]
        return [Job(id, path, tuple(facts[at] for at in np.flatnonzero(owner == row))) for row, id, path in described]

    def _up_to_date(self, tree: Tree, audio: pa.Table, max_seconds: float) -> NDArray[np.bool_]:
        """Return per recording if this run would find the same facts.

        By size and time its audio is the one that they come from, and no utterance is longer than `max_seconds`.
        """
        recordings, first = np.unique(self._owner, return_index=True)
        state = positions(self._paths.take(pa.array(recordings)), audio["path"])
        recordings, first, state = (each[state != NOWHERE] for each in (recordings, first, state))
        then = audio.take(pa.array(state))
        paths = values(self._paths.take(pa.array(recordings)))
        now = np.fromiter(
            (tree.stamp(path) or (NOWHERE, NOWHERE) for path in paths), np.dtype((np.int64, 2)), len(recordings)
        )
        up_to_date = np.zeros(len(self._ids), bool)
        up_to_date[recordings] = (
            (now[:, 0] == then["size"].to_numpy())
            & (now[:, 1] == then["mtime_ns"].to_numpy())
            & pc.equal(then["audio_sha256"], self.known["audio_sha256"].take(pa.array(first))).to_numpy()
        )
        up_to_date[self._owner[self.known["duration"].to_numpy() > max_seconds]] = False
        return up_to_date

    def _by_shard(self, shard: NDArray[np.int64], due: NDArray[np.bool_], history: History) -> Iterator[ShardPlan]:
        order = np.argsort(shard, kind="stable")
        numbers = np.unique(shard)
        recordings = np.split(order, np.flatnonzero(np.diff(shard[order])) + 1)
        known = np.searchsorted(shard[self._owner], [*numbers, np.inf])
        files = self.known["file"].combine_chunks().dictionary_encode()
        file, offset = files.indices.to_numpy(), self.known["offset"].to_numpy()
        size = np.array([history.members[name] for name in files.dictionary.to_pylist()])
        end = offset + self.known["frames"].to_numpy()
        adjoins = (file[1:] == file[:-1]) & (offset[1:] == end[:-1])  # each utterance the one before, in one file
        for number, mine, (start, stop) in zip(numbers, recordings, pairwise(map(int, known)), strict=True):
            whole = (
                start < stop
                and offset[start] == 0
                and adjoins[start : stop - 1].all()
                and size[file[start]] == stop - start
            )
            yield ShardPlan(int(number), mine, mine[due[mine]], slice(start, stop), bool(whole))
