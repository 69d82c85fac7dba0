"""Read a feature store: its content, and the detection of all damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from emodna.pipeline.audio.decode import decode, resample
from emodna.pipeline.catalogue import find_all_stores, find_store, find_stores, list_stores, resolve_store
from emodna.pipeline.errors import PrepareCorpus, Remedy, StoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.tasks import AROUSAL, VALENCE
from tests.pipeline.making import flip, make_emodb_names, prepare_corpus, write_tiny_emodb

COLUMNS = {
    **dict.fromkeys(("id", "path", "corpus", "speaker", "gender", "language", "text", "intensity"), pa.string()),
    **dict.fromkeys(("emotion_code", "emotion"), pa.string()),
    **dict.fromkeys(("arousal", "valence"), pa.int8()),
    **dict.fromkeys(("sample_rate", "channels"), pa.int32()),
    "duration": pa.float64(),
    "frames": pa.int32(),
    "peak_db": pa.float32(),
    **dict.fromkeys(("peak", "level_db", "clipped", "bandwidth"), pa.float32()),
    "shard": pa.int32(),
    "offset": pa.int64(),
    "audio_sha256": pa.string(),
    "feature_crc": pa.uint32(),
}


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store of twelve utterances in four shards, and two rejected files. Read-only."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_emodb(root, make_emodb_names(12))
    for name in ("03b01Wa.wav", "08b01Wa.wav"):
        (root / "wav" / name).write_bytes(b"no audio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        return prepare_corpus(root, root / "cache").store


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def find_first(store: Path, pattern: str) -> Path:
    return sorted(store.glob(pattern))[0]


class TestContent:
    def test_the_index_has_the_documented_columns(self, emodb_store: Path) -> None:
        schema = FeatureStore(emodb_store).table.schema
        assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS
        assert schema.names == list(COLUMNS)

    def test_features_are_those_of_the_audio(self, ravdess_store: Path, ravdess_root: Path) -> None:
        store = FeatureStore(ravdess_store)
        assert len(store) == 16
        for row, features in enumerate(store):
            columns = store.table.slice(row, 1).to_pylist()[0]
            with (ravdess_root / columns["path"]).open("rb") as stream:
                recording = decode(stream)
            expected, peak = MfccSet().extract(resample(recording.samples, recording.sample_rate, 22_050))
            assert np.array_equal(features, expected)
            assert (columns["sample_rate"], columns["channels"], columns["frames"]) == (48_000, 1, len(expected))
            assert columns["duration"] == recording.duration
            assert columns["peak_db"] == pytest.approx(peak, rel=1e-6)

    def test_features_are_read_only(self, emodb_store: Path) -> None:
        features = FeatureStore(emodb_store)[0]
        with pytest.raises(ValueError, match="read-only"):
            features[0, 0] = 0.0

    def test_gathered_rows_equal_single_rows(self, tiny_store: Path) -> None:
        rows = np.array([7, 0, 11, 7, 3])
        for store in (opened := FeatureStore(tiny_store), opened):  # before and after mapping
            for features, row in zip(store.gather(rows), rows.tolist(), strict=True):
                assert np.array_equal(features, store[row])
                assert not features.flags.writeable
        assert opened.gather(rows[:0]) == []

    def test_rows_are_sorted_by_shard_and_id(self, tiny_store: Path) -> None:
        store = FeatureStore(tiny_store)
        rows = list(zip(store.column("shard"), store.ids, strict=True))
        assert rows == sorted(rows)
        assert len(set(store.column("shard"))) > 1

    def test_labels_follow_table_1(self, emodb_store: Path, ravdess_store: Path) -> None:
        for path in (emodb_store, ravdess_store):
            store = FeatureStore(path)
            emotions = store.column("emotion")
            for task, labels in (("arousal", AROUSAL), ("valence", VALENCE)):
                label_of = {emotion: label for label, listed in enumerate(labels.members) for emotion in listed}
                assert store.labels(task).tolist() == store.column(task) == [label_of[each] for each in emotions]

    def test_rejected_files_have_their_reasons(self, tiny_store: Path) -> None:
        rejected = FeatureStore(tiny_store).read_rejected().to_pylist()
        assert [each["path"] for each in rejected] == ["wav/03b01Wa.wav", "wav/08b01Wa.wav"]
        assert all("not readable as audio" in each["reason"] for each in rejected)

    def test_a_store_is_a_sequence(self, tiny_store: Path) -> None:
        store = FeatureStore(tiny_store)
        assert np.array_equal(store[-1], store[len(store) - 1])
        assert np.array_equal(store[np.int64(3)], store[3])
        assert len(list(store)) == len(store) == 12
        for row in (12, -13):
            with pytest.raises(IndexError, match=f"row {row} is out of range"):
                store[row]

    def test_an_unknown_utterance_is_refused_with_similar_ids(self, emodb_store: Path) -> None:
        with pytest.raises(StoreError, match="no utterance '03a01Zz'") as caught:
            FeatureStore(emodb_store).find_row("03a01Zz")
        assert caught.value.where == "emodb"
        assert "03a01" in str(caught.value.remedy)

    def test_store_json_records_parameters_and_origin(self, emodb_store: Path, emodb_root: Path) -> None:
        document = json.loads((emodb_store / "store.json").read_text())
        assert document["corpus"] == "emodb"
        assert document["root"] == str(emodb_root)
        assert document["parameters"] == ExtractionConfig(MfccSet()).store_parameters
        assert {"numpy", "torch", "librosa", "soundfile", "soxr", "h5py", "pyarrow"} <= set(document["libraries"])
        assert document["citation"].startswith("Burkhardt")
        assert document["licence"]
        assert document["counts"]["utterances"] == len(FeatureStore(emodb_store))
        assert {file["name"] for file in document["files"]} == {
            path.name for path in emodb_store.iterdir() if path.suffix in (".h5", ".parquet")
        }

    def test_a_copy_without_side_files_is_intact(self, store: Path) -> None:
        for name in (".readers", ".lock", "audio-stat.sealed"):
            (store / name).unlink(missing_ok=True)
        (store / "journal").rmdir()
        assert FeatureStore(store).verify() == []

    def test_any_path_can_be_opened(self, tiny_store: Path, tmp_path: Path) -> None:
        """A folder such as lr=0.1 is not a partition of the table."""
        place = tmp_path / "corpus=x [1] %20" / "ünï"
        shutil.copytree(tiny_store, place)
        assert FeatureStore(str(place)).table.column_names == list(COLUMNS)


class TestShards:
    @pytest.fixture
    def shard(self, tiny_store: Path) -> Iterator[h5py.File]:
        with h5py.File(find_first(tiny_store, "*.h5"), "r") as file:
            yield file

    def test_a_shard_contains_the_utterances_without_gaps(self, tiny_store: Path, shard: h5py.File) -> None:
        store = FeatureStore(tiny_store)
        offsets = shard["offsets"][:]
        assert offsets.dtype == np.int64
        assert offsets[0] == 0
        assert offsets[-1] == len(shard["features"])
        ids = shard["ids"].asstr()[:]
        assert list(ids) == sorted(ids)
        for id, start, stop in zip(ids, offsets[:-1], offsets[1:], strict=True):
            assert np.array_equal(shard["features"][start:stop], store[store.find_row(id)])

    def test_attributes_contain_every_parameter(self, shard: h5py.File) -> None:
        attributes = dict(shard.attrs.items())
        parameters = ExtractionConfig(MfccSet()).store_parameters
        expected = {name: "none" if value is None else value for name, value in parameters.items()}
        assert attributes == expected

    def test_features_can_be_mapped_by_other_programs(self, tiny_store: Path) -> None:
        path = max(tiny_store.glob("*.h5"), key=lambda path: path.stat().st_size)  # shards below a page are not aligned
        with h5py.File(path, "r") as file:
            dataset = file["features"]
            assert (dataset.dtype, dataset.chunks, dataset.compression) == (np.dtype("<f4"), None, None)
            offset, features = dataset.id.get_offset(), dataset[:]
        assert offset % 4096 == 0
        assert np.array_equal(np.fromfile(path, "<f4", offset=offset, count=features.size), features.ravel())


class TestMissing:
    def test_a_folder_without_a_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"not a feature store: no store\.json"):
            FeatureStore(tmp_path)

    @pytest.mark.parametrize("pattern", ["index-*", "*.h5", "rejected-*"])
    def test_a_missing_file_is_named_at_its_first_use(self, store: Path, pattern: str) -> None:
        path = find_first(store, pattern)
        path.unlink()
        with pytest.raises(StoreError, match="missing") as caught:
            read_all(store)
        assert caught.value.where == path

    def test_another_format_version_is_refused(self, store: Path) -> None:
        change_json(store, lambda document: document | {"version": 99})
        with pytest.raises(StoreError, match="format version 99; this emodna reads version 1"):
            FeatureStore(store)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '"format"', "{}", '{"format": "else", "version": 1}', "\0"]
    )
    def test_an_invalid_store_json_is_refused(self, store: Path, text: str) -> None:
        (store / "store.json").write_text(text)
        with pytest.raises(StoreError, match=r"store\.json: (damaged|not the store\.json)"):
            FeatureStore(store)


def read_all(store: Path) -> None:
    opened = FeatureStore(store)
    for _ in opened:
        pass
    opened.read_rejected()


def change_json(store: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    path = store / "store.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


class TestDamage:
    def test_damaged_features_are_found_and_others_stay_readable(self, store: Path) -> None:
        opened = FeatureStore(store)
        numbers, offsets = opened.column("shard"), opened.column("offset")
        row = 5
        path = store / opened.snapshot.shards[numbers[row]].name
        with h5py.File(path, "r") as file:
            start = file["features"].id.get_offset() + 4 * 40 * offsets[row]
        length = 4 * 40 * int(opened.frames[row])
        for position in (start, start + length // 2, start + length - 1):
            flip(path, position)
            damaged = FeatureStore(store)
            with pytest.raises(StoreError, match=f"damaged: the features of '{opened.ids[row]}'") as caught:
                damaged[row]
            assert caught.value.where == path
            for other in set(range(len(damaged))) - {row}:
                assert len(damaged[other]) == damaged.frames[other]
            assert any(opened.ids[row] in problem.problem for problem in damaged.verify())
            flip(path, position)

    @pytest.mark.parametrize("pattern", ["*.h5", "index-*", "rejected-*", "store.json"])
    @pytest.mark.parametrize("part", [0.0, 0.99])
    def test_a_truncated_file_is_named(self, store: Path, pattern: str, part: float) -> None:
        path = find_first(store, pattern)
        content = path.read_bytes()
        path.write_bytes(content[: round(part * len(content))])
        with pytest.raises(StoreError, match=path.name):
            read_all(store)

    def test_swapped_shards_are_found(self, store: Path) -> None:
        first, second = sorted(store.glob("*.h5"))[:2]
        first.rename(store / "aside")
        second.rename(first)
        (store / "aside").rename(second)
        with pytest.raises(StoreError, match="shard-"):
            read_all(store)
        assert len(FeatureStore(store).verify()) >= 2


class TestCatalogue:
    def test_stores_are_found_below_a_cache(self, cache: Path, emodb_store: Path, ravdess_store: Path) -> None:
        assert list_stores(cache) == [emodb_store, ravdess_store]
        assert list_stores(cache / "absent") == []

    def test_a_store_is_found_by_corpus_and_feature_set(self, cache: Path, emodb_store: Path) -> None:
        assert find_store(cache, "emodb") == emodb_store
        assert find_store(cache, "emodb", "mfcc40") == emodb_store
        assert find_store(cache, "emodb", emodb_store.name) == emodb_store

    def test_a_missing_feature_set_is_refused_with_the_valid_ones(self, cache: Path, emodb_store: Path) -> None:
        with pytest.raises(StoreError) as caught:
            find_store(cache, "emodb", "logmel")
        assert (caught.value.where, caught.value.valid) == ("emodb", (emodb_store.name,))
        with pytest.raises(StoreError) as caught:
            resolve_store(cache, "emodb/encoder")
        assert caught.value.valid == (f"emodb/{emodb_store.name}",)

    def test_a_misspelt_feature_set_is_refused_with_the_names_of_all(self, cache: Path) -> None:
        for find in (lambda: find_store(cache, "emodb", "egemap"), lambda: find_all_stores(cache, "egemap")):
            with pytest.raises(StoreError, match="did you mean egemaps") as caught:
                find()
            assert {"mfcc40", "encoder", "imported"} <= set(caught.value.valid)
        assert find_all_stores(cache, "encoder-none") == []

    def test_the_beginning_of_a_name_means_the_features_that_all_corpora_have(
        self, tmp_path: Path, emodb_store: Path
    ) -> None:
        names = {"emodb": ("x-a-1", "x-b-1", "y-1"), "ravdess": ("x-b-1", "x-c-1", "y-2"), "savee": ("x-b-1",)}
        for corpus, folders in names.items():
            for name in folders:
                shutil.copytree(emodb_store, tmp_path / corpus / name)
        both = ["ravdess", "emodb"]
        for name in ("x", "x-", "x-b", "x-b-1"):
            assert find_stores(tmp_path, both, name) == [tmp_path / each / "x-b-1" for each in both]
        assert find_store(tmp_path, "savee", "x") == tmp_path / "savee" / "x-b-1"
        assert resolve_store(tmp_path, "savee/x") == tmp_path / "savee" / "x-b-1"
        assert resolve_store(tmp_path, str(tmp_path / "emodb" / "x-a")) == tmp_path / "emodb" / "x-a-1"
        assert find_all_stores(tmp_path, "x-b") == [tmp_path / each / "x-b-1" for each in sorted(names)]
        assert find_all_stores(tmp_path, "mfcc40") == []
        for corpora, name, parts in (
            (["emodb"], "x", ("x-a-1", "x-b-1")),
            (both, "y", ("y-1", "y-2")),
            (both, "x-a", ("ravdess",)),
            (both, "mfcc40", ("ravdess",)),
        ):
            with pytest.raises(StoreError) as caught:
                find_stores(tmp_path, corpora, name)
            assert all(part in str(caught.value) for part in parts)
        with pytest.raises(StoreError, match="x-a-1, x-b-1, x-c-1"):
            find_all_stores(tmp_path, "x")

    @pytest.mark.parametrize("corpus", ["emodb", "calls"])
    def test_a_missing_corpus_is_refused_with_the_action_that_prepares_it(self, tmp_path: Path, corpus: str) -> None:
        with pytest.raises(StoreError) as caught:
            find_store(tmp_path, corpus)
        assert caught.value.where == corpus
        assert caught.value.remedy == Remedy("prepare the corpus", PrepareCorpus(corpus, tmp_path))

    @pytest.mark.parametrize("corpus", ["ravdes", "emodb,ravdess"])
    def test_a_misspelt_corpus_is_refused_with_the_valid_ones_only(self, cache: Path, corpus: str) -> None:
        with pytest.raises(StoreError) as caught:
            find_store(str(cache), corpus)
        assert (caught.value.where, caught.value.valid) == (corpus, ("emodb", "ravdess"))
        assert caught.value.remedy is None

    def test_a_store_is_given_by_path_or_corpus(self, cache: Path, emodb_store: Path) -> None:
        assert resolve_store(cache, "emodb") == emodb_store
        assert resolve_store(Path("elsewhere"), str(emodb_store)) == emodb_store

    def test_a_corpus_with_several_stores_is_refused(self, tmp_path: Path, emodb_store: Path) -> None:
        for name in ("one", "two"):
            shutil.copytree(emodb_store, tmp_path / "emodb" / name)
        with pytest.raises(StoreError, match="several stores") as caught:
            resolve_store(tmp_path, "emodb")
        assert caught.value.valid == tuple(str(tmp_path / "emodb" / name) for name in ("one", "two"))

    def test_an_unknown_store_is_refused_with_the_valid_ones(self, cache: Path, tmp_path: Path) -> None:
        with pytest.raises(StoreError) as caught:
            resolve_store(cache, "savee")
        assert (caught.value.where, caught.value.valid) == ("savee", ("emodb", "ravdess"))
        with pytest.raises(StoreError) as caught:
            resolve_store(tmp_path, "savee")
        assert caught.value.remedy == Remedy("prepare a corpus", PrepareCorpus(cache=tmp_path))
