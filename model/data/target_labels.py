"""Draw a few labelled utterances of the target for training, and find those that scores leave out.

The draw follows semi-supervised domain adaptation (Saito et al. 2019, ICCV, arXiv 1904.06487): the same number of
labelled target utterances of each class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.model.errors import TrainingError
from emodna.model.reproducibility import derive_seed
from emodna.pipeline.errors import Remedy
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task


@dataclass(frozen=True, slots=True)
class TargetLabels:
    """Labels of a few target utterances that a run is trained with."""

    labels: NDArray[np.int8]
    """(n,) labels of the drawn utterances; -1 for all others."""
    excluded: NDArray[np.bool_]
    """(n,) True for the utterances that scores leave out: the drawn ones, and others from their recordings."""
    ids: Mapping[str, Sequence[str]]
    """Sorted ids of the drawn utterances of each class."""


def draw_target_labels(store: FeatureStore, task: Task, count: int, seed: int) -> TargetLabels:
    """Draw some labelled utterances of each class of a task, spread over the speakers.

    In each class, the speakers take turns in a random order, and each turn takes a random utterance of its speaker.
    Utterances without a speaker count as those of one more. The draw depends on corpus, class and seed only, so the
    stores of several feature sets give the same utterances, and a draw of 5 contains a draw of 1.

    Raises TrainingError unless each class has more labelled utterances than are drawn, so that some are left to score.
    """
    corpus, labels = store.snapshot.corpus, store.labels(task)
    columns = store.columns(["id", "speaker", "audio_sha256"])
    by_id = pc.sort_indices(columns["id"]).to_numpy().astype(np.int64)
    # Numbers of the speakers follow the ids, too, not the order of the store.
    speakers = columns["speaker"].take(by_id).combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    drawn_labels = np.full_like(labels, -1)
    ids: dict[str, list[str]] = {}
    for label, name in enumerate(task.classes):
        places = np.flatnonzero(labels[by_id] == label)
        rows = by_id[places]
        if len(rows) <= count:
            problem = f"{corpus} has only {len(rows)} labelled utterances of {task.name} {name}"
            remedy = Remedy(f"{{target_labels}} must leave some to score: at most {max(len(rows) - 1, 0)}")
            raise TrainingError(problem, field="target_labels", value=count, remedy=remedy)
        generator = np.random.default_rng(derive_seed(seed, f"target labels/{corpus}/{name}"))
        drawn = _take_turns(rows, speakers[places], generator)[:count]
        drawn_labels[drawn] = label
        ids[name] = sorted(columns["id"].take(drawn).to_pylist())
    audio = columns["audio_sha256"].combine_chunks()
    rows = np.flatnonzero(drawn_labels >= 0)
    excluded = pc.is_in(audio, value_set=pa.array(audio.take(rows)), skip_nulls=True).to_numpy(zero_copy_only=False)
    excluded = excluded | (drawn_labels >= 0)
    left = set(labels[~excluded].tolist())
    if missing := [name for label, name in enumerate(task.classes) if label not in left]:
        problem = f"no utterance of {task.name} {missing[0]} is left to score in other recordings of {corpus}"
        remedy = Remedy("use fewer {target_labels}")
        raise TrainingError(problem, field="target_labels", value=count, remedy=remedy)
    return TargetLabels(drawn_labels, excluded, ids)


def _take_turns(
    rows: NDArray[np.int64], speakers: NDArray[np.int32], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return rows (n,) in random order, so that their speakers (n,) take turns."""
    order = generator.permutation(len(rows))
    _, inverse = np.unique(speakers[order], return_inverse=True)
    turns = generator.permutation(inverse.max() + 1)[inverse]
    rounds = np.empty(len(rows), np.int64)
    by_speaker = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[by_speaker], np.arange(inverse.max() + 1))
    rounds[by_speaker] = np.arange(len(rows)) - starts[inverse[by_speaker]]
    drawn: NDArray[np.int64] = rows[order][np.lexsort((turns, rounds))]
    return drawn
