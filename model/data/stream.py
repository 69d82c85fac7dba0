"""Draw endless batches from feature stores. Each is a pure function of the step, so a resume needs no saved state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.model.config import ClassWeights
from emodna.model.data.batch import SOURCE, TARGET, Batch, LabelledBatch
from emodna.model.data.pooling import PooledStore
from emodna.model.data.speakers import SpeakerStatistics
from emodna.model.data.windows import Framer, Utterance
from emodna.model.reproducibility import derive_seed
from emodna.pipeline.store import FeatureStore

BatchT = TypeVar("BatchT", bound=Batch, covariant=True)
Labels = NDArray[np.int8]


class Sampler:
    """An endless sequence of permutations of n utterances; a batch may span several permutations."""

    def __init__(self, n: int, seed: int) -> None:
        self._n, self._seed = n, seed
        self._last = -1, np.empty(0, np.int64)

    def __call__(self, start: int, count: int) -> NDArray[np.int64]:
        """Return the indices (count,) at positions start ... start + count - 1."""
        positions = np.arange(start, start + count)
        indices = np.empty(count, np.int64)
        for epoch in np.unique(positions // self._n):
            in_epoch = positions // self._n == epoch
            indices[in_epoch] = self._permute(int(epoch))[positions[in_epoch] % self._n]
        return indices

    def _permute(self, epoch: int) -> NDArray[np.int64]:
        last, permutation = self._last  # read once: threads share a sampler
        if epoch != last:
            permutation = np.random.default_rng([self._seed, epoch]).permutation(self._n)
            self._last = epoch, permutation
        return permutation


class CorpusWindows:
    """Windows of a store's utterances by row, with gender and language but without emotions.

    `speakers` has the statistics that normalise each utterance, in place of the framer's.
    """

    def __init__(
        self,
        store: FeatureStore | PooledStore,
        framer: Framer,
        languages: Sequence[str],
        speakers: SpeakerStatistics | None = None,
    ) -> None:
        self.store, self.framer, self.dim, self.speakers = store, framer, store.dim, speakers
        self._gender = _encode(store, "gender", ("f", "m"))
        self._language = _encode(store, "language", languages)

    def write(self, rows: NDArray[np.int64], batch: Batch, places: NDArray[np.int64]) -> None:
        """Write the utterances in some rows (n,) of the store to places (n,) in a batch."""
        framer = self.framer
        windows = batch.features.numpy().transpose(0, 2, 1)  # (batch, frames, dim)
        utterances = zip(self.read(rows), places.tolist(), strict=True)
        batch.lengths.numpy()[places] = [
            framer(features, peak_db, windows[place], own) for (features, peak_db, own), place in utterances
        ]
        batch.gender.numpy()[places] = self._gender[rows]
        batch.language.numpy()[places] = self._language[rows]

    def read(self, rows: NDArray[np.int64]) -> Iterator[Utterance]:
        """Return the features of the utterances in some rows (n,), their peaks in dB, and their own statistics."""
        own = repeat(None, len(rows)) if self.speakers is None else self.speakers.select(rows)
        return zip(self.store.gather(rows), self.store.peak_db[rows].tolist(), own, strict=True)


@dataclass(frozen=True, slots=True)
class CorpusSubset:
    """The utterances of one corpus that a stream draws from."""

    windows: CorpusWindows
    rows: NDArray[np.int64]
    """(n,) rows in the store."""
    labels: Labels | None = None
    """(n,) labels of the rows, for a labelled stream."""

    @classmethod
    def of_all(cls, windows: CorpusWindows, labels: Labels | None = None) -> Self:
        """Return all utterances of a corpus, with their labels (n,) if given."""
        return cls(windows, np.arange(len(windows.store)), labels)

    @classmethod
    def of_labelled(cls, windows: CorpusWindows, labels: Labels) -> Self:
        """Return the utterances whose label is not -1, given the labels (n,) of all utterances of the store."""
        rows = np.flatnonzero(labels >= 0)
        return cls(windows, rows, labels[rows])

    @classmethod
    def of_class(cls, windows: CorpusWindows, labels: Labels, label: int) -> Self:
        """Return the utterances of a class, given the labels (n,) of all utterances of the store."""
        rows = np.flatnonzero(labels == label)
        return cls(windows, rows, labels[rows])


class Stream(Generic[BatchT]):
    """Batches of the utterances of k corpora, in equal parts.

    The corpora take turns: positions 0, k, 2 k, ... of the stream belong to the first corpus. Utterances are numbered
    consecutively, corpus by corpus. The seeds determine the order of each corpus's utterances.
    """

    batch_type: type[BatchT]
    _corpus: int

    def __init__(self, corpora: Sequence[CorpusSubset], seeds: Sequence[int], batch_size: int) -> None:
        self.batch_size = batch_size
        self._corpora = corpora
        self._samplers = [Sampler(len(each.rows), seed) for each, seed in zip(corpora, seeds, strict=True)]
        self._ends: NDArray[np.int64] = np.cumsum([len(each.rows) for each in corpora])

    def __len__(self) -> int:
        """Return the number of utterances that the stream draws from."""
        return int(self._ends[-1])

    @property
    def weights(self) -> NDArray[np.float64]:
        """Relative frequency (n,) of each utterance in the stream, with the mean 1."""
        sizes = [len(each.rows) for each in self._corpora]
        return np.concatenate([np.full(size, len(self) / (len(sizes) * size)) for size in sizes])

    @property
    def window(self) -> tuple[int, int]:
        """Values per frame and number of frames of each window."""
        windows = self._corpora[0].windows
        return windows.dim, windows.framer.frames

    def batch(self, step: int, *, pinned: bool = False) -> BatchT:
        """Return the batch of a step, counted from 0, on the CPU; raise a StoreError if an utterance is damaged."""
        return self.gather(self.numbers(step), pinned=pinned)

    def ids(self, step: int) -> list[str]:
        """Return the ids of the utterances in the batch of a step."""
        ids = np.empty(self.batch_size, object)
        for corpus, places, rows, _ in self._locate(self.numbers(step)):
            ids[places] = corpus.windows.store.columns(["id"])["id"].take(rows).to_pylist()
        return list(ids)

    def numbers(self, step: int) -> NDArray[np.int64]:
        """Return the numbers (batch_size,) of the utterances in the batch of a step."""
        count = len(self._corpora)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        numbers = np.empty(self.batch_size, np.int64)
        for turn, (sampler, corpus, end) in enumerate(zip(self._samplers, self._corpora, self._ends, strict=True)):
            places = np.flatnonzero(positions % count == turn)
            if len(places):
                start = int(positions[places[0]]) // count
                numbers[places] = sampler(start, len(places)) + (end - len(corpus.rows))
        return numbers

    def gather(self, numbers: NDArray[np.int64], *, pinned: bool = False) -> BatchT:
        """Read the utterances with some numbers (n,) from their stores into a batch on the CPU."""
        batch = self.batch_type.empty(len(numbers), *self.window, pinned=pinned)
        batch.corpus.fill_(self._corpus)
        for corpus, places, rows, labels in self._locate(numbers):
            corpus.windows.write(rows, batch, places)
            if isinstance(batch, LabelledBatch):
                batch.labels.numpy()[places] = labels
        return batch

    def _locate(
        self, numbers: NDArray[np.int64]
    ) -> Iterator[tuple[CorpusSubset, NDArray[np.int64], NDArray[np.int64], Labels | None]]:
        """Yield each corpus that has some of the utterances, with their places in `numbers`, rows and labels."""
        corpus_numbers = np.searchsorted(self._ends, numbers, side="right")
        for number, corpus in enumerate(self._corpora):
            places = np.flatnonzero(corpus_numbers == number)
            if len(places):
                indices = numbers[places] - (self._ends[number] - len(corpus.rows))
                yield corpus, places, corpus.rows[indices], None if corpus.labels is None else corpus.labels[indices]


class TargetStream(Stream[Batch]):
    """Batches of all utterances of the target, without labels."""

    batch_type = Batch
    _corpus = TARGET

    def __init__(self, windows: CorpusWindows, *, batch_size: int, seed: int) -> None:
        super().__init__([CorpusSubset.of_all(windows)], [derive_seed(seed, "target sampler")], batch_size)


class LabelledTargetStream(Stream[LabelledBatch]):
    """Batches of `TargetStream` with labels (n,), for oracles only; -1 marks unlabelled utterances."""

    batch_type = LabelledBatch
    _corpus = TARGET

    def __init__(self, windows: CorpusWindows, labels: Labels, *, batch_size: int, seed: int) -> None:
        super().__init__([CorpusSubset.of_all(windows, labels)], [derive_seed(seed, "target sampler")], batch_size)


class FoldStream(Stream[LabelledBatch]):
    """Batches of labelled utterances of the target, for an oracle with one network per fold.

    Rows k, k + networks, k + 2 * networks, ... of a batch are the `batch_size` utterances of network k. Each network
    has its own labels (n,), of the same classes; -1 excludes an utterance from its training. With `balanced` weights,
    the classes take turns in the batches of a network.
    """

    batch_type = LabelledBatch
    _corpus = TARGET

    def __init__(
        self,
        windows: CorpusWindows,
        labels: Sequence[Labels],
        *,
        batch_size: int,
        seed: int,
        class_weights: ClassWeights = "none",
    ) -> None:
        folds = [(windows, each, f"fold sampler/{fold}") for fold, each in enumerate(labels)]
        super().__init__(*_divide(folds, class_weights, seed), len(labels) * batch_size)


class SourceStream(Stream[LabelledBatch]):
    """Batches of the labelled utterances of source corpora; the label -1 in (n,) excludes an utterance.

    With `balanced` weights, the classes of each corpus take turns, too: each class that a corpus has gets equal parts.
    """

    batch_type = LabelledBatch
    _corpus = SOURCE

    def __init__(
        self,
        corpora: Sequence[tuple[CorpusWindows, Labels]],
        *,
        batch_size: int,
        seed: int,
        class_weights: ClassWeights = "none",
    ) -> None:
        named = [(each, labels, f"source sampler/{each.store.snapshot.corpus}") for each, labels in corpora]
        super().__init__(*_divide(named, class_weights, seed), batch_size)


def _divide(
    corpora: Sequence[tuple[CorpusWindows, Labels, str]], class_weights: ClassWeights, seed: int
) -> tuple[list[CorpusSubset], list[int]]:
    """Return the subsets that take turns in a stream and their seeds: corpora with their labels and samplers' names.

    With `balanced` weights, each class of a corpus is a subset: those of class 0 of all corpora, then of class 1, ...
    """
    if class_weights == "none":
        subsets = [CorpusSubset.of_labelled(windows, labels) for windows, labels, _ in corpora]
        return subsets, [derive_seed(seed, name) for _, _, name in corpora]
    count = max(int(labels.max()) for _, labels, _ in corpora) + 1
    classes = [(label, *each) for label in range(count) for each in corpora if (each[1] == label).any()]
    subsets = [CorpusSubset.of_class(windows, labels, label) for label, windows, labels, _ in classes]
    return subsets, [derive_seed(seed, f"{name}/class {label}") for label, _, _, name in classes]


def _encode(store: FeatureStore | PooledStore, column: str, vocabulary: Sequence[str]) -> NDArray[np.int16]:
    """Return the index (n,) of each utterance's value in a vocabulary; -1 for other values."""
    values = store.columns([column])[column]
    codes: NDArray[np.int32] = pc.fill_null(pc.index_in(values, pa.array(vocabulary, pa.string())), -1).to_numpy()
    return codes.astype(np.int16)
