"""Ranges of the audio that a model was trained on, and the comparison of other audio with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodna.model.data.normalisation import MIN_STD, Statistics
from emodna.model.data.pooling import UtteranceVectors

if TYPE_CHECKING:
    from emodna.pipeline.audio.quality import AudioQuality
    from emodna.pipeline.store import FeatureStore

Measure = Literal["bandwidth", "duration", "level", "clipping", "features"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
"""Bandwidth in Hz, duration in s, level in dB, share of clipped samples, and relative distance of the features."""

Range = tuple[float, float]
"""Lowest and highest value."""

#: Quantiles of the training utterances that limit a range.
_QUANTILES: Final = (0.001, 0.999)
#: Factor and summand by which a range is wider than the training audio, so that audio of the same kind stays inside.
_MARGINS: Final[Mapping[Measure, tuple[float, float]]] = {
    "bandwidth": (1.05, 0.0),
    "duration": (1.5, 0.0),
    "level": (1.0, 6.0),
    "clipping": (2.0, 0.001),
    "features": (1.1, 0.0),
}
#: Columns of the index with these measures.
_COLUMNS: Final[Mapping[Measure, str]] = {
    "bandwidth": "bandwidth",
    "duration": "duration",
    "level": "level_db",
    "clipping": "clipped",
}
#: Largest number of utterances per corpus whose features are summarised, evenly spaced.
_MAX_SUMMARISED: Final = 4096
#: Values per read of a store.
_CHUNK_VALUES: Final = 1 << 22


class Deviation(NamedTuple):
    """A measure of a recording that is outside the training audio."""

    measure: Measure
    value: float


@dataclass(frozen=True, slots=True)
class TrainingDomain:
    """The ranges of the utterances that a model was trained on, by corpus: those of the sources, then the target's.

    The features of an utterance are summarised by the mean and the logarithm of the standard deviation of each value
    of a frame. Their distance to a corpus is the root mean square of the differences from its mean summary, divided by
    `scale`. 99.9 % of the training utterances have a distance of at most 1 to their own corpus.
    """

    corpora: Sequence[str]
    ranges: Mapping[Measure, Sequence[Range]]
    """Ranges of each measure but the features, one per corpus. A measure that is unknown in a corpus is missing."""
    centres: NDArray[np.float32]
    """Mean summaries (corpora, 2 dim)."""
    scale: NDArray[np.float32]
    """Standard deviation (2 dim,) of the summaries within a corpus, times the 99.9 % quantile of the distances."""
    nyquist: float
    """Half the sample rate of the features in Hz: the highest bandwidth that the model can notice."""

    @classmethod
    def of_corpora(cls, corpora: Sequence[tuple[FeatureStore, NDArray[np.int64]]], sample_rate: int) -> TrainingDomain:
        """Return the domain of some rows (n,) of each store, with features at a sample rate in Hz."""
        summaries = [_summarise_rows(store, rows) for store, rows in corpora]
        centres = np.stack([each.mean(axis=0) for each in summaries])
        offsets = np.concatenate([each - centre for each, centre in zip(summaries, centres, strict=True)])
        scale = np.maximum(np.sqrt(np.square(offsets).mean(axis=0)), MIN_STD)
        scale *= max(np.quantile(_compute_distances(offsets / scale), _QUANTILES[1]), MIN_STD)
        ranges: dict[Measure, list[Range]] = {}
        for measure, column in _COLUMNS.items():
            values = [store.columns([column])[column].take(rows) for store, rows in corpora]
            if not any(each.null_count for each in values):
                own = [np.quantile(each.to_numpy(), _QUANTILES).tolist() for each in values]
                ranges[measure] = [(low, high) for low, high in own]
        if "bandwidth" in ranges:
            ranges["bandwidth"] = [(min(a, sample_rate / 2), min(b, sample_rate / 2)) for a, b in ranges["bandwidth"]]
        names = [store.snapshot.corpus for store, _ in corpora]
        return cls(names, ranges, centres.astype(np.float32), scale.astype(np.float32), sample_rate / 2)

    def compare(self, features: NDArray[np.float32], duration: float, quality: AudioQuality) -> tuple[Deviation, ...]:
        """Return the deviations of a recording from the training audio.

        A value inside the range of any corpus is no deviation. `features` are (frames, dim), not normalised, and
        `duration` is in s.
        """
        values: dict[Measure, float | None] = {
            "bandwidth": quality.bandwidth,
            "duration": duration,
            "level": quality.level_db,
            "clipping": quality.clipped,
        }
        return self._find_deviations(values, summarise(features))

    def compare_store(self, store: FeatureStore) -> list[tuple[Deviation, ...]]:
        """Return the deviations of each utterance of a store, as `compare` does, without those of unknown values."""
        columns = {measure: store.column(column) for measure, column in _COLUMNS.items()}
        found = []
        for block, features in store.iterate_blocks(_CHUNK_VALUES):
            ends = np.cumsum(store.frames[block])
            for row, each in enumerate(np.split(features, ends[:-1]), start=block.start):
                values: dict[Measure, float | None] = {measure: column[row] for measure, column in columns.items()}
                found.append(self._find_deviations(values, summarise(each)))
        return found

    def list_unknown_measures(self, store: FeatureStore | None = None) -> list[Measure]:
        """List the measures that are unknown in the training audio, or for any utterance of a store."""
        return [
            measure
            for measure, column in _COLUMNS.items()
            if measure not in self.ranges or (store is not None and store.columns([column])[column].null_count)
        ]

    def get_ranges(self, measure: Measure) -> Sequence[Range]:
        """Return the ranges of a measure in the training audio, one per corpus, without overlaps."""
        merged: list[Range] = []
        for low, high in sorted(self._list_ranges(measure)):
            if merged and low <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(high, merged[-1][1])
            else:
                merged.append((low, high))
        return merged

    def _list_ranges(self, measure: Measure) -> Sequence[Range]:
        return [(0.0, 1.0)] if measure == "features" else self.ranges.get(measure, [])

    def _find_deviations(
        self, values: Mapping[Measure, float | None], summary: NDArray[np.float32]
    ) -> tuple[Deviation, ...]:
        distance = float(_compute_distances((summary - self.centres) / self.scale).min())
        known: dict[Measure, float | None] = {**values, "features": distance}
        if (bandwidth := known["bandwidth"]) is not None:
            known["bandwidth"] = min(bandwidth, self.nyquist)
        deviations = []
        for measure in MEASURES:
            value, ranges, (factor, summand) = known[measure], self._list_ranges(measure), _MARGINS[measure]
            if value is not None and ranges:
                wider = ((low / factor - summand, high * factor + summand) for low, high in ranges)
                if not any(low <= value <= high for low, high in wider):
                    deviations.append(Deviation(measure, value))
        return tuple(deviations)

    def describe(self, corpus: int) -> dict[str, list[float]]:
        """Return the range of each known measure in a corpus, given its number, as JSON values."""
        return {measure: list(ranges[corpus]) for measure, ranges in self.ranges.items()}

    def replace_target(self, store: FeatureStore) -> TrainingDomain:
        """Return the domain with all utterances of a store in place of the last corpus, the target."""
        own = TrainingDomain.of_corpora([(store, np.arange(len(store)))], round(2 * self.nyquist))
        ranges = {name: [*each[:-1], *own.ranges[name]] for name, each in self.ranges.items() if name in own.ranges}
        centres = np.concatenate([self.centres[:-1], own.centres])
        # The wider scale, so that the utterances of no corpus are outside.
        scale = np.maximum(self.scale, own.scale)
        return TrainingDomain([*self.corpora[:-1], *own.corpora], ranges, centres, scale, self.nyquist)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the arrays, to save them with `to_metadata`."""
        return {"centres": torch.from_numpy(self.centres), "scale": torch.from_numpy(self.scale)}

    def to_metadata(self) -> dict[str, Any]:
        """Return the other values as JSON values."""
        return {"corpora": list(self.corpora), "ranges": dict(self.ranges), "nyquist": self.nyquist}

    @classmethod
    def rebuild(cls, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], dim: int) -> TrainingDomain:
        """Rebuild a saved domain for features (frames, dim); raise a KeyError, TypeError or ValueError if damaged."""
        corpora, nyquist = [str(name) for name in metadata["corpora"]], float(metadata["nyquist"])
        ranges: dict[Measure, Sequence[Range]] = {}
        for measure in MEASURES:
            if measure in metadata["ranges"]:
                ranges[measure] = [(float(low), float(high)) for low, high in metadata["ranges"][measure]]
        centres, scale = tensors["centres"].numpy(), tensors["scale"].numpy()
        if centres.shape != (len(corpora), 2 * dim) or scale.shape != (2 * dim,):
            raise ValueError("its ranges of the training audio do not fit its features")
        if any(len(each) != len(corpora) for each in ranges.values()):
            raise ValueError("its ranges of the training audio do not fit its corpora")
        return cls(corpora, ranges, centres, scale, nyquist)


def is_measured(store: FeatureStore) -> bool:
    """Return True if a store has all measures of the audio of each utterance."""
    return not any(store.columns([column])[column].null_count for column in _COLUMNS.values())


def summarise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean and the logarithm of the standard deviation of features (frames, dim), as (2 dim,)."""
    statistics = Statistics.of_frames(features)
    return np.concatenate([statistics.mean, np.log(statistics.std)])


#: Summaries of each open store.
_SUMMARIES: Final = UtteranceVectors(summarise)


def join_measures(deviations: Sequence[Deviation]) -> str:
    """Return the measures of some deviations, separated by commas; empty if there are none."""
    return ",".join(each.measure for each in deviations)


def _summarise_rows(store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_SUMMARISED)).astype(np.int64)]
    return _SUMMARIES.gather(store, chosen, 2 * store.dim)


def _compute_distances(scaled: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the root mean square (n,) of scaled differences (n, 2 dim)."""
    distances: NDArray[np.float64] = np.sqrt(np.square(scaled, dtype=np.float64).mean(axis=1))
    return distances
