"""Prepare one corpus: scan it, have its recordings examined in batches, write each shard when they are back, commit.

Whoever examines the recordings, this process alone reads earlier features and writes to the store.
"""

import functools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.features import SILENCE_DB
from emodna.pipeline.prepare.commit import commit
from emodna.pipeline.prepare.executors import Executor, ExecutorFactory
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult
from emodna.pipeline.prepare.history import History, read_features, write_journal
from emodna.pipeline.prepare.plan import PreparationPlan, ShardPlan
from emodna.pipeline.store import layout
from emodna.pipeline.store.gc import delete_temporary_files
from emodna.pipeline.store.shards import hold_writer_lock, map_shard, write_shard

#: Recordings per batch: enough to make the cost of handing it over vanish, few enough to balance the workers.
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """Result of a run."""

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


class PrepareCallback(Protocol):
    """Is told how a run goes."""

    def on_wait(self, store: Path) -> None:
        """Another run holds the store; this one waits for it."""

    def on_plan(self, recordings: int) -> None:
        """So many recordings have to be looked at."""

    def on_batch(self, results: Sequence[ExtractionResult]) -> None:
        """These recordings have been looked at."""


def prepare(
    corpus: Corpus,
    root: Path,
    cache: Path,
    extraction: ExtractionConfig,
    callback: PrepareCallback,
    *,
    workers: ExecutorFactory,
    rehash: bool = False,
    wait: bool = True,
) -> PrepareReport:
    """Bring a corpus's store up to date with its root.

    Parameters
    ----------
    cache
        The store is <cache>/<corpus>/<feature set>.
    workers
        Start of the executor that examines the recordings; not called if there is nothing to examine or write.
    rehash
        Trust no earlier hash.
    wait
        Wait while another run writes the same store.

    Raises
    ------
    CorpusError
        Nothing usable under the root. The store, if there was one, is left as it was.
    StoreError
        Another run holds the store and `wait` is false, or its folder holds another store.
    WorkerError
        The workers died, or cannot be used. Finished shards are kept for the next run.
    """
    began = time.perf_counter()
    tree = corpus.open(root)
    scan = corpus.scan(tree)
    store = cache.absolute() / corpus.name / extraction.features.name
    with hold_writer_lock(store, wait=wait, on_wait=lambda: callback.on_wait(store)) as waited:
        delete_temporary_files(store)
        if waited:  # the files may have changed meanwhile
            tree = corpus.open(root)
            scan = corpus.scan(tree)
        history = History(store, corpus.name, extraction.features, extraction.segmentation, tree.root, rehash=rehash)
        if extraction.segmenter is not None and layout.START_COLUMN in scan.table.column_names:
            raise CorpusError(f"the store has columns {layout.START_COLUMN} of its own: rename yours")
        plan = PreparationPlan(scan, tree, history, extraction)
        callback.on_plan(plan.due)
        progress = _Progress([plan.known[shard.known] for shard in plan.shards])
        unfinished = [at for at, shard in enumerate(plan.shards) if not shard.stands]
        if unfinished:
            # Inside the store's lock, so that nothing is written behind the back of the next run.
            with workers(tree, extraction, plan.due) as executor:
                # In threads, since a write waits for the disk most of its time.
                writes: dict[futures.Future[tuple[pa.Table, Sequence[ExtractionResult]]], int] = {}
                for at, results in _examine_shards(plan, unfinished, extraction, executor, callback):
                    shard = plan.shards[at]
                    write = executor.pool.submit(_finish_shard, plan, shard, results, store, extraction, executor)
                    writes[write] = at
                    for done in [each for each in writes if each.done()]:
                        progress.add(writes.pop(done), *done.result())
                for write, at in writes.items():
                    progress.add(at, *write.result())

        rejections = sorted(progress.rejections)
        facts = pa.concat_tables(progress.facts)
        if not len(facts):
            path, reason = rejections[0]
            raise CorpusError(f"root {tree.root}: all {len(rejections)} files rejected; the first: {path}: {reason}")
        shards = np.repeat([shard.number for shard in plan.shards], [len(each) for each in progress.facts])
        commit(corpus, tree.root, extraction, history, scan, facts, shards, rejections)
        history.write_audio_stat(scan.table["path"], pa.concat_tables(progress.states))

    return PrepareReport(
        corpus=corpus.name,
        store=store,
        utterances=len(facts),
        reused=len(facts) - progress.extracted,
        extracted=progress.extracted,
        rejected=len(rejections),
        audio_seconds=math.fsum(facts["duration"].to_numpy()),
        wall_seconds=time.perf_counter() - began,
        skipped={**scan.skipped, **tree.left_out},
        rejections=rejections,
        warnings=_warnings(corpus, history, scan, plan.missing_recordings, facts, sorted(progress.unread)),
    )


@dataclass(slots=True)
class _Progress:
    """Content of the shards so far, and the fate of the recordings whose audio was opened."""

    facts: list[pa.Table]
    """Of each shard: columns of `layout.JOURNAL_SCHEMA`."""
    states: list[pa.Table] = field(default_factory=lambda: [layout.AUDIO_STAT_SCHEMA.empty_table()])
    """Of each audio file when it was hashed: columns of `layout.AUDIO_STAT_SCHEMA`, null where not known."""
    extracted: int = 0
    """Number of utterances."""
    rejections: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason."""
    unread: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason, of files that are there and cannot be read: earlier features of them stay."""

    def add(self, at: int, facts: pa.Table, opened: Sequence[ExtractionResult]) -> None:
        """Add a finished shard."""
        self.facts[at] = facts
        self.extracted += sum(len(outcome.facts) for outcome in opened if outcome.extracted)
        self.rejections += [(each.job.path, each.rejection) for each in opened if each.rejection is not None]
        self.unread += [(each.job.path, each.unread) for each in opened if each.unread is not None]
        states = {each.job.path: each.state if each.facts else None for each in opened}
        rows = [{"path": path, **(state._asdict() if state else {})} for path, state in states.items()]
        self.states.append(pa.Table.from_pylist(rows, layout.AUDIO_STAT_SCHEMA))


def _examine_shards(
    plan: PreparationPlan,
    unfinished: Sequence[int],
    extraction: ExtractionConfig,
    executor: Executor,
    callback: PrepareCallback,
) -> Iterator[tuple[int, list[ExtractionResult]]]:
    """Have the recordings of some shards examined; yield each shard's place in the plan when all of them are."""
    # One recording that is cut into utterances is work enough for a batch.
    size = _BATCH if extraction.segmenter is None else 1
    pending: dict[futures.Future[list[ExtractionResult]], int] = {}
    results: defaultdict[int, list[ExtractionResult]] = defaultdict(list)

    def collect() -> Iterator[tuple[int, list[ExtractionResult]]]:
        for future in futures.wait(pending, return_when=futures.FIRST_COMPLETED).done:
            at, batch = pending.pop(future), future.result()
            callback.on_batch(batch)
            results[at] += batch
            if len(results[at]) == len(plan.shards[at].due):
                yield at, results.pop(at)

    for at in unfinished:
        shard = plan.shards[at]
        if not len(shard.due):
            yield at, []
        for start in range(0, len(shard.due), size):
            while len(pending) >= executor.ahead:
                yield from collect()
            batch = plan.jobs(shard, shard.due[start : start + size])
            pending[executor.pool.submit(executor.examine, batch)] = at
    while pending:
        yield from collect()


def _finish_shard(
    plan: PreparationPlan,
    shard: ShardPlan,
    on_batch: Sequence[ExtractionResult],
    store: Path,
    extraction: ExtractionConfig,
    executor: Executor,
) -> tuple[pa.Table, Sequence[ExtractionResult]]:
    """Write a shard from new features and those of earlier runs, unless its file is there already.

    Return the facts of its utterances, and the outcomes of the recordings whose audio was opened.
    """
    if shard.whole and all(outcome.facts == outcome.job.known for outcome in on_batch):
        return plan.known[shard.known], on_batch
    opened = {outcome.job.id: outcome for outcome in on_batch}
    mapped = functools.cache(map_shard)
    results = []
    for job in plan.jobs(shard, shard.recordings):
        outcome = opened.get(job.id) or ExtractionResult(
            job, job.known
        )  # its audio needed no look: the earlier facts stand
        if outcome.facts and not outcome.features:
            try:
                features = tuple(read_features(mapped(store / each.file), each) for each in outcome.facts)
                outcome = replace(outcome, features=features)
            except StoreError:  # damaged: extract them again
                (outcome,) = executor.examine([replace(job, known=())])
                opened[job.id] = outcome
        results.append(outcome)
    return _write(store, shard.number, extraction, results), list(opened.values())


def _write(store: Path, number: int, extraction: ExtractionConfig, results: Sequence[ExtractionResult]) -> pa.Table:
    """Write the shard of all utterances that have features, in order of id; return their facts."""
    rows = [row for outcome in results for row in zip(outcome.facts, outcome.features, strict=True)]
    rows.sort(key=lambda row: row[0].id)
    if not rows:
        return layout.JOURNAL_SCHEMA.empty_table()
    facts, features = zip(*rows, strict=True)
    file = write_shard(store, number, extraction.parameters, [each.id for each in facts], features)
    ends = accumulate(each.frames for each in facts)
    placed = [replace(each, offset=end - each.frames, file=file.name) for each, end in zip(facts, ends, strict=True)]
    table = pa.Table.from_pylist([asdict(each) for each in placed], layout.JOURNAL_SCHEMA)
    write_journal(store, file.name, table, extraction.segmentation)
    return table


def _warnings(
    corpus: Corpus,
    history: History,
    scan: Scan,
    missing_recordings: Sequence[str],
    facts: pa.Table,
    unread: Sequence[tuple[str, str]],
) -> list[str]:
    """Return facts of the store and its audio that a user should know, a line each."""
    lines = [f"rebuilt: {history.damage}"] if history.damage else []
    if history.has_other_segmentation:
        lines.append("the earlier store was cut into utterances otherwise (--segment): it was replaced")
    if missing_recordings:
        lines.append(
            f"{len(missing_recordings)} recordings of the earlier store are gone (the first: {missing_recordings[0]})"
        )
    if unread:
        path, reason = unread[0]
        lines.append(f"{len(unread)} recordings stay as they were in the store (the first: {path}: {reason})")
    silent = facts["id"].filter(pc.less_equal(facts["peak_db"], SILENCE_DB))
    if len(silent):
        lines.append(f"{len(silent)} recordings are all zeros (the first: {silent[0]})")
    rates = {each["values"]: each["counts"] for each in pc.value_counts(facts["sample_rate"]).to_pylist()}
    return [*lines, *corpus.differences(scan, rates)]
