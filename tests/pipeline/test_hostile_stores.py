"""Stores that no run wrote, though their checksums are right: one clear StoreError, and nothing outside is opened."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.index import write_sealed
from emodna.pipeline.store.shards import map_shard
from emodna.pipeline.store.snapshot import checksum, encoded, file_sha256
from tests.faults.tiny import Truth, tiny_store
from tests.pipeline.making import content, flip, prepared

Document = dict[str, Any]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return tiny_store(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(truth: Truth, tmp_path: Path) -> Path:
    """A copy to do harm to, where a run would look for it."""
    return Path(shutil.copytree(truth.path, tmp_path / "cache" / "emodb" / "mfcc40-22050hz-1d163ad7"))


def rewrite(store: Path, change: Callable[[Document], object]) -> None:
    """Change store.json, and give it a checksum that is right."""
    document = json.loads((store / "store.json").read_bytes())
    change(document)
    del document["checksum"]
    document["checksum"] = checksum(document)
    (store / "store.json").write_bytes(encoded(document))


def reseal(store: Path) -> None:
    """Name every file by its content."""

    def name_anew(document: Document) -> None:
        for file in document["files"]:
            path = store / file["name"]
            file["sha256"], file["size"] = file_sha256(path), path.stat().st_size
            file["name"] = layout.content_name(path.name.split("-")[0], file["sha256"], path.suffix)
            path.rename(store / file["name"])

    rewrite(store, name_anew)


def refusal(store: Path) -> str:
    """Why a store is refused when it is opened, read or verified: one line that names it."""
    with pytest.raises(StoreError) as refused:
        for _ in FeatureStore(store):
            pass
    text = str(refused.value)
    assert "\n" not in text
    assert str(store) in text
    return text


def files(document: Document, kind: str) -> list[Document]:
    return [file for file in document["files"] if file["name"].startswith(kind)]


class TestDescriptions:
    @pytest.mark.parametrize("kind", ["index", "shard", "rejected"])
    @pytest.mark.parametrize(
        "where", ["../{}", "{}/../../{}", "/{}", "sub/{}", "./{}", "", "..", "\0", "a\nb", 7, None]
    )
    def test_a_file_elsewhere_is_never_opened(self, kind: str, where: object, store: Path) -> None:
        """It lies there, with the right content."""

        def point_out(document: Document) -> None:
            for file in files(document, kind):
                for place in (store.parent, store / "sub"):
                    place.mkdir(exist_ok=True)
                    shutil.copy(store / file["name"], place)
                outside = str(store.parent / file["name"])
                named = where if not isinstance(where, str) else where.format(file["name"], file["name"])
                file["name"] = outside if named == "/" + file["name"] else named

        rewrite(store, point_out)
        assert "store.json: damaged (a file named " in refusal(store)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda d: files(d, "shard")[0].update(shard=-1), "shard -1"),
            (lambda d: files(d, "shard")[0].update(shard=2**31), "shard 2147483648"),
            (lambda d: files(d, "shard")[0].update(shard=True), "shard True"),
            (lambda d: files(d, "shard")[0].update(shard="0"), "shard '0'"),
            (lambda d: files(d, "shard")[0].update(shard=None), "a file named 'shard-"),
            (lambda d: files(d, "index")[0].update(shard=1), "a file named 'index-"),
            (lambda d: files(d, "shard")[0].update(size=-1), "a file of -1 bytes"),
            (lambda d: files(d, "shard")[0].update(size=1e3), "a file of 1000.0 bytes"),
            (lambda d: files(d, "shard")[0].update(sha256="0" * 63), "a file without SHA-256"),
            (lambda d: files(d, "shard")[0].update(sha256=None), "a file without SHA-256"),
            (lambda d: files(d, "shard")[0].update(more=1), "unexpected keyword"),
            (lambda d: d["files"].append(files(d, "shard")[0] | {"shard": 7}), "a file that occurs twice"),
            (lambda d: d["files"].append(files(d, "index")[0]), "a file that occurs twice"),
            (lambda d: d.update(files={}), "no index"),
            (lambda d: d.update(files=[1]), "mapping"),
            (lambda d: d.update(files=None), "not iterable"),
            (lambda d: d.update(corpus=["emodb"]), "corpus is no text"),
            (lambda d: d.update(root=None), "root is no text"),
            (lambda d: d.update(parameters=[]), "parameters is no table"),
            (lambda d: d["parameters"].update(hop=[1]), "a parameter that is no value"),
            (lambda d: d.update(segmentation=7), "segmentation is no table"),
            (lambda d: d["counts"].pop("seconds"), "seconds"),
            (lambda d: d["counts"].update(utterances=10**30), "counts: utterances"),
            (lambda d: d["counts"].update(utterances=2.0), "counts: utterances"),
            (lambda d: d["counts"].update(frames=-1), "counts: frames"),
            (lambda d: d["counts"].update(seconds=float("nan")), "counts: seconds nan"),
            (lambda d: d["counts"].update(utterances=4), "3 utterances, 4 by store.json"),
            (lambda d: d.pop("fingerprint"), "fingerprint"),
            (lambda d: d.update(extra=1), "unexpected keyword"),
        ],
    )
    def test_what_no_run_writes_is_refused(
        self, change: Callable[[Document], object], complaint: str, store: Path
    ) -> None:
        rewrite(store, change)
        assert complaint in refusal(store)

    def test_two_shards_of_one_number_are_refused(self, store: Path) -> None:
        def double(document: Document) -> None:
            (shard,) = files(document, "shard")
            other = store / "other"
            other.write_bytes(b"other")
            name = layout.content_name("shard", file_sha256(other), ".h5")
            other.rename(store / name)
            document["files"].append(
                {"name": name, "size": 5, "sha256": file_sha256(store / name), "shard": shard["shard"]}
            )

        rewrite(store, double)
        assert "a shard that occurs twice" in refusal(store)

    @pytest.mark.parametrize(
        "text", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "\ud800".encode("utf-8", "surrogatepass")]
    )
    def test_json_that_is_made_to_harm_its_reader_is_refused(self, text: str | bytes, store: Path) -> None:
        (store / "store.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert "store.json: damaged" in refusal(store)

    def test_one_too_large_for_memory_is_refused_before_it_is_read(self, store: Path) -> None:
        with (store / "store.json").open("r+b") as file:
            file.truncate(2**40)
        assert "damaged (1099511627776 bytes)" in refusal(store)

    @pytest.mark.parametrize("name", ["store.json", "shard", "index"])
    def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(self, name: str, store: Path) -> None:
        path = next(path for path in store.iterdir() if path.name.startswith(name))
        path.unlink()
        os.mkfifo(path)
        began = time.monotonic()
        assert path.name in refusal(store)
        assert time.monotonic() - began < 60

    def test_a_run_takes_the_place_of_such_a_store(self, truth: Truth, store: Path) -> None:
        expected = content(truth.path)
        rewrite(store, lambda document: files(document, "index")[0].update(name="../../x"))
        report = prepared(truth.root, store.parent.parent)
        assert report.store == store
        assert any("rebuilt: " in each for each in report.warnings)
        assert content(store) == expected


class TestIndexes:
    def change(self, store: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        (path,) = store.glob("index-*")
        pq.write_table(change(pq.read_table(path)), path)
        reseal(store)

    @pytest.mark.parametrize(
        ("column", "values", "complaint"),
        [
            ("shard", [0, 1, 0], "utterances in shard [1], which is not there"),
            ("shard", [0, -1, 0], "utterances in shard [-1], which is not there"),
            ("shard", [0, None, 0], "utterances without shard"),
            ("offset", [0, -5, 10], "utterances before their shard's beginning"),
            ("offset", [0, 2**62, 10], "is damaged"),
            ("offset", [0, 0, 0], "is damaged"),
            ("frames", [5, 0, 5], "utterances without frames"),
            ("frames", [5, -5, 5], "utterances without frames"),
            ("frames", [5, 2**31 - 1, 5], "is damaged"),
            ("feature_crc", [0, 1, 2], "is damaged"),
            ("arousal", [0, 2, 1], "arousal that is neither 0 nor 1"),
            ("valence", [0, -1, 1], "valence that is neither 0 nor 1"),
        ],
    )
    def test_values_that_none_can_be_are_refused(
        self, column: str, values: list[int | None], complaint: str, store: Path
    ) -> None:
        def replace(table: pa.Table) -> pa.Table:
            place = table.column_names.index(column)
            return table.set_column(place, column, pa.array(values, table.schema.field(column).type))

        self.change(store, replace)
        assert complaint in refusal(store)

    @pytest.mark.parametrize("column", ["id", "arousal", "frames", "feature_crc", "emotion"])
    def test_columns_of_another_type_missing_or_double_are_refused(
        self, column: str, truth: Truth, tmp_path: Path
    ) -> None:
        for number, change in enumerate(
            (
                lambda table: table.set_column(table.column_names.index(column), column, pa.array([[1]] * 3)),
                lambda table: table.drop_columns(column),
                lambda table: table.append_column(column, table[column]),
            )
        ):
            copy = Path(shutil.copytree(truth.path, tmp_path / str(number)))
            self.change(copy, change)
            assert f"column {column}" in refusal(copy)

    def test_a_right_hash_makes_no_table_of_what_is_none(self, store: Path) -> None:
        (path,) = store.glob("index-*")
        path.write_bytes(b"PAR1" + bytes(99) + b"PAR1")
        reseal(store)
        assert "its tables are not a store's" in refusal(store)
        (path,) = store.glob("rejected-*")


class TestShards:
    """HDF5 has ways to say that data lie elsewhere, and none of them is followed."""

    def path(self, folder: Path) -> Path:
        return folder / "x.h5"

    def refused(self, path: Path) -> None:
        with pytest.raises(StoreError, match=r"x\.h5: damaged"):
            map_shard(path)

    def test_links_to_other_files_are_not_followed(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["features"] = np.zeros((5, 40), np.float32)
        for link in (h5py.ExternalLink("other.h5", "features"), h5py.SoftLink("/elsewhere")):
            with h5py.File(self.path(tmp_path), "w") as file:
                file["elsewhere"] = np.zeros((5, 40), np.float32)
                file["features"] = link
            self.refused(self.path(tmp_path))

    def test_data_in_other_files_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "raw").write_bytes(bytes(800))
        with h5py.File(self.path(tmp_path), "w") as file:
            file.create_dataset("features", (5, 40), "<f4", external=[(tmp_path / "raw", 0, 800)])
        self.refused(self.path(tmp_path))

    def test_virtual_datasets_are_not_read(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["features"] = np.zeros((5, 40), np.float32)
        virtual = h5py.VirtualLayout((5, 40), "<f4")
        virtual[:] = h5py.VirtualSource(tmp_path / "other.h5", "features", (5, 40))
        with h5py.File(self.path(tmp_path), "w") as file:
            file.create_virtual_dataset("features", virtual)
        self.refused(self.path(tmp_path))

    @pytest.mark.parametrize(
        "options",
        [
            {"shape": (5, 40), "dtype": "<f4", "chunks": (5, 40)},
            {"shape": (5, 40), "dtype": "<f4", "compression": "gzip"},
            {"shape": (5, 40), "dtype": ">f4"},
            {"shape": (5, 40), "dtype": "<f8"},
            {"shape": (5, 40), "dtype": "<i4"},
            {"shape": (200,), "dtype": "<f4"},
            {"shape": (5, 8, 5), "dtype": "<f4"},
            {"shape": (), "dtype": "<f4"},
            {"shape": (0, 40), "dtype": "<f4"},
            {"shape": (5, 0), "dtype": "<f4"},
            {"shape": None, "dtype": "<f4"},
            {"shape": (5,), "dtype": h5py.string_dtype()},
            {"shape": (5,), "dtype": [("a", "<f4")]},
            {"shape": (2**40, 2**20), "dtype": "<f4"},
        ],
    )
    def test_other_layouts_are_refused(self, options: Document, tmp_path: Path) -> None:
        with h5py.File(self.path(tmp_path), "w") as file:
            if options["shape"] is None:
                file.create_dataset("features", data=h5py.Empty("<f4"))
            else:
                file.create_dataset("features", **options)
        self.refused(self.path(tmp_path))

    def test_a_group_or_nothing_under_the_name_is_refused(self, tmp_path: Path) -> None:
        with h5py.File(self.path(tmp_path), "w"):
            pass
        self.refused(self.path(tmp_path))
        with h5py.File(self.path(tmp_path), "w") as file:
            file.create_group("features")
        self.refused(self.path(tmp_path))

    def test_a_dataset_beyond_the_end_is_refused(self, truth: Truth, tmp_path: Path) -> None:
        (shard,) = truth.path.glob("*.h5")
        self.path(tmp_path).write_bytes(shard.read_bytes()[:-4])
        self.refused(self.path(tmp_path))


class TestSideFiles:
    def test_verify_names_those_that_are_damaged(self, store: Path) -> None:
        side = sorted(store.rglob("*.sealed"))
        assert len(side) == 2
        for path in side:
            flip(path, path.stat().st_size // 2)
        assert [str(path) in problem for path, problem in zip(side, FeatureStore(store).verify(), strict=True)] == [
            True
        ] * 2

    def test_verify_sees_that_store_json_was_spelled_otherwise(self, store: Path) -> None:
        document = json.loads((store / "store.json").read_bytes())
        (store / "store.json").write_text(json.dumps(document, indent=2))
        (problem,) = FeatureStore(store).verify()
        assert "store.json: damaged (not the bytes that were written)" in problem

    @pytest.mark.parametrize(
        "table",
        [
            pa.table({"x": [1]}),
            pa.table(
                [pa.array([None] * 2, field.type) for field in layout.JOURNAL_SCHEMA], schema=layout.JOURNAL_SCHEMA
            ),
            pa.table({"path": ["a"], "size": ["b"], "mtime_ns": [0], "audio_sha256": [None]}),
        ],
        ids=["others", "nulls", "types"],
    )
    def test_tables_that_no_run_writes_are_not_believed(self, table: pa.Table, truth: Truth, store: Path) -> None:
        for path in store.rglob("*.sealed"):
            write_sealed(path, table)
        assert content(prepared(truth.root, store.parent.parent).store) == content(truth.path)

    def test_a_journal_that_names_a_file_elsewhere_is_not_believed(self, truth: Truth, store: Path) -> None:
        (path,) = (store / "journal").iterdir()
        table = pyarrow.feather.read_table(pa.BufferReader(path.read_bytes()[32:]))
        (shard,) = store.glob("*.h5")
        shutil.copy(shard, store.parent / "out.h5")
        place = table.column_names.index("file")
        write_sealed(path, table.set_column(place, "file", pa.array(["../out.h5"] * 3)))
        (store / "store.json").unlink()
        report = prepared(truth.root, store.parent.parent)
        assert (report.extracted, report.reused) == (3, 0)
        assert content(store) == content(truth.path)
