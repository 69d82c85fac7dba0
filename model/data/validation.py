"""Hold out labelled source utterances from training, to validate on."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.model.errors import TrainingError
from emodna.model.reproducibility import derive_seed
from emodna.pipeline.errors import Remedy, format_count
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task

#: Number of scikit-learn's seeds.
_SEEDS: Final = 2**32
_NOTHING: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Split:
    """A source corpus with its held-out utterances."""

    store: FeatureStore
    labels: NDArray[np.int8]
    """(n,) labels to train with; -1 excludes unlabelled and held-out utterances from batches and statistics."""
    held_out: NDArray[np.int64]
    """(m,) rows of the held-out utterances."""
    truth: NDArray[np.int64]
    """(m,) labels of the held-out utterances."""
    by: Literal["speaker", "recording", "utterance"] | None
    """Unit that is held out; None if nothing is held out."""


def split(store: FeatureStore, task: Task, share: float, seed: int) -> Split:
    """Hold out a random share of the labelled utterances, which depends on the seed only.

    Holds out whole speakers if the share is at least one speaker and both parts have all classes; otherwise, in the
    same way, whole recordings if the utterances are segments of recordings; otherwise the same share of the utterances
    of each class. Raises TrainingError if both parts cannot have all classes.
    """
    labels = store.labels(task)
    if not share:
        return Split(store, labels, _NOTHING, _NOTHING, None)
    rows = np.flatnonzero(labels >= 0)
    classes = labels[rows].astype(np.int64)
    corpus = store.snapshot.corpus
    random_state = derive_seed(seed, f"validation/{corpus}") % _SEEDS
    units: dict[Literal["speaker", "recording"], str] = {"speaker": "speaker"}
    if store.snapshot.segmentation is not None:  # segments of a recording sound alike, and may overlap
        units["recording"] = "path"
    unit: Literal["speaker", "recording", "utterance"] = "utterance"
    chosen = None
    for name, column in units.items():
        if chosen is None:
            chosen = _choose_groups(store.columns([column])[column].take(rows), classes, share, random_state)
            unit = "utterance" if chosen is None else name
    if chosen is None:
        from sklearn.model_selection import StratifiedShuffleSplit  # takes a second to load and is seldom needed

        splitter = StratifiedShuffleSplit(1, test_size=share, random_state=random_state)
        try:
            _, chosen = next(splitter.split(classes, classes))
        except ValueError:
            chosen = _NOTHING
        if not _both_parts_have_all_classes(classes, chosen):
            rarest, count = min(zip(*np.unique(classes, return_counts=True), strict=True), key=itemgetter(1))
            few = f"{format_count(count, 'utterance')} of {task.name} {task.classes[rarest]}"
            problem = f"{few} {'is' if count == 1 else 'are'} too few to hold out a share of {share:g}"
            remedy = Remedy("set another {validation}, or {validation=0}")
            raise TrainingError(problem, field="sources", value=corpus, remedy=remedy)
    held_out = rows[np.sort(chosen)]
    remaining = labels.copy()
    remaining[held_out] = -1
    return Split(store, remaining, held_out, labels[held_out].astype(np.int64), unit)


def _choose_groups(
    groups: pa.ChunkedArray, classes: NDArray[np.int64], share: float, random_state: int
) -> NDArray[np.int64] | None:
    """Return the positions of all utterances of some groups; None if groups are too few or unknown."""
    count = len(groups.unique())
    if groups.null_count or not 1 <= round(share * count, 6) <= count - 1:
        return None
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(1, test_size=min(round(share * count), count - 1), random_state=random_state)
    _, chosen = next(splitter.split(classes, groups=groups.to_numpy(zero_copy_only=False)))
    return chosen if _both_parts_have_all_classes(classes, chosen) else None


def _both_parts_have_all_classes(classes: NDArray[np.int64], chosen: NDArray[np.int64]) -> bool:
    return all(0 < (classes[chosen] == each).sum() < (classes == each).sum() for each in np.unique(classes))
