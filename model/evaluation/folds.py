"""Cross-validation over the target's speakers, for an oracle whose networks learn from the target's labels."""

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
from emodna.pipeline.store import FeatureStore

#: Seeds of scikit-learn's generators are below this.
_SEEDS: Final = 2**32


@dataclass(frozen=True, slots=True)
class Folds:
    """The speakers of a corpus in disjoint parts, all utterances of a speaker in one."""

    of: NDArray[np.int64]
    """(n,) fold of each utterance; -1 for speakers without a labelled utterance."""
    labels: NDArray[np.int8]
    """(n,), -1 where there is none."""
    speakers: Sequence[Sequence[str]]
    """Names of each fold's speakers, in order."""

    def training(self, fold: int) -> NDArray[np.int8]:
        """Return the labels (n,) that the network of a fold learns from: -1 for the fold's own speakers."""
        return np.where(self.of == fold, np.int8(-1), self.labels)


def split_into_folds(store: FeatureStore, task: str, count: int, seed: int) -> Folds:
    """Split speakers at random into folds with the classes' shares as equal as possible, or raise a `TrainingError`."""
    corpus, labels = store.snapshot.corpus, store.labels(task)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise TrainingError(f"--tgt {corpus}: no label of {task}, and upper-bound learns from the target's labels")
    speakers = store.columns(["speaker"])["speaker"]
    if unknown := speakers.take(rows).null_count:
        raise TrainingError(
            f"--tgt {corpus}: of {unknown} labelled utterances nobody knows the speaker, and upper-bound is "
            "cross-validated over speakers"
        )
    of_labelled = speakers.take(rows).to_numpy(zero_copy_only=False)
    if (heard := len(set(of_labelled))) < count:
        few = f"; --set folds={heard}" if heard > 1 else ""
        raise TrainingError(f"--tgt {corpus}: {heard} speakers with a label of {task}, too few for {count} folds{few}")
    if max(np.bincount(labels[rows])) < count:
        raise TrainingError(f"--tgt {corpus}: too few labels of {task} for {count} folds; fewer --set folds")
    parts = _split_utterances(labels[rows], of_labelled, count, derive_seed(seed, f"folds/{corpus}") % _SEEDS)
    for part in parts:
        left = set(np.delete(labels[rows], part).tolist())
        if len(left) < 2:
            raise TrainingError(
                f"--tgt {corpus}: without {', '.join(sorted(set(of_labelled[part])))}, who make up a fold, one class of"
                f" {task} has no utterance; fewer --set folds, or another --seed"
            )
    names = [sorted(set(of_labelled[part].tolist())) for part in parts]
    fold_of = {name: fold for fold, each in enumerate(names) for name in each}
    return Folds(np.array([fold_of.get(name, -1) for name in speakers.to_pylist()], np.int64), labels, names)


def predict_folds(model: TrainedModel, store: FeatureStore, folds: Folds) -> NDArray[np.float64]:
    """Return the probability (n,) of class 1, by the network that has not heard the speaker; if none has, by all."""
    method = cast("UpperBound", model.method)  # no other has folds
    found = np.empty(len(store))
    for fold in np.unique(folds.of).tolist():
        judge = model if fold < 0 else replace(model, method=method.get_fold_model(fold))
        rows = np.flatnonzero(folds.of == fold)
        found[rows] = predict_store(judge, store, rows=rows)
    return found


def _split_utterances(
    labels: NDArray[np.int8], speakers: NDArray[np.object_], count: int, random_state: int
) -> list[NDArray[np.int64]]:
    """Return the positions of the labelled utterances of each fold."""
    from sklearn.model_selection import StratifiedGroupKFold  # a second to load, and seldom needed

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # the folds are looked at here
        return [part for _, part in splitter.split(labels, labels, speakers)]
