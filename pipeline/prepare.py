"""Prepare one corpus: scan -> extract -> commit, as a Dask graph.

A task examines a batch of utterances; a second kind of task gathers the batches of one shard and writes it; the commit
follows when every shard is there. A shard that nothing has touched is not part of the graph.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from emodna.pipeline import layout
from emodna.pipeline.commit import commit
from emodna.pipeline.corpora.base import Corpus, Scan
from emodna.pipeline.errors import CorpusError, StoreError
from emodna.pipeline.extract import AudioState, Facts, Job, Outcome, examine_all, one_thread_each
from emodna.pipeline.features import SILENCE_DB, FeatureSet
from emodna.pipeline.history import History, read_features, write_audio_stat, write_journal
from emodna.pipeline.shards import write_shard, writer_lock
from emodna.pipeline.trees import FolderTree

#: Utterances per extraction task: enough to make Dask's own cost vanish, few enough to balance the workers.
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
        Another run holds the store and `wait` is false, or its folder holds another store.
    """
    began = time.perf_counter()
    tree = FolderTree(root)
    scan = corpus.scan(tree)
    store = cache.absolute() / corpus.name / features.name
    with writer_lock(store, wait=wait, on_wait=lambda: watcher.waiting(store)) as waited:
        if waited:  # the files may have changed meanwhile
            scan = corpus.scan(tree)
        history = History(store, corpus.name, features, tree.root, rehash=rehash)
        plans = _plan(scan, tree.root, history, max_seconds)
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
        shards = {plan.number: result.facts for plan, result in zip(plans, results, strict=True) if result.facts}
        commit(corpus, tree.root, features, history, scan, shards, rejections)
        write_audio_stat(store, _audio_states(scan, history, outcomes))

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
        warnings=_warnings(corpus, history, scan, facts),
    )


def _plan(scan: Scan, root: Path, history: History, max_seconds: float) -> list[_Plan]:
    """Sort the utterances into shards, and find out which need a look at their audio."""
    count = layout.shard_count(len(scan.utterances))
    shards: dict[int, list[Job]] = {}
    for utterance in scan.utterances:  # in order of id, so each shard's are too
        job = Job(utterance.id, utterance.path, history.known(utterance.id))
        shards.setdefault(layout.shard_of(utterance.id, count), []).append(job)
    plans = []
    for number, jobs in sorted(shards.items()):
        due = [
            job
            for job in jobs
            if job.known is None or job.known.duration > max_seconds or not history.unchanged(root, job.path, job.known)
        ]
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
    # The pool ends inside the store's lock, so that nothing writes behind the back of the next run.
    with one_thread_each(), ThreadPoolExecutor(workers) as pool, Callback(posttask=tell):
        written = compute(*tasks, scheduler="threads", pool=pool, num_workers=workers)
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


def _audio_states(scan: Scan, history: History, outcomes: Sequence[Outcome]) -> dict[str, AudioState]:
    """State of each audio file by its path: as before, or as it was when it was looked at."""
    states = {u.path: history.audio[u.path] for u in scan.utterances if u.path in history.audio}
    for outcome in outcomes:
        states.pop(outcome.job.path, None)
        if outcome.facts is not None and outcome.state is not None:
            states[outcome.job.path] = outcome.state
    return states


def _warnings(corpus: Corpus, history: History, scan: Scan, facts: Sequence[Facts]) -> list[str]:
    """What a user should know of the store and its audio, a line each."""
    lines = [f"rebuilt: {history.damage}"] if history.damage else []
    gone = sorted(history.ids - {utterance.id for utterance in scan.utterances})
    if gone:
        lines.append(f"{len(gone)} utterances of the earlier store are gone (the first: {gone[0]})")
    silent = [each.id for each in facts if each.peak_db <= SILENCE_DB]
    if silent:
        lines.append(f"{len(silent)} recordings are all zeros (the first: {silent[0]})")
    return [*lines, *corpus.differences(scan, Counter(each.sample_rate for each in facts))]
