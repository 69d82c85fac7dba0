"""Tables of a user's own that are damaged, strange or large."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.corpora.manifest import Manifest
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.store import FeatureStore
from tests.pipeline.corpora.test_manifest import refusal, scanned, table, utterances
from tests.pipeline.making import noise, prepared, wav


class TestCsv:
    @pytest.mark.parametrize("text", ["path\na.wav\0\n", "pa\0th,path\n,a.wav\n"])
    def test_a_nul_is_refused_or_kept_but_ends_nothing(self, text: str, tmp_path: Path) -> None:
        """Python 3.11 and later read it as a character like any other."""
        assert len(utterances(table(tmp_path, text))) == 1

    def test_ten_thousand_rows_are_read(self, tmp_path: Path) -> None:
        rows = "".join(f"{number}.wav,{number % 7}\n" for number in range(10_000))
        scan = scanned(table(tmp_path, "path,room\n" + rows))
        assert len(scan) == len(scan.own_columns()) == 10_000

    def test_the_row_of_a_mistake_far_below_is_named(self, tmp_path: Path) -> None:
        rows = "".join(f"{number}.wav\n" for number in range(5000))
        assert "row 5001: ../out.wav lies outside" in refusal(table(tmp_path, f"path\n{rows}../out.wav\n"))


class TestPaths:
    def test_of_any_text_below_the_root_are_taken(self, tmp_path: Path) -> None:
        paths = ["a\tb.wav", "-rf", "C:\\a.wav", "a//b.wav", "%00", "~/a.wav", "x" * 5000]
        pq.write_table(pa.table({"path": paths}), tmp_path / "t.parquet")
        assert len(utterances(tmp_path / "t.parquet")) == len(paths)

    @pytest.mark.parametrize("path", ["..", "../", "/", "//etc/passwd", "a/../../b", "/proc/self/mem", "\0/../../x"])
    def test_that_lead_out_are_refused(self, path: str, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        pq.write_table(pa.table({"path": [path]}), tmp_path / "t.parquet")
        with pytest.raises(CorpusError, match="lies outside the root"):
            scanned(tmp_path / "t.parquet", tmp_path / "root")

    def test_a_folder_and_paths_that_no_file_can_have_are_rejected_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        (tmp_path / "folder.wav").mkdir()
        (tmp_path / "good.wav").write_bytes(wav(noise(0.2)))
        names = ["good.wav", "folder.wav", ".", "nul\0.wav", "x" * 300 + ".wav"]
        pq.write_table(pa.table({"path": names}), tmp_path / "t.parquet")
        report = prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "mine"))
        assert FeatureStore(report.store).ids == ["good.wav"]
        assert sorted(path for path, _ in report.rejections) == sorted(names[1:])


class TestParquet:
    @pytest.mark.parametrize(
        "values",
        [
            pa.array([1.5, float("nan")]),
            pa.array([1, 2], pa.timestamp("ns")),
            pa.array([["a"], ["b"]]),
            pa.array([{"a": 1}, {"a": 2}]),
            pa.array([b"a.wav", b"\xff"]),
            pa.array(["a.wav", "b.wav"]).dictionary_encode(),
            pa.array([Decimal("1.5"), Decimal("2.5")]),
            pa.array(["a", "b"], pa.large_string()),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("column", ["path", "id", "emotion", "room"])
    def test_columns_of_any_type_give_rows_or_one_line(self, column: str, values: pa.Array, tmp_path: Path) -> None:
        columns: dict[str, Any] = {"path": ["p.wav", "q.wav"]} | {column: values}
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        try:
            scan = scanned(tmp_path / "t.parquet")
        except CorpusError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert column in ("path", "emotion")  # the others take any
            return
        assert len(scan.utterances) == 2
        assert len({utterance.id for utterance in scan.utterances}) == 2

    def test_dictionaries_come_out_of_the_store_as_their_values(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(wav(noise(0.2)))
        rooms = pa.array(["x"]).dictionary_encode()
        pq.write_table(pa.table({"path": ["a.wav"], "room": rooms}), tmp_path / "t.parquet")
        store = FeatureStore(prepared(tmp_path, tmp_path / "cache", Manifest(tmp_path / "t.parquet", "mine")).store)
        assert store.column("room") == ["x"]

    def test_an_empty_table_and_one_without_columns_are_refused(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"path": pa.array([], pa.string())}), tmp_path / "t.parquet")
        assert "it has no rows" in refusal(tmp_path / "t.parquet")
        pq.write_table(pa.table({}), tmp_path / "t.parquet")
        assert "no column 'path'; its columns: none" in refusal(tmp_path / "t.parquet")


def test_views_are_read_as_what_they_show(tmp_path: Path) -> None:
    """Arrow's own types for text that others hold; their rows could not be chosen."""
    views = {"path": pa.array(["b.wav", "a.wav"], pa.string_view()), "own": pa.array([b"b", None], pa.binary_view())}
    pq.write_table(pa.table(views), tmp_path / "t.parquet")
    scan = scanned(tmp_path / "t.parquet")
    assert [each.path for each in scan.utterances] == ["a.wav", "b.wav"]
    assert scan.own_columns()["own"].to_pylist() == [None, b"b"]


def test_a_column_whose_rows_cannot_be_chosen_is_refused(tmp_path: Path) -> None:
    lists = pa.array([["x"], ["y"]], pa.list_(pa.string_view()))
    pq.write_table(pa.table({"path": ["a.wav", "b.wav"], "own": lists}), tmp_path / "t.parquet")
    assert "not readable as CSV (UTF-8) or Parquet: " in refusal(tmp_path / "t.parquet")
