"""Statistics of the speakers of a corpus, to normalise the utterances of each. They use no emotion labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from emodna.model.data.normalisation import Statistics
from emodna.pipeline.errors import format_count

if TYPE_CHECKING:  # prediction needs no store
    from emodna.model.data.pooling import PooledStore
    from emodna.pipeline.store import FeatureStore

#: Fewest utterances of a speaker that have statistics of their own (measured, see docs/FEATURES.md).
MIN_UTTERANCES: Final = 12


@dataclass(frozen=True, slots=True)
class SpeakerCounts:
    """Numbers of speakers and utterances of a corpus that decide about its normalisation by speaker."""

    utterances: int
    speakers: int
    """Number of known speakers."""
    few: int
    """Number of known speakers with fewer than `MIN_UTTERANCES` utterances."""
    unknown: int
    """Number of utterances without a speaker."""

    @property
    def remark(self) -> str | None:
        """Clauses on the utterances without statistics of their speaker; None if there are none."""
        clauses = []
        if not self.speakers:
            return "no utterance has a speaker; all are normalised by the statistics of the corpus"
        if self.unknown:
            known = "has no speaker" if self.unknown == 1 else "have no speaker"
            how = "are normalised together"
            if self.unknown < MIN_UTTERANCES:
                how = f"{'uses' if self.unknown == 1 else 'use'} the statistics of the corpus"
            clauses.append(f"{format_count(self.unknown, 'utterance')} {known} and {how}")
        if self.few:
            have = f"of {self.speakers} speakers {'has' if self.few == 1 else 'have'}"
            clauses.append(
                f"{self.few} {have} fewer than {MIN_UTTERANCES} utterances and use the statistics of the corpus"
            )
        return "; ".join(clauses) or None


@dataclass(frozen=True, slots=True)
class SpeakerStatistics:
    """Statistics that normalise each utterance of a store: those of its speaker, else those of the corpus.

    Utterances without a speaker have common statistics. A group of fewer than `MIN_UTTERANCES` utterances has those of
    the whole corpus.
    """

    fingerprint: str
    """Fingerprint of the store."""
    numbers: NDArray[np.int32]
    """(n,) number of each utterance's statistics."""
    statistics: tuple[Statistics, ...]
    """Statistics of the whole corpus, then those of the groups."""

    @classmethod
    def of_corpus(cls, store: FeatureStore | PooledStore, shared: Statistics) -> SpeakerStatistics:
        """Return the statistics of the speakers of a store; `shared` are those of all its utterances."""
        groups, counts = _group_by_speaker(store)
        is_large = counts >= MIN_UTTERANCES
        number_of_group = np.where(is_large, np.cumsum(is_large), 0).astype(np.int32)
        order = np.argsort(groups, kind="stable")
        rows_of_groups = np.split(order, np.cumsum(counts)[:-1])
        large = (rows for rows, chosen in zip(rows_of_groups, is_large.tolist(), strict=True) if chosen)
        statistics = tuple(Statistics.of_corpora([(store, rows)]) for rows in large)
        return cls(store.fingerprint, number_of_group[groups], (shared, *statistics))

    def select(self, rows: NDArray[np.int64]) -> Sequence[Statistics]:
        """Return the statistics of the utterances in some rows (n,) of the store, in their order."""
        return [self.statistics[number] for number in self.numbers[rows].tolist()]


def count_speakers(store: FeatureStore) -> SpeakerCounts:
    """Count the speakers of a store."""
    _, counts = _group_by_speaker(store)
    of_known = counts[:-1]
    return SpeakerCounts(len(store), len(of_known), int((of_known < MIN_UTTERANCES).sum()), int(counts[-1]))


def _group_by_speaker(store: FeatureStore | PooledStore) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the group (n,) of each utterance and the size of each group; the last one has no speaker."""
    import pyarrow.compute as pc  # prediction needs the constant of this module, and no table

    encoded = store.columns(["speaker"])["speaker"].combine_chunks().dictionary_encode()
    known = len(encoded.dictionary)
    groups = pc.fill_null(encoded.indices, known).to_numpy(zero_copy_only=False).astype(np.int64)
    return groups, np.bincount(groups, minlength=known + 1)
