"""What a method may know of a run before it begins: nothing of emotions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

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
    """Those that occur: f, m; none if nothing is known."""
    target_genders: Values
    source_languages: Values
    target_languages: Values
    target_speakers: int
    """Known ones."""

    @classmethod
    def of(cls, sources: Iterable[FeatureStore], target: FeatureStore, frames: int, batch_size: int) -> Self:
        """Of the stores that a run reads."""
        sources = list(sources)

        def found(column: str, stores: Iterable[FeatureStore]) -> Values:
            values = [store.columns([column])[column].unique().to_pylist() for store in stores]
            return frozenset(value for each in values for value in each) - {None}

        return cls(
            target.dim,
            frames,
            batch_size,
            found("gender", sources),
            found("gender", [target]),
            found("language", sources),
            found("language", [target]),
            len(found("speaker", [target])),
        )

    @property
    def languages(self) -> list[str]:
        """All that occur, in order: `Batch.language` is an index into these."""
        return sorted(self.source_languages | self.target_languages)
