"""What a method may know of a run before it begins: nothing of emotions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # prediction needs methods, and no store
    from emodna.pipeline.store import FeatureStore

Values = frozenset[str]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Sizes, and what is known of the speakers of both sides."""

    dim: int
    """Values per frame."""
    frames: int
    batch_size: int
    """Utterances of the source, and as many of the target, per step."""
    source_genders: Values
    """Those that occur among what is trained on: f, m; none if nothing is known."""
    target_genders: Values
    source_languages: Values
    target_languages: Values
    target_speakers: int
    """Known ones."""

    @classmethod
    def of(
        cls,
        sources: Iterable[tuple[FeatureStore, NDArray[np.int8]]],
        target: FeatureStore,
        frames: int,
        batch_size: int,
    ) -> Self:
        """Of the stores that a run reads.

        Parameters
        ----------
        sources
            Each with the labels (n,) that are learnt from: -1 for an utterance that no batch will have.
        """
        of_source = [(store, np.flatnonzero(labels >= 0)) for store, labels in sources]
        of_target = [(target, np.arange(len(target)))]

        def found(column: str, chosen: Iterable[tuple[FeatureStore, NDArray[np.int64]]]) -> Values:
            values = [store.columns([column])[column].take(rows).unique().to_pylist() for store, rows in chosen]
            return frozenset(value for each in values for value in each) - {None}

        return cls(
            target.dim,
            frames,
            batch_size,
            found("gender", of_source),
            found("gender", of_target),
            found("language", of_source),
            found("language", of_target),
            len(found("speaker", of_target)),
        )

    @property
    def languages(self) -> list[str]:
        """All that occur, in order: `Batch.language` is an index into these."""
        return sorted(self.source_languages | self.target_languages)
