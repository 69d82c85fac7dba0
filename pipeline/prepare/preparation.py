"""Prepare one corpus: scan it, examine its recordings in batches, write each finished shard, and commit.

Workers examine the recordings. Only this process reads earlier features and writes to the store.
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

from emodna.pipeline.audio.quality import describe_levels
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.errors import CorpusError, StoreError, format_count
from emodna.pipeline.features import SILENCE_DB
from emodna.pipeline.left_out import make_left_out_error
from emodna.pipeline.prepare.commit import commit
from emodna.pipeline.prepare.embeddings import EmbeddingFile
from emodna.pipeline.prepare.executors import Executor, ExecutorFactory
from emodna.pipeline.prepare.extract import AudioState, ExtractionConfig, ExtractionResult
from emodna.pipeline.prepare.history import History, read_features, write_journal
from emodna.pipeline.prepare.plan import PreparationPlan, ShardPlan
from emodna.pipeline.spans import RENAME_SPANS
from emodna.pipeline.store import layout
from emodna.pipeline.store.gc import delete_temporary_files
from emodna.pipeline.store.shards import hold_writer_lock, map_shard, write_shard

#: Recordings per batch. More make the transfer cheaper, fewer balance the workers better.
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """Result of a preparation."""

    corpus: str
    store: Path
    utterances: int
    reused: int
    extracted: int
    rejected: int
    audio_seconds: float
    wall_seconds: float
    skipped: Mapping[str, int]
    """Number of files outside the corpus, by reason."""
    left_out: Mapping[str, int]
    """Number of files that are not read, by suffix."""
    rejections: Sequence[tuple[str, str]]
    """Path and reason."""
    warnings: Sequence[str]
    remarks: Sequence[tuple[str, str]] = ()
    """Path and remark on a new recording: bytes that are not read, or a wrong length in its header."""
    silence_seconds: float | None = None
    """Silence in s that was cut from the audio, by the number of frames; None if none is to be cut."""


class PrepareCallback(Protocol):
    """Progress callback of a preparation."""

    def on_wait(self, store: Path) -> None:
        """Handle the start of waiting for another process that writes the store."""

    def on_plan(self, recordings: int) -> None:
        """Handle the number of recordings to examine."""

    def on_batch(self, results: Sequence[ExtractionResult]) -> None:
        """Handle the results of an examined batch."""


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
    embeddings: EmbeddingFile | None = None,
) -> PrepareReport:
    """Bring a corpus's store up to date with its root.

    The store is <cache>/<corpus>/<feature set>. `workers` starts the executor unless the store is up to date. `rehash`
    ignores all earlier hashes, and extracts the utterances again whose quality was not measured. `wait` waits while
    another process writes the same store. `embeddings` has the features, if those of `extraction` are imported.

    Raises `CorpusError`: the root has no usable recording; an existing store is unchanged. `StoreError`: another
    process writes the store and `wait` is false, or the folder holds another store. `WorkerError`: the workers died or
    are unusable; finished shards are kept for the next preparation.
    """
    began = time.perf_counter()
    corpus = corpus.allow_ffmpeg() if extraction.ffmpeg else corpus
    tree = corpus.open(root)
    scan = corpus.scan(tree)
    store = cache.absolute() / corpus.name / extraction.features.name
    with hold_writer_lock(store, wait=wait, on_wait=lambda: callback.on_wait(store)) as waited:
        delete_temporary_files(store)
        if waited:  # the files may have changed meanwhile
            tree = corpus.open(root)
            scan = corpus.scan(tree)
        if scan.is_segmented and extraction.segmenter is not None:
            problem = "the corpus itself gives segments of its recordings, in the columns start and end"
            value = extraction.segmenter.parameters()["segment"]
            raise CorpusError(problem, field="segment", value=value, remedy="leave it out, or rename these columns")
        extraction = replace(extraction, has_given_segments=scan.is_segmented, needs_quality=rehash)
        history = History(store, corpus.name, extraction, tree.root, rehash=rehash)
        if embeddings is not None:
            embeddings.check_ids(scan.table["id"], corpus.name)
        plan = PreparationPlan(scan, tree, history, extraction, embeddings)
        if plan.unexamined_count and embeddings is None:
            extraction.features.check_requirements()
        callback.on_plan(plan.unexamined_count)
        progress = _Progress([plan.known[shard.known] for shard in plan.shards])
        if not all(shard.is_up_to_date for shard in plan.shards):
            # Workers end before the lock is released, so that none writes after another process takes it.
            with workers(tree, extraction, plan.unexamined_count) as executor:
                # Threads write the shards, because a write mostly waits for the disk.
                writes: dict[futures.Future[tuple[pa.Table, Sequence[ExtractionResult]]], int] = {}
                for at, results in _examine_shards(plan, executor, callback):
                    writes[executor.pool.submit(_finish_shard, plan, plan.shards[at], results, store, executor)] = at
                    for write in [each for each in writes if each.done()]:
                        progress.add(writes.pop(write), *write.result())
                for write, at in writes.items():
                    progress.add(at, *write.result())

        rejections = sorted(progress.rejections)
        utterances = pa.concat_tables(progress.utterances)
        if not len(utterances):
            count, first = len(rejections), ": ".join(rejections[0])
            problem = f"no usable recording: {count} of {count} rejected; the first: {first}"
            if scan.left_out:
                error = make_left_out_error(scan.left_out, tree.root)
                raise CorpusError(f"{problem}; {error.problem}", where=tree.root, remedy=error.remedy)
            raise CorpusError(problem, where=tree.root, remedy=RENAME_SPANS if scan.is_segmented else None)
        scan = scan.replace_paths(progress.used_copies)
        shards = np.repeat([shard.number for shard in plan.shards], [len(each) for each in progress.utterances])
        commit(corpus, tree.root, extraction, history, scan, utterances, shards, rejections)
        history.write_audio_stat(scan.table["path"], pa.concat_tables(progress.states))

    return PrepareReport(
        corpus=corpus.name,
        store=store,
        utterances=len(utterances),
        reused=len(utterances) - progress.extracted,
        extracted=progress.extracted,
        rejected=len(rejections),
        audio_seconds=math.fsum(utterances["duration"].to_numpy()),
        wall_seconds=time.perf_counter() - began,
        skipped={**scan.skipped, **tree.skip_counts},
        left_out=scan.left_out,
        rejections=rejections,
        warnings=[
            *([] if embeddings is None else embeddings.describe_mismatch(scan.table["id"])),
            *_list_warnings(corpus, history, scan, plan, utterances, progress),
        ],
        silence_seconds=_sum_silence(utterances, extraction),
        remarks=sorted(progress.remarks),
    )


@dataclass(slots=True)
class _Progress:
    """Content of the shards so far, and the results of the examined recordings."""

    utterances: list[pa.Table]
    """Utterances of each shard: columns of `layout.JOURNAL_SCHEMA`."""
    states: list[pa.Table] = field(default_factory=lambda: [layout.AUDIO_STAT_SCHEMA.empty_table()])
    """State of each audio file when it was hashed, null if unknown: columns of `layout.AUDIO_STAT_SCHEMA`."""
    extracted: int = 0
    rejections: list[tuple[str, str]] = field(default_factory=list)
    read_errors: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of existing files that cannot be read. Their earlier features stay."""
    used_copies: dict[str, str] = field(default_factory=dict)
    """Id of a recording -> path of the copy that was used, because the first is unusable."""
    replaced: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of the copies before those."""
    remarks: list[tuple[str, str]] = field(default_factory=list)
    """Path and remark on a recording that was extracted."""

    def add(self, at: int, utterances: pa.Table, opened: Sequence[ExtractionResult]) -> None:
        self.utterances[at] = utterances
        self.extracted += sum(len(result.features) for result in opened)
        self.rejections += [rejection for each in opened for rejection in each.rejections]
        self.read_errors += [(each.job.path, each.read_error) for each in opened if each.read_error is not None]
        self.remarks += [(each.job.path, remark) for each in opened for remark in each.remarks]
        replacements = [each for each in opened if each.is_usable and each.unusable_copies]
        self.used_copies |= {each.job.id: each.job.path for each in replacements}
        self.replaced += [copy for each in replacements for copy in each.unusable_copies]
        states: dict[str, AudioState | None] = {path: None for each in opened for path, _ in each.unusable_copies}
        states |= {each.job.path: each.state if each.utterances else None for each in opened}
        rows = [{"path": path, **(state._asdict() if state else {})} for path, state in states.items()]
        self.states.append(pa.Table.from_pylist(rows, layout.AUDIO_STAT_SCHEMA))


def _examine_shards(
    plan: PreparationPlan, executor: Executor, callback: PrepareCallback
) -> Iterator[tuple[int, list[ExtractionResult]]]:
    """Examine the recordings of unfinished shards; yield the position of each finished shard and its results."""
    # A recording that is cut into utterances is long enough to be a batch.
    size = _BATCH if plan.extraction.segmentation is None else 1
    pending: dict[futures.Future[list[ExtractionResult]], int] = {}
    results: defaultdict[int, list[ExtractionResult]] = defaultdict(list)

    def collect() -> Iterator[tuple[int, list[ExtractionResult]]]:
        for future in futures.wait(pending, return_when=futures.FIRST_COMPLETED).done:
            at, batch = pending.pop(future), future.result()
            callback.on_batch(batch)
            results[at] += batch
            if len(results[at]) == len(plan.shards[at].unexamined):
                yield at, results.pop(at)

    for at, shard in enumerate(plan.shards):
        if not len(shard.unexamined) and not shard.is_complete:
            yield at, []
        for start in range(0, len(shard.unexamined), size):
            while len(pending) >= executor.max_pending:
                yield from collect()
            batch = plan.add_embeddings(plan.make_jobs(shard, shard.unexamined[start : start + size]))
            pending[executor.pool.submit(executor.examine, batch)] = at
    while pending:
        yield from collect()


def _finish_shard(
    plan: PreparationPlan, shard: ShardPlan, examined: Sequence[ExtractionResult], store: Path, executor: Executor
) -> tuple[pa.Table, Sequence[ExtractionResult]]:
    """Write a shard from new and earlier features, unless its file exists; return its utterances.

    The second value holds the results of the recordings whose audio was opened.
    """
    if shard.is_complete and all(result.utterances == result.job.known for result in examined):
        return plan.known[shard.known], examined
    opened = {result.job.id: result for result in examined}
    mapped = functools.cache(map_shard)
    results = []
    for job in plan.make_jobs(shard, shard.recordings):
        result = opened.get(job.id) or ExtractionResult(job, job.known)  # unopened audio is unchanged
        if reused := result.utterances[len(result.features) :]:
            try:
                features = tuple(read_features(mapped(store / each.file), each) for each in reused)
                result = replace(result, features=result.features + features)
            except StoreError:  # damaged: extract them again
                (result,) = executor.examine(plan.add_embeddings([replace(job, known=())]))
                opened[job.id] = result
        results.append(result)
    return _write_shard_file(store, shard.number, plan.extraction, results), list(opened.values())


def _write_shard_file(
    store: Path, number: int, extraction: ExtractionConfig, results: Sequence[ExtractionResult]
) -> pa.Table:
    """Write a shard with all extracted utterances, sorted by id; return them."""
    rows = [row for result in results for row in zip(result.utterances, result.features, strict=True)]
    rows.sort(key=lambda row: row[0].id)
    if not rows:
        return layout.JOURNAL_SCHEMA.empty_table()
    utterances, features = zip(*rows, strict=True)
    file = write_shard(store, number, extraction.parameters, [each.id for each in utterances], features)
    ends = accumulate(each.frames for each in utterances)
    pairs = zip(utterances, ends, strict=True)
    records = [asdict(each) | {"offset": end - each.frames, "file": file.name} for each, end in pairs]
    table = pa.Table.from_pylist(records, layout.JOURNAL_SCHEMA)
    write_journal(store, file.name, table, extraction)
    return table


def _sum_silence(utterances: pa.Table, extraction: ExtractionConfig) -> float | None:
    """Return how much silence in s was cut from all utterances; None if none is to be cut."""
    durations, frames = (utterances[name].to_numpy() for name in ("duration", "frames"))
    kept = extraction.features.estimate_kept_seconds(durations, frames)
    return None if kept is None else math.fsum(durations - kept)


def _list_warnings(
    corpus: Corpus, history: History, scan: Scan, plan: PreparationPlan, utterances: pa.Table, progress: _Progress
) -> list[str]:
    lines = [*scan.warnings]
    if history.damage:
        lines.append(f"rebuilt a damaged store: {history.damage}")
    if history.has_other_segmentation:
        lines.append("replaced the earlier store, which has another segmentation of its recordings")
    if missing := plan.missing_recordings:
        count = format_count(len(missing), "segment" if scan.is_segmented else "recording")
        lines.append(f"{count} of the earlier store dropped (the first: {missing[0]})")
    if progress.read_errors:
        first, count = ": ".join(min(progress.read_errors)), format_count(len(progress.read_errors), "recording")
        lines.append(f"{count} kept from the earlier store (the first: {first})")
    if progress.replaced:
        first, count = ": ".join(min(progress.replaced)), format_count(len(progress.used_copies), "recording")
        lines.append(f"{count} read from another copy, because the first is unusable ({first})")
    if progress.remarks:
        files = format_count(len(dict(progress.remarks)), "recording")
        lines.append(f"{files} with bytes that are not read, or with a wrong length in the header")
    several = utterances["id"].filter(pc.greater(utterances["channels"], 1))
    if len(several) and not plan.extraction.channel and not corpus.info.channels:
        count = format_count(len(several), "recording" if plan.extraction.segmentation is None else "segment")
        lines.append(f"{count} with several channels, of which channel 0 is used (the first: {several[0]})")
    silent = utterances["id"].filter(pc.less_equal(utterances["peak_db"], SILENCE_DB))
    if len(silent):
        lines.append(f"{format_count(len(silent), 'recording')} with only zeros (the first: {silent[0]})")
    lines += describe_levels(utterances["id"], utterances["peak"].to_numpy(), utterances["level_db"].to_numpy())
    rates = {each["values"]: each["counts"] for each in pc.value_counts(utterances["sample_rate"]).to_pylist()}
    bandwidth = plan.extraction.bandwidth
    if bandwidth is not None and max(rates) <= 2 * bandwidth:
        highest = f"{max(rates) / 2:g} Hz"
        lines.append(f"no recording has frequencies above {highest}, so the bandwidth {bandwidth:g} Hz removes nothing")
    return [*lines, *corpus.find_differences(scan, rates)]
