"""Tests of exports: the target tools load them back."""

from __future__ import annotations

import datetime
import gc
import json
import re
import shutil
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import ExportError, StoreError
from emodna.pipeline.export import FORMATS, ExportSize, base, export_store
from emodna.pipeline.export.webdataset import make_key
from emodna.pipeline.features import WaveSet
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import age, find_features_offset, flip, noise, prepare_corpus, wav

#: Ids that are not valid file names, or that are markup in some format.
IDS = ("a.b/c d", "../../x", "日本 ü", "[red]|x", '"q" \\ #', "y" * 200 + "1", "y" * 200 + "2", "-1")
LABELS = ("anger", None, "fear", None, "sadness", "boredom", "neutral", "happiness")
#: Columns of a user's table: of many types, some with names that exports use.
OWN: dict[str, pa.Array] = {
    "features": pa.array(list("abcdefgh")),
    "offsets": pa.array(range(8), pa.int64()),
    "missing_emotion": pa.array([0.5, None, float("nan"), 1, 2, 3, 4, float("inf")]),
    "count": pa.array([1, None, 3, 4, 5, 6, 7, 2**63], pa.uint64()),
    "flag": pa.array([True, None, False] + [True] * 5),
    "when": pa.array([datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)] * 7 + [None], pa.timestamp("us", "UTC")),
    "tags": pa.array([["x", None], [], None] + [["y"]] * 5),
    "nothing: [x]": pa.array([None] * 8),
    "empty": pa.array([""] * 7 + [None]),
}


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return a store of eight utterances in two shards with difficult ids and columns; tests must not change it."""
    root = tmp_path_factory.mktemp("own")
    paths = [f"{number}.wav" for number in range(8)]
    for number, path in enumerate(paths):
        (root / path).write_bytes(wav(noise(0.15 + number / 20, seed=path)))
    age(root.iterdir())
    table = pa.table({"path": paths, "id": list(IDS), "emotion": list(LABELS), **OWN})
    pq.write_table(table, root / "own.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        store = FeatureStore(prepare_corpus(root, root / "cache", Manifest(root / "own.parquet", "own")).store)
    assert len(store.snapshot.shards) == 2
    return store


@pytest.fixture(scope="module", params=["own", "emodb"])
def store(request: pytest.FixtureRequest, own_store: FeatureStore, emodb_store: Path) -> FeatureStore:
    return own_store if request.param == "own" else FeatureStore(emodb_store)


@pytest.fixture(params=[False, True], ids=["one-file", "many-files"])
def split(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return True if exports are split into a file per small block."""
    if request.param:
        monkeypatch.setattr(base, "MAX_FILE_BYTES", 1)
        monkeypatch.setattr(base, "MAX_BLOCK_VALUES", 1000)
    return bool(request.param)


def write(store: FeatureStore, name: str, place: Path, *, force: bool = False) -> ExportSize:
    counted: list[int] = []
    exported = export_store(store, name, place, force=force, on_progress=counted.append)
    assert sum(counted) == len(store)
    return exported


def read_rows(store: FeatureStore) -> list[dict[str, Any]]:
    """Return the index rows without positions in the store."""
    return store.table.drop_columns(["shard", "offset"]).to_pylist()


def is_same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)


class TestParquet:
    @pytest.mark.usefixtures("split")
    def test_pyarrow_reads_the_export(self, store: FeatureStore, tmp_path: Path) -> None:
        write(store, "parquet", tmp_path / "x.parquet")
        table = pq.read_table(tmp_path / "x.parquet")
        assert table.schema.field("features").type == pa.list_(pa.float32())
        assert table.column_names[-2:] == ["dim", "features"]
        for row, utterance in enumerate(table.select(["frames", "dim", "features"]).to_pylist()):
            features = np.array(utterance["features"], np.float32).reshape(utterance["frames"], utterance["dim"])
            assert np.array_equal(features, store[row])
        for row, expected in zip(table.drop_columns(["dim", "features"]).to_pylist(), read_rows(store), strict=True):
            assert list(row) == [f"own_{name}" if name == "features" else name for name in expected]
            assert all(is_same(value, other) for value, other in zip(row.values(), expected.values(), strict=True))

    def test_columns_keep_their_types(self, own_store: FeatureStore, tmp_path: Path) -> None:
        write(own_store, "parquet", tmp_path / "x.parquet")
        schema = pq.read_schema(tmp_path / "x.parquet")
        for name in set(own_store.table.column_names) - {"shard", "offset", "features"}:
            assert schema.field(name).type == own_store.table.schema.field(name).type
        about = json.loads(schema.metadata[b"emodna"])
        assert (about["corpus"], about["fingerprint"]) == ("own", own_store.fingerprint)
        assert about["parameters"] == own_store.snapshot.parameters
        assert not {"root", "created"} & about.keys()


class TestNpz:
    def test_numpy_reads_the_export_without_pickle(self, store: FeatureStore, tmp_path: Path) -> None:
        write(store, "npz", tmp_path / "x.npz")
        with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
            offsets = arrays["offsets"]
            assert (arrays["features"].dtype, offsets.dtype) == (np.float32, np.int64)
            for row, features in enumerate(np.split(arrays["features"], offsets[1:-1])):
                assert np.array_equal(features, store[row])
            assert json.loads(str(arrays["about"]))["fingerprint"] == store.fingerprint
            for name in ("id", "path", "emotion", "arousal", "frames", "duration", "feature_crc", "audio_sha256"):
                missing = arrays[f"missing_{name}"] if f"missing_{name}" in arrays else np.zeros(len(store), bool)
                values = [None if gone else value for value, gone in zip(arrays[name].tolist(), missing, strict=True)]
                assert values == store.column(name)
            assert arrays["frames"].dtype == np.int32

    def test_missing_values_and_unusual_types_are_exported(self, own_store: FeatureStore, tmp_path: Path) -> None:
        write(own_store, "npz", tmp_path / "x.npz")
        by_id = np.argsort([IDS.index(id) for id in own_store.ids])
        with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
            found = {
                name: arrays[name][by_id].tolist() for name in arrays if name not in ("features", "offsets", "about")
            }
        assert found["arousal"] == [1, -1, 1, -1, 0, 0, 0, 1]
        assert found["missing_arousal"] == found["missing_emotion"] == [False, True, False, True] + [False] * 4
        assert found["emotion"][:3] == ["anger", "", "fear"]
        assert found["own_features"] == list("abcdefgh")
        assert found["own_offsets"] == list(range(8))
        assert found["count"][:2] + found["count"][-1:] == [1, 0, 2**63]
        assert found["flag"][:3] == [True, False, False]
        assert found["tags"][:3] == ['["x", null]', "[]", ""]
        assert found["when"][0].startswith("2024-05-01 00:00:00")
        assert found["missing_tags"][:3] == [False, False, True]
        assert found["nothing: [x]"] == found["empty"] == [""] * 8
        assert found["missing_nothing: [x]"] == [True] * 8
        assert found["missing_empty"] == [False] * 7 + [True]
        assert found["own_missing_emotion"][0] == 0.5
        assert np.isnan(found["own_missing_emotion"][1:3]).all()
        assert found["missing_own_missing_emotion"][:3] == [False, True, False]


class TestWebDataset:
    def test_webdataset_reads_the_export(self, store: FeatureStore, tmp_path: Path, split: bool) -> None:
        import webdataset

        exported = write(store, "webdataset", tmp_path / "x")
        tars = sorted(map(str, (tmp_path / "x").glob("*.tar")))
        assert exported.files == len(tars) + 1
        assert (len(tars) > 1) == split
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # webdataset does not close its files
            samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
            gc.collect()
        assert [sample["json"]["id"] for sample in samples] == store.ids
        for row, sample in enumerate(samples):
            assert sample["__key__"] == make_key(store.ids[row])
            assert sample["npy"].dtype == np.float32
            assert np.array_equal(sample["npy"], store[row])
            expected = read_rows(store)[row]
            for name in ("speaker", "gender", "emotion", "arousal", "valence", "frames", "duration", "feature_crc"):
                assert sample["json"][name] == expected[name]
        about = json.loads((tmp_path / "x" / "about.json").read_text())
        assert about["fingerprint"] == store.fingerprint

    def test_values_that_json_lacks_become_null(self, own_store: FeatureStore, tmp_path: Path) -> None:
        write(own_store, "webdataset", tmp_path / "x")
        with tarfile.open(tmp_path / "x" / "000000.tar") as tar:
            files = {name: tar.extractfile(name) for name in tar.getnames() if name.endswith(".json")}
            found = {row["id"]: row for row in (json.load(file) for file in files.values() if file)}
        row = found[IDS[2]]
        assert (row["missing_emotion"], row["tags"], row["nothing: [x]"], row["flag"]) == (None, None, None, False)
        assert found[IDS[7]]["missing_emotion"] is None
        assert found[IDS[0]]["tags"] == '["x", null]'

    @given(st.lists(st.text(min_size=1), unique=True))
    def test_keys_are_unique(self, ids: list[str]) -> None:
        keys = [make_key(id) for id in ids]
        assert len(set(keys)) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9_%~-]{1,120}", key) for key in keys)


class TestHuggingFace:
    def test_datasets_reads_the_export(
        self, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        import datasets

        exported = write(store, "hf", tmp_path / "x")
        files = list((tmp_path / "x" / "data").iterdir())
        assert exported.files == len(files) + 1
        assert (len(files) > 1) == split
        datasets.disable_progress_bars()
        found = datasets.load_dataset(str(tmp_path / "x"), split="train", cache_dir=str(tmp_path / "cache"))
        assert found.features["features"] == datasets.Array2D(shape=(None, 40), dtype="float32")
        assert found.features["arousal"].dtype == "int8"
        assert found.features["duration"].dtype == "float64"
        for row, utterance in enumerate(found.with_format("numpy", columns=["features"])):
            assert utterance["features"].dtype == np.float32
            assert np.array_equal(utterance["features"], store[row])
        for name in ("id", "path", "speaker", "gender", "emotion", "arousal", "frames", "feature_crc"):
            assert list(found[name]) == store.column(name)
        if store.snapshot.corpus == "own":
            place = store.ids.index(IDS[0])
            assert (found["own_features"][place], found["tags"][place]) == ("a", '["x", null]')
            assert list(found["nothing: [x]"]) == [None] * 8

    def test_the_card_contains_licence_citation_and_counts(self, emodb_store: Path, tmp_path: Path) -> None:
        store = FeatureStore(emodb_store)
        write(store, "hf", tmp_path / "x")
        card = (tmp_path / "x" / "README.md").read_text(encoding="utf-8")
        assert store.snapshot.licence in card
        assert store.snapshot.citation in card
        assert f"{len(store)} utterances" in card
        assert f"| {store.column('gender').count('f')} |" in card
        assert store.fingerprint in card
        assert store.snapshot.root not in card

    @pytest.mark.parametrize(
        ("licence", "expected"),
        [("CC BY-NC-SA 4.0", "license: cc-by-nc-sa-4.0"), ("ask: #1", 'license: other\nlicense_name: "ask: #1"')],
    )
    def test_the_card_uses_licence_names_of_the_hub(
        self, own_store: FeatureStore, tmp_path: Path, licence: str, expected: str
    ) -> None:
        store = FeatureStore(own_store.path)
        object.__setattr__(store.snapshot, "licence", licence)
        write(store, "hf", tmp_path / "x")
        assert f"\n{expected}\n" in (tmp_path / "x" / "README.md").read_text(encoding="utf-8")


class TestEveryFormat:
    @pytest.fixture(params=FORMATS)
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_exports_are_deterministic(self, own_store: FeatureStore, tmp_path: Path, name: str) -> None:
        contents = []
        for place in (tmp_path / "a", tmp_path / "b"):
            exported = write(FeatureStore(own_store.path), name, place)
            files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
            contents.append([(path.relative_to(place), path.read_bytes()) for path in files])
            assert exported == ExportSize(len(files), sum(path.stat().st_size for path in files))
        assert contents[0] == contents[1]

    def test_other_feature_sets_are_exported(self, own_store: FeatureStore, tmp_path: Path, name: str) -> None:
        root = own_store.path.parents[2]
        store = prepare_corpus(root, root / "cache", Manifest(root / "own.parquet", "own"), features=WaveSet()).store
        assert write(FeatureStore(store), name, tmp_path / "x").bytes > 0

    def test_an_existing_export_is_only_replaced_with_force(
        self, own_store: FeatureStore, tmp_path: Path, name: str
    ) -> None:
        place = tmp_path / "x"
        write(own_store, name, place)
        before = sorted((path, path.stat().st_ino) for path in [place, *place.rglob("*")])
        with pytest.raises(ExportError, match=str(place)):
            write(own_store, name, place)
        assert sorted((path, path.stat().st_ino) for path in [place, *place.rglob("*")]) == before
        write(own_store, name, place, force=True)
        assert sorted(path for path in [place, *place.rglob("*")]) == [path for path, _ in before]
        assert list(tmp_path.iterdir()) == [place]

    def test_a_failed_export_leaves_no_files(self, own_store: FeatureStore, tmp_path: Path, name: str) -> None:
        store = Path(shutil.copytree(own_store.path, tmp_path / "store"))
        shard = FeatureStore(store).snapshot.shards[1].name
        flip(store / shard, find_features_offset(store / shard) + 4001)
        (tmp_path / "out").mkdir()
        place = tmp_path / "out" / "x"
        with pytest.raises(StoreError, match=shard):
            write(FeatureStore(store), name, place)
        assert list((tmp_path / "out").iterdir()) == []
        write(own_store, name, place)
        before = [path.stat().st_ino for path in [place, *place.rglob("*")]]
        with pytest.raises(StoreError, match=shard):
            write(FeatureStore(store), name, place, force=True)
        assert [path.stat().st_ino for path in [place, *place.rglob("*")]] == before
        assert list((tmp_path / "out").iterdir()) == [place]


class TestDestination:
    def test_a_folder_with_other_files_is_never_replaced(self, own_store: FeatureStore, tmp_path: Path) -> None:
        for name in ("webdataset", "hf"):
            place = tmp_path / name
            write(own_store, name, place)
            (place / "mine").mkdir()
            (place / "mine" / "thesis.txt").write_text("years")
            for force in (False, True):
                with pytest.raises(ExportError, match="mine/thesis"):
                    write(own_store, name, place, force=force)
            assert (place / "mine" / "thesis.txt").read_text() == "years"

    @pytest.mark.parametrize(("name", "mine"), [("hf", "README.md"), ("webdataset", "000000.tar")])
    def test_files_named_like_an_export_are_never_replaced(
        self, own_store: FeatureStore, tmp_path: Path, name: str, mine: str
    ) -> None:
        (tmp_path / mine).write_text("mine")
        for force in (False, True):
            with pytest.raises(ExportError, match=mine):
                write(own_store, name, tmp_path, force=force)
        assert (tmp_path / mine).read_text() == "mine"

    @pytest.mark.parametrize("force", [False, True])
    def test_a_file_never_replaces_a_folder_or_a_folder_a_file(
        self, own_store: FeatureStore, tmp_path: Path, force: bool
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ExportError, match="folder"):
            write(own_store, "npz", tmp_path / "folder", force=force)
        with pytest.raises(ExportError, match="file"):
            write(own_store, "hf", tmp_path / "file", force=force)
        assert (tmp_path / "file").read_text() == "mine"
