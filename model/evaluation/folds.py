"""Cross-validation over the speakers of the target, for the method upper-bound."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import TrainingError
from emodna.model.inference.predictions import predict_store
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.upper_bound import UpperBound
from emodna.model.reproducibility import derive_seed
from emodna.pipeline.errors import Remedy
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import Task

#: scikit-learn accepts seeds below this number.
_SEEDS: Final = 2**32


@dataclass(frozen=True, slots=True)
class Folds:
    """A split of the speakers of a corpus into disjoint folds."""

    of: NDArray[np.int64]
    """Fold of each utterance, shape (n,); -1 for speakers without labelled utterances."""
    labels: NDArray[np.int8]
    """Labels, shape (n,); -1 for none."""
    speakers: Sequence[Sequence[str]]
    """Sorted names of the speakers of each fold."""

    def mask_labels(self, fold: int) -> NDArray[np.int8]:
        """Return the labels (n,) that train the network of a fold: -1 for the speakers of the fold."""
        return np.where(self.of == fold, np.int8(-1), self.labels)


def split_into_folds(store: FeatureStore, task: Task, count: int, seed: int) -> Folds:
    """Split speakers at random into folds with similar class shares.

    Raise a TrainingError if there are no labels, unknown speakers, too few speakers or labels, or a fold without which
    a class of the corpus, or all classes but one, are missing.
    """
    corpus, labels = store.snapshot.corpus, store.labels(task)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise TrainingError(f"no {task.name} labels, and upper-bound needs them", field="target", value=corpus)
    speakers = store.columns(["speaker"])["speaker"]
    if unknown := speakers.take(rows).null_count:
        problem = f"the speaker of {unknown} labelled utterances is unknown, and upper-bound needs all speakers"
        raise TrainingError(problem, field="target", value=corpus)
    of_labelled = speakers.take(rows).to_numpy(zero_copy_only=False)
    known = len(set(of_labelled))
    if known < count or max(np.bincount(labels[rows])) < count:
        problem = f"only {known} speakers have {task.name} labels" if known < count else f"too few {task.name} labels"
        raise TrainingError(problem, where=corpus, field="folds", value=count, remedy="use fewer folds, at least 2")
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to load

    random_state = derive_seed(seed, f"folds/{corpus}") % _SEEDS
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # the folds are checked below
        parts = [part for _, part in splitter.split(rows, labels[rows], of_labelled)]
    classes = set(labels[rows].tolist())
    for part in parts:
        left = set(np.delete(labels[rows], part).tolist())
        if len(left) < 2 or left != classes:  # the batches of all networks hold the same classes in turn
            names = ", ".join(sorted(set(of_labelled[part])))
            missing = ", ".join(name for label, name in enumerate(task.classes) if label not in left)
            problem = f"without {names}, the speakers of one fold, no utterance of {missing} is left"
            remedy = Remedy("use fewer folds or another {seed}")
            raise TrainingError(problem, where=corpus, field="folds", value=count, remedy=remedy)
    groups = [sorted(set(of_labelled[part].tolist())) for part in parts]
    fold_of = {name: fold for fold, group in enumerate(groups) for name in group}
    return Folds(np.array([fold_of.get(name, -1) for name in speakers.to_pylist()], np.int64), labels, groups)


def predict_folds(model: TrainedModel, store: FeatureStore, folds: Folds) -> NDArray[np.float64]:
    """Predict the probabilities (n, classes).

    The network of an utterance's fold predicts it; all networks together predict utterances without fold.
    """
    method = cast("UpperBound", model.method)  # the only method with folds
    found = np.empty((len(store), len(model.task)))
    for fold in np.unique(folds.of).tolist():
        fold_model = model if fold < 0 else replace(model, method=method.get_fold_model(fold))
        rows = np.flatnonzero(folds.of == fold)
        found[rows] = predict_store(fold_model, store, rows=rows)
    return found
