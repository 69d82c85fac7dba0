"""Past bugs in tables of a user's own recordings."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.corpora.own import Manifest, derive_name
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb


def write_table(folder: Path, columns: dict[str, object]) -> Path:
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_may_have_any_separator_of_spreadsheets(tmp_path: Path, delimiter: str) -> None:
    """Spreadsheets also write semicolons and tabs, which were not read."""
    (root,) = {path.parent for path in write_tiny_emodb(tmp_path, make_emodb_names(2))}
    rows = [["path", "emotion"], *([path.name, "fear"] for path in sorted(root.iterdir()))]
    (root / "table.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    report = prepare_corpus(root, tmp_path / "cache", Manifest(root / "table.csv", "own"))
    assert (report.utterances, report.skipped) == (2, {})


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Calls.csv", "my-calls"), ("Übung 2.parquet", "bung-2"), ("calls_1.csv", "calls_1"), ("日.csv", "own")],
)
def test_a_corpus_is_named_after_its_table(file: str, name: str) -> None:
    assert derive_name(Path(file)) == name


def test_a_nul_in_a_path_outside_the_root_is_an_error_with_its_row(tmp_path: Path) -> None:
    """An impossible path ended in a traceback."""
    table = write_table(tmp_path, {"path": ["../a\0/b.wav"]})
    with pytest.raises(CorpusError) as caught:
        prepare_corpus(tmp_path, tmp_path / "cache", Manifest(table, "t"))
    assert caught.value.where == f"{table}: row 1"


def test_a_nul_in_a_path_below_the_root_is_rejected_with_its_file(tmp_path: Path) -> None:
    """An impossible path ended in a traceback."""
    table = write_table(tmp_path, {"path": ["a\0b.wav", "c.wav"]})
    (tmp_path / "c.wav").write_bytes(wav(noise()))
    report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(table, "t"))
    assert (report.utterances, report.rejections) == (1, [("a\0b.wav", "cannot be read: embedded null byte")])


def test_the_columns_of_a_table_keep_their_types(tmp_path: Path) -> None:
    """The conversion of times in ns and of numbers from 2^63 on failed after the extraction."""
    columns = {
        "path": ["b.wav", "a.wav"],
        "hash": pa.array([2**64 - 1, 1], pa.uint64()),
        "at": pa.array([1, 10**18], pa.timestamp("ns")),
        "tags": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
        "share": pa.array([0.5, None], pa.float32()),
    }
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(noise(seed=name)))
    report = prepare_corpus(tmp_path, tmp_path / "cache", Manifest(write_table(tmp_path, columns), "t"))
    stored = FeatureStore(report.store).table
    rows = [columns["path"].index(path) for path in stored["path"].to_pylist()]
    for name in ("hash", "at", "tags", "share"):
        assert stored[name].combine_chunks().equals(columns[name].take(pa.array(rows)))


#: Program that runs a command without pandas.
WITHOUT_PANDAS = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name == "pandas":
            raise ImportError(name)


sys.meta_path.insert(0, Missing())
from emodna.cli.cache.command import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [("show",), ("show", "--json"), pytest.param(("plot", "--out", "a.png", "--json"), marks=pytest.mark.slow)],
)
def test_times_in_nanoseconds_are_shown_without_pandas(command: tuple[str, ...], tmp_path: Path) -> None:
    """`show` and `plot` ended in a traceback without pandas."""
    (tmp_path / "a.wav").write_bytes(wav(noise(0.5)))
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    table = write_table(tmp_path, {"path": ["a.wav"], "recorded": times})
    prepare_corpus(tmp_path, tmp_path / "cache", Manifest(table, "own"))
    name, *options = command
    words = [sys.executable, "-c", WITHOUT_PANDAS, name, "own", "a.wav", *options]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2023-11-14 22:13:20.123456789" in result.stdout


def test_a_table_with_text_other_than_utf_8_is_an_error(tmp_path: Path) -> None:
    """Arrow does not check the text that it reads, so a traceback followed later."""
    text = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xb3"))
    with pytest.raises(CorpusError, match=r"t\.parquet: .* UTF8"):
        Manifest(write_table(tmp_path, {"path": ["a.wav"], "note": text}), "mine")


def test_types_that_arrow_does_not_support_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuzzing found a traceback."""

    def fail(*_: object) -> None:
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

    monkeypatch.setattr(pq, "ParquetFile", fail)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match="Integers with more than 64 bits"):
        Manifest(tmp_path / "t.parquet", "mine")
