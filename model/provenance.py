"""What a run's corpora are, kept in its folder: cards and exports need it where the stores are gone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import pyarrow.compute as pc

from emodna.model.data.validation import Split
from emodna.model.errors import RunError
from emodna.model.run_folder import RunFolder, read_json, write_json
from emodna.pipeline.emotions import CLASS_NAMES, Task
from emodna.pipeline.store import FeatureStore

#: Words of a licence that keep commerce out: the NC of Creative Commons, and what is given to researchers alone.
_NOT_FOR_COMMERCE: Final = re.compile(r"\bNC\b|non-?commercial|\bresearch\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunCorpus:
    """A corpus as a run used it."""

    role: Literal["source", "target"]
    name: str
    feature_set: str
    fingerprint: str
    """Of the store's content."""
    licence: str
    citation: str
    utterances: int
    seconds: float
    rejected: int
    """Files that could not be used."""
    speakers: int
    languages: Sequence[str]
    """ISO 639-1."""
    segmentation: Mapping[str, Any] | None
    """Rule by which recordings were cut into utterances."""
    classes: Mapping[str, int]
    """Utterances of each class of the task, 0 first; of a source, all but the held-out ones were trained on."""
    unlabelled: int
    """Utterances without a label of the task; of a source, they were left out."""
    held_out: int
    """Labelled utterances of a source that were kept from the training, to choose a snapshot by."""
    emotions: Mapping[str, int]

    @property
    def forbids_commerce(self) -> bool:
        """Whether its licence, as far as its words tell, keeps commercial use out."""
        return _NOT_FOR_COMMERCE.search(self.licence) is not None


def write_corpora(run: RunFolder, sources: Sequence[Split], target: FeatureStore, task: Task) -> None:
    """Write down the corpora of a run whose training is over: the target's labels are counted."""
    found = [_describe_corpus("source", each.store, task, held_out=len(each.held_out)) for each in sources]
    found.append(_describe_corpus("target", target, task, held_out=0))
    write_json(run.corpora, {"corpora": [asdict(corpus) for corpus in found]})


def read_corpora(run: RunFolder) -> list[RunCorpus]:
    """Read what `write_corpora` wrote; a `RunError` if it is damaged or missing, as in runs of earlier versions."""
    if not run.corpora.exists():
        raise RunError(f"{run.corpora}: no such file: not a finished run of this version; run emodna-fit again")
    try:
        return [RunCorpus(**entry) for entry in read_json(run.corpora)["corpora"]]
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.corpora}: damaged ({error})") from error


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
        emotions={str(emotion): emotions[emotion] for emotion in sorted(emotions, key=str) if emotion is not None},
    )
