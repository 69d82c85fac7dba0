"""Imported embeddings: files by utterance id, their checks, and the stores that hold them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.export import export_store
from emodna.pipeline.features import ImportedSet, rebuild_feature_set
from emodna.pipeline.prepare.embeddings import EmbeddingFile
from emodna.pipeline.prepare.executors import make_process_factory
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import content, flip, make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb

IDS = [Path(name).stem for name in make_emodb_names(6)]
Arrays = dict[str, NDArray[Any]]


def make_arrays(*, frames: bool = True, dim: int = 5) -> Arrays:
    rng = np.random.default_rng(0)
    shapes = [(number + 1, dim) if frames else (dim,) for number in range(len(IDS))]
    return {id: rng.normal(size=shape).astype(np.float32) for id, shape in zip(IDS, shapes, strict=True)}


def write(path: Path, arrays: Arrays, kind: str = "npz") -> Path:
    """Write embeddings in one of the layouts that can be imported."""
    lists: list[Any] = [array.tolist() for array in arrays.values()]
    ids = list(arrays)
    match kind:
        case "npz":
            np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
            return path.with_suffix(".npz")
        case "compressed":
            np.savez_compressed(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
            return path.with_suffix(".npz")
        case "lists":
            table = pa.table({"id": ids, "embedding": lists})
        case "fixed":
            sizes = (
                pa.list_(pa.float32(), len(lists[0]))
                if arrays[ids[0]].ndim == 1
                else pa.list_(pa.list_(pa.float32(), len(lists[0][0])))
            )
            table = pa.table({"id": pa.array(ids).dictionary_encode(), "features": pa.array(lists, sizes)})
        case _:  # the columns of an export
            flat = [array.ravel() for array in arrays.values()]
            dims = [array.shape[-1] for array in arrays.values()]
            table = pa.table({"id": ids, "other": [[1]] * len(ids), "dim": dims, "features": flat})
    pq.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("frames", [True, False])
def test_the_same_content_has_the_same_name_in_any_layout(frames: bool, tmp_path: Path) -> None:
    arrays = make_arrays(frames=frames)
    shuffled = {id: arrays[id] for id in reversed(IDS)}
    names = set()
    for kind in ("npz", "compressed", "lists", "fixed", "exported"):
        file = EmbeddingFile(write(tmp_path / "WavLM large", shuffled if kind == "lists" else arrays, kind))
        names.add(file.features.name)
        assert sorted(file.ids) == sorted(IDS)
        for id in IDS:
            assert file[id].dtype == np.float32
            np.testing.assert_array_equal(file[id], np.atleast_2d(arrays[id]))
    assert len(names) == 1
    assert file.features.title == "imported-wavlm-large"
    assert rebuild_feature_set(file.features.parameters()) == file.features
    changed = arrays | {IDS[0]: arrays[IDS[0]] + 1}
    assert EmbeddingFile(write(tmp_path / "WavLM large", changed)).features.name not in names
    assert EmbeddingFile(write(tmp_path / "wide", {IDS[0]: np.ones(5)})).features == replace(
        EmbeddingFile(write(tmp_path / "wide", {IDS[0]: np.ones(5, np.float16)})).features
    )


def test_an_export_is_read(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", [f"{id}.wav" for id in IDS])
    store = FeatureStore(prepare_corpus(tmp_path / "root", tmp_path / "cache").store)
    export_store(store, "npz", tmp_path / "export.npz", force=False, on_progress=lambda _done: None)
    file = EmbeddingFile(tmp_path / "export.npz")
    assert sorted(file.ids) == sorted(store.ids)
    for row, id in enumerate(store.ids):
        np.testing.assert_array_equal(file[id], store[row])
    with np.load(tmp_path / "export.npz") as arrays:
        cut = {**arrays, "offsets": arrays["offsets"][:-1]}
    check_refusal(write(tmp_path / "cut", cut), "damaged export")


@pytest.mark.parametrize("ids", [np.array(IDS), np.arange(6)])
def test_a_file_with_all_utterances_in_one_array_is_refused(ids: NDArray[Any], tmp_path: Path) -> None:
    stacked = {"ids": ids, "features": np.zeros((6, 4))}
    check_refusal(write(tmp_path / "stacked", stacked), "one array per utterance, named by its id")


BAD: dict[str, Arrays] = {
    "no embeddings": {},
    "shape": {"a": np.zeros((2, 3, 4))},
    r"shape \(0, 4\)": {"a": np.zeros((0, 4))},
    r"shape \(\)": {"a": np.array(3.0)},
    "not finite": {"a": np.array([1, np.nan])},
    "not finite as float32": {"a": np.array([1e300])},
    "real numbers": {"a": np.array([1j])},
    "<U1": {"a": np.array(["x"])},
    "Python objects": {"a": np.array([{}], object)},
    "'a' has 3 values per frame, 'b' has 4": {"a": np.zeros(3), "b": np.zeros((2, 4))},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_file_with_unusable_arrays_is_refused(reason: str, tmp_path: Path) -> None:
    check_refusal(write(tmp_path / "bad", BAD[reason]), reason)


def check_refusal(path: Path, reason: str) -> None:
    with pytest.raises(EmodnaError, match=reason) as caught:
        EmbeddingFile(path)
    assert (caught.value.field, caught.value.value) == ("features_from", path)
    assert "\n" not in str(caught.value)


BAD_TABLES: dict[str, dict[str, Any]] = {
    "'a' occurs twice": {"id": ["a", "a"], "features": [[1.0], [2.0]]},
    "is empty": {"id": ["a", None], "features": [[1.0], [2.0]]},
    "one of its ids is empty": {"id": ["a", ""], "features": [[1.0], [2.0]]},
    "not finite": {"id": ["a"], "features": [[1.0, None]]},
    "different lengths": {"id": ["a"], "features": [[[1.0], [1.0, 2.0]]]},
    "not frames of 3": {"id": ["a"], "dim": [3], "features": [[1.0, 2.0]]},
    "its columns: id, x, y": {"id": ["a"], "x": [[1.0]], "y": [[1.0]]},
    "its columns: features": {"features": [[1.0]]},
    "its columns: id, features": {"id": ["a"], "features": [1.0]},
}


@pytest.mark.parametrize("reason", BAD_TABLES)
def test_an_unusable_table_is_refused(reason: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(BAD_TABLES[reason]), tmp_path / "bad.parquet")
    check_refusal(tmp_path / "bad.parquet", reason)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "emb", make_arrays(), "compressed")
    flip(path, 80)
    check_refusal(path, "CRC|decompress")
    path.write_bytes(path.read_bytes()[:-9])
    check_refusal(path, "not an .npz file")
    for name, reason in (("absent.npz", "not found"), ("emb.csv", "unknown kind")):
        check_refusal(tmp_path / name, reason)
    (tmp_path / "junk.parquet").write_bytes(b"junk" * 9)
    check_refusal(tmp_path / "junk.parquet", "cannot be read")


@pytest.mark.parametrize("kind", ["npz", "lists"])
def test_a_store_holds_the_embeddings_and_the_measures_of_the_audio(kind: str, tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", [f"{id}.wav" for id in IDS])
    arrays = make_arrays()
    file = EmbeddingFile(write(tmp_path / "emb", arrays, kind))
    report = prepare_corpus(tmp_path / "root", tmp_path / "cache", features=file.features, embeddings=file)
    store = FeatureStore(report.store)
    plain = FeatureStore(prepare_corpus(tmp_path / "root", tmp_path / "cache").store)
    assert store.verify() == []
    assert store.snapshot.location == str(file.path)
    for row, id in enumerate(store.ids):
        np.testing.assert_array_equal(store[row], arrays[id])
    same = ["id", "audio_sha256", "duration", "speaker", "emotion", "arousal", "level_db", "bandwidth"]
    assert store.columns(same) == plain.columns(same)
    again = prepare_corpus(tmp_path / "root", tmp_path / "cache", features=file.features, embeddings=file)
    assert (again.extracted, again.reused) == (0, len(IDS))


def test_rows_and_recordings_without_the_other_are_counted(tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", [f"{id}.wav" for id in IDS])
    arrays = make_arrays()
    del arrays[IDS[2]]
    file = EmbeddingFile(write(tmp_path / "emb", {**arrays, "x": arrays[IDS[0]], "y": arrays[IDS[0]]}))
    report = prepare_corpus(tmp_path / "root", tmp_path / "cache", features=file.features, embeddings=file)
    assert (report.utterances, report.rejected) == (len(IDS) - 1, 1)
    assert [path for path, _ in report.rejections] == [f"wav/{IDS[2]}.wav"]
    found = [line for line in report.warnings if "emb.npz" in line]
    assert [line.partition(" ")[0] for line in found] == ["2", "1"]
    assert "the first: x" in found[0]
    assert f"the first: {IDS[2]}" in found[1]
    other = EmbeddingFile(write(tmp_path / "other", {"x": np.ones(3)}))
    with pytest.raises(EmodnaError, match="'x'") as caught:
        prepare_corpus(tmp_path / "root", tmp_path / "cache", features=other.features, embeddings=other)
    assert any(id in str(caught.value.remedy) for id in IDS)


def test_segments_have_embeddings_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(noise(1.0)))
    rows = "path,id,start,end\na.wav,one,0,0.4\na.wav,two,0.5,1\na.wav,three,0.1,0.9\n"
    (tmp_path / "table.csv").write_text(rows)
    file = EmbeddingFile(write(tmp_path / "emb", {"one": np.ones((2, 3)), "two": np.full((1, 3), 2.0)}))
    corpus = Manifest(tmp_path / "table.csv", "own")
    report = prepare_corpus(tmp_path, tmp_path / "cache", corpus, features=file.features, embeddings=file)
    store = FeatureStore(report.store)
    assert dict(zip(store.ids, (each[0, 0] for each in store), strict=True)) == {"one": 1.0, "two": 2.0}
    assert [reason.count("'three'") for _, reason in report.rejections] == [1]


@pytest.mark.slow
def test_processes_and_repairs_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 2)
    write_tiny_emodb(tmp_path / "root", [f"{id}.wav" for id in IDS])
    file = EmbeddingFile(write(tmp_path / "emb", make_arrays()))
    options: dict[str, Any] = {"features": file.features, "embeddings": file}
    one = prepare_corpus(tmp_path / "root", tmp_path / "one", workers=1, **options).store
    many = prepare_corpus(tmp_path / "root", tmp_path / "many", workers=make_process_factory(2), **options).store
    assert content(one) == content(many)
    shard = next(many.glob("*.h5"))
    flip(shard, shard.stat().st_size // 2)
    prepare_corpus(tmp_path / "root", tmp_path / "many", rehash=True, **options)
    assert content(one) == content(many)


def test_new_audio_has_no_imported_features() -> None:
    features = ImportedSet(embeddings="emb", width=3)
    for attempt in (features.check_requirements, lambda: features.extract(noise())):
        with pytest.raises(EmodnaError, match="imported"):
            attempt()
