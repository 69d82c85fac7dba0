"""All statistics of a store as one document."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect import anomalies, balance, duplicates
from emodna.pipeline.inspect.anomalies import OFFSET, ZEROS, Waveform
from emodna.pipeline.inspect.survey import Utterances, survey
from emodna.pipeline.store import FeatureStore

#: Columns in which copies of one recording should not differ.
_SHOULD_AGREE = ("speaker", "gender", "text", "emotion", "arousal", "valence")
#: Returns the ids of some rows.
_Ids = Callable[[Sequence[int] | NDArray[np.integer]], list[str]]


def statistics(store: FeatureStore, *, window: float, waveforms: Iterable[Waveform] | None = None) -> dict[str, Any]:
    """Describe a store, and name what in it should be looked at; docs/STATISTICS.md says what each key means.

    `window` is the length in s of the window that training uses; `waveforms` are facts of the audio itself, if it is to
    be judged, too. Raises `StoreError`: damaged features.
    """
    features = rebuild_feature_set(store.snapshot.parameters)
    moments, found = survey(store)
    table = store.columns(["id", "gender", "emotion", "language", "text", "sample_rate", "channels"])
    silent = anomalies.is_silent(store)
    limits = anomalies.band_limits(store, found, features)
    limited = np.flatnonzero(np.isfinite(limits))
    far = list(anomalies.outliers(store, found))

    def ids(rows: Sequence[int] | NDArray[np.integer]) -> list[str]:
        names: list[str] = table["id"].take(np.asarray(rows, np.int64)).to_pylist()
        return names

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
        "features": {
            "value": features.value,
            "unit": features.unit,
            "frames": moments.frames,
            "mean": moments.mean.tolist(),
            "std": moments.std.tolist(),
            "min": moments.low.tolist(),
            "max": moments.high.tolist(),
        },
        "silent": ids(np.flatnonzero(silent)),
        "flat": ids(np.flatnonzero(anomalies.is_flat(store, found))),
        "band_limited": [{"id": id, "hz": hz} for id, hz in zip(ids(limited), limits[limited].tolist(), strict=True)],
        "other_sample_rate": ids(anomalies.exceptions(table["sample_rate"].to_numpy())),
        "other_channels": ids(anomalies.exceptions(table["channels"].to_numpy())),
        "outliers": [{"id": id, **figure} for id, (_, figure) in zip(ids([row for row, _ in far]), far, strict=True)],
        "duplicates": _duplicates(store, found, silent, ids),
        "audio": None if waveforms is None else _audio(waveforms, ids),
    }


def _duplicates(store: FeatureStore, found: Utterances, silent: NDArray[np.bool_], ids: _Ids) -> dict[str, Any]:
    audio = duplicates.same_audio(store)
    features = duplicates.same_features(store, silent)
    altered = duplicates.altered_copies(store, found, [*audio, *features])
    facts = store.columns(_SHOULD_AGREE)
    return {
        kind: [
            {
                "ids": ids(group.rows),
                "similarity": group.similarity,
                "differ": [name for name in _SHOULD_AGREE if len(facts[name].take(list(group.rows)).unique()) > 1],
            }
            for group in groups
        ]
        for kind, groups in (("audio", audio), ("features", features), ("altered", altered))
    }


def _audio(waveforms: Iterable[Waveform], ids: _Ids) -> dict[str, Any]:
    """Name what was found in the audio; recordings are named by their first utterance."""
    document: dict[str, Any] = {"recordings": 0, "clipped": [], "offset": [], "zeros": [], "unusable": []}
    for each in waveforms:
        document["recordings"] += 1
        (id,) = ids([each.row])
        if each.problem is not None:
            document["unusable"].append({"id": id, "reason": each.problem})
        if each.clipped:
            document["clipped"].append({"id": id, "samples": each.clipped})
        if abs(each.offset) >= OFFSET:
            document["offset"].append({"id": id, "mean": each.offset})
        if max(each.zeros_before, each.zeros_behind) >= ZEROS:
            document["zeros"].append({"id": id, "before": each.zeros_before, "behind": each.zeros_behind})
    document["clipped"].sort(key=lambda found: -found["samples"])
    return document
