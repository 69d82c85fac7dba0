"""Collect the statistics of a store in one document."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline.audio.quality import OVERLOAD_PEAK, QUIET_LEVEL_DB
from emodna.pipeline.features import rebuild_feature_set
from emodna.pipeline.inspect import anomalies, balance, duplicates
from emodna.pipeline.inspect.anomalies import MIN_OFFSET, MIN_ZEROS, WaveformStatistics
from emodna.pipeline.inspect.duplicates import DuplicateGroup
from emodna.pipeline.inspect.survey import UtteranceStatistics, list_moments, survey_store
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.layout import QUALITY_COLUMNS

#: Columns that should be equal in copies of one recording.
_SHOULD_AGREE = ("speaker", "gender", "text", "emotion", "arousal", "valence")


def compute_statistics(
    store: FeatureStore, *, window: float, waveforms: Iterable[WaveformStatistics] | None = None
) -> dict[str, Any]:
    """Return statistics and anomalies of a store; docs/STATISTICS.md explains each key.

    Those that need a spectrum are None for other features.

    `window` is the length of the training window in s; `waveforms` are measurements of the audio. Raises `StoreError`
    if features are damaged.
    """
    features = rebuild_feature_set(store.snapshot.parameters)
    moments, utterances = survey_store(store)
    spectrum = utterances.spectrum
    table = store.columns(["id", "gender", "emotion", "language", "text", "sample_rate", "channels", *QUALITY_COLUMNS])
    ids = table["id"]
    silent = anomalies.is_silent(store)
    quality = {name: table[name].to_numpy() for name in QUALITY_COLUMNS}

    def list_entries(name: str, selected: NDArray[np.bool_]) -> list[dict[str, Any]]:
        rows = np.flatnonzero(selected)
        return [{"id": ids[row].as_py(), name: float(quality[name][row])} for row in rows]

    limits = anomalies.find_band_limits(store, utterances, features)

    return {
        "store": str(store.path),
        "corpus": store.snapshot.corpus,
        "feature_set": store.snapshot.feature_set,
        **asdict(store.snapshot.provenance),
        "fingerprint": store.fingerprint,
        "utterances": len(store),
        "rejected": int(store.snapshot.counts["rejected"]),
        "labels": balance.count_labels(store),
        "emotions": balance.count_values(table["emotion"]),
        "gender": balance.count_values(table["gender"]),
        "language": balance.count_values(table["language"]),
        "texts": len(table["text"].unique().drop_null()),
        "speakers": balance.count_speakers(store),
        "durations": balance.summarise_durations(store, window, features),
        "sample_rate": balance.count_values(table["sample_rate"]),
        "channels": balance.count_values(table["channels"]),
        "peak_db": balance.compute_quartiles(store.peak_db[~silent]),
        "quality": {
            name: balance.compute_quartiles(quality[name][np.isfinite(quality[name]) & ~silent])
            for name in ("peak", "level_db", "bandwidth")
        },
        "silent_share": spectrum and balance.compute_quartiles(spectrum.silent_share),
        "features": list_moments(moments, features) | {"min": moments.low.tolist(), "max": moments.high.tolist()},
        "silent": ids.filter(silent).to_pylist(),
        "overloaded": list_entries("peak", quality["peak"] > OVERLOAD_PEAK),
        "quiet": list_entries("level_db", (quality["level_db"] < QUIET_LEVEL_DB) & ~silent),
        "clipped": sorted(list_entries("clipped", quality["clipped"] > 0), key=lambda entry: -entry["clipped"]),
        "flat": spectrum and ids.filter(anomalies.is_flat(store, utterances)).to_pylist(),
        "band_limited": [
            {"id": ids[row].as_py(), "hz": float(limits[row])} for row in np.flatnonzero(np.isfinite(limits))
        ],
        "other_sample_rate": ids.take(anomalies.find_rare_values(table["sample_rate"].to_numpy())).to_pylist(),
        "other_channels": ids.take(anomalies.find_rare_values(table["channels"].to_numpy())).to_pylist(),
        "outliers": [{"id": ids[row].as_py(), **value} for row, value in anomalies.find_outliers(store, utterances)],
        "duplicates": _list_duplicates(store, utterances, silent),
        "audio": None if waveforms is None else _summarise_waveforms(waveforms, ids),
    }


def _list_duplicates(store: FeatureStore, utterances: UtteranceStatistics, silent: NDArray[np.bool_]) -> dict[str, Any]:
    audio = duplicates.find_equal_audio(store)
    features = duplicates.find_equal_features(store, silent)
    altered = duplicates.find_altered_copies(store, utterances, [*audio, *features])
    table = store.columns(["id", *_SHOULD_AGREE])

    def to_json(group: DuplicateGroup) -> dict[str, Any]:
        members = table.take(list(group.rows))
        differ = [name for name in _SHOULD_AGREE if len(members[name].unique()) > 1]
        return {"ids": members["id"].to_pylist(), "similarity": group.similarity, "differ": differ}

    kinds = {"audio": audio, "features": features, "altered": altered}
    document: dict[str, Any] = {kind: [to_json(group) for group in groups] for kind, groups in kinds.items()}
    return document if utterances.spectrum is not None else document | {"altered": None}


def _summarise_waveforms(waveforms: Iterable[WaveformStatistics], ids: pa.ChunkedArray) -> dict[str, Any]:
    """List anomalies of the audio; a recording is named by the id of its first utterance."""
    document: dict[str, Any] = {"recordings": 0, "clipped": [], "offset": [], "zeros": [], "unusable": []}
    for each in waveforms:
        document["recordings"] += 1
        id = ids[each.row].as_py()
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
