"""Prepare one corpus: scan -> extract -> commit, as a Dask graph.

A task examines a batch of recordings; a second kind of task gathers the batches of one shard and writes it; the commit
follows when every shard is there. A shard that nothing has touched is not part of the graph.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from emodna.pipeline import layout
from emodna.pipeline.commit import commit
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.extract import (
    AudioState,
    Extraction,
    Facts,
    Job,
    Outcome,
    examine_all,
    extracting_threads,
    stands,
)
from emodna.pipeline.features import SILENCE_DB
from emodna.pipeline.history import History, read_features, write_audio_stat, write_journal
from emodna.pipeline.shards import write_shard, writer_lock
from emodna.pipeline.trees import Tree

#: Recordings per extraction task: enough to make Dask's own cost vanish, few enough to balance the workers. One that is
#: cut into utterances is work enough.
_BATCH = 16

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
    """All of this shard's recordings, in order of id."""
    due: Sequence[Job]
    """Those whose audio has to be looked at."""
    whole: str | None
    """Name of the shard file that holds exactly what is known of them, if there is one."""

    @property
    def known(self) -> list[Facts]:
        """What earlier runs found out, in order of id."""
        return _in_order(job.known for job in self.jobs)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a shard holds, and what became of those of its utterances that were looked at."""

    facts: Sequence[Facts]
    outcomes: Sequence[Outcome] = ()


def prepare(
    corpus: Corpus,
    root: Path,
    cache: Path,
    extraction: Extraction,
    watcher: Watcher,
    *,
    workers: int,
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
        if waited:  # the files may have changed meanwhile
            tree = corpus.open(root)
            scan = corpus.scan(tree)
        history = History(store, corpus.name, extraction.features, extraction.segmentation, tree.root, rehash=rehash)
        own_columns = _own_columns(scan, extraction)
        plans = _plan(scan, tree, history, extraction)
        watcher.planned(sum(len(plan.due) for plan in plans))
        examination = partial(examine_all, tree=tree, extraction=extraction)
        write = partial(_write, store=store, extraction=extraction, examination=examination)
        batch = _BATCH if extraction.segmenter is None else 1
        results = _run(plans, examination, write, watcher, workers, batch)

        outcomes = [outcome for result in results for outcome in result.outcomes]
        rejections = sorted((o.job.path, o.rejection) for o in outcomes if o.rejection is not None)
        facts = [each for result in results for each in result.facts]
        if not facts:
            path, reason = rejections[0]
            raise CorpusError(f"root {tree.root}: all {len(rejections)} files rejected; the first: {path}: {reason}")
        shards = {plan.number: result.facts for plan, result in zip(plans, results, strict=True) if result.facts}
        commit(corpus, tree.root, extraction, history, scan, own_columns, shards, rejections)
        write_audio_stat(store, _audio_states(scan, history, outcomes))

    extracted = sum(len(outcome.facts) for outcome in outcomes if outcome.extracted)
    return Report(
        corpus=corpus.name,
        store=store,
        utterances=len(facts),
        reused=len(facts) - extracted,
        extracted=extracted,
        rejected=len(rejections),
        audio_seconds=sum(each.duration for each in facts),
        wall_seconds=time.perf_counter() - began,
        skipped={**scan.skipped, **tree.left_out},
        rejections=rejections,
        warnings=_warnings(corpus, history, scan, facts, outcomes),
    )


def _own_columns(scan: Scan, extraction: Extraction) -> pa.Table:
    """The corpus's own columns, if they can stand beside the store's."""
    columns = scan.own_columns()
    taken = {*layout.INDEX_SCHEMA.names, *([layout.START] if extraction.segmenter is not None else [])}
    if both := sorted(taken & set(columns.column_names)):
        raise CorpusError(f"the store has columns {', '.join(both)} of its own: rename yours")
    return columns


def _plan(scan: Scan, tree: Tree, history: History, extraction: Extraction) -> list[_Plan]:
    """Sort the recordings into shards, and find out which need a look at their audio."""
    count = layout.shard_count(len(scan.utterances), cut=extraction.segmenter is not None)
    shards: dict[int, list[Job]] = {}
    for utterance in scan.utterances:  # in order of id, so each shard's are too
        job = Job(utterance.id, utterance.path, history.known(utterance.id))
        shards.setdefault(layout.shard_of(utterance.id, count), []).append(job)
    plans = []
    for number, jobs in sorted(shards.items()):
        due = [
            job for job in jobs if not stands(job.known, extraction) or not history.unchanged(tree, job.path, job.known)
        ]
        plans.append(_Plan(number, jobs, due, history.whole_shard(_in_order(job.known for job in jobs))))
    return plans


def _in_order(facts: Iterable[Sequence[Facts]]) -> list[Facts]:
    """Facts of several recordings, as the rows of a shard are: in order of the utterances' ids."""
    return sorted((each for recording in facts for each in recording), key=attrgetter("id"))


def _run(
    plans: Sequence[_Plan],
    examination: Examination,
    write: Callable[..., _Result],
    watcher: Watcher,
    workers: int,
    batch: int,
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
        batches = [plan.due[start : start + batch] for start in range(0, len(plan.due), batch)]
        examined = [
            delayed(partial(examination, jobs))(dask_key_name=f"examine-{plan.number}-{number}")
            for number, jobs in enumerate(batches)
        ]
        tasks.append(delayed(partial(write, plan))(examined, dask_key_name=f"write-{plan.number}"))
    # The pool ends inside the store's lock, so that nothing writes behind the back of the next run.
    with extracting_threads(workers) as pool, Callback(posttask=tell):
        written = compute(*tasks, scheduler="threads", pool=pool, num_workers=workers)
    done = dict(zip((plan.number for plan in active), written, strict=True))
    return [done.get(plan.number) or _Result(plan.known) for plan in plans]


def _write(
    plan: _Plan, batches: list[list[Outcome]], *, store: Path, extraction: Extraction, examination: Examination
) -> _Result:
    """Write one shard from new features and those of earlier runs, unless it is there already."""
    looked_at = {outcome.job.id: outcome for batch in batches for outcome in batch}
    # Where the audio needed no look, the earlier facts stand.
    outcomes = [looked_at.get(job.id) or Outcome(job, job.known) for job in plan.jobs]
    facts = _in_order(outcome.facts for outcome in outcomes)
    if plan.whole is None or facts != plan.known:
        outcomes = [_with_features(outcome, store, examination) for outcome in outcomes]
        facts = _write_usable(store, plan.number, extraction, outcomes)
    return _Result(facts, [replace(outcome, features=()) for outcome in outcomes if outcome.looked_at])


def _with_features(outcome: Outcome, store: Path, examination: Examination) -> Outcome:
    """Fetch features of an earlier run; where they are damaged, extract them again."""
    if not outcome.facts or outcome.features:
        return outcome
    try:
        return replace(outcome, features=tuple(read_features(store, each) for each in outcome.facts))
    except StoreError:
        return examination([replace(outcome.job, known=())])[0]


def _write_usable(store: Path, number: int, extraction: Extraction, outcomes: Sequence[Outcome]) -> list[Facts]:
    """Write the shard of all utterances that have features; return their facts, which now name it."""
    features = {
        each.id: array for outcome in outcomes for each, array in zip(outcome.facts, outcome.features, strict=True)
    }
    facts, offset = [], 0
    for each in _in_order(outcome.facts for outcome in outcomes):
        facts.append(replace(each, offset=offset))
        offset += each.frames
    if not facts:
        return []
    ids = [each.id for each in facts]
    file = write_shard(store, number, extraction.parameters, ids, [features[id] for id in ids])
    facts = [replace(each, file=file.name) for each in facts]
    write_journal(store, file.name, facts, extraction.segmentation)
    return facts


def _audio_states(scan: Scan, history: History, outcomes: Sequence[Outcome]) -> dict[str, AudioState]:
    """State of each audio file by its path: as before, or as it was when it was looked at."""
    states = {u.path: history.audio[u.path] for u in scan.utterances if u.path in history.audio}
    for outcome in outcomes:
        states.pop(outcome.job.path, None)
        if outcome.facts and outcome.state is not None:
            states[outcome.job.path] = outcome.state
    return states


def _warnings(
    corpus: Corpus, history: History, scan: Scan, facts: Sequence[Facts], outcomes: Sequence[Outcome]
) -> list[str]:
    """What a user should know of the store and its audio, a line each."""
    lines = [f"rebuilt: {history.damage}"] if history.damage else []
    if history.cut_otherwise:
        lines.append("the earlier store was cut into utterances otherwise (--segment): it was replaced")
    gone = sorted(history.ids - {utterance.id for utterance in scan.utterances})
    if gone:
        lines.append(f"{len(gone)} recordings of the earlier store are gone (the first: {gone[0]})")
    unread = sorted((outcome.job.path, outcome.unread) for outcome in outcomes if outcome.unread is not None)
    if unread:
        path, reason = unread[0]
        lines.append(f"{len(unread)} recordings stay as they were in the store (the first: {path}: {reason})")
    silent = [each.id for each in facts if each.peak_db <= SILENCE_DB]
    if silent:
        lines.append(f"{len(silent)} recordings are all zeros (the first: {silent[0]})")
    return [*lines, *corpus.differences(scan, Counter(each.sample_rate for each in facts))]
