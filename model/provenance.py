"""Record a run's corpora in its folder, so that model cards and exports need no store."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import pyarrow.compute as pc

from emodna.model.data.domain import TrainingDomain
from emodna.model.data.validation import Split
from emodna.model.errors import RunError, TrainRun
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import CLASS_NAMES, Task
from emodna.pipeline.errors import Remedy
from emodna.pipeline.store import FeatureStore

#: Words of licences that forbid commercial use: Creative Commons' NC, and restrictions to research.
_NOT_FOR_COMMERCE: Final = re.compile(r"\bNC\b|non-?commercial|\bresearch\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunCorpus:
    """A corpus as a run used it."""

    role: Literal["source", "target"]
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
        return _NOT_FOR_COMMERCE.search(self.licence) is not None


def write_corpora(
    run: RunFolder, sources: Sequence[Split], target: FeatureStore, task: Task, domain: TrainingDomain | None
) -> None:
    """Write the corpora of a run, after its training because it counts the target's labels."""
    corpora = [_describe_corpus("source", each.store, task, held_out=len(each.held_out)) for each in sources]
    corpora.append(_describe_corpus("target", target, task, held_out=0))
    if domain is not None:
        corpora = [replace(each, audio=domain.describe(number)) for number, each in enumerate(corpora)]
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


def _describe_corpus(role: Literal["source", "target"], store: FeatureStore, task: Task, *, held_out: int) -> RunCorpus:
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
        classes={name: int((labels == label).sum()) for label, name in enumerate(CLASS_NAMES[task])},
        unlabelled=int((labels < 0).sum()),
        held_out=held_out,
        **asdict(snapshot.provenance),
        emotions={str(emotion): emotions[emotion] for emotion in sorted(emotions, key=str) if emotion is not None},
    )
