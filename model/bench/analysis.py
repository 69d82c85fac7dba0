"""Emotion features of finished runs: extraction, UMAP, and distances between two corpora.

`<out>/analysis/<name>.json` caches UMAP and distances until a model or a store changes.

References
----------
.. [1] S. Ben-David et al., "Analysis of representations for domain adaptation", NIPS 2006.
.. [2] A. Gretton et al., "Optimal kernel choice for large-scale two-sample tests", NIPS 2012.
"""

import hashlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.bench.grid import open_store
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import BenchError, RunError, TrainingError
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import embed_store, read_utterances
from emodna.model.losses.mmd import mk_mmd
from emodna.model.run_folder import read_json, write_json
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.threads import limit_torch_to_one_thread

MAX_UTTERANCES: Final = 1000
"""Largest sample of a corpus. The time of UMAP and the memory of kernel matrices grow with its square."""
_SEED: Final = 0
SAMPLE: Final = {"per_corpus": MAX_UTTERANCES, "draw": "by class, in proportion", "draw_seed": _SEED}
"""Description of the sample, a part of all cache keys."""

UMAP: Final = {"metric": "euclidean", "n_neighbors": 15, "min_dist": 0.1, "random_state": 0}
"""Parameters of UMAP: the defaults of the package, since the paper names none, and a seed, which disables threads."""
_UMAP_PACKAGE: Final = "umap-learn"

_FOLDS: Final = 5
#: Deviation, relative to the mean, below which a feature counts as constant: scaling would amplify rounding errors.
_MIN_DEVIATION: Final = 1e-6
#: Part of the cache key of distances: everything that affects them, except the features.
_DISTANCE_KEY: Final = {
    **SAMPLE,
    "version": 1,
    "standardised": "by the mean and deviation of both corpora together, equally weighted",
    "proxy_a_distance": "2 (1 - 2 err), err the balanced error of a logistic regression (L2, C = 1)",
    "folds": _FOLDS,
    "fold_seed": _SEED,
    "mmd": "squared MK-MMD, unbiased, 5 Gaussians of equal weight, widths 1/4 ... 4 times the mean squared distance",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CorpusFeatures:
    """Features of utterances of one corpus."""

    corpus: str
    ids: list[str]
    labels: NDArray[np.int8]
    """Classes (n,); all -1 in a corpus without labels."""
    values: NDArray[np.float32]
    """Features (n, width)."""


Distances = Mapping[str, Any]
"""`all` for all utterances, and `classes` for each class, by target labels. Each has `pad`, the proxy
A-distance, and `mmd`, the squared MK-MMD; None if there are too few utterances."""


# Features


def extract_features(experiment: Experiment, run: RunSpec) -> tuple[CorpusFeatures, CorpusFeatures] | None:
    """Extract the emotion features E of source and target by a finished run's model; None if its method has none.

    Inputs are normalised as in the run. Batch norm uses running statistics. Raises RunError, StoreError or BenchError
    if the run or a store is damaged or has changed, and TrainingError if the features are not finite.
    """
    device = torch.device(experiment.conditions.device if torch.cuda.is_available() else "cpu")
    finished = FinishedRun.load(experiment.run_folder(run).path, device)
    with limit_torch_to_one_thread():
        return _collect_features(
            experiment, run, lambda store, rows: embed_store(finished.adapt_model(store), store, rows=rows)
        )


def compute_input_means(experiment: Experiment, run: RunSpec) -> tuple[CorpusFeatures, CorpusFeatures]:
    """Compute the mean over time of each utterance's stored features, for source and target of a run."""

    def compute_means(store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([features.mean(axis=0) for features, _, _ in read_utterances(store, rows=rows)])

    sides = _collect_features(experiment, run, compute_means)
    assert sides is not None  # noqa: S101 - means always exist
    return sides


def _collect_features(
    experiment: Experiment,
    run: RunSpec,
    compute_features: Callable[[FeatureStore, NDArray[np.int64]], NDArray[np.float32] | None],
) -> tuple[CorpusFeatures, CorpusFeatures] | None:
    sides = []
    for corpus in run.pair:
        store = open_store(experiment, corpus, run.method)
        labels = store.labels(experiment.read_task(run))
        rows = sample_rows(labels)
        values = compute_features(store, rows)
        if values is None:
            return None
        sides.append(CorpusFeatures(corpus, [store.ids[row] for row in rows], labels[rows], values))
    return sides[0], sides[1]


def sample_rows(labels: NDArray[np.int8], limit: int = MAX_UTTERANCES) -> NDArray[np.int64]:
    """Sample at most `limit` rows (n,) of a corpus, sorted; only labelled rows, if there are any.

    Classes keep their proportions. The seed is fixed, so all methods get the same rows.
    """
    rows = np.flatnonzero(labels >= 0) if (labels >= 0).any() else np.arange(len(labels))
    if len(rows) <= limit:
        return rows
    random = np.random.default_rng(_SEED)
    classes = [rows[labels[rows] == label] for label in np.unique(labels[rows])]
    samples = [random.permutation(each)[: max(len(each) * limit // len(rows), 1)] for each in classes]
    return np.sort(np.concatenate(samples))


# UMAP


def compute_umap(experiment: Experiment, run: RunSpec) -> list[dict[str, Any]] | None:
    """Compute UMAP of a finished run's features, fitted on both corpora together; None without features.

    The result has a point set for each class of the source, then of the target, with keys `corpus`, `label` (-1 if
    unlabelled), `ids`, `x` and `y`. Raises as `extract_features`, and BenchError if UMAP is not installed.
    """
    if importlib.util.find_spec("umap") is None:
        raise BenchError("not installed", where=_UMAP_PACKAGE, remedy="install emodna[figures]")
    version = {_UMAP_PACKAGE: importlib.metadata.version(_UMAP_PACKAGE)}
    key = {**SAMPLE, **UMAP, **version, "model": hash_model(experiment, run), **_describe_labels(experiment, run)}

    def compute() -> list[dict[str, Any]] | None:
        sides = extract_features(experiment, run)
        if sides is None:
            return None
        points = fit_umap(np.concatenate([side.values for side in sides])).round(4)
        point_sets = []
        for side, side_points in zip(sides, np.split(points, [len(sides[0].ids)]), strict=True):
            for label in np.unique(side.labels).tolist():
                rows = np.flatnonzero(side.labels == label)
                ids, (x, y) = [side.ids[row] for row in rows], side_points[rows].T.tolist()
                point_sets.append({"corpus": side.corpus, "label": label, "ids": ids, "x": x, "y": y})
        return point_sets

    return _load_or_compute(experiment, experiment.run_name(run), "umap", key, compute)


def fit_umap(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fit UMAP (n, 2) to values (n, width), n at least 4."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP: a seed disables threads; numba: future changes
        import umap

        neighbours = min(int(UMAP["n_neighbors"]), len(values) - 1)  # type: ignore[call-overload]
        points: NDArray[np.float32] = umap.UMAP(**{**UMAP, "n_neighbors": neighbours}, n_jobs=1).fit_transform(values)
    return points


# Distances


def compute_run_distances(experiment: Experiment, run: RunSpec) -> Distances | None:
    """Compute the distances of a finished run's emotion features; None if it has none or they are not finite.

    Raises RunError, StoreError and BenchError as `extract_features`.
    """

    def compute() -> Distances | None:
        sides = extract_features(experiment, run)
        return None if sides is None else compute_distances(*sides, len(experiment.read_task(run)))

    key = {**_DISTANCE_KEY, "model": hash_model(experiment, run), **_describe_labels(experiment, run)}
    try:
        return _load_or_compute(experiment, experiment.run_name(run), "distances", key, compute)
    except TrainingError:  # it diverged
        return None


def compute_input_distances(experiment: Experiment, run: RunSpec) -> Distances:
    """Compute the distances of the mean input features of a run's utterances; raises as `open_store`."""
    folder = experiment.find_feature_set(run.method).folder
    fingerprints = [experiment.find_corpus(name, folder).fingerprint for name in run.pair]
    key = {**_DISTANCE_KEY, "stores": fingerprints, **_describe_labels(experiment, run)}
    others = "" if folder == experiment.conditions.feature_set else f"-{folder}"
    name = f"input-{run.src}-{run.tgt}-{run.task}{others}"

    def compute() -> Distances:
        return compute_distances(*compute_input_means(experiment, run), len(experiment.read_task(run)))

    return _load_or_compute(experiment, name, "distances", key, compute)


def compute_distances(source: CorpusFeatures, target: CorpusFeatures, classes: int = 2) -> Distances:
    """Compute the distances of two corpora, over all utterances and by class."""

    def measure(one: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float | None]:
        return {"pad": proxy_a_distance(one, other), "mmd": squared_mmd(one, other)}

    by_class = [[side.values[side.labels == label] for side in (source, target)] for label in range(classes)]
    return {"all": measure(source.values, target.values), "classes": [measure(*each) for each in by_class]}


def proxy_a_distance(source: NDArray[Any], target: NDArray[Any]) -> float | None:
    """Return ``2 (1 - 2 err)`` of a cross-validated linear classifier of source and target [1]_.

    The inputs are features (n, width) and (m, width). The error is balanced over the corpora. The distance is about 0
    if the classifier guesses, and 2 if it makes no error. Returns None if a corpus has fewer than 5 utterances.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from threadpoolctl import threadpool_limits

    if min(len(source), len(target)) < _FOLDS:
        return None
    with threadpool_limits(1):  # several times faster than many threads
        accuracies = cross_val_score(
            LogisticRegression(class_weight="balanced", max_iter=1000),
            np.concatenate(_standardise(source, target)),
            np.repeat([0, 1], [len(source), len(target)]),
            scoring="balanced_accuracy",
            cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=_SEED),
        )
    return float(2 * (1 - 2 * (1 - accuracies.mean())))


def squared_mmd(source: NDArray[Any], target: NDArray[Any]) -> float | None:
    """Return the squared MK-MMD of features (n, width) and (m, width), comparable between methods.

    Features are standardised over both corpora, and kernel widths follow the mean squared distance. The estimator of
    [2]_ is unbiased: its mean is 0 for samples of one distribution, whatever their sizes. Returns None if a corpus has
    fewer than two utterances.
    """
    if min(len(source), len(target)) <= 1:
        return None
    return float(mk_mmd(*map(torch.from_numpy, _standardise(source, target)), estimator="unbiased"))


def _standardise(source: NDArray[Any], target: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standardise both corpora by their common mean and deviation, equally weighted; constant values become 0."""
    one, other = source.astype(np.float64), target.astype(np.float64)
    mean = (one.mean(axis=0) + other.mean(axis=0)) / 2
    std = np.sqrt((np.square(one - mean).mean(axis=0) + np.square(other - mean).mean(axis=0)) / 2)
    scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > _MIN_DEVIATION * np.abs(mean))
    return (one - mean) * scale, (other - mean) * scale


# Cache


def _describe_labels(experiment: Experiment, run: RunSpec) -> dict[str, Any]:
    """Return the part of a cache key on the labels of a task that is not built in, which may change with its column."""
    task = experiment.read_task(run)
    return {} if task.is_built_in else {"task": task.hash, "labels": experiment.arguments(run).get("labels")}


def hash_model(experiment: Experiment, run: RunSpec) -> str:
    """Return the SHA-256 of a finished run's model."""
    return hashlib.sha256(experiment.run_folder(run).find_model().read_bytes()).hexdigest()


def _load_or_compute(
    experiment: Experiment, name: str, section: str, key: Mapping[str, Any], compute: Callable[[], _T]
) -> _T:
    """Return the JSON values of `compute`, cached in a section of a file until the key changes."""
    path = experiment.out / "analysis" / f"{name}.json"

    def read_sections() -> dict[str, Any]:
        try:
            return read_json(path)
        except RunError:  # missing or damaged
            return {}

    entry = read_sections().get(section)
    if isinstance(entry, dict) and entry.get("of") == key and "found" in entry:
        cached: _T = entry["found"]
        return cached
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**read_sections(), section: {"of": key, "found": found}})  # keeps results of other processes
    return found
