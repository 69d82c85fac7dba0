"""Commands for stores whose features have no spectrum: imported frames, and one vector per utterance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emodna.cli import export as export_command
from emodna.cli import fit as fit_command
from emodna.cli import predict as predict_command
from emodna.cli.cache import command as cache_command
from emodna.cli.charts import draw_features
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.features import EncoderSet, ImportedSet
from emodna.pipeline.prepare.embeddings import EmbeddingFile
from emodna.pipeline.store import FeatureStore
from tests.model.small import assert_one_line_error, run_command
from tests.pipeline.making import prepare_corpus

ID, DIM = "08b03Wa", 50


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, ravdess_root: Path, emodb_root: Path, cache: Path) -> Path:
    """A cache of both corpora with imported frames and vectors; one utterance of EMODB is far from the others."""
    folder = tmp_path_factory.mktemp("imported")
    ids = [id for each in cache.glob("*/*") for id in FeatureStore(each).ids]
    rng = np.random.default_rng(0)
    frames = {id: rng.normal(size=(9, DIM)) * np.linspace(0.1, 100, DIM) for id in ids}
    frames[ID] = frames[ID] + 300
    vectors = {id: each.mean(axis=0) for id, each in frames.items()}
    for name, arrays in (("frames", frames), ("vectors", vectors)):
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        file = EmbeddingFile(folder / f"{name}.npz")
        for corpus, root in (("ravdess", ravdess_root), ("emodb", emodb_root)):
            prepare_corpus(root, folder, load_corpus(corpus), features=file.features, embeddings=file)
    return folder


@pytest.mark.parametrize("kind", ["frames", pytest.param("vectors", marks=pytest.mark.slow)])
def test_stores_are_inspected_and_drawn(
    kind: str, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, options = f"emodb/imported-{kind}", ("--cache", imported)

    def run(*words: object) -> str:
        ran = run_command(cache_command.main, *words, *options)
        assert ran.code == 0, ran.err
        return ran.out

    document = json.loads(run("stats", store, "--json"))
    assert (document["flat"], document["silent_share"], document["duplicates"]["altered"]) == (None, None, None)
    assert {each["id"]: each["figure"] for each in document["outliers"]} == {ID: "distance"}
    assert len(document["features"]["mean"]) == DIM
    printed = run("stats", store)
    assert "mfcc40" in printed
    assert "longer than" not in printed  # the network reads no windows
    assert "longer than 2 s" in run("stats", store, "--window", 2)
    assert "exposure unknown" in run("show", store)
    assert len(run("show", store, ID).splitlines()) > 20
    run("plot", store, ID, "--out", "utterance.png")
    drawn = json.loads(run("plot", store, "--against", f"ravdess/imported-{kind}", "--out", "shift.svg", "--json"))
    assert len(drawn["mean_difference"]) == DIM
    assert "mathdefault" not in Path("shift.svg").read_text()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".svg"]


def test_imported_features_train_but_do_not_predict(imported: Path, emodb_root: Path, tmp_path: Path) -> None:
    options = ["--src", "ravdess", "--tgt", "emodb", "--cache", imported, "--method", "source-only", "--steps", 2]
    assert_one_line_error(run_command(fit_command.main, *options, "--feature-set", "imported"), "vectors")
    run = tmp_path / "run"
    fitted = run_command(
        fit_command.main, *options, "--feature-set", "imported-frames", "--threads", 1, "--out", run, "--json"
    )
    assert fitted.code == 0, fitted.err
    refused = run_command(predict_command.main, run, next(emodb_root.rglob("*.wav")), "--out", tmp_path / "p.csv")
    assert_one_line_error(refused, "imported")
    assert not (tmp_path / "p.csv").exists()
    assert_one_line_error(run_command(export_command.main, run, "--to", "onnx"), "imported")
    paper = [*options, "--feature-set", "imported-frames", "--set", "network=paper", "--out", tmp_path / "paper"]
    assert_one_line_error(run_command(fit_command.main, *paper), "--set frames")


@pytest.mark.parametrize("features", [ImportedSet(width=96), EncoderSet(width=48, layers="1,2")], ids=lambda e: e.kind)
@pytest.mark.parametrize("frames", [1, 2, 300])
def test_wide_features_fit_into_a_terminal(features: ImportedSet, frames: int) -> None:
    rng = np.random.default_rng(0)
    drawn = draw_features(rng.normal(size=(frames, 96)).astype(np.float32), features, 80, coloured=False).plain
    lines = drawn.splitlines()
    assert len(lines) == 20
    assert max(map(len, lines)) <= 79
    assert len(set("".join(lines))) > 1
