"""Emotion features of both corpora of a finished cell, by its model as it predicts; and the means of its input."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.bench.grid import open_store
from emodna.model.bench.spec import Experiment, RunSpec
from emodna.model.inference.finished_run import FinishedRun
from emodna.model.inference.predictions import utterances_of
from emodna.pipeline.emotions import Task
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.threads import torch_on_one_thread

#: Utterances of each corpus that are looked at: UMAP's time and the kernel matrix's memory grow with their square.
LIMIT: Final = 1000
_SEED: Final = 0
#: How utterances are drawn, for whoever keeps what was found of them.
DRAWN: Final = {"per_corpus": LIMIT, "draw": "by class, in proportion", "draw_seed": _SEED}

Utterances = Iterable[tuple[NDArray[np.float32], float]]


@dataclass(frozen=True, slots=True)
class Side:
    """Utterances of a corpus."""

    corpus: str
    ids: list[str]
    labels: NDArray[np.int8]
    """(n,) class; -1 throughout in a corpus without labels."""
    values: NDArray[np.float32]
    """(n, width)"""

    def of_class(self, label: int) -> NDArray[np.float32]:
        """Features (m, width) of the utterances of one class."""
        chosen: NDArray[np.float32] = self.values[self.labels == label]
        return chosen


@dataclass(frozen=True, slots=True)
class Features:
    """Utterances of a source and of its target, in one space."""

    source: Side
    target: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.source, self.target


def features_of(bench: Experiment, cell: RunSpec) -> Features | None:
    """E of both corpora of a finished cell; None if its method has no such features.

    Each corpus is normalised as in the run, and batch norm takes the running statistics.

    Raises
    ------
    RunError, StoreError, BenchError
        The run or a store is damaged, or not the one that the cell was planned for.
    TrainingError
        The features are not finite.
    """
    device = torch.device(bench.conditions.device if torch.cuda.is_available() else "cpu")
    run = FinishedRun.load(bench.run_folder(cell).path, device)

    def embedded(store: FeatureStore, utterances: Utterances) -> NDArray[np.float32] | None:
        return run.model_for(store).embeddings(utterances)

    with torch_on_one_thread():
        source, target = (_side(bench, corpus, cell.task, embedded) for corpus in (cell.src, cell.tgt))
    return None if source is None or target is None else Features(source, target)


def inputs_of(bench: Experiment, src: str, tgt: str, task: Task) -> Features:
    """Mean over time of each utterance's input features, as the stores hold them: what a method begins with."""

    def means(_store: FeatureStore, utterances: Utterances) -> NDArray[np.float32]:
        return np.stack([features.mean(axis=0) for features, _ in utterances])

    source, target = (_side(bench, corpus, task, means) for corpus in (src, tgt))
    if source is None or target is None:
        raise AssertionError("means are there always")
    return Features(source, target)


def drawn(labels: NDArray[np.int8], limit: int = LIMIT) -> NDArray[np.int64]:
    """Rows (n,) of a corpus that are looked at, in order: of those with a label, where it has any, so many at most.

    Of more, each class is drawn from in proportion, by a seed of its own: the same rows for every method.
    """
    rows = np.flatnonzero(labels >= 0) if (labels >= 0).any() else np.arange(len(labels))
    if len(rows) <= limit:
        return rows
    random = np.random.default_rng(_SEED)
    classes = [rows[labels[rows] == label] for label in np.unique(labels[rows])]
    chosen = [random.permutation(each)[: max(len(each) * limit // len(rows), 1)] for each in classes]
    return np.sort(np.concatenate(chosen))


def _side(
    bench: Experiment, corpus: str, task: Task, values: Callable[[FeatureStore, Utterances], NDArray[Any] | None]
) -> Side | None:
    store = open_store(bench, corpus)
    labels = store.labels(task)
    rows = drawn(labels)
    found = values(store, utterances_of(store, rows=rows))
    return None if found is None else Side(corpus, [store.ids[row] for row in rows], labels[rows], found)
