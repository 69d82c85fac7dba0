"""A user's own recordings, listed in a CSV or Parquet table."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, cast

from emodna.pipeline.corpora.base import Gender, Scan, Skip, Utterance
from emodna.pipeline.corpora.own import Own
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.layout import INDEX_SCHEMA
from emodna.pipeline.trees import Tree

#: Columns with a meaning; any other is carried into the store's index as it is.
COLUMNS: Final = ("path", "id", "emotion", "speaker", "gender", "language", "text", "intensity")

_GENDERS: Final = {"f": "f", "female": "f", "m": "m", "male": "m"}
_Row = Mapping[str, object]


class Manifest(Own):
    """A table with a column `path`, and optionally those of `COLUMNS`.

    Parameters
    ----------
    table
        CSV (UTF-8, with a header line) or Parquet file. Paths in it are relative to the root, or absolute below it.
        `emotion` takes the categories of `emotions.EMOTIONS`; an empty cell is unlabelled, any other word is left out
        and counted. `gender` takes f, m, female, male; anything else is unknown. Without a column `id`, an
        utterance's id is its path.
    name
        Name of the corpus.

    Raises
    ------
    CorpusError
        A table that cannot be read or has no column `path`; a name that is not usable as a folder's.
    """

    suffixes = ("",)  # the table may list a file of any name

    def __init__(self, table: Path, name: str) -> None:
        super().__init__(
            name, title=f"own recordings listed in {table.name}", layout=f"the files listed in {table.name}"
        )
        self._table = table
        self._rows = read_table(table)
        reserved = sorted(set().union(*self._rows) & (set(INDEX_SCHEMA.names) - set(COLUMNS)))
        if reserved:
            raise CorpusError(
                f"--manifest {table}: the store has columns {', '.join(reserved)} of its own: rename yours"
            )

    def scan(self, tree: Tree) -> Scan:
        """Describe every row.

        Raises
        ------
        CorpusError
            A row without a path, a path outside the root, an id that occurs twice, or a table without usable rows.
        """
        found: dict[str, Utterance] = {}
        skipped: Counter[str] = Counter()
        for number, row in enumerate(self._rows, start=1):
            match self._utterance(row, number, tree):
                case Skip(reason):
                    skipped[reason] += 1
                case utterance if utterance.id in found:
                    raise CorpusError(f"{self._table}: row {number}: id {utterance.id!r} occurs twice")
                case utterance:
                    found[utterance.id] = utterance
        if not found:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.items()) or "it has no rows"
            raise CorpusError(f"{self._table}: no usable row ({reasons})")
        return Scan([found[id] for id in sorted(found)], dict(skipped))

    def describe(self, path: PurePosixPath) -> Utterance | Skip | None:
        """Nothing: a file that the table does not list is not part of the corpus."""
        del path
        return None

    def _utterance(self, row: _Row, number: int, tree: Tree) -> Utterance | Skip:
        path = _text(row, "path")
        if path is None:
            raise CorpusError(f"{self._table}: row {number}: no path")
        relative = tree.relative(path)
        if relative is None:
            raise CorpusError(
                f"{self._table}: row {number}: {path} lies outside the root {tree.root}; --root changes it"
            )
        code = _text(row, "emotion")
        emotion = code and self.emotion_of(code.lower())
        if code is not None and emotion is None:
            return Skip(f"unknown emotion {code!r}")
        return Utterance(
            id=_text(row, "id") or relative,
            path=relative,
            speaker=_text(row, "speaker"),
            gender=cast(Gender | None, _GENDERS.get((_text(row, "gender") or "").lower())),
            language=_text(row, "language"),
            text=_text(row, "text"),
            intensity=_text(row, "intensity"),
            emotion_code=code,
            emotion=emotion,
            extra={column: value for column, value in row.items() if column not in COLUMNS},
        )


def read_table(table: Path) -> list[_Row]:
    """Rows of a CSV or Parquet file with a column `path`: column -> cell.

    Raises
    ------
    CorpusError
        A table that cannot be read, or has no column `path`.
    """
    if not table.is_file():
        raise CorpusError(f"--manifest {table}: no such file")
    try:
        columns, rows = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors or OSErrors
        raise CorpusError(f"--manifest {table}: not readable as CSV (UTF-8) or Parquet: {_one_line(error)}") from error
    if "path" not in columns:
        raise CorpusError(f"--manifest {table}: no column 'path'; its columns: {', '.join(map(str, columns))}")
    return rows


def _read_csv(table: Path) -> tuple[Sequence[str], list[_Row]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter=_delimiter(file.readline()), strict=True)
        file.seek(0)
        columns = next(lines, [])
        cells = [row for row in lines if row]
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} occurs twice")
    for number, row in enumerate(cells, start=1):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has not as many cells as the header")
    named = [column for column in columns if column]  # pandas writes its row numbers under no name
    return named, [{column: cell for column, cell in zip(columns, row, strict=True) if column} for row in cells]


def _delimiter(header: str) -> str:
    """Comma, semicolon (as spreadsheets write where the comma is the decimal point) or tab."""
    return max(",;\t", key=header.count)


def _read_parquet(table: Path) -> tuple[Sequence[str], list[_Row]]:
    import pyarrow.parquet

    content = pyarrow.parquet.read_table(table)
    return content.column_names, content.to_pylist()


def _text(row: _Row, column: str) -> str | None:
    """A cell as text; None where it is empty or its column missing."""
    value = row.get(column)
    text = "" if value is None else str(value).strip()
    return text or None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
