"""Count the utterances of a store by label, speaker, duration and level."""

from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline.features import FeatureSet
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import TASKS

#: Key of missing values.
UNKNOWN: Final = "unknown"
_QUARTILES: Final = ("min", "q1", "median", "q3", "max")


def compute_quartiles(values: NDArray[Any]) -> dict[str, float] | None:
    """Return minimum, quartiles and maximum; None if there are no values."""
    if not len(values):
        return None
    return dict(zip(_QUARTILES, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist(), strict=True))


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Count each value, the most frequent first; null counts as `unknown`."""
    counts: Counter[str] = Counter()
    for entry in column.value_counts().to_pylist():  # a value may be "unknown" itself
        counts[UNKNOWN if entry["values"] is None else str(entry["values"])] += entry["counts"]
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def encode_names(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Return indices (n,) into a list of distinct names, and the list; null becomes the name `unknown`."""
    encoded = column.fill_null(UNKNOWN).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def count_labels(store: FeatureStore) -> dict[str, Any]:
    """Count the classes of each task: in total, by gender and by speaker."""
    table = store.columns(["speaker", "gender"])
    speaker, gender = encode_names(table["speaker"]), encode_names(table["gender"])
    return {task: _summarise_labels(store.labels(task), speaker, gender) for task in TASKS}


def _summarise_labels(
    label: NDArray[np.int8], speaker: tuple[NDArray[np.int64], list[str]], gender: tuple[NDArray[np.int64], list[str]]
) -> dict[str, Any]:
    by_speaker = _cross_tabulate(label, *speaker)
    shares = {name: each["share"] for name, each in by_speaker.items() if name != UNKNOWN and each["share"] is not None}
    spread: dict[str, Any] | None = compute_quartiles(np.array(list(shares.values())))
    if spread is not None:
        spread |= {"least": min(shares, key=shares.__getitem__), "most": max(shares, key=shares.__getitem__)}
    total = _cross_tabulate(label, np.zeros_like(speaker[0]), ["all"])["all"]
    by_gender = _cross_tabulate(label, *gender)
    return total | {"by_gender": by_gender, "share_over_speakers": spread, "by_speaker": by_speaker}


def _cross_tabulate(label: NDArray[np.int8], group: NDArray[np.int64], names: list[str]) -> dict[str, dict[str, Any]]:
    """Count the labels of each group; `share` is the share of class 1 among the labelled."""
    table = np.bincount(group * 3 + label + 1, minlength=3 * len(names)).reshape(-1, 3)
    return {
        name: {"0": low, "1": high, "unlabelled": none, "share": high / (low + high) if low + high else None}
        for name, (none, low, high) in zip(names, table.tolist(), strict=True)
    }


def count_speakers(store: FeatureStore) -> dict[str, Any]:
    """Count the speakers, and the utterances and seconds of each."""
    table = store.columns(["speaker", "duration"])
    code, names = encode_names(table["speaker"])
    utterances = np.bincount(code, minlength=len(names))
    seconds = np.bincount(code, weights=table["duration"].to_numpy(), minlength=len(names))
    counts = zip(names, utterances.tolist(), seconds.tolist(), strict=True)
    each = {name: {"utterances": number, "seconds": time} for name, number, time in counts}
    unknown = each.pop(UNKNOWN, {"utterances": 0})["utterances"]
    known = np.array([speaker["utterances"] for speaker in each.values()])
    return {"known": len(each), "without": unknown, "utterances": compute_quartiles(known), "each": each}


def summarise_durations(store: FeatureStore, window: float, features: FeatureSet) -> dict[str, Any]:
    """Summarise the durations in s, and the parts that a training window of `window` s cuts off or pads.

    If `features` are without the silence at both ends, these parts are of the rest.
    """
    duration = store.columns(["duration"])["duration"].to_numpy()
    kept = features.estimate_kept_seconds(duration, store.frames)
    rest = duration if kept is None else kept
    cut, padding = np.maximum(rest - window, 0), np.maximum(window - rest, 0)
    return {
        **(compute_quartiles(duration) or {}),
        "mean": float(duration.mean()),
        "total": float(duration.sum()),
        "window": window,
        "longer": int(np.count_nonzero(cut)),
        "cut": float(cut.sum()),
        "cut_share": float(cut.sum() / rest.sum()),
        "padding_share": float(padding.sum() / (window * len(duration))),
        "silence_share": None if kept is None else float(1 - kept.sum() / duration.sum()),
    }
