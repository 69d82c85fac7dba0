"""Tests of emodna-cache diff: output, JSON and exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.making import age, noise, prepare_corpus, wav


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two stores of six recordings, five in both: one with different audio, four with different labels."""
    stores = []
    for side, emotion in (("a", "anger"), ("b", "fear")):
        folder = tmp_path_factory.mktemp(side)
        names = [f"{name}.wav" for name in (*"12345", side)]
        for name in names:
            seed = name + side if name == "5.wav" else name
            (folder / name).write_bytes(wav(noise(seed=seed)))
        (folder / f"bad-{side}.wav").write_bytes(b"")
        age(folder.iterdir())
        lines = ["path,emotion", *(f"{name},{emotion}" for name in names[:4]), "5.wav,", f"{side}.wav,"]
        (folder / "own.csv").write_text("\n".join([*lines, f"bad-{side}.wav,"]))
        stores.append(prepare_corpus(folder, folder / "cache", Manifest(folder / "own.csv", "own")).store)
    return stores[0], stores[1]


def test_equal_stores_exit_0(emodna_cache: Command, cache: Path, emodb_store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(emodb_store, tmp_path / "copy")
    ran = emodna_cache("diff", "emodb", copy, "--cache", cache)
    assert (ran.code, ran.err) == (0, "")
    size = len(FeatureStore(emodb_store))
    assert ran.out.splitlines() == [f"A: {emodb_store}: {size} utterances", f"B: {copy}: {size} utterances", "equal"]
    document = emodna_cache("diff", "emodb", copy, "--cache", cache, "--json").json
    assert document["same"]
    assert document["utterances"] == {"a": size, "b": size, "both": size}
    assert document["only_a"] == document["audio"] == document["features"] == []
    assert document["columns"] == document["origin"] == document["libraries"] == {}


def test_differences_exit_1_and_the_first_are_printed(emodna_cache: Command, tables: tuple[Path, Path]) -> None:
    ran = emodna_cache("diff", *tables)
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert "1 utterance only in A: a.wav" in lines
    assert "1 utterance only in B: b.wav" in lines
    assert "audio of 1 differs: 5.wav" in lines
    expected = "1.wav (anger -> fear), 2.wav (anger -> fear), 3.wav (anger -> fear) and 1 more"
    assert f"emotion of 4 differs: {expected}" in lines
    assert "1 rejected file only in A: bad-a.wav" in lines
    assert lines[-1] == "different"
    assert not any(line.startswith(("arousal", "valence")) for line in lines)  # equal in both


def test_json_lists_all_differences(emodna_cache: Command, tables: tuple[Path, Path]) -> None:
    a, b = tables
    ran = emodna_cache("diff", a, b, "--json")
    document = ran.json
    assert ran.code == 1
    assert list(document) == [
        "a", "b", "same", "fingerprints", "origin", "libraries", "description", "parameters", "utterances", "only_a",
        "only_b", "columns_only_a", "columns_only_b", "audio", "features", "columns", "rejected",
    ]  # fmt: skip
    assert (document["a"], document["b"], document["same"]) == (str(a), str(b), False)
    assert document["fingerprints"] == {"a": FeatureStore(a).fingerprint, "b": FeatureStore(b).fingerprint}
    assert document["utterances"] == {"a": 6, "b": 6, "both": 5}
    assert (document["only_a"], document["only_b"]) == (["a.wav"], ["b.wav"])
    assert document["audio"] == ["5.wav"]
    assert document["columns"]["emotion"] == [{"id": f"{n}.wav", "a": "anger", "b": "fear"} for n in range(1, 5)]
    assert document["rejected"] == {"only_a": ["bad-a.wav"], "only_b": ["bad-b.wav"], "reasons": []}


def test_stores_that_cannot_be_opened_are_an_error(
    emodna_cache: Command, cache: Path, emodb_store: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(emodb_store, tmp_path / "copy"))
    (copy / "store.json").write_text("{}")
    assert "store.json: damaged" in emodna_cache("diff", emodb_store, copy).error()
    assert "savee" in emodna_cache("diff", "emodb", "savee", "--cache", cache).error()
    assert "Missing argument 'B'" in emodna_cache("diff", "emodb").usage()
