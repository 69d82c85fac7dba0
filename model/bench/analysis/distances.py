"""How far the emotion features of two corpora lie apart: proxy A-distance and MK-MMD.

References
----------
.. [1] S. Ben-David et al., "Analysis of representations for domain adaptation", NIPS 2006.
.. [2] A. Gretton et al., "Optimal kernel choice for large-scale two-sample tests", NIPS 2012.
"""

from typing import Any, Final, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.bench.analysis.features import DRAWN, Features, features_of, inputs_of
from emodna.model.bench.analysis.kept import model_key, remembered
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.losses.mmd import mk_mmd
from emodna.pipeline.emotions import Task

_FOLDS: Final = 5
_SEED: Final = 0
#: What deviates from its mean by less than this share of it never changes: it is rounding that would be scaled up.
_CONSTANT: Final = 1e-6
#: All that decides a distance beside the features, for its file.
_HOW: Final = {
    **DRAWN,
    "version": 1,
    "standardised": "by the mean and deviation of both corpora together, equally weighted",
    "proxy_a_distance": "2 (1 - 2 err), err the balanced error of a logistic regression (L2, C = 1)",
    "folds": _FOLDS,
    "fold_seed": _SEED,
    "mmd": "squared MK-MMD, unbiased, 5 Gaussians of equal weight, widths 1/4 ... 4 times the mean squared distance",
}


class Distance(TypedDict):
    """Of one set of source features from one of target features; None of sets too small to tell."""

    pad: float | None
    mmd: float | None


class Distances(TypedDict):
    """Of two corpora."""

    all: Distance
    classes: list[Distance]
    """Of class 0 of both, and of class 1: an analysis, for it needs the target's labels."""


def distances_of(bench: Experiment, cell: RunSpec) -> Distances | None:
    """Those of a finished cell's emotion features, worked out once; None if its method has no such features.

    Raises
    ------
    RunError, StoreError, BenchError, TrainingError
        As `features_of`.
    """

    def make() -> Distances | None:
        features = features_of(bench, cell)
        return None if features is None else distances(features)

    key = {**_HOW, "model": model_key(bench, cell)}
    found: Distances | None = remembered(bench, bench.run_name(cell), "distances", key, make)
    return found


def distances_of_input(bench: Experiment, src: str, tgt: str, task: Task) -> Distances:
    """Those of the mean input features of a pair's utterances, worked out once.

    Raises
    ------
    StoreError, BenchError
        A store is damaged, or another one than the benchmark was planned for.
    """
    stores = [bench.corpora[name].fingerprint for name in (src, tgt)]
    found: Distances = remembered(
        bench,
        f"input-{src}-{tgt}-{task}",
        "distances",
        {**_HOW, "stores": stores},
        lambda: distances(inputs_of(bench, src, tgt, task)),
    )
    return found


def distances(features: Features) -> Distances:
    """Of two corpora, as they are and class by class."""
    source, target = features.sides
    return {
        "all": _distance(source.values, target.values),
        "classes": [_distance(source.of_class(label), target.of_class(label)) for label in (0, 1)],
    }


def proxy_a_distance(source: NDArray[Any], target: NDArray[Any]) -> float | None:
    """``2 (1 - 2 err)`` of a linear classifier that tells source from target [1]_, cross-validated.

    The error is the mean of both corpora's, so it is 1/2 where nothing tells them apart, however their sizes differ:
    then the distance is about 0 (by chance a little less), and 2 where every utterance betrays its corpus.

    Parameters
    ----------
    source
        (n, width)
    target
        (m, width)

    Returns
    -------
    float or None
        In [-2, 2]; None of less than 5 utterances of a corpus, one for each fold.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from threadpoolctl import threadpool_limits

    if min(len(source), len(target)) < _FOLDS:
        return None
    values = np.concatenate(_standardised(source, target))
    corpus = np.repeat([0, 1], [len(source), len(target)])
    # So small a problem is solved several times faster without threads that wait for each other.
    with threadpool_limits(1):
        right = cross_val_score(
            LogisticRegression(class_weight="balanced", max_iter=1000),
            values,
            corpus,
            scoring="balanced_accuracy",
            cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED),
        )
    return float(2 * (1 - 2 * (1 - right.mean())))


def squared_mmd_of(source: NDArray[Any], target: NDArray[Any]) -> float | None:
    """Squared MK-MMD, a number that can be compared between spaces of whatever scale.

    Features are standardised over both corpora together, and the kernels are as wide as the joint sample's mean squared
    distance tells, which then is about twice the number of values for every method. The estimator is the unbiased one
    of [2]_: small samples do not look further apart than large ones, and what is alike is about as often below as
    above 0.

    Parameters
    ----------
    source
        (n, width)
    target
        (m, width)

    Returns
    -------
    float or None
        At most 2; None of less than two utterances of a corpus.
    """
    if min(len(source), len(target)) <= 1:
        return None
    return float(mk_mmd(*map(torch.from_numpy, _standardised(source, target)), estimator="unbiased"))


def _distance(source: NDArray[Any], target: NDArray[Any]) -> Distance:
    return {"pad": proxy_a_distance(source, target), "mmd": squared_mmd_of(source, target)}


def _standardised(source: NDArray[Any], target: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both, by their common mean and deviation, to which each corpus contributes equally; what never changes is 0."""
    one, other = source.astype(np.float64), target.astype(np.float64)
    mean = (one.mean(axis=0) + other.mean(axis=0)) / 2
    std = np.sqrt((np.square(one - mean).mean(axis=0) + np.square(other - mean).mean(axis=0)) / 2)
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > _CONSTANT * np.abs(mean))
    return (one - mean) * scale, (other - mean) * scale
