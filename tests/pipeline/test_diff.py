"""Tests of the comparison of two stores."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.inspect.diff import compare_stores, compare_tables
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.shards import compute_feature_crc, write_shard, write_table
from emodna.pipeline.store.snapshot import compute_checksum
from tests.pipeline.making import age, make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb

NAMES = make_emodb_names(8)


def compare(a: Path, b: Path) -> dict[str, Any]:
    return compare_stores(FeatureStore(a), FeatureStore(b), lambda _total: lambda _more: None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of eight utterances, which tests must not change."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_emodb(root, NAMES)
    return prepare_corpus(root, root / "cache").store


def copy_with_features(store: Path, copy: Path, change: Callable[[Any], Any]) -> Path:
    """Return a copy of a store whose first utterance has different features."""
    shutil.copytree(store, copy)
    opened = FeatureStore(copy)
    features = [features.copy() for features in opened]
    features[0] = change(features[0])
    shard = write_shard(copy, 0, opened.snapshot.parameters, opened.ids, features)
    table, crcs = opened.table, [compute_feature_crc(each) for each in features]
    for name, values in {
        "feature_crc": crcs,
        "frames": [len(each) for each in features],
        "offset": [sum(map(len, features[:row])) for row in range(len(features))],
    }.items():
        number = table.column_names.index(name)
        table = table.set_column(number, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    index = write_table(copy, "index", table)
    content = json.loads((copy / layout.STORE_JSON).read_text())
    del content["checksum"]
    content["files"] = [{"name": f.name, "size": f.size, "sha256": f.sha256, "shard": f.shard} for f in (shard, index)]
    content["libraries"]["torch"] = "1.0"
    content["checksum"] = compute_checksum(content)
    (copy / layout.STORE_JSON).write_text(json.dumps(content))
    return copy


def make_store(folder: Path, text: str, names: tuple[str, ...] = ("a", "b", "c", "d")) -> Path:
    folder.mkdir()
    for name in names:
        (folder / f"{name}.wav").write_bytes(wav(noise(seed=name)))
    age(folder.iterdir())
    (folder / "own.csv").write_text(text)
    return prepare_corpus(folder, folder / "cache", Manifest(folder / "own.csv", "own")).store


class TestSame:
    def test_a_store_equals_itself_and_its_copy(self, tiny: Path, tmp_path: Path) -> None:
        for other in (tiny, Path(shutil.copytree(tiny, tmp_path / "copy"))):
            difference = compare(tiny, other)
            assert difference["same"]
            assert not difference["origin"]
            assert difference["utterances"]["both"] == 8

    def test_root_shards_and_order_are_ignored(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 2)
        write_tiny_emodb(tmp_path, NAMES)
        other = prepare_corpus(tmp_path, tmp_path / "cache").store
        assert FeatureStore(other).ids != FeatureStore(tiny).ids
        difference = compare(tiny, other)
        assert difference["same"]
        assert difference["origin"]["root"] == {"a": str(tiny.parents[2]), "b": str(tmp_path)}


class TestUtterances:
    def test_utterances_of_only_one_store_are_listed(self, tiny: Path, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path, NAMES[2:] + make_emodb_names(10)[8:])
        difference = compare(tiny, prepare_corpus(tmp_path, tmp_path / "cache").store)
        assert difference["only_a"] == sorted(Path(name).stem for name in NAMES[:2])
        assert difference["only_b"] == sorted(Path(name).stem for name in make_emodb_names(10)[8:])
        assert difference["utterances"]["both"] == 6
        assert not difference["columns"]
        assert not difference["same"]

    def test_different_audio_is_listed_once(self, tiny: Path, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path, NAMES)
        write_tiny_emodb(tmp_path, NAMES[3:5], variant="other")
        difference = compare(tiny, prepare_corpus(tmp_path, tmp_path / "cache").store)
        assert difference["audio"] == sorted(Path(name).stem for name in NAMES[3:5])
        assert difference["features"] == []
        assert set(difference["columns"]) == {"peak_db", "peak", "level_db"}
        assert not difference["same"]


class TestColumns:
    def test_labels_and_own_columns_are_compared(self, tmp_path: Path) -> None:
        one = make_store(
            tmp_path / "a", "path,emotion,room,x\na.wav,anger,1,u\nb.wav,,2,u\nc.wav,fear,,u\nd.wav,fear,4,u\n"
        )
        other = make_store(
            tmp_path / "b", "path,emotion,room,y\na.wav,fear,1,u\nb.wav,fear,2,u\nc.wav,,,u\nd.wav,fear,5,u\n"
        )
        table = compare(one, other)
        assert table["columns"]["emotion"] == [
            {"id": "a.wav", "a": "anger", "b": "fear"},
            {"id": "b.wav", "a": None, "b": "fear"},
            {"id": "c.wav", "a": "fear", "b": None},
        ]
        assert table["columns"]["arousal"][0] == {"id": "b.wav", "a": None, "b": 1}
        assert table["columns"]["room"] == [{"id": "d.wav", "a": "4", "b": "5"}]
        assert (table["columns_only_a"], table["columns_only_b"]) == (["x"], ["y"])

    @pytest.mark.parametrize(
        ("one", "other", "differing"),
        [
            ([1.0, math.nan, None, math.nan, 2.0], [1.0, math.nan, None, None, 3.0], ["3", "4"]),
            ([[1], [2], None, [], [1]], [[1], [3], None, None, [1]], ["1", "3"]),
            ([{"x": 1}, {"x": 2}, None, None, None], [{"x": 1}, {"x": 1}, None, None, {"x": None}], ["1", "4"]),
            (["1", "2", None, "4", "5"], [1, 2, None, 4, 5], ["0", "1", "3", "4"]),
            ([None] * 5, ["1", None, "", None, None], ["0", "2"]),
        ],
    )
    def test_columns_of_any_type_are_compared(self, one: list[Any], other: list[Any], differing: list[str]) -> None:
        a, b = (pa.table({"id": list("01234"), "x": values}) for values in (one, other))
        assert [row["id"] for row in compare_tables(a, b, "id")["columns"].get("x", ())] == differing

    @settings(max_examples=30)
    @given(*[st.dictionaries(st.text(max_size=2), st.one_of(st.none(), st.integers(0, 2)), max_size=8)] * 2)
    def test_the_comparison_equals_a_naive_loop(self, a: dict[str, int | None], b: dict[str, int | None]) -> None:
        tables = [
            pa.table({"id": pa.array(list(x), pa.string()), "x": pa.array(list(x.values()), pa.int8())}) for x in (a, b)
        ]
        found = compare_tables(*tables, "id")
        assert found["only_a"] == sorted(a.keys() - b.keys())
        assert found["only_b"] == sorted(b.keys() - a.keys())
        expected = [{"id": id, "a": a[id], "b": b[id]} for id in sorted(a.keys() & b.keys()) if a[id] != b[id]]
        assert found["columns"].get("x", []) == expected


class TestFeatures:
    def test_the_largest_difference_of_features_is_found(self, tiny: Path, tmp_path: Path) -> None:
        def nudge(features: Any) -> Any:
            features[2, 5] += 0.25
            return features

        other = copy_with_features(tiny, tmp_path / "other", nudge)
        difference = compare(tiny, other)
        first = FeatureStore(tiny)
        (found,) = difference["features"]
        assert (found["id"], found["frames"]) == (first.ids[0], [len(first[0])] * 2)
        assert found["largest"] == pytest.approx(0.25, rel=1e-4)
        assert difference["libraries"]["torch"]["b"] == "1.0"
        assert not difference["same"]

    def test_different_numbers_of_frames_have_no_difference(self, tiny: Path, tmp_path: Path) -> None:
        other = copy_with_features(tiny, tmp_path / "other", lambda features: features[:-1])
        (found,) = compare(tiny, other)["features"]
        frames = len(FeatureStore(tiny)[0])
        assert found == {"id": FeatureStore(tiny).ids[0], "frames": [frames, frames - 1], "largest": None}


def test_features_of_different_parameters_are_not_compared(tiny: Path) -> None:
    root = tiny.parents[2]
    other = prepare_corpus(root, root / "cache", features=MfccSet(top_db=60.0)).store
    difference = compare(tiny, other)
    assert difference["parameters"] == {"top_db": {"a": 80.0, "b": 60.0}}
    assert difference["description"]["feature_set"] == {"a": tiny.name, "b": other.name}
    assert difference["features"] == []
    assert not difference["same"]


def test_a_missing_shard_is_an_error(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    (shard,) = copy.glob("shard-*.h5")
    shard.unlink()
    for a, b in ((tiny, copy), (copy, tiny)):
        with pytest.raises(StoreError) as error:
            compare(a, b)
        assert error.value.where == shard
