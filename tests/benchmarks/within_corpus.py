"""Choices made on source data: C of the linear SVM, and the fewest utterances of a speaker with statistics of its own.

::

    python -m tests.benchmarks.within_corpus C --cache cache --feature-set mfcc40 emodb ravdess
    python -m tests.benchmarks.within_corpus few --cache cache --feature-set mfcc40 emodb ravdess

Speaker-independent cross-validation within each corpus, so no pair of corpora decides. UAR in percent.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold

from emodna.model.data.batch import SOURCE, LabelledBatch
from emodna.model.data.normalisation import MIN_STD
from emodna.model.data.pooling import PooledStore
from emodna.model.methods.svm import Svm, SvmConfig
from emodna.pipeline.catalogue import find_store
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS

_FOLDS: Final = 5
_COSTS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 10.0)
#: Utterances per group of a speaker; each size is drawn this many times.
_GROUPS: Final = (2, 4, 8, 12, 16, 24)
_DRAWS: Final = 5

Float64 = NDArray[np.float64]
Results = dict[str, list[float]]
"""UAR by row of a table, one value per corpus and task."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Pooled utterances (n, dim), their speakers (n,) and labels (n,) by task."""

    values: Float64
    speakers: NDArray[Any]
    labels: Mapping[str, NDArray[np.int64]]

    @classmethod
    def read(cls, store: FeatureStore) -> "Corpus":
        """Pool all utterances of a store."""
        rows = np.arange(len(store))
        values = np.concatenate(PooledStore(store).gather(rows)).astype(np.float64)
        return cls(values, np.array(store.column("speaker")), {task: store.labels(task).astype(int) for task in TASKS})

    def split(self, task: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the labelled rows to train with and to test on, of different speakers."""
        rows = np.flatnonzero(self.labels[task] >= 0)
        for train, test in GroupKFold(_FOLDS).split(rows, groups=self.speakers[rows]):
            yield rows[train], rows[test]

    def normalise_by(self, groups: NDArray[Any]) -> Float64:
        """Standardise the utterances of each group (n,)."""
        found = np.empty_like(self.values)
        for group in np.unique(groups):
            found[groups == group] = standardise(self.values[groups == group])
        return found


def standardise(values: Float64) -> Float64:
    """Standardise values (n, dim)."""
    standardised: Float64 = (values - values.mean(0)) / np.maximum(values.std(0), MIN_STD)
    return standardised


def fit(values: Float64, labels: NDArray[np.int64], cost: float, *, balanced: bool) -> Callable[[Float64], Any]:
    """Fit an SVM to values (n, dim) and labels (n,); return a function that predicts classes."""
    n, method = len(labels), Svm(values.shape[1], SvmConfig(cost), 0)
    numbers = torch.zeros(n, dtype=torch.int64)
    batch = LabelledBatch(
        torch.from_numpy(values.astype(np.float32))[:, :, None],
        *(numbers + 1, numbers + SOURCE, numbers, numbers, torch.from_numpy(labels)),
    )
    weights = n / (2 * np.bincount(labels)[labels]) if balanced else np.ones(n)
    method.fit(batch, weights)
    weight, bias = (each.detach().numpy()[1].astype(np.float64) for each in method.classifier.parameters())
    return lambda given: (given @ weight + bias > 0).astype(int)


def measure_costs(corpora: Mapping[str, Corpus]) -> Results:
    """Score values of C, by normalisation and class weights."""
    results: Results = {}
    for corpus in corpora.values():
        by_normalisation = {"per-corpus": np.zeros(len(corpus.speakers)), "per-speaker": corpus.speakers}
        for name, groups in by_normalisation.items():
            values = corpus.normalise_by(groups)
            for task, balanced, cost in ((t, b, c) for t in TASKS for b in (False, True) for c in _COSTS):
                labels = corpus.labels[task]
                predicted = labels.copy()
                for train, test in corpus.split(task):
                    predicted[test] = fit(values[train], labels[train], cost, balanced=balanced)(values[test])
                row = f"{name}, {'balanced' if balanced else 'none'}, C={cost:g}"
                labelled = labels >= 0
                score = 100 * balanced_accuracy_score(labels[labelled], predicted[labelled])
                results.setdefault(row, []).append(score)
    return results


def measure_groups(corpora: Mapping[str, Corpus]) -> Results:
    """Score groups of a speaker's utterances that are standardised by themselves, and those of the whole corpus."""
    results: Results = {}
    random = np.random.default_rng(0)
    for corpus in corpora.values():
        by_speaker, by_corpus = corpus.normalise_by(corpus.speakers), standardise(corpus.values)
        for task, labels in corpus.labels.items():
            found: dict[str, list[tuple[int, int]]] = {}

            def add(row: str, truth: NDArray[np.int64], predicted: NDArray[np.int64], found: Any = found) -> None:
                found.setdefault(row, []).extend(zip(truth.tolist(), predicted.tolist(), strict=True))

            for train, test in corpus.split(task):
                predict = fit(by_speaker[train], labels[train], SvmConfig().C, balanced=True)
                add("corpus", labels[test], predict(by_corpus[test]))
                add("whole speaker", labels[test], predict(by_speaker[test]))
                for size in _GROUPS:
                    for rows in _draw_groups(random, corpus.speakers[test], size):
                        chosen = test[rows]
                        add(f"groups of {size}", labels[chosen], predict(standardise(corpus.values[chosen])))
            for row, pairs in found.items():
                results.setdefault(row, []).append(100 * balanced_accuracy_score(*zip(*pairs, strict=True)))
    return results


def _draw_groups(random: np.random.Generator, speakers: NDArray[Any], size: int) -> Iterator[NDArray[np.int64]]:
    for _ in range(_DRAWS):
        for speaker in np.unique(speakers):
            rows = random.permutation(np.flatnonzero(speakers == speaker))
            yield from (rows[first : first + size] for first in range(0, len(rows) - size + 1, size))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choice", choices=["C", "few"])
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--feature-set")
    given = parser.parse_args()
    stores = {name: FeatureStore(find_store(given.cache, name, given.feature_set)) for name in given.corpora}
    corpora = {name: Corpus.read(store) for name, store in stores.items()}
    print("mean, then", ", ".join(f"{name} {task}" for name in corpora for task in TASKS))
    results = measure_costs(corpora) if given.choice == "C" else measure_groups(corpora)
    for row, scores in results.items():
        print(f"{row:28} {np.mean(scores):5.1f}  " + "  ".join(f"{score:5.1f}" for score in scores))


if __name__ == "__main__":
    main()
