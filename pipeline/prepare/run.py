"""Prepare one corpus: scan -> extract -> commit, as a Dask graph.

A task examines a batch of recordings; a second kind of task gathers the batches of one shard and writes it; the commit
follows when every shard is there. A shard that nothing has touched is not part of the graph.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.archives import Tree
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.features import SILENCE_DB
from emodna.pipeline.prepare.commit import commit
from emodna.pipeline.prepare.extract import Extraction, Facts, Outcome
from emodna.pipeline.prepare.history import EarlierFeatures, History, facts_table, write_audio_stat, write_journal
from emodna.pipeline.prepare.plan import Plan, ShardPlan
from emodna.pipeline.prepare.workers import Examination, StartWorkers
from emodna.pipeline.store import layout
from emodna.pipeline.store.gc import clear
from emodna.pipeline.store.shards import write_shard, writer_lock

#: Recordings per extraction task: enough to make Dask's own cost vanish, few enough to balance the workers. One that is
#: cut into utterances is work enough.
_BATCH = 16
#: Shards whose tasks are one graph.
_SHARDS_PER_GRAPH = 512


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did."""

    corpus: str
    store: Path
    utterances: int
    reused: int
    extracted: int
    rejected: int
    audio_seconds: float
    wall_seconds: float
    skipped: Mapping[str, int]
    """Files of the root that are not part of the corpus, counted by reason."""
    rejections: Sequence[tuple[str, str]]
    """Path and reason."""
    warnings: Sequence[str]


class Watcher(Protocol):
    """Is told how a run goes."""

    def waiting(self, store: Path) -> None:
        """Another run holds the store; this one waits for it."""

    def planned(self, recordings: int) -> None:
        """So many recordings have to be looked at."""

    def examined(self, outcomes: Sequence[Outcome]) -> None:
        """These recordings have been looked at."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What a shard holds, and what became of those of its recordings that were looked at."""

    facts: pa.Table
    """Columns of `layout.JOURNAL_SCHEMA`."""
    looked_at: pa.Table
    """State of each audio file when it was hashed: columns of `layout.AUDIO_STAT_SCHEMA`, null where not known."""
    extracted: int = 0
    """Utterances."""
    rejections: Sequence[tuple[str, str]] = ()
    """Path and reason."""
    unread: Sequence[tuple[str, str]] = ()
    """Path and reason, of files that are there and cannot be read: what the store had of them stays."""


def prepare(
    corpus: Corpus,
    root: Path,
    cache: Path,
    extraction: Extraction,
    watcher: Watcher,
    *,
    workers: StartWorkers,
    rehash: bool = False,
    wait: bool = True,
) -> Report:
    """Bring a corpus's store up to date with its root.

    Parameters
    ----------
    cache
        The store is <cache>/<corpus>/<feature set>.
    workers
        Who examines the recordings. They are started only where there is something to do. Whoever they are, this
        process alone reads earlier features and writes to the store.
    rehash
        Trust no earlier hash.
    wait
        Whether to wait while another run writes the same store.

    Raises
    ------
    CorpusError
        Nothing usable under the root. The store, if there was one, is left as it was.
    StoreError
        Another run holds the store and `wait` is false, or its folder holds another store.
    """
    began = time.perf_counter()
    tree = corpus.open(root)
    scan = corpus.scan(tree)
    store = cache.absolute() / corpus.name / extraction.features.name
    with writer_lock(store, wait=wait, on_wait=lambda: watcher.waiting(store)) as waited:
        clear(store)
        if waited:  # the files may have changed meanwhile
            tree = corpus.open(root)
            scan = corpus.scan(tree)
        history = History(store, corpus.name, extraction.features, extraction.segmentation, tree.root, rehash=rehash)
        _refuse_reserved(scan, extraction)
        plan = Plan(scan, tree, history, extraction)
        watcher.planned(plan.due)
        results = _run(plan, store, tree, extraction, watcher, workers)

        rejections = sorted(rejection for result in results for rejection in result.rejections)
        facts = pa.concat_tables([result.facts for result in results])
        if not len(facts):
            path, reason = rejections[0]
            raise CorpusError(f"root {tree.root}: all {len(rejections)} files rejected; the first: {path}: {reason}")
        shards = np.repeat([shard.number for shard in plan.shards], [len(result.facts) for result in results])
        commit(corpus, tree.root, extraction, history, scan, facts, shards, rejections)
        write_audio_stat(store, _audio_states(scan, history, [result.looked_at for result in results]))

    extracted = sum(result.extracted for result in results)
    return Report(
        corpus=corpus.name,
        store=store,
        utterances=len(facts),
        reused=len(facts) - extracted,
        extracted=extracted,
        rejected=len(rejections),
        audio_seconds=math.fsum(facts["duration"].to_numpy()),
        wall_seconds=time.perf_counter() - began,
        skipped={**scan.skipped, **tree.left_out},
        rejections=rejections,
        warnings=_warnings(
            corpus, history, scan, plan.gone, facts, sorted(each for result in results for each in result.unread)
        ),
    )


def _refuse_reserved(scan: Scan, extraction: Extraction) -> None:
    if extraction.segmenter is not None and layout.START in scan.table.column_names:
        raise CorpusError(f"the store has columns {layout.START} of its own: rename yours")


def _run(
    plan: Plan,
    store: Path,
    tree: Tree,
    extraction: Extraction,
    watcher: Watcher,
    start_workers: StartWorkers,
) -> list[_Result]:
    """Do what is to be done, so many shards at a time that a graph of them is small; a result per shard, in order."""
    results = [_unlooked(plan.known[shard.known]) for shard in plan.shards]
    active = [at for at, shard in enumerate(plan.shards) if not shard.stands]
    if not active:
        return results
    from dask.callbacks import Callback
    from dask.threaded import get

    def tell(key: str, value: Any, *_: Any) -> None:
        if key.startswith("examine-"):
            watcher.examined(value)

    # They end inside the store's lock, so that nothing writes behind the back of the next run.
    with start_workers(tree, extraction, plan.due) as workers, Callback(posttask=tell):
        for start in range(0, len(active), _SHARDS_PER_GRAPH):
            some = active[start : start + _SHARDS_PER_GRAPH]
            writers = [_ShardWriter(plan, plan.shards[at], store, extraction, workers.examine) for at in some]
            graph, keys = _graph(writers)
            for at, result in zip(some, get(graph, keys, pool=workers.pool, num_workers=workers.size), strict=True):
                results[at] = result
    return results


def _graph(writers: Sequence["_ShardWriter"]) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    """Tasks that examine batches and write shards, and the keys of those that write.

    As Dask's schedulers take it: dask.delayed makes the same at five times the cost.
    """
    graph: dict[str, tuple[Any, ...]] = {}
    keys = []
    for writer in writers:
        number = writer.shard.number
        examined = []
        for batch, examine in enumerate(writer.batches()):
            examined.append(f"examine-{number}-{batch}")
            graph[examined[-1]] = (examine,)
        keys.append(f"write-{number}")
        graph[keys[-1]] = (writer, examined)
    return graph, keys


def _unlooked(facts: pa.Table) -> _Result:
    return _Result(facts, layout.AUDIO_STAT_SCHEMA.empty_table())


@dataclass(frozen=True, slots=True)
class _ShardWriter:
    """Writes one shard from new features and those of earlier runs, unless it is there already."""

    plan: Plan
    shard: ShardPlan
    store: Path
    extraction: Extraction
    examination: Examination

    def batches(self) -> Iterator[Callable[[], list[Outcome]]]:
        """What has to be examined before, batch by batch."""
        size = _BATCH if self.extraction.segmenter is None else 1
        for start in range(0, len(self.shard.due), size):
            yield partial(self._examine, self.shard.due[start : start + size])

    def _examine(self, recordings: NDArray[np.int64]) -> list[Outcome]:
        return self.examination(self.plan.jobs(self.shard, recordings))

    def __call__(self, batches: Sequence[Sequence[Outcome]]) -> _Result:
        """Write the shard from what was examined."""
        looked_at = {outcome.job.id: outcome for batch in batches for outcome in batch}
        # Where the audio needed no look, the earlier facts stand.
        jobs = self.plan.jobs(self.shard, self.shard.recordings)
        outcomes = [looked_at.get(job.id) or Outcome(job, job.known) for job in jobs]
        table = self.plan.known[self.shard.known]
        if not self.shard.whole or _in_order(outcomes) != self.plan.facts(self.shard):
            earlier = EarlierFeatures(self.store)
            outcomes = [self._with_features(outcome, earlier) for outcome in outcomes]
            table = self._write(outcomes)
        opened = [outcome for outcome in outcomes if outcome.looked_at]
        return _Result(
            facts=table,
            looked_at=_states(opened),
            extracted=sum(len(outcome.facts) for outcome in opened if outcome.extracted),
            rejections=[(outcome.job.path, outcome.rejection) for outcome in opened if outcome.rejection is not None],
            unread=[(outcome.job.path, outcome.unread) for outcome in opened if outcome.unread is not None],
        )

    def _with_features(self, outcome: Outcome, earlier: EarlierFeatures) -> Outcome:
        """Fetch features of an earlier run; where they are damaged, extract them again."""
        if not outcome.facts or outcome.features:
            return outcome
        try:
            return replace(outcome, features=tuple(earlier.read(each) for each in outcome.facts))
        except StoreError:
            return self.examination([replace(outcome.job, known=())])[0]

    def _write(self, outcomes: Sequence[Outcome]) -> pa.Table:
        """Write the shard of all utterances that have features; return their facts, which now name it."""
        features = {
            each.id: array for outcome in outcomes for each, array in zip(outcome.facts, outcome.features, strict=True)
        }
        facts, offset = [], 0
        for each in _in_order(outcomes):
            facts.append(replace(each, offset=offset))
            offset += each.frames
        if not facts:
            return layout.JOURNAL_SCHEMA.empty_table()
        ids = [each.id for each in facts]
        parameters = self.extraction.parameters
        file = write_shard(self.store, self.shard.number, parameters, ids, [features[id] for id in ids])
        table = facts_table(replace(each, file=file.name) for each in facts)
        write_journal(self.store, file.name, table, self.extraction.segmentation)
        return table


def _in_order(outcomes: Sequence[Outcome]) -> list[Facts]:
    """Facts of several recordings, as the rows of a shard are: in order of the utterances' ids."""
    return sorted((each for outcome in outcomes for each in outcome.facts), key=attrgetter("id"))


def _states(outcomes: Sequence[Outcome]) -> pa.Table:
    """State of each audio file that was looked at; null where it will be looked at again."""
    rows = [(o.job.path, *(o.state if o.facts and o.state is not None else (None, None, None))) for o in outcomes]
    columns = list(zip(*rows, strict=True)) or [()] * len(layout.AUDIO_STAT_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, layout.AUDIO_STAT_SCHEMA, strict=True)]
    return pa.table(arrays, schema=layout.AUDIO_STAT_SCHEMA)


def _audio_states(scan: Scan, history: History, looked_at: Sequence[pa.Table]) -> pa.Table:
    """State of each audio file by its path: as before, or as it was when it was looked at."""
    new = pa.concat_tables(looked_at)
    old = history.audio
    old = old.filter(pc.is_in(old["path"], value_set=scan.table["path"]))
    old = old.filter(pc.invert(pc.is_in(old["path"], value_set=new["path"])))
    return pa.concat_tables([old, new.filter(pc.is_valid(new["audio_sha256"]))])


def _warnings(
    corpus: Corpus,
    history: History,
    scan: Scan,
    gone: Sequence[str],
    facts: pa.Table,
    unread: Sequence[tuple[str, str]],
) -> list[str]:
    """What a user should know of the store and its audio, a line each."""
    lines = [f"rebuilt: {history.damage}"] if history.damage else []
    if history.cut_otherwise:
        lines.append("the earlier store was cut into utterances otherwise (--segment): it was replaced")
    if gone:
        lines.append(f"{len(gone)} recordings of the earlier store are gone (the first: {gone[0]})")
    if unread:
        path, reason = unread[0]
        lines.append(f"{len(unread)} recordings stay as they were in the store (the first: {path}: {reason})")
    silent = facts["id"].filter(pc.less_equal(facts["peak_db"], SILENCE_DB))
    if len(silent):
        lines.append(f"{len(silent)} recordings are all zeros (the first: {silent[0]})")
    rates = {each["values"]: each["counts"] for each in pc.value_counts(facts["sample_rate"]).to_pylist()}
    return [*lines, *corpus.differences(scan, rates)]
