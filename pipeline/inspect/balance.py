"""Count the utterances of a store by label, speaker, duration and level."""

from collections import Counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emodna.pipeline.emotions import TASKS
from emodna.pipeline.store import FeatureStore

#: Key of what is not known.
UNKNOWN: Final = "unknown"
_QUARTILES: Final = ("min", "q1", "median", "q3", "max")


def quartiles(values: NDArray[Any]) -> dict[str, float] | None:
    """Return least, quartiles and greatest of some values; None of no values."""
    if not len(values):
        return None
    return dict(zip(_QUARTILES, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist(), strict=True))


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Count each value, the most frequent first; null under `unknown`."""
    found = column.value_counts()
    numbers: Counter[str] = Counter()
    for value, number in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
        numbers[UNKNOWN if value is None else str(value)] += number  # a user's table may say "unknown", too
    return dict(sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0])))


def encode_names(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Encode a column of names as numbers into a list of them, null as the name `unknown`."""
    encoded = column.fill_null(UNKNOWN).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def labels(store: FeatureStore) -> dict[str, Any]:
    """Count each task's classes: in all, by gender, and their share over speakers."""
    table = store.columns(["speaker", "gender"])
    speaker, speakers = encode_names(table["speaker"])
    gender, genders = encode_names(table["gender"])
    return {task: _balance(store.labels(task), (speaker, speakers), (gender, genders)) for task in TASKS}


def _balance(
    label: NDArray[np.int8], speaker: tuple[NDArray[np.int64], list[str]], gender: tuple[NDArray[np.int64], list[str]]
) -> dict[str, Any]:
    by_speaker = _crossed(label, *speaker)
    shares = {name: each["share"] for name, each in by_speaker.items() if name != UNKNOWN and each["share"] is not None}
    spread: dict[str, Any] | None = quartiles(np.array(list(shares.values())))
    if spread is not None:
        spread |= {"least": min(shares, key=shares.__getitem__), "most": max(shares, key=shares.__getitem__)}
    (whole,) = _crossed(label, np.zeros(len(label), np.int64), ["all"]).values()
    return {**whole, "by_gender": _crossed(label, *gender), "share_over_speakers": spread, "by_speaker": by_speaker}


def _crossed(label: NDArray[np.int8], group: NDArray[np.int64], names: list[str]) -> dict[str, dict[str, Any]]:
    """Count each group's labels: `0`, `1`, `unlabelled`, and `share`, that of 1 among the labelled."""
    table = np.bincount(group * 3 + label + 1, minlength=3 * len(names)).reshape(-1, 3)
    return {
        name: {"0": low, "1": high, "unlabelled": none, "share": high / (low + high) if low + high else None}
        for name, (none, low, high) in zip(names, table.tolist(), strict=True)
    }


def speakers(store: FeatureStore) -> dict[str, Any]:
    """Count the speakers, and utterances and s of each."""
    table = store.columns(["speaker", "duration"])
    code, names = encode_names(table["speaker"])
    utterances = np.bincount(code, minlength=len(names))
    seconds = np.bincount(code, weights=table["duration"].to_numpy(), minlength=len(names))
    each = {
        name: {"utterances": number, "seconds": time}
        for name, number, time in zip(names, utterances.tolist(), seconds.tolist(), strict=True)
    }
    unknown = each.pop(UNKNOWN, {"utterances": 0})["utterances"]
    known = np.array([speaker["utterances"] for speaker in each.values()])
    return {"known": len(each), "without": unknown, "utterances": quartiles(known), "each": each}


def durations(store: FeatureStore, window: float) -> dict[str, Any]:
    """Describe the durations in s, and how a training window fits them."""
    duration = store.columns(["duration"])["duration"].to_numpy()
    beyond, spare = np.maximum(duration - window, 0), np.maximum(window - duration, 0)
    return {
        **(quartiles(duration) or {}),
        "mean": float(duration.mean()),
        "total": float(duration.sum()),
        "window": window,
        "longer": int(np.count_nonzero(beyond)),
        "cut": float(beyond.sum()),
        "cut_share": float(beyond.sum() / duration.sum()),
        "padding_share": float(spare.sum() / (window * len(duration))),
    }
