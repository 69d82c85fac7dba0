"""Read files of embeddings: NumPy archives with an array per utterance, or Parquet tables with a row per utterance."""

import hashlib
import json
import re
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emodna.pipeline.errors import EmodnaError, explain_os_error, format_count
from emodna.pipeline.features.imported import ImportedSet
from emodna.pipeline.tables import iterate_values

#: Columns of a Parquet table: the ids, the embeddings, and the values per frame if a list holds all frames.
_ID, _FEATURES, _DIM = "id", "features", "dim"
#: Arrays of an exported archive: all frames, the first one of each utterance and the end, the ids, and the origin.
_OFFSETS: Final = "offsets"
_EXPORTED: Final = frozenset((_ID, _FEATURES, _OFFSETS, "about"))
_ONE_EACH: Final = "write one array per utterance, named by its id: numpy.savez(file, **arrays)"
#: Rule for the columns of a table, for errors.
_COLUMNS: Final = f"needs a column {_ID} and a column {_FEATURES} with lists of numbers"
#: Errors of an unreadable archive or table.
_READ_ERRORS: Final = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, pa.ArrowException),
)

Matrix = NDArray[np.float32]


class EmbeddingFile:
    """A file of embeddings by utterance id, whose content is checked.

    `file[id]` reads the embeddings of one utterance, float32 (frames, dim); a vector is one frame. Only a Parquet table
    is held in memory. Raises `EmodnaError`: unreadable file, an id without a name or with two rows, no or other
    numbers, an object array, an empty or a third dimension, different dims, NaN or infinite values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _open(path)
        self.ids: Sequence[str] = self._rows.ids
        """Ids in the order of the file."""
        if not self.ids:
            raise _make_error(path, "has no embeddings")
        if twice := [id for id, count in Counter(self.ids).items() if count > 1]:
            raise _make_error(path, f"id {twice[0]!r} occurs twice")
        if "" in self.ids:
            raise _make_error(path, "one of its ids is empty")
        digest, dims = hashlib.sha256(), dict[int, str]()
        for id in sorted(self.ids):
            features = self[id]
            dims.setdefault(features.shape[1], id)
            if len(dims) > 1:
                (dim, first), (other, second) = dims.items()
                problem = f"{first!r} has {dim} values per frame, {second!r} has {other}"
                raise _make_error(path, problem, remedy=self._rows.advice)
            digest.update(json.dumps([id, len(features)]).encode())
            digest.update(features.tobytes())
        name = re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-_.") or "embeddings"
        self.features = ImportedSet(
            embeddings=name, width=next(iter(dims)), content_sha256=digest.hexdigest(), location=str(path.absolute())
        )
        """Feature set of the embeddings."""

    def __contains__(self, id: str) -> bool:
        return id in self._rows

    def __getitem__(self, id: str) -> Matrix:
        try:
            values = self._rows.read(id)
        except _READ_ERRORS as error:
            raise _make_error(self.path, f"{id!r}: {_explain(error)}") from error
        if values.dtype.kind not in "fiu":
            raise _make_error(self.path, f"{id!r} holds {values.dtype}, not real numbers", remedy=self._rows.advice)
        if values.ndim not in (1, 2) or not values.size:
            problem = f"{id!r} has the shape {values.shape}; valid: (dim,) for a vector, (frames, dim) for frames"
            raise _make_error(self.path, problem, remedy=self._rows.advice)
        with np.errstate(over="ignore"):
            features = np.ascontiguousarray(np.atleast_2d(values), "<f4")
        if not np.isfinite(features).all():
            raise _make_error(self.path, f"{id!r} has values that are not finite as float32")
        return features

    def check_ids(self, utterances: pa.ChunkedArray, corpus: str) -> None:
        """Raise an `EmodnaError` if the file has none of the utterances of a corpus, given by their ids."""
        if all(id not in self for id in iterate_values(utterances)):
            problem = f"has no row for any utterance of {corpus}; its ids look like {self.ids[0]!r}"
            remedy = f"name each array or row by the id of its utterance, such as {utterances[0].as_py()!r}"
            raise _make_error(self.path, problem, remedy=remedy)

    def describe_mismatch(self, utterances: pa.ChunkedArray) -> list[str]:
        """Return a line on rows without an utterance, and one on utterances without a row, given by their ids."""
        known = set(iterate_values(utterances))
        rows = [id for id in self.ids if id not in known]
        absent = [id for id in iterate_values(utterances) if id not in self]
        lines = []
        if rows:
            count = format_count(len(rows), "row")
            lines.append(f"{count} of {self.path.name} without a recording, not used (the first: {rows[0]})")
        if absent:
            count = format_count(len(absent), "utterance")
            lines.append(f"{count} without a row in {self.path.name}, rejected (the first: {absent[0]})")
        return lines


class _Rows(ABC):
    """Access to the arrays of a file by id."""

    ids: Sequence[str]
    advice: str | None = None
    """Advice on writing such a file, for errors in its arrays."""

    @abstractmethod
    def __contains__(self, id: str) -> bool: ...

    @abstractmethod
    def read(self, id: str) -> NDArray[Any]:
        """Return the array of an id as the file has it."""


def _open_archive(path: Path) -> _Rows:
    """Return the rows of an .npz file. Objects are never unpickled."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"not an .npz file; {_ONE_EACH}")
    archive = np.load(path, allow_pickle=False)
    return _ExportedRows(archive) if set(archive.files) >= _EXPORTED else _ArchiveRows(archive)


class _ExportedRows(_Rows):
    """Frames of an .npz file that a store was exported to. They are held in memory."""

    def __init__(self, archive: np.lib.npyio.NpzFile) -> None:
        with archive:
            ids, self._features, self._offsets = archive[_ID], archive[_FEATURES], archive[_OFFSETS]
        lengths = np.diff(self._offsets)
        if (
            ids.dtype.kind != "U"
            or len(lengths) != len(ids)
            or (lengths < 1).any()
            or (self._offsets[0], self._offsets[-1]) != (0, len(self._features))
        ):
            raise ValueError("a damaged export: its ids, offsets and features do not fit together")
        self.ids = ids.tolist()
        self._positions = {id: row for row, id in enumerate(self.ids)}

    def __contains__(self, id: str) -> bool:
        return id in self._positions

    def read(self, id: str) -> NDArray[Any]:
        row = self._positions[id]
        frames: NDArray[Any] = self._features[self._offsets[row] : self._offsets[row + 1]]
        return frames


class _ArchiveRows(_Rows):
    """Arrays of an .npz file, one per utterance."""

    advice = _ONE_EACH

    def __init__(self, archive: np.lib.npyio.NpzFile) -> None:
        self._archive = archive
        weakref.finalize(self, self._archive.close)
        self.ids = self._archive.files

    def __contains__(self, id: str) -> bool:
        return id in self._archive

    def read(self, id: str) -> NDArray[Any]:
        values = self._archive[id]
        if not isinstance(values, np.ndarray):  # NumPy returns the bytes of other files
            raise ValueError("not a NumPy array")  # noqa: TRY004 - one kind of error for all contents
        return values


class _TableRows(_Rows):
    """Lists of a Parquet table."""

    def __init__(self, path: Path) -> None:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            lists = [each.name for each in schema if _is_list(each.type)]
            name = _FEATURES if _FEATURES in lists or len(lists) != 1 else lists[0]
            if schema.names.count(_ID) != 1 or lists.count(name) != 1:
                raise ValueError(f"{_COLUMNS}; its columns: {', '.join(schema.names) or 'none'}")
            depth = 2 if _is_list(schema.field(name).type.value_type) else 1
            is_flat = depth == 1 and _DIM in schema.names
            table = file.read([_ID, name, *([_DIM] if is_flat else [])])
        self._lists, self._depth = table[name], depth
        if self._lists.null_count or table[_ID].null_count:
            raise ValueError(f"a cell of {_ID} or {name} is empty")
        ids = table[_ID] if pa.types.is_string(table[_ID].type) else table[_ID].cast(pa.string())
        self.ids = ids.to_pylist()
        self._positions = {id: row for row, id in enumerate(self.ids)}
        self._dims = table[_DIM].to_pylist() if is_flat else None

    def __contains__(self, id: str) -> bool:
        return id in self._positions

    def read(self, id: str) -> NDArray[Any]:
        row = self._positions[id]
        frames, values = None, self._lists[row].values
        if self._depth == 2:
            lengths = set(pc.list_value_length(values).to_pylist())
            if len(lengths) > 1:
                raise ValueError(f"frames of different lengths: {', '.join(map(str, sorted(map(str, lengths))))}")
            frames, values = len(values), values.flatten()
        elif self._dims is not None:
            dim = self._dims[row]
            if not dim or dim < 1 or len(values) % dim:
                raise ValueError(f"{len(values)} values are not frames of {dim}, as the column {_DIM} says")
            frames = len(values) // dim
        array: NDArray[Any] = values.to_numpy(zero_copy_only=False)  # null becomes NaN
        return array if frames is None else array.reshape(frames, -1 if frames else 0)


def _is_list(kind: pa.DataType) -> bool:
    is_list: bool = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list


def _open(path: Path) -> _Rows:
    kinds: dict[str, Callable[[Path], _Rows]] = {".npz": _open_archive, ".parquet": _TableRows}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise _make_error(path, "unknown kind of file", valid=list(kinds))
    if not path.is_file():
        raise _make_error(path, "is a folder" if path.is_dir() else "not found")
    try:
        return kind(path)
    except _READ_ERRORS as error:
        raise _make_error(path, f"cannot be read: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError) and error.errno is not None:
        return explain_os_error(error)
    if "allow_pickle" in str(error):
        return "holds Python objects, which are never loaded; save arrays of numbers"
    return " ".join(str(error).split()) or type(error).__name__


def _make_error(path: Path, problem: str, *, valid: Sequence[str] = (), remedy: str | None = None) -> EmodnaError:
    return EmodnaError(problem, field="features_from", value=path, valid=valid, remedy=remedy)
