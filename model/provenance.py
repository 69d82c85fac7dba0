"""Record a run's corpora in its folder, so that model cards and exports need no store."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.model.data.domain import TrainingDomain
from emodna.model.data.validation import Split
from emodna.model.errors import RunError, TrainRun
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.errors import Remedy
from emodna.pipeline.files import write_atomically
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task

Role = Literal["source", "target", "target-labels"]
"""Use of a recording in training: of a source, of the target, or of the target with its label."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)

#: Words of licences that forbid commercial use: Creative Commons' NC, and restrictions to research.
_NOT_FOR_COMMERCE: Final = re.compile(r"\bNC\b|non-?commercial|\bresearch\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunCorpus:
    """A corpus as a run used it."""

    role: Role
    name: str
    feature_set: str
    fingerprint: str
    licence: str
    citation: str
    utterances: int
    seconds: float
    rejected: int
    """Number of unusable files."""
    speakers: int
    languages: Sequence[str]
    """ISO 639-1 codes."""
    segmentation: Mapping[str, Any] | None
    """Rule that cuts recordings into utterances; None if they are whole."""
    classes: Mapping[str, int]
    """Number of utterances of each class of the task, class 0 first, including held-out ones."""
    unlabelled: int
    """Number of utterances without a label of the task; training does not use those of a source."""
    held_out: int
    """Number of labelled utterances of a source that are held out to validate on."""
    emotions: Mapping[str, int]
    channel: int = 0
    """Channel of its recordings, from 0."""
    bandwidth: float | None = None
    """Frequency in Hz above which its audio was removed; None: all was kept."""
    audio: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Range of each known measure of its audio, see `TrainingDomain`; empty in runs of earlier versions."""

    @property
    def forbids_commerce(self) -> bool:
        """True if the words of the licence forbid commercial use."""
        return forbids_commerce(self.licence)


def forbids_commerce(licence: str) -> bool:
    """Return True if the words of a licence forbid commercial use."""
    return _NOT_FOR_COMMERCE.search(licence) is not None


def write_corpora(
    run: RunFolder, sources: Sequence[Split], target: FeatureStore, task: Task, domain: TrainingDomain | None
) -> None:
    """Write the corpora of a run, after its training because it counts the target's labels."""
    corpora = [describe_corpus("source", each.store, task, held_out=len(each.held_out)) for each in sources]
    corpora.append(describe_corpus("target", target, task, held_out=0))
    if domain is not None:
        corpora = [replace(each, audio=domain.describe(number)) for number, each in enumerate(corpora)]
    write_entries(run, corpora)


def write_entries(run: RunFolder, corpora: Sequence[RunCorpus]) -> None:
    """Write the entries of a run's corpora, sources first."""
    write_json(run.corpora, {"corpora": [asdict(corpus) for corpus in corpora]})


def read_corpora(run: RunFolder) -> list[RunCorpus]:
    """Read the corpora of a run; raise a RunError if the file is damaged, or missing as in runs of earlier versions."""
    if not run.corpora.exists():
        problem = "not found: the run is not finished, or of an earlier version"
        raise RunError(problem, where=run.corpora, remedy=Remedy("train it again", TrainRun()))
    try:
        return [RunCorpus(**entry) for entry in read_json(run.corpora)["corpora"]]
    except (KeyError, TypeError) as error:
        raise RunError(f"damaged: {error}", where=run.corpora) from error


def write_audio(
    run: RunFolder,
    sources: Sequence[FeatureStore],
    target: FeatureStore,
    task: Task,
    training_labels: NDArray[np.bool_] | None = None,
) -> None:
    """Write the audio hashes of a run's utterances: unique rows of `role` and `audio_sha256`, sorted.

    `training_labels` (n,) marks the target's utterances of the role `target-labels`, which have the role `target`, too.
    """
    hashes: dict[Role, list[pa.Array]] = {
        "source": [hash_audio(each, task) for each in sources],
        "target": [hash_audio(target)],
    }
    if training_labels is not None:
        hashes["target-labels"] = [hash_audio(target).take(np.flatnonzero(training_labels))]
    unique = {role: pc.unique(pa.chunked_array(each, pa.string())).sort() for role, each in hashes.items()}
    _write_hashes(run, unique)


def add_target_audio(base: RunFolder, run: RunFolder, target: FeatureStore) -> None:
    """Write the audio hashes of another run and those of a further target, unless the other run has no list."""
    if (recorded := read_audio(base)) is None:
        return
    of_target = pa.chunked_array([recorded["target"], hash_audio(target)], pa.string())
    _write_hashes(run, {**recorded, "target": pc.unique(of_target).sort()})


def _write_hashes(run: RunFolder, unique: Mapping[Role, pa.Array]) -> None:
    known = {role: each for role, each in unique.items() if len(each)}
    roles = pa.concat_arrays([pa.array([role] * len(each), pa.string()) for role, each in known.items()])
    table = pa.table({"role": roles, "audio_sha256": pa.concat_arrays(list(known.values()))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["role"])
    write_atomically(run.audio, sink.getvalue().to_pybytes())


def read_audio(run: RunFolder) -> dict[Role, pa.Array] | None:
    """Read the audio hashes by role; None for a run of an earlier version. Raise a RunError if the file is damaged."""
    if not run.audio.exists():
        return None
    try:
        table = pq.read_table(run.audio, columns=["role", "audio_sha256"], use_threads=False)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise RunError("damaged: not the audio hashes of a run", where=run.audio) from error
    return {role: table.filter(pc.equal(table["role"], role))["audio_sha256"].combine_chunks() for role in ROLES}


def hash_audio(store: FeatureStore, labels_of: Task | None = None) -> pa.Array:
    """Return the audio hash of each utterance of a store, or of those with a label of a task.

    Segments of a recording share the hash of its file.
    """
    hashes = store.columns(["audio_sha256"])["audio_sha256"].combine_chunks()
    return hashes if labels_of is None else hashes.take(np.flatnonzero(store.labels(labels_of) >= 0))


def describe_corpus(role: Role, store: FeatureStore, task: Task, *, held_out: int) -> RunCorpus:
    """Return the entry of a corpus in a run of a task."""
    snapshot, labels = store.snapshot, store.labels(task)
    columns = store.columns(["speaker", "language", "emotion"])
    emotions = {each["values"]: each["counts"] for each in pc.value_counts(columns["emotion"]).to_pylist()}
    return RunCorpus(
        role=role,
        name=snapshot.corpus,
        feature_set=snapshot.feature_set,
        fingerprint=snapshot.fingerprint,
        licence=snapshot.licence,
        citation=snapshot.citation,
        utterances=len(store),
        seconds=float(snapshot.counts["seconds"]),
        rejected=int(snapshot.counts["rejected"]),
        speakers=pc.count_distinct(columns["speaker"]).as_py(),
        languages=sorted(pc.drop_null(pc.unique(columns["language"])).to_pylist()),
        segmentation=snapshot.segmentation,
        classes={name: int((labels == label).sum()) for label, name in enumerate(task.classes)},
        unlabelled=int((labels < 0).sum()),
        held_out=held_out,
        **asdict(snapshot.provenance),
        emotions={str(emotion): emotions[emotion] for emotion in sorted(emotions, key=str) if emotion is not None},
    )
