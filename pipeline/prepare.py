"""Prepare one corpus: scan -> extract -> commit, as a Dask graph.

A task examines a batch of utterances; a second kind of task gathers the batches of one shard and writes it; the commit
follows when every shard is there. A shard that nothing has touched is not part of the graph.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from emodna.pipeline import layout
from emodna.pipeline.corpora.base import Corpus, FolderTree, Scan
from emodna.pipeline.emotions import AROUSAL, VALENCE
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.extract import Facts, Job, Outcome, examine_all, one_thread_each
from emodna.pipeline.features import FeatureSet
from emodna.pipeline.history import AudioState, History, facts_table, read_features, write_audio_stat, write_journal
from emodna.pipeline.shards import commit, fingerprint, library_versions, sweep, write_shard, write_table, writer_lock
from emodna.pipeline.store import Snapshot, StoredFile

#: Utterances per extraction task: enough to make Dask's own cost vanish, few enough to balance the workers.
_BATCH = 16
#: Shards whose utterances share one index file.
_SHARDS_PER_INDEX = 512
_SILENCE_DB = -100.0

Examination = Callable[[Sequence[Job]], list[Outcome]]


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
class _Plan:
    """What has to be done for one shard."""

    number: int
    jobs: Sequence[Job]
    """All of this shard's utterances, in order of id."""
    due: Sequence[Job]
    """Those whose audio has to be looked at."""
    whole: str | None
    """Name of the shard file that holds exactly what is known of them, if there is one."""

    @property
    def known(self) -> list[Facts]:
        """What earlier runs found out."""
        return [job.known for job in self.jobs if job.known is not None]


@dataclass(frozen=True, slots=True)
class _Result:
    """What a shard holds, and what became of those of its utterances that were looked at."""

    facts: Sequence[Facts]
    outcomes: Sequence[Outcome] = ()


def prepare(
    corpus: Corpus,
    root: Path,
    cache: Path,
    features: FeatureSet,
    watcher: Watcher,
    *,
    workers: int,
    max_seconds: float = 3600.0,
    rehash: bool = False,
    wait: bool = True,
) -> Report:
    """Bring a corpus's store up to date with its root.

    Parameters
    ----------
    cache
        The store is <cache>/<corpus>/<feature set>.
    workers
        Threads that extract; libsndfile, soxr and torch's FFT work outside Python's global lock.
    max_seconds
        Longer recordings are rejected.
    rehash
        Trust no earlier hash.
    wait
        Whether to wait while another run writes the same store.

    Raises
    ------
    CorpusError
        Nothing usable under the root. The store, if there was one, is left as it was.
    StoreError
        Another run holds the store and `wait` is false.
    """
    began = time.perf_counter()
    tree = FolderTree(root)
    scan = corpus.scan(tree)
    store = cache.absolute() / corpus.name / features.name
    with writer_lock(store, wait=wait, on_wait=lambda: watcher.waiting(store)):
        history = History(store, rehash=rehash)
        plans = _plan(scan, tree.root, history)
        watcher.planned(sum(len(plan.due) for plan in plans))
        examination = partial(examine_all, root=tree.root, features=features, max_seconds=max_seconds)
        write = partial(_write, store=store, parameters=features.parameters(), examination=examination)
        results = _run(plans, examination, write, watcher, workers)

        outcomes = [outcome for result in results for outcome in result.outcomes]
        rejections = sorted((o.job.path, o.rejection) for o in outcomes if o.rejection is not None)
        facts = [each for result in results for each in result.facts]
        if not facts:
            path, reason = rejections[0]
            raise CorpusError(f"root {tree.root}: all {len(rejections)} files rejected; the first: {path}: {reason}")
        index = _index(corpus, scan, plans, results)
        _commit(corpus, tree.root, features, history, index, _shards(history, plans, results), rejections)
        states = {u.path: history.audio[u.path] for u in scan.utterances if u.path in history.audio}
        for outcome in outcomes:
            if outcome.facts is not None:
                states[outcome.job.path] = AudioState(outcome.size, outcome.mtime_ns, outcome.facts.audio_sha256)
        write_audio_stat(store, states)

    extracted = sum(outcome.extracted for outcome in outcomes)
    return Report(
        corpus=corpus.name,
        store=store,
        utterances=len(facts),
        reused=len(facts) - extracted,
        extracted=extracted,
        rejected=len(rejections),
        audio_seconds=sum(each.duration for each in facts),
        wall_seconds=time.perf_counter() - began,
        skipped=scan.skipped,
        rejections=rejections,
        warnings=[*_warnings(history, facts), *corpus.differences(scan, Counter(each.sample_rate for each in facts))],
    )


def _plan(scan: Scan, root: Path, history: History) -> list[_Plan]:
    """Sort the utterances into shards, and find out which need a look at their audio."""
    count = layout.shard_count(len(scan.utterances))
    shards: dict[int, list[Job]] = {}
    for utterance in scan.utterances:  # in order of id, so each shard's are too
        job = Job(utterance.id, utterance.path, history.known(utterance.id))
        shards.setdefault(layout.shard_of(utterance.id, count), []).append(job)
    plans = []
    for number, jobs in sorted(shards.items()):
        due = [job for job in jobs if job.known is None or not history.unchanged(root, job.path, job.known)]
        known = [job.known for job in jobs if job.known is not None]
        plans.append(_Plan(number, jobs, due, history.whole_shard(known)))
    return plans


def _run(
    plans: Sequence[_Plan], examination: Examination, write: Callable[..., _Result], watcher: Watcher, workers: int
) -> list[_Result]:
    """Run the graph of every shard that needs work; a result per plan, in order."""
    active = [plan for plan in plans if plan.due or plan.whole is None]
    if not active:
        return [_Result(plan.known) for plan in plans]
    from dask.base import compute
    from dask.callbacks import Callback
    from dask.delayed import delayed

    def tell(key: str, value: Any, *_: Any) -> None:
        if key.startswith("examine-"):
            watcher.examined(value)

    tasks = []
    for plan in active:
        batches = [plan.due[start : start + _BATCH] for start in range(0, len(plan.due), _BATCH)]
        examined = [
            delayed(partial(examination, batch))(dask_key_name=f"examine-{plan.number}-{number}")
            for number, batch in enumerate(batches)
        ]
        tasks.append(delayed(partial(write, plan))(examined, dask_key_name=f"write-{plan.number}"))
    with one_thread_each(), Callback(posttask=tell):
        written = compute(*tasks, scheduler="threads", num_workers=workers)
    done = dict(zip((plan.number for plan in active), written, strict=True))
    return [done.get(plan.number) or _Result(plan.known) for plan in plans]


def _write(
    plan: _Plan, batches: list[list[Outcome]], *, store: Path, parameters: Mapping[str, Any], examination: Examination
) -> _Result:
    """Write one shard from new features and those of earlier runs, unless it is there already."""
    looked_at = {outcome.job.id: outcome for batch in batches for outcome in batch}
    # Where the audio needed no look, the earlier facts stand.
    outcomes = [looked_at.get(job.id) or Outcome(job, job.known) for job in plan.jobs]
    facts = [outcome.facts for outcome in outcomes if outcome.facts is not None]
    if plan.whole is None or facts != plan.known:
        outcomes = [_with_features(outcome, store, examination) for outcome in outcomes]
        facts = _write_usable(store, plan.number, parameters, outcomes)
    return _Result(facts, [replace(outcome, features=None) for outcome in outcomes if outcome.looked_at])


def _with_features(outcome: Outcome, store: Path, examination: Examination) -> Outcome:
    """Fetch features of an earlier run; where they are damaged, extract them again."""
    if outcome.facts is None or outcome.features is not None:
        return outcome
    try:
        return replace(outcome, features=read_features(store, outcome.facts))
    except StoreError:
        return examination([replace(outcome.job, known=None)])[0]


def _write_usable(store: Path, number: int, parameters: Mapping[str, Any], outcomes: Sequence[Outcome]) -> list[Facts]:
    """Write the shard of all outcomes that have features; return their facts, which now name it."""
    ids, features, facts, offset = [], [], [], 0
    for outcome in outcomes:
        if outcome.facts is not None and outcome.features is not None:
            ids.append(outcome.job.id)
            features.append(outcome.features)
            facts.append(replace(outcome.facts, offset=offset))
            offset += len(outcome.features)
    if not facts:
        return []
    file = write_shard(store, number, parameters, ids, features)
    facts = [replace(each, file=file.name) for each in facts]
    write_journal(store, file.name, facts)
    return facts


def _commit(
    corpus: Corpus,
    root: Path,
    features: FeatureSet,
    history: History,
    index: pa.Table,
    shards: Sequence[StoredFile],
    rejections: Sequence[tuple[str, str]],
) -> None:
    """Write the tables, and make them and the shards the store's content, unless they are already."""
    store = history.store
    files = list(shards)
    breaks = np.searchsorted(
        index["shard"].to_numpy(), np.arange(0, len(shards) + _SHARDS_PER_INDEX, _SHARDS_PER_INDEX)
    )
    for start, stop in pairwise([*breaks.tolist(), len(index)]):
        if start < stop:
            files.append(write_table(store, "index", index.slice(start, stop - start)))
    if rejections:
        paths, reasons = zip(*rejections, strict=True)
        table = pa.table([pa.array(paths), pa.array(reasons)], schema=layout.REJECTED_SCHEMA)
        files.append(write_table(store, "rejected", table))
    snapshot = Snapshot(
        corpus=corpus.name,
        feature_set=features.name,
        parameters=features.parameters(),
        libraries=library_versions(),
        root=str(root),
        licence=corpus.facts.licence,
        citation=corpus.facts.citation,
        counts={
            "utterances": len(index),
            "rejected": len(rejections),
            "frames": sum(index["frames"].to_pylist()),
            "seconds": sum(index["duration"].to_pylist()),
        },
        fingerprint=fingerprint(features.parameters(), index),
        files=files,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    earlier = history.snapshot
    if earlier is None or replace(snapshot, created=earlier.created, libraries=earlier.libraries) != earlier:
        commit(store, snapshot)
    sweep(store, snapshot)


def _index(corpus: Corpus, scan: Scan, plans: Sequence[_Plan], results: Sequence[_Result]) -> pa.Table:
    """One row per utterance, in order of (shard, id)."""
    described = {utterance.id: utterance for utterance in scan.utterances}
    rows = [(plan.number, each) for plan, result in zip(plans, results, strict=True) for each in result.facts]
    utterances = [described[each.id] for _, each in rows]
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
    for name in utterances[0].extra:
        columns[name] = pa.array([utterance.extra[name] for utterance in utterances])
    return pa.table(columns)


def _shards(history: History, plans: Sequence[_Plan], results: Sequence[_Result]) -> list[StoredFile]:
    """Describe the shard files of a new snapshot."""
    return [
        history.stored(result.facts[0].file, plan.number)
        for plan, result in zip(plans, results, strict=True)
        if result.facts
    ]


def _warnings(history: History, facts: Sequence[Facts]) -> list[str]:
    """What a user should know of the store and its audio, a line each."""
    lines = [f"rebuilt: {history.damage}"] if history.damage else []
    silent = [each.id for each in facts if each.peak_db <= _SILENCE_DB]
    if silent:
        lines.append(f"{len(silent)} recordings are all zeros (the first: {silent[0]})")
    return lines
