"""Labelled source utterances that training does not see, to validate on."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from emodna.model.errors import TrainingError
from emodna.model.reproducibility import derive_seed
from emodna.pipeline.store import FeatureStore

#: Seeds of scikit-learn's generators are below this.
_SEEDS: Final = 2**32
_NOTHING: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Split:
    """A source corpus, and what is held out from it."""

    store: FeatureStore
    labels: NDArray[np.int8]
    """(n,) to train with: -1 for what is unlabelled or held out, so that neither batches nor statistics see it."""
    held_out: NDArray[np.int64]
    """(m,) rows of the held-out utterances."""
    truth: NDArray[np.int64]
    """(m,) their labels."""
    by: Literal["speaker", "utterance"] | None
    """Whether all utterances of some speakers are held out, or some of each class; None: nothing."""


def split(store: FeatureStore, task: str, share: float, seed: int) -> Split:
    """Hold out a share of the labelled utterances, drawn from the seed alone.

    Whole speakers are held out where the share comes to at least one and leaves both classes on both sides; else single
    utterances, a share of each class. So few utterances that both sides cannot have both classes are a `TrainingError`.
    """
    labels = store.labels(task)
    if not share:
        return Split(store, labels, _NOTHING, _NOTHING, None)
    rows = np.flatnonzero(labels >= 0)
    classes = labels[rows].astype(np.int64)
    corpus = store.snapshot.corpus
    random_state = derive_seed(seed, f"validation/{corpus}") % _SEEDS
    of_speakers = _choose_speakers(store, rows, classes, share, random_state)
    if of_speakers is not None:
        chosen = of_speakers
    else:
        from sklearn.model_selection import StratifiedShuffleSplit  # a second to load, and seldom needed

        splitter = StratifiedShuffleSplit(1, test_size=share, random_state=random_state)
        try:
            _, chosen = next(splitter.split(classes, classes))
        except ValueError:
            chosen = _NOTHING
        if not _both_sides_have_both_classes(classes, chosen):
            raise TrainingError(
                f"--src {corpus}: too few utterances of a class of {task} to hold out {share:g} of them; "
                "another --set validation, or 0"
            )
    held_out = rows[np.sort(chosen)]
    left = labels.copy()
    left[held_out] = -1
    truth = labels[held_out].astype(np.int64)
    return Split(store, left, held_out, truth, "utterance" if of_speakers is None else "speaker")


def _choose_speakers(
    store: FeatureStore, rows: NDArray[np.int64], classes: NDArray[np.int64], share: float, random_state: int
) -> NDArray[np.int64] | None:
    """Positions in `rows` of all utterances of some speakers; None where speakers are too few or not known."""
    speakers = store.columns(["speaker"])["speaker"].take(rows)
    known = len(speakers.unique())
    if speakers.null_count or not 1 <= round(share * known, 6) <= known - 1:
        return None
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(1, test_size=min(round(share * known), known - 1), random_state=random_state)
    _, chosen = next(splitter.split(rows, groups=speakers.to_numpy(zero_copy_only=False)))
    return chosen if _both_sides_have_both_classes(classes, chosen) else None


def _both_sides_have_both_classes(classes: NDArray[np.int64], chosen: NDArray[np.int64]) -> bool:
    """Whether both classes occur among the chosen and among the others."""
    return all(0 < (classes[chosen] == one).sum() < (classes == one).sum() for one in (0, 1))
