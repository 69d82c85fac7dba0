"""All statistics of a store as one document."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from emodna.pipeline.features import feature_set_from
from emodna.pipeline.inspect import balance, duplicates, oddities
from emodna.pipeline.inspect.duplicates import Group
from emodna.pipeline.inspect.moments import Moments, Utterances, survey
from emodna.pipeline.inspect.waveforms import OFFSET, ZEROS, Waveform
from emodna.pipeline.store import FeatureStore

#: Columns in which copies of one recording should not differ.
_SHOULD_AGREE = ("speaker", "gender", "text", "emotion", "arousal", "valence")


def statistics(store: FeatureStore, *, window: float, waveforms: Iterable[Waveform] | None = None) -> dict[str, Any]:
    """What a store holds, and what in it should be looked at; docs/STATISTICS.md says what each key means.

    Parameters
    ----------
    window
        Length in s of the window that training uses.
    waveforms
        Facts of the audio itself, if it is to be judged, too.

    Raises
    ------
    StoreError
        Damaged features.
    """
    features = feature_set_from(store.snapshot.parameters)
    moments, found = survey(store)
    table = store.columns(["gender", "emotion", "language", "text", "sample_rate", "channels"])
    silent = oddities.is_silent(store)
    names = _Names(store)
    limits = oddities.band_limits(store, found, features)
    return {
        "store": str(store.path),
        "corpus": store.snapshot.corpus,
        "feature_set": store.snapshot.feature_set,
        "fingerprint": store.fingerprint,
        "utterances": len(store),
        "rejected": int(store.snapshot.counts["rejected"]),
        "labels": balance.labels(store),
        "emotions": balance.counts(table["emotion"]),
        "gender": balance.counts(table["gender"]),
        "language": balance.counts(table["language"]),
        "texts": len(table["text"].unique().drop_null()),
        "speakers": balance.speakers(store),
        "durations": balance.durations(store, window),
        "sample_rate": balance.counts(table["sample_rate"]),
        "channels": balance.counts(table["channels"]),
        "peak_db": balance.quartiles(store.peak_db[~silent]),
        "silent_share": balance.quartiles(found.silent_share),
        "features": _values(moments, features.value, features.unit),
        "silent": names(np.flatnonzero(silent)),
        "flat": names(np.flatnonzero(oddities.is_flat(store, found))),
        "band_limited": [
            {"id": names.one(row), "hz": float(limits[row])} for row in np.flatnonzero(np.isfinite(limits)).tolist()
        ],
        "other_sample_rate": names(oddities.exceptions(table["sample_rate"].to_numpy())),
        "other_channels": names(oddities.exceptions(table["channels"].to_numpy())),
        "outliers": [{"id": names.one(row), **what} for row, what in oddities.outliers(store, found)],
        "duplicates": _duplicates(store, found, silent, names),
        "audio": None if waveforms is None else _audio(waveforms, names),
    }


class _Names:
    """Ids of rows, read once and only made Python strings where they are named."""

    def __init__(self, store: FeatureStore) -> None:
        self._ids = store.columns(["id"])["id"]

    def __call__(self, rows: Any) -> list[str]:
        ids: list[str] = self._ids.take(rows).to_pylist() if len(rows) else []
        return ids

    def one(self, row: int) -> str:
        return str(self._ids[row].as_py())


def _values(moments: Moments, value: str, unit: str) -> dict[str, Any]:
    """Mean, standard deviation and range of each value of a frame over all frames."""
    return {
        "value": value,
        "unit": unit,
        "frames": moments.frames,
        "mean": moments.mean.tolist(),
        "std": moments.std.tolist(),
        "min": moments.low.tolist(),
        "max": moments.high.tolist(),
    }


def _duplicates(store: FeatureStore, found: Utterances, silent: Any, names: _Names) -> dict[str, Any]:
    audio = duplicates.same_audio(store)
    features = duplicates.same_features(store, silent)
    altered = duplicates.altered_copies(store, found, [*audio, *features])
    facts = store.columns(list(_SHOULD_AGREE))

    def described(groups: Sequence[Group]) -> list[dict[str, Any]]:
        return [
            {
                "ids": names(list(group.rows)),
                "similarity": group.similarity,
                "differ": [
                    name for name in _SHOULD_AGREE if len(set(facts[name].take(list(group.rows)).to_pylist())) > 1
                ],
            }
            for group in groups
        ]

    return {"audio": described(audio), "features": described(features), "altered": described(altered)}


def _audio(waveforms: Iterable[Waveform], names: _Names) -> dict[str, Any]:
    """What was found in the audio; recordings are named by their first utterance."""
    recordings = 0
    document: dict[str, Any] = {"recordings": 0, "clipped": [], "offset": [], "zeros": [], "unusable": []}
    for each in waveforms:
        recordings += 1
        id = names.one(each.row)
        if each.problem is not None:
            document["unusable"].append({"id": id, "reason": each.problem})
        if each.clipped:
            document["clipped"].append({"id": id, "samples": each.clipped})
        if abs(each.offset) >= OFFSET:
            document["offset"].append({"id": id, "mean": each.offset})
        if max(each.zeros_before, each.zeros_behind) >= ZEROS:
            document["zeros"].append({"id": id, "before": each.zeros_before, "behind": each.zeros_behind})
    document["recordings"] = recordings
    document["clipped"].sort(key=lambda found: -found["samples"])
    return document
