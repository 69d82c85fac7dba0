"""What a run has to do: which recordings need a look at their audio, and which shards are as they should be.

Held as arrays with a row per recording or utterance, not as objects: a store may have millions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.columns import NOWHERE, positions, values
from emodna.pipeline.corpora.base import Scan
from emodna.pipeline.prepare.extract import Extraction, Facts, Job
from emodna.pipeline.prepare.history import History
from emodna.pipeline.store import layout


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What has to be done for one shard."""

    number: int
    recordings: NDArray[np.int64]
    """Rows of the scan, in order of id."""
    due: NDArray[np.int64]
    """Those of them whose audio has to be looked at."""
    known: slice
    """What earlier runs found out about the shard's utterances: rows of `Plan.known`."""
    whole: bool
    """Whether one shard file holds exactly what is known."""

    @property
    def stands(self) -> bool:
        """Whether nothing is to be done."""
        return self.whole and not len(self.due)


class Plan:
    """What has to be done for a store.

    Parameters
    ----------
    scan, tree
        The recordings that there are.
    history
        What earlier runs know of them.
    """

    def __init__(self, scan: Scan, tree: Tree, history: History, extraction: Extraction) -> None:
        self._ids, self._paths = scan.table["id"], scan.table["path"]
        count = layout.shard_count(len(scan), cut=extraction.segmenter is not None)
        shard = np.fromiter((layout.shard_of(id, count) for id in values(self._ids)), np.int64, len(scan))
        owner = positions(history.recordings, self._ids)
        self.gone: list[str] = sorted(pc.unique(history.recordings.filter(pa.array(owner == NOWHERE))).to_pylist())
        """Recordings of earlier runs that are there no more."""
        order = pc.sort_indices(history.facts["id"]).to_numpy()
        order = order[owner[order] != NOWHERE]
        order = order[np.argsort(shard[owner[order]], kind="stable")]
        self.known: pa.Table = history.facts.take(pa.array(order)).combine_chunks()
        """Facts of the utterances of recordings that are there, in order of (shard, id)."""
        self._owner = owner[order]
        due = ~(self._usable(extraction) & self._unchanged(tree, history.audio))
        self.shards: Sequence[ShardPlan] = list(self._by_shard(shard, due, history))

    @property
    def due(self) -> int:
        """Number of recordings whose audio has to be looked at."""
        return sum(len(shard.due) for shard in self.shards)

    def jobs(self, shard: ShardPlan, recordings: NDArray[np.int64]) -> list[Job]:
        """Some of a shard's recordings, each with what is known of it."""
        rows = pa.array(recordings)
        described = zip(recordings, self._ids.take(rows).to_pylist(), self._paths.take(rows).to_pylist(), strict=True)
        mine = np.isin(self._owner[shard.known], recordings)  # a batch is a small part of its shard
        facts, owner = _objects(self.known[shard.known].filter(pa.array(mine))), self._owner[shard.known][mine]
        return [Job(id, path, tuple(facts[at] for at in np.flatnonzero(owner == row))) for row, id, path in described]

    def facts(self, shard: ShardPlan) -> list[Facts]:
        """What is known of a shard's utterances, in order of id."""
        return _objects(self.known[shard.known])

    def _usable(self, extraction: Extraction) -> NDArray[np.bool_]:
        """Per recording, whether its facts are what this run would find in the same audio."""
        usable = np.zeros(len(self._ids), bool)
        usable[self._owner] = True
        usable[self._owner[self.known["duration"].to_numpy() > extraction.max_seconds]] = False
        return usable

    def _unchanged(self, tree: Tree, audio: pa.Table) -> NDArray[np.bool_]:
        """Per recording, whether its audio is, by size and time, the one that its facts come from."""
        first = np.full(len(self._ids), NOWHERE)
        first[self._owner[::-1]] = np.arange(len(self._owner))[::-1]
        state = positions(self._paths, audio["path"])
        recordings = np.flatnonzero((first != NOWHERE) & (state != NOWHERE))
        then = audio.take(pa.array(state[recordings]))
        hashes = self.known["audio_sha256"].take(pa.array(first[recordings]))
        paths = values(self._paths.take(pa.array(recordings)))
        now = np.fromiter(
            (tree.stamp(path) or (NOWHERE, NOWHERE) for path in paths), np.dtype((np.int64, 2)), len(recordings)
        )
        unchanged = np.zeros(len(self._ids), bool)
        unchanged[recordings] = (
            (now[:, 0] == then["size"].to_numpy())
            & (now[:, 1] == then["mtime_ns"].to_numpy())
            & pc.equal(then["audio_sha256"], hashes).to_numpy()
        )
        return unchanged

    def _by_shard(self, shard: NDArray[np.int64], due: NDArray[np.bool_], history: History) -> Iterator[ShardPlan]:
        order = np.argsort(shard, kind="stable")
        numbers = np.unique(shard)
        recordings = np.searchsorted(shard[order], [*numbers, np.inf])
        known = np.searchsorted(shard[self._owner], [*numbers, np.inf])
        whole = _Whole(self.known, history.members)
        for at, number in enumerate(numbers):
            mine = order[recordings[at] : recordings[at + 1]]
            rows = slice(int(known[at]), int(known[at + 1]))
            yield ShardPlan(int(number), mine, mine[due[mine]], rows, whole(rows))


def _objects(facts: pa.Table) -> list[Facts]:
    return [Facts(**row) for row in facts.to_pylist()]


class _Whole:
    """Tells of neighbouring facts whether one shard file holds them, all of them, in this order, and nothing else."""

    def __init__(self, facts: pa.Table, members: dict[str, int]) -> None:
        files = facts["file"].combine_chunks().dictionary_encode()
        self._file = files.indices.to_numpy()
        self._members = [members[name] for name in files.dictionary.to_pylist()]
        frames = facts["frames"].to_numpy().astype(np.int64)
        #: By how much the place of each in its file differs from its place among all; the same within a file.
        self._shift = facts["offset"].to_numpy() - (np.cumsum(frames) - frames)
        self._offset = facts["offset"].to_numpy()

    def __call__(self, rows: slice) -> bool:
        file, shift = self._file[rows], self._shift[rows]
        if not len(file) or self._offset[rows.start] != 0:
            return False
        one = bool((file == file[0]).all() and (shift == shift[0]).all())
        return one and self._members[file[0]] == len(file)
