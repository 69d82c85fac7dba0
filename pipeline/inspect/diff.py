"""Compare two feature stores: their content, and how they were made."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import has_content
from emodna.pipeline.tables import to_python

#: Columns of the index that are compared otherwise, or say nothing of an utterance but where its features lie.
_APART: Final = ["audio_sha256", "feature_crc", "shard", "offset"]
_ORIGIN: Final = ("root", "created")
_DESCRIPTION: Final = ("corpus", "feature_set", "licence", "citation", "segmentation")


def compare(a: FeatureStore, b: FeatureStore, told: Callable[[int], Callable[[int], None]]) -> dict[str, Any]:
    """Compare two stores; return what `emodna-cache diff --json` prints.

    Python looks only at what differs. Features are read where their checksums differ while audio and parameters are
    the same, as with other versions of a library. `told` is called with the number of utterances to be read; it returns
    a function that is called with the number of further utterances that have been.

    In the result `origin`, `libraries`, `description` and `parameters` map a key to its values under `a` and `b`; a key
    that one side does not have is missing there. `columns` maps a column to its rows that differ. `features` has the
    largest absolute differences: None for unlike numbers of frames, infinite if a value is not a number. Origin and
    libraries make no difference to `same`. Raises `StoreError`: a shard or an utterance that is read is damaged.
    """
    files = [(each.path / file.name, file.size) for each in (a, b) for file in each.snapshot.shards.values()]
    for path, size in files:  # an index has checksums also of features that are gone
        if not has_content(path, size, None):
            raise StoreError(f"{path}: missing or damaged; run emodna-prep --rehash")

    def changed(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        sides = ({name: getattr(store.snapshot, name) for name in names} for store in (a, b))
        return changed_values(*sides)

    parameters = changed_values(a.snapshot.parameters, b.snapshot.parameters)
    table_a, table_b = a.table, b.table
    rows_a, rows_b = _common(table_a["id"], table_b["id"])
    other_audio = _differs(table_a["audio_sha256"].take(rows_a), table_b["audio_sha256"].take(rows_b))
    features = []
    if not parameters:
        other = _differs(table_a["feature_crc"].take(rows_a), table_b["feature_crc"].take(rows_b))
        due = pc.indices_nonzero(pc.and_not(other, other_audio))
        due_a, due_b = rows_a.take(due), rows_b.take(due)
        ids = table_a["id"].take(due_a).to_pylist()
        read = told(len(due))
        for id, row_a, row_b in zip(ids, due_a.to_pylist(), due_b.to_pylist(), strict=True):
            one, two = a[row_a], b[row_b]
            features.append({"id": id, "frames": [len(one), len(two)], "largest": _largest_difference(one, two)})
            read(1)
    table = compare_tables(table_a.drop_columns(_APART), table_b.drop_columns(_APART), "id")
    rejected = compare_tables(a.read_rejected(), b.read_rejected(), "path")
    recipe = {"description": changed(_DESCRIPTION), "parameters": parameters}
    content = {
        **{key: table[key] for key in ("only_a", "only_b", "columns_only_a", "columns_only_b")},
        "audio": sorted(table_a["id"].take(rows_a).filter(other_audio).to_pylist()),
        "features": sorted(features, key=lambda each: str(each["id"])),
        "columns": table["columns"],
    }
    reasons = rejected["columns"].get("reason", [])
    refused = {"only_a": rejected["only_a"], "only_b": rejected["only_b"], "reasons": reasons}
    return {
        "a": str(a.path),
        "b": str(b.path),
        "same": not any((*recipe.values(), *content.values(), *refused.values())),
        "fingerprints": {"a": a.fingerprint, "b": b.fingerprint},
        "origin": changed(_ORIGIN),
        "libraries": changed_values(a.snapshot.libraries, b.snapshot.libraries),
        **recipe,
        "utterances": {"a": len(a), "b": len(b), "both": len(rows_a)},
        **content,
        "rejected": refused,
    }


def compare_tables(a: pa.Table, b: pa.Table, key: str) -> dict[str, Any]:
    """Compare two tables row by row; a row is known by its key, which occurs once.

    Keys and columns of one table alone are listed in order; `columns` maps each shared column to its rows that differ.
    """
    rows_a, rows_b = _common(a[key], b[key])
    columns = {}
    for name in a.column_names:
        if name == key or name not in b.column_names:
            continue
        old, new = a[name].take(rows_a), b[name].take(rows_b)
        differs = _differs(old, new)
        if pc.any(differs).as_py():
            values = (a[key].take(rows_a).filter(differs), old.filter(differs), new.filter(differs))
            rows = sorted(zip(*map(to_python, values), strict=True), key=lambda row: str(row[0]))
            columns[name] = [dict(zip((key, "a", "b"), row, strict=True)) for row in rows]
    return {
        "only_a": _only(a[key], b[key]),
        "only_b": _only(b[key], a[key]),
        "columns_only_a": [name for name in a.column_names if name not in b.column_names],
        "columns_only_b": [name for name in b.column_names if name not in a.column_names],
        "columns": columns,
    }


def _common(a: pa.ChunkedArray, b: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Return the rows, in both, of the keys that both have."""
    places = pc.index_in(a, value_set=b.combine_chunks())
    places = places.combine_chunks() if isinstance(places, pa.ChunkedArray) else places
    return pc.indices_nonzero(places.is_valid()), places.drop_null()


def _only(here: pa.ChunkedArray, there: pa.ChunkedArray) -> list[str]:
    """Return the keys that are here and not there, in order."""
    keys: list[str] = here.filter(pc.invert(pc.is_in(here, value_set=there.combine_chunks()))).to_pylist()
    return sorted(keys)


def _differs(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return True for each row where two columns differ; missing is equal to missing, and NaN to NaN."""
    try:
        unequal = pc.fill_null(pc.not_equal(a, b), fill_value=False)
        if pa.types.is_floating(a.type) and pa.types.is_floating(b.type):
            unequal = pc.and_not(unequal, pc.fill_null(pc.and_(pc.is_nan(a), pc.is_nan(b)), fill_value=False))
        return pc.or_(unequal, pc.xor(a.is_null(), b.is_null()))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, say, or types that have nothing in common
        return pa.chunked_array([[x != y for x, y in zip(to_python(a), to_python(b), strict=True)]], pa.bool_())


def _largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.shape != b.shape:
        return None
    distance = np.abs(a.astype(np.float64) - b)
    return float("inf") if np.isnan(distance).any() else float(distance.max(initial=0))


def changed_values(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map each key whose values differ to them, under `a` and `b`."""
    sides = {"a": a, "b": b}
    return {
        key: {side: values[key] for side, values in sides.items() if key in values}
        for key in {**a, **b}
        if (key in a, a.get(key)) != (key in b, b.get(key))
    }
