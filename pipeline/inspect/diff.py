"""Compare two feature stores: their content, parameters and origin."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import advise_preparation, has_content
from emodna.pipeline.tables import to_python

#: Index columns that are compared separately or only locate features.
_NOT_COMPARED: Final = ["audio_sha256", "feature_crc", "shard", "offset"]
_ORIGIN: Final = ("root", "created")
_DESCRIPTION: Final = ("corpus", "feature_set", "licence", "citation", "segmentation")


def compare_stores(
    a: FeatureStore, b: FeatureStore, on_begin: Callable[[int], Callable[[int], None]]
) -> dict[str, Any]:
    """Compare two stores; return the differences as one JSON document.

    Reads features only if their checksums differ and audio and parameters are equal, e.g. after an update of a library.
    `on_begin` takes the number of utterances to read, and returns a function that takes the number read since its last
    call.

    In the result, `origin`, `libraries`, `description` and `parameters` map a key to its values under `a` and `b`; a
    side that lacks the key is omitted. `columns` maps a column to the rows that differ. `features` lists the largest
    absolute differences: None if the numbers of frames differ, infinite if a value is NaN. `same` ignores origin and
    libraries. Raises `StoreError` if a shard is missing or damaged.
    """
    for store, file in [(each, file) for each in (a, b) for file in each.snapshot.shards.values()]:
        if not has_content(store.path / file.name, file.size, None):  # the index keeps checksums of lost features
            remedy = advise_preparation(store.path / file.name, reread=True)
            raise StoreError("missing or damaged", where=store.path / file.name, remedy=remedy)

    def compare_fields(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        sides = ({name: getattr(store.snapshot, name) for name in names} for store in (a, b))
        return compare_mappings(*sides)

    parameters = compare_mappings(a.snapshot.parameters, b.snapshot.parameters)
    table_a, table_b = a.table, b.table
    rows_a, rows_b = _match_rows(table_a["id"], table_b["id"])
    audio_differs = _mark_differences(table_a["audio_sha256"].take(rows_a), table_b["audio_sha256"].take(rows_b))
    features = []
    if not parameters:
        crc_differs = _mark_differences(table_a["feature_crc"].take(rows_a), table_b["feature_crc"].take(rows_b))
        matches = pc.indices_nonzero(pc.and_not(crc_differs, audio_differs))
        on_progress = on_begin(len(matches))
        for row_a, row_b in zip(rows_a.take(matches).to_pylist(), rows_b.take(matches).to_pylist(), strict=True):
            one, two, id = a[row_a], b[row_b], table_a["id"][row_a].as_py()
            features.append({"id": id, "frames": [len(one), len(two)], "largest": _measure_difference(one, two)})
            on_progress(1)
    table = compare_tables(table_a.drop_columns(_NOT_COMPARED), table_b.drop_columns(_NOT_COMPARED), "id")
    rejected = compare_tables(a.read_rejected(), b.read_rejected(), "path")
    recipes = {"description": compare_fields(_DESCRIPTION), "parameters": parameters}
    content = {
        **{key: table[key] for key in ("only_a", "only_b", "columns_only_a", "columns_only_b")},
        "audio": sorted(table_a["id"].take(rows_a).filter(audio_differs).to_pylist()),
        "features": sorted(features, key=lambda each: str(each["id"])),
        "columns": table["columns"],
    }
    rejections = {key: rejected[key] for key in ("only_a", "only_b")}
    rejections["reasons"] = rejected["columns"].get("reason", [])
    return {
        "a": str(a.path),
        "b": str(b.path),
        "same": not any((*recipes.values(), *content.values(), *rejections.values())),
        "fingerprints": {"a": a.fingerprint, "b": b.fingerprint},
        "origin": compare_fields(_ORIGIN),
        "libraries": compare_mappings(a.snapshot.libraries, b.snapshot.libraries),
        **recipes,
        "utterances": {"a": len(a), "b": len(b), "both": len(rows_a)},
        **content,
        "rejected": rejections,
    }


def compare_tables(a: pa.Table, b: pa.Table, key: str) -> dict[str, Any]:
    """Compare two tables row by row; the column `key` identifies a row.

    The result lists keys and columns of only one table; `columns` maps each shared column to its rows that differ.
    """
    rows_a, rows_b = _match_rows(a[key], b[key])
    columns = {}
    for name in a.column_names:
        if name == key or name not in b.column_names:
            continue
        old, new = a[name].take(rows_a), b[name].take(rows_b)
        differs = _mark_differences(old, new)
        if pc.any(differs).as_py():
            values = (a[key].take(rows_a).filter(differs), old.filter(differs), new.filter(differs))
            rows = sorted(zip(*map(to_python, values), strict=True), key=lambda row: str(row[0]))
            columns[name] = [dict(zip((key, "a", "b"), row, strict=True)) for row in rows]
    return {
        "only_a": _list_unmatched(a[key], b[key]),
        "only_b": _list_unmatched(b[key], a[key]),
        "columns_only_a": [name for name in a.column_names if name not in b.column_names],
        "columns_only_b": [name for name in b.column_names if name not in a.column_names],
        "columns": columns,
    }


def _match_rows(a: pa.ChunkedArray, b: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Return the rows, in a and in b, of the keys that both contain."""
    rows_b = pc.index_in(a.combine_chunks(), value_set=b.combine_chunks())
    return pc.indices_nonzero(rows_b.is_valid()), rows_b.drop_null()


def _list_unmatched(keys: pa.ChunkedArray, others: pa.ChunkedArray) -> list[str]:
    return sorted(keys.filter(pc.invert(pc.is_in(keys, value_set=others.combine_chunks()))).to_pylist())


def _mark_differences(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return True for each row in which two columns differ; null equals null, and NaN equals NaN."""
    try:
        differs = pc.fill_null(pc.not_equal(a, b), fill_value=False)
        if pa.types.is_floating(a.type) and pa.types.is_floating(b.type):
            differs = pc.and_not(differs, pc.fill_null(pc.and_(pc.is_nan(a), pc.is_nan(b)), fill_value=False))
        return pc.or_(differs, pc.xor(a.is_null(), b.is_null()))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # lists, or types that cannot be compared
        return pa.chunked_array([[x != y for x, y in zip(to_python(a), to_python(b), strict=True)]], pa.bool_())


def _measure_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    if a.shape != b.shape:
        return None
    distance = np.abs(a.astype(np.float64) - b)
    return float("inf") if np.isnan(distance).any() else float(distance.max(initial=0))


def compare_mappings(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map each key whose values differ to its values under `a` and `b`."""
    sides = {"a": a, "b": b}
    return {
        key: {side: values[key] for side, values in sides.items() if key in values}
        for key in {**a, **b}
        if (key in a, a.get(key)) != (key in b, b.get(key))
    }
