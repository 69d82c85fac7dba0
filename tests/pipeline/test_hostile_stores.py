"""Manipulated stores give a clear StoreError, and no file outside of them is opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pytest

from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.index import write_checksummed
from emodna.pipeline.store.shards import map_shard
from emodna.pipeline.store.snapshot import compute_checksum, encode_document
from tests.faults.tiny import Truth, make_tiny_store
from tests.pipeline.making import content, flip, prepare_corpus


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_tiny_store(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(truth: Truth, tmp_path: Path) -> Path:
    """Copy the store to where a preparation looks for it."""
    return Path(shutil.copytree(truth.path, tmp_path / "cache" / "emodb" / "mfcc40-22050hz-1d163ad7"))


@pytest.mark.parametrize("kind", ["index", "shard", "rejected"])
@pytest.mark.parametrize("where", ["../{}", "/{}", "sub/{}"])
def test_a_file_outside_the_store_is_never_opened(kind: str, where: str, truth: Truth, store: Path) -> None:
    """Its content and checksum are right. The next preparation rebuilds the store."""
    document = json.loads((store / "store.json").read_bytes())
    (file,) = (each for each in document["files"] if each["name"].startswith(kind))
    for place in (store.parent, store / "sub"):
        place.mkdir(exist_ok=True)
        shutil.copy(store / file["name"], place)
    file["name"] = where.format(file["name"])
    del document["checksum"]
    (store / "store.json").write_bytes(encode_document(document | {"checksum": compute_checksum(document)}))
    with pytest.raises(StoreError, match="not a store file") as caught:
        FeatureStore(store)
    assert repr(file["name"]) in str(caught.value)
    report = prepare_corpus(truth.root, store.parents[1])
    assert any("rebuilt" in each for each in report.warnings)
    assert content(store) == content(truth.path)


class TestShards:
    def check_refusal(self, path: Path) -> None:
        with pytest.raises(StoreError, match=r"x\.h5: damaged"):
            map_shard(path)

    @pytest.mark.parametrize(
        "options",
        [
            {"shape": (5, 40), "dtype": "<f4", "chunks": (5, 40)},
            {"shape": (5, 40), "dtype": "<f4", "compression": "gzip"},
            {"shape": (5, 40), "dtype": "<f4", "external": [("raw", 0, 800)]},
            {"shape": (5, 40), "dtype": ">f4"},
            {"shape": (5, 40), "dtype": "<f8"},
            {"shape": (200,), "dtype": "<f4"},
            {"shape": (0, 40), "dtype": "<f4"},
            {"shape": (5,), "dtype": h5py.string_dtype()},
            {"shape": (2**40, 2**20), "dtype": "<f4"},
        ],
    )
    def test_other_layouts_are_refused(self, options: dict[str, Any], tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("features", **options)
        self.check_refusal(tmp_path / "x.h5")

    def test_a_dataset_beyond_the_end_of_the_file_is_refused(self, truth: Truth, tmp_path: Path) -> None:
        (shard,) = truth.path.glob("*.h5")
        (tmp_path / "x.h5").write_bytes(shard.read_bytes()[:-4])
        self.check_refusal(tmp_path / "x.h5")


class TestSideFiles:
    def test_verify_reports_damaged_side_files(self, store: Path) -> None:
        side = sorted(store.rglob("*.sealed"))
        assert len(side) == 2
        for path in side:
            flip(path, path.stat().st_size // 2)
        assert [problem.where for problem in FeatureStore(store).verify()] == side

    def test_side_files_of_another_version_are_ignored(self, truth: Truth, store: Path) -> None:
        for path in store.rglob("*.sealed"):
            write_checksummed(path, pa.table({"path": ["a"], "size": ["b"], "mtime_ns": [0]}))
        assert content(prepare_corpus(truth.root, store.parents[1]).store) == content(truth.path)
