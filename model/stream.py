"""Endless batches out of a feature store, each a pure function of the step: nothing to save for a resume."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from emodna.model.batch import SOURCE, TARGET, Batch, LabelledBatch
from emodna.model.framing import Framer
from emodna.model.seeding import derived_seed
from emodna.pipeline.store import FeatureStore


class Sampler:
    """Positions 0, 1, 2, ... of an endless sequence of permutations of n utterances.

    A batch may span two permutations, and a corpus smaller than the batch repeats.
    """

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._seed = n, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def __call__(self, start: int, count: int) -> NDArray[np.int64]:
        """Indices at positions start ... start + count - 1."""
        positions = np.arange(start, start + count)
        indices = np.empty(count, np.int64)
        for epoch in np.unique(positions // self._n):
            here = positions // self._n == epoch
            indices[here] = self._permuted(int(epoch))[positions[here] % self._n]
        return indices

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self._seed, epoch]).permutation(self._n)
            self._epoch = epoch
        return self._permutation


class Windows:
    """Windows of a store's utterances, by row, with what is known of them apart from emotions."""

    def __init__(self, store: FeatureStore, framer: Framer, languages: Sequence[str]) -> None:
        self.store, self.framer = store, framer
        self._gender = _codes(store.column("gender"), ("f", "m"))
        self._language = _codes(store.column("language"), languages)

    def batch(self, rows: NDArray[np.int64], corpus: int) -> Batch:
        """Gather the utterances in these rows."""
        framer, store = self.framer, self.store
        windows = np.empty((len(rows), framer.frames, store.dim), np.float32)
        lengths = [
            framer(store[row], float(store.peak_db[row]), out) for row, out in zip(rows.tolist(), windows, strict=True)
        ]
        return Batch(
            features=torch.from_numpy(windows).transpose(1, 2).contiguous(),  # (batch, dim, frames)
            lengths=torch.tensor(lengths),
            corpus=torch.full((len(rows),), corpus),
            gender=torch.from_numpy(self._gender[rows]),
            language=torch.from_numpy(self._language[rows]),
        )


class TargetStream:
    """Batches of all utterances of the target corpus. It never looks at a label."""

    def __init__(self, windows: Windows, *, batch_size: int, seed: int) -> None:
        self._windows, self._batch_size = windows, batch_size
        self._sampler = Sampler(len(windows.store), derived_seed(seed, "target sampler"))

    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0."""
        return self._windows.batch(self._rows(step), TARGET)

    def ids(self, step: int) -> list[str]:
        """Ids of the utterances in the batch of a step."""
        return _ids(self._windows.store, self._rows(step))

    def _rows(self, step: int) -> NDArray[np.int64]:
        return self._sampler(step * self._batch_size, self._batch_size)


class SourceStream:
    """Batches of the labelled utterances of one or several source corpora, as many of each as of any other.

    Several corpora take turns: the utterances at positions 0, k, 2 k, ... of the stream are those of the first of k.

    Parameters
    ----------
    corpora
        Windows of each corpus, and (n,) labels of the task for all its utterances, -1 for those that are left out.
    """

    def __init__(self, corpora: Sequence[tuple[Windows, NDArray[np.int8]]], *, batch_size: int, seed: int) -> None:
        self._batch_size = batch_size
        self._corpora = [_Labelled(windows, labels, seed) for windows, labels in corpora]

    def batch(self, step: int) -> LabelledBatch:
        """The batch of a step, from 0."""
        parts = [(places, corpus.batch(start, len(places))) for places, corpus, start in self._shares(step)]
        order = torch.from_numpy(np.argsort(np.concatenate([places for places, _ in parts])))
        joined = {
            field.name: torch.cat([getattr(batch, field.name) for _, batch in parts])[order]
            for field in fields(LabelledBatch)
        }
        return LabelledBatch(**joined)

    def ids(self, step: int) -> list[str]:
        """Ids of the utterances in the batch of a step."""
        found = {
            int(place): name
            for places, corpus, start in self._shares(step)
            for place, name in zip(places, corpus.ids(start, len(places)), strict=True)
        }
        return [found[place] for place in range(self._batch_size)]

    def _shares(self, step: int) -> Iterator[tuple[NDArray[np.int64], "_Labelled", int]]:
        """For each corpus: its places in the batch, itself, and its own first position."""
        count = len(self._corpora)
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        for number, corpus in enumerate(self._corpora):
            places = np.flatnonzero(positions % count == number)
            if len(places):
                yield places, corpus, int(positions[places[0]] // count)


class _Labelled:
    """The labelled utterances of one corpus, in the order of its own sampler."""

    def __init__(self, windows: Windows, labels: NDArray[np.int8], seed: int) -> None:
        self._windows = windows
        self._rows = np.flatnonzero(labels >= 0)
        self._labels = torch.from_numpy(labels.astype(np.int64))
        corpus = windows.store.snapshot.corpus
        self._sampler = Sampler(len(self._rows), derived_seed(seed, f"source sampler/{corpus}"))

    def batch(self, start: int, count: int) -> LabelledBatch:
        rows = self._rows[self._sampler(start, count)]
        batch = self._windows.batch(rows, SOURCE)
        return LabelledBatch(**{f.name: getattr(batch, f.name) for f in fields(Batch)}, labels=self._labels[rows])

    def ids(self, start: int, count: int) -> list[str]:
        return _ids(self._windows.store, self._rows[self._sampler(start, count)])


def _ids(store: FeatureStore, rows: NDArray[np.int64]) -> list[str]:
    ids: list[str] = store.columns(["id"])["id"].take(rows).to_pylist()
    return ids


def _codes(values: Sequence[str | None], vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """Index of each value in a vocabulary, -1 where it is unknown."""
    index = {word: number for number, word in enumerate(vocabulary)}
    return np.array([-1 if value is None else index.get(value, -1) for value in values], np.int64)
