"""UMAP of the emotion features of both corpora of a cell."""

import importlib.metadata
import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.bench.analysis.features import DRAWN, features_of
from emodna.model.bench.analysis.kept import model_key, remembered
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.errors import BenchError

#: The paper names no parameter; these are the package's own, and a seed, for which it must do without threads.
SETTINGS: Final = {"metric": "euclidean", "n_neighbors": 15, "min_dist": 0.1, "random_state": 0}
_PACKAGE: Final = "umap-learn"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the utterances of one corpus and class lie in the plane."""

    corpus: str
    label: int
    """Class; -1 without a label."""
    ids: list[str]
    x: list[float]
    y: list[float]


def places_of(bench: Experiment, cell: RunSpec) -> list[Place] | None:
    """The plane of a finished cell, worked out once: source, then target, each by class; None without features.

    It is fitted on both corpora together.

    Raises
    ------
    BenchError
        UMAP is not installed.
    RunError, StoreError, BenchError, TrainingError
        As `features_of`.
    """
    _check_package()
    key = {**DRAWN, **SETTINGS, _PACKAGE: importlib.metadata.version(_PACKAGE), "model": model_key(bench, cell)}
    found = remembered(bench, bench.run_name(cell), "umap", key, lambda: _made(bench, cell))
    return None if found is None else [Place(**place) for place in found]


def reduced(values: NDArray[Any]) -> NDArray[np.float32]:
    """UMAP (n, 2) of (n, width), n at least 4."""
    with warnings.catch_warnings():
        # It tells that a seed costs its threads, and numba what it will do differently some day.
        warnings.simplefilter("ignore")
        from umap import UMAP

        neighbours = min(int(SETTINGS["n_neighbors"]), len(values) - 1)  # type: ignore[call-overload]
        found: NDArray[np.float32] = UMAP(**{**SETTINGS, "n_neighbors": neighbours}, n_jobs=1).fit_transform(values)
    return found


def _made(bench: Experiment, cell: RunSpec) -> list[dict[str, Any]] | None:
    features = features_of(bench, cell)
    if features is None:
        return None
    points = reduced(np.concatenate([side.values for side in features.sides]))
    places, first = [], 0
    for side in features.sides:
        mine, first = points[first : first + len(side.ids)], first + len(side.ids)
        for label in np.unique(side.labels).tolist():
            rows = np.flatnonzero(side.labels == label)
            places.append(
                {
                    "corpus": side.corpus,
                    "label": label,
                    "ids": [side.ids[row] for row in rows],
                    "x": mine[rows, 0].round(4).tolist(),
                    "y": mine[rows, 1].round(4).tolist(),
                }
            )
    return places


def _check_package() -> None:
    if importlib.util.find_spec("umap") is None:
        raise BenchError(f"UMAP: needs {_PACKAGE}: pip install 'emodna[figures]'")
