"""Compare two feature stores: their content, and how they were made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import Snapshot, has_content
from emodna.pipeline.tables import python_values

#: Columns of the index that are compared otherwise, or say nothing of an utterance but where its features lie.
_APART: Final = ("id", "audio_sha256", "feature_crc", "shard", "offset")
_ORIGIN: Final = ("root", "created")
_DESCRIPTION: Final = ("corpus", "feature_set", "licence", "citation", "segmentation")

#: Key -> its values, under `a` and `b`; a key that one side does not have is missing there.
Changed = Mapping[str, Mapping[str, Any]]
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class TableDiff:
    """Differences of two tables whose rows have a key."""

    only_a: Sequence[str]
    only_b: Sequence[str]
    """Keys, in order."""
    both: int
    columns_only_a: Sequence[str]
    columns_only_b: Sequence[str]
    changes: Mapping[str, Sequence[Mapping[str, Any]]]
    """Column -> a mapping of `id`, `a` and `b` per row that differs; columns without a difference are left out."""


@dataclass(frozen=True, slots=True)
class FeatureDiff:
    """Features of one utterance that differ though its audio and the parameters are the same."""

    id: str
    frames: tuple[int, int]
    largest: float | None
    """Largest absolute difference; None if there are not as many frames, infinite if one is not a number."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences of stores A and B."""

    origin: Changed
    """Root and time of creation: they make no difference to what is held."""
    libraries: Changed
    """Versions of what wrote them, which make none either."""
    description: Changed
    """Corpus, feature set, licence, citation, segmentation."""
    parameters: Changed
    """Of the extraction."""
    table: TableDiff
    audio: Sequence[str]
    """Ids of common utterances of other audio."""
    features: Sequence[FeatureDiff]
    """Empty if the parameters differ: then all features do."""
    rejected: TableDiff

    @property
    def same(self) -> bool:
        """True if both hold the same, however they were made."""
        tables = [each for t in (self.table, self.rejected) for each in (t.only_a, t.only_b, t.changes)]
        columns = [self.table.columns_only_a, self.table.columns_only_b]
        return not any((self.description, self.parameters, self.audio, self.features, *tables, *columns))


def compare(a: FeatureStore, b: FeatureStore, told: Callable[[int], Told]) -> Difference:
    """Compare two stores.

    Python looks only at what differs. Features are read where their checksums differ while audio and parameters are
    the same, as with other versions of a library.

    Parameters
    ----------
    told
        Is given the number of utterances whose features are to be read; what it returns, how many have been.

    Raises
    ------
    StoreError
        A shard is missing or cut off, or an utterance that has to be read is damaged.
    """
    for store in (a, b):  # its index has checksums also of features that are gone
        for file in store.snapshot.shards.values():
            if not has_content(store.path / file.name, file.size, None):
                raise StoreError(f"{store.path / file.name}: missing or damaged; run emodna-prep --rehash")
    parameters = _changed(a.snapshot.parameters, b.snapshot.parameters)
    table_a, table_b = a.table, b.table
    rows_a, rows_b = _common(table_a["id"], table_b["id"])
    other_audio = _differs(table_a["audio_sha256"].take(rows_a), table_b["audio_sha256"].take(rows_b))
    features: list[FeatureDiff] = []
    if not parameters:
        other = _differs(table_a["feature_crc"].take(rows_a), table_b["feature_crc"].take(rows_b))
        due = pc.indices_nonzero(pc.and_not(other, other_audio))
        due_a, due_b = rows_a.take(due), rows_b.take(due)
        ids = table_a["id"].take(due_a).to_pylist()
        read = told(len(due))
        for id, row_a, row_b in zip(ids, due_a.to_pylist(), due_b.to_pylist(), strict=True):
            features.append(_feature_diff(id, a[row_a], b[row_b]))
            read(1)
    return Difference(
        origin=_changed(_facts(a.snapshot, _ORIGIN), _facts(b.snapshot, _ORIGIN)),
        libraries=_changed(a.snapshot.libraries, b.snapshot.libraries),
        description=_changed(_facts(a.snapshot, _DESCRIPTION), _facts(b.snapshot, _DESCRIPTION)),
        parameters=parameters,
        table=compare_tables(table_a.drop_columns(_APART[1:]), table_b.drop_columns(_APART[1:]), "id"),
        audio=sorted(table_a["id"].take(rows_a).filter(other_audio).to_pylist()),
        features=sorted(features, key=lambda each: each.id),
        rejected=compare_tables(a.rejected(), b.rejected(), "path"),
    )


def compare_tables(a: pa.Table, b: pa.Table, key: str) -> TableDiff:
    """Compare two tables row by row; a row is known by its key, which occurs once."""
    rows_a, rows_b = _common(a[key], b[key])
    changes = {}
    for name in a.column_names:
        if name == key or name not in b.column_names:
            continue
        old, new = a[name].take(rows_a), b[name].take(rows_b)
        differs = _differs(old, new)
        if pc.any(differs).as_py():
            columns = (a[key].take(rows_a).filter(differs), old.filter(differs), new.filter(differs))
            rows = sorted(zip(*map(python_values, columns), strict=True), key=lambda row: str(row[0]))
            changes[name] = [dict(zip(("id", "a", "b"), row, strict=True)) for row in rows]
    return TableDiff(
        only_a=_only(a[key], b[key]),
        only_b=_only(b[key], a[key]),
        both=len(rows_a),
        columns_only_a=[name for name in a.column_names if name not in b.column_names],
        columns_only_b=[name for name in b.column_names if name not in a.column_names],
        changes=changes,
    )


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
        return pa.chunked_array([[x != y for x, y in zip(python_values(a), python_values(b), strict=True)]], pa.bool_())


def _feature_diff(id: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> FeatureDiff:
    largest = None
    if a.shape == b.shape:
        distance = np.abs(a.astype(np.float64) - b)
        largest = float("inf") if np.isnan(distance).any() else float(distance.max(initial=0))
    return FeatureDiff(id, (len(a), len(b)), largest)


def _facts(snapshot: Snapshot, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in names}


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    sides = {"a": a, "b": b}
    return {
        key: {side: values[key] for side, values in sides.items() if key in values}
        for key in {**a, **b}
        if (key in a, a.get(key)) != (key in b, b.get(key))
    }
