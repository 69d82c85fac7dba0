"""Collect the statistics of a store in one document."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect import anomalies, balance, duplicates
from emodna.pipeline.inspect.anomalies import MIN_OFFSET, MIN_ZEROS, WaveformStatistics
from emodna.pipeline.inspect.survey import UtteranceStatistics, survey_store
from emodna.pipeline.store import FeatureStore

#: Columns that should be equal in copies of one recording.
_SHOULD_AGREE = ("speaker", "gender", "text", "emotion", "arousal", "valence")
#: A function that returns the ids of rows.
_Ids = Callable[[Sequence[int] | NDArray[np.integer]], list[str]]


def compute_statistics(
    store: FeatureStore, *, window: float, waveforms: Iterable[WaveformStatistics] | None = None
) -> dict[str, Any]:
    """Return statistics and anomalies of a store; docs/STATISTICS.md explains each key.

    `window` is the length of the training window in s; `waveforms` are measurements of the audio, if any. Raises
    `StoreError` if features are damaged.
    """
    features = rebuild_feature_set(store.snapshot.parameters)
    moments, utterances = survey_store(store)
    table = store.columns(["id", "gender", "emotion", "language", "text", "sample_rate", "channels"])
    silent = anomalies.is_silent(store)
    limits = anomalies.find_band_limits(store, utterances, features)
    limited = np.flatnonzero(np.isfinite(limits))
    outliers = list(anomalies.find_outliers(store, utterances))

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
        "labels": balance.count_labels(store),
        "emotions": balance.count_values(table["emotion"]),
        "gender": balance.count_values(table["gender"]),
        "language": balance.count_values(table["language"]),
        "texts": len(table["text"].unique().drop_null()),
        "speakers": balance.count_speakers(store),
        "durations": balance.summarise_durations(store, window),
        "sample_rate": balance.count_values(table["sample_rate"]),
        "channels": balance.count_values(table["channels"]),
        "peak_db": balance.compute_quartiles(store.peak_db[~silent]),
        "silent_share": balance.compute_quartiles(utterances.silent_share),
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
        "flat": ids(np.flatnonzero(anomalies.is_flat(store, utterances))),
        "band_limited": [{"id": id, "hz": hz} for id, hz in zip(ids(limited), limits[limited].tolist(), strict=True)],
        "other_sample_rate": ids(anomalies.find_rare_values(table["sample_rate"].to_numpy())),
        "other_channels": ids(anomalies.find_rare_values(table["channels"].to_numpy())),
        "outliers": [
            {"id": id, **figure} for id, (_, figure) in zip(ids([row for row, _ in outliers]), outliers, strict=True)
        ],
        "duplicates": _list_duplicates(store, utterances, silent, ids),
        "audio": None if waveforms is None else _summarise_waveforms(waveforms, ids),
    }


def _list_duplicates(
    store: FeatureStore, utterances: UtteranceStatistics, silent: NDArray[np.bool_], ids: _Ids
) -> dict[str, Any]:
    audio = duplicates.find_equal_audio(store)
    features = duplicates.find_equal_features(store, silent)
    altered = duplicates.find_altered_copies(store, utterances, [*audio, *features])
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


def _summarise_waveforms(waveforms: Iterable[WaveformStatistics], ids: _Ids) -> dict[str, Any]:
    """List anomalies of the audio; the id of its first utterance names a recording."""
    document: dict[str, Any] = {"recordings": 0, "clipped": [], "offset": [], "zeros": [], "unusable": []}
    for each in waveforms:
        document["recordings"] += 1
        (id,) = ids([each.row])
        if each.problem is not None:
            document["unusable"].append({"id": id, "reason": each.problem})
        if each.clipped:
            document["clipped"].append({"id": id, "samples": each.clipped})
        if abs(each.offset) >= MIN_OFFSET:
            document["offset"].append({"id": id, "mean": each.offset})
        if max(each.zeros_before, each.zeros_behind) >= MIN_ZEROS:
            document["zeros"].append({"id": id, "before": each.zeros_before, "behind": each.zeros_behind})
    document["clipped"].sort(key=lambda entry: -entry["samples"])
    return document
