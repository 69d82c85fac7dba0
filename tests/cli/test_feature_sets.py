"""Test every feature set with every command: prepare, show, fit and predict."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from emodna.cli import fit as fit_command
from emodna.cli import predict as predict_command
from emodna.pipeline import features
from emodna.pipeline.catalogue import find_store
from emodna.pipeline.corpora import load_corpus
from emodna.pipeline.features import FEATURE_SETS, make_feature_set
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.model.small import assert_one_line_error, run_command
from tests.pipeline.making import EXTRACTABLE, prepare_corpus

#: Frames of half a second: about as long as the utterances, so that some are cropped and some padded. None: the network
#: reads whole utterances by default.
FRAMES = {"mfcc40": 22, "mfcc39": 22, "logmel": 22, "wave16k": 8000, "egemaps": None}
OTHERS = [name for name in EXTRACTABLE if name != "mfcc40"]
NAMES = ["mfcc40", pytest.param("mfcc39", marks=pytest.mark.slow), "logmel", "wave16k"]
NAMES += ["egemaps"] if "egemaps" in EXTRACTABLE else []
ID = "08b03Wa"


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory, emodb_root: Path, ravdess_root: Path, cache: Path) -> Path:
    """Return a cache of two small corpora in all feature sets; those of the default one are links."""
    folder = tmp_path_factory.mktemp("caches")
    for name in OTHERS:
        prepare_corpus(ravdess_root, folder, load_corpus("ravdess"), features=make_feature_set(name))
        prepare_corpus(emodb_root, folder, load_corpus("emodb"), features=make_feature_set(name))
    for each in cache.glob("*/*"):
        (folder / each.parent.name / each.name).symlink_to(each)
    return folder


def test_every_feature_set_is_tested() -> None:
    assert set(FRAMES) == set(FEATURE_SETS)


@pytest.mark.parametrize("name", NAMES)
class TestFromPrepToPredict:
    def test_a_store_is_found_by_the_name_of_its_feature_set(
        self, name: str, emodna_prep: Command, emodb_root: Path, here: Path
    ) -> None:
        ran = emodna_prep("--corpus", "emodb", "--root", emodb_root, "--feature-set", name, "--json")
        assert ran.code == 0
        assert ("commercial use needs a licence" in ran.err) == (name == "egemaps")
        (report,) = ran.json
        place = find_store(here / "cache", "emodb", name)
        assert report["store"] == str(place)
        store = FeatureStore(place)
        assert place.name == store.snapshot.feature_set == FEATURE_SETS[name].name
        assert store.snapshot.feature_parameters == FEATURE_SETS[name].parameters()
        assert store.dim == FEATURE_SETS[name].dim
        assert store.verify() == []
        rate = FEATURE_SETS[name].sample_rate / FEATURE_SETS[name].hop_length
        # The analysis windows of eGeMAPS, of 60 ms, do not go beyond the ends.
        atol = 0.06 if name == "egemaps" else 1.01 / rate
        np.testing.assert_allclose(store.frames / rate, store.column("duration"), atol=atol)

    def test_fit_and_predict(self, name: str, caches: Path, emodb_root: Path, tmp_path: Path) -> None:
        options = ["--src", "ravdess", "--tgt", "emodb", "--cache", caches, "--feature-set", name, "--json"]
        options += ["--steps", 2, "--threads", 1, "--out", tmp_path / "run", "-q"]
        frames = FRAMES[name]
        for setting in ([] if frames is None else [f"frames={frames}"]) + ["batch_size=4", "channels=4"]:
            options += ["--set", setting]
        fitted = run_command(fit_command.main, *options)
        assert fitted.code == 0, fitted.err
        assert 0 <= json.loads(fitted.out)["uar"] <= 100
        predicted = run_command(predict_command.main, tmp_path / "run", emodb_root / "wav" / f"{ID}.wav", "--json")
        assert predicted.code == 0, predicted.err
        (prediction,) = json.loads(predicted.out)
        rate = FEATURE_SETS[name].sample_rate / FEATURE_SETS[name].hop_length
        window = math.inf if frames is None else frames / rate
        assert 0 < prediction["probability"] < 1
        store = FeatureStore(find_store(caches, "emodb", name))
        duration = store.column("duration")[store.find_row(ID)]
        assert prediction["end"] - prediction["start"] == pytest.approx(min(window, duration), abs=0.03)

    def test_an_utterance_is_shown(self, name: str, caches: Path, emodna_cache: Command, here: Path) -> None:
        store = find_store(caches, "emodb", name)
        ran = emodna_cache("show", store, ID, "--png", "image.png")
        assert (ran.code, ran.err) == (0, "wrote image.png\n")
        n_fields = len(FeatureStore(store).table.column_names)
        image = ran.out.splitlines()[n_fields:]
        assert len(image) == (13 if name == "egemaps" else 20)  # two values per line
        assert len(set("".join(image))) > 1
        assert (here / "image.png").read_bytes().endswith(b"IEND\xaeB`\x82")


def test_help_names_all_feature_sets(emodna_prep: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (emodna_prep("--help").out, run_command(fit_command.main, "--help").out):
        for name in FEATURE_SETS:
            assert name in text.split("--feature-set")[1].split("--channel")[0].split("--out")[0]
    monkeypatch.setattr(features, "FEATURE_SETS", {**FEATURE_SETS, "whisper": FEATURE_SETS["logmel"]})
    assert "whisper" in emodna_prep("--help").out


@pytest.mark.parametrize("name", ["mfcc40", "wave16k"])
def test_a_fixed_length_makes_all_utterances_equally_long(name: str, emodna_prep: Command, emodb_root: Path) -> None:
    options = ("--corpus", "emodb", "--root", emodb_root, "--feature-set", name)
    (report,) = emodna_prep(*options, "--fixed-samples", 12_000, "--json").json
    assert Path(report["store"]).name == make_feature_set(name, fixed_samples=12_000).name
    hop = FEATURE_SETS[name].hop_length
    assert set(FeatureStore(report["store"]).frames.tolist()) == {12_000 if hop == 1 else 1 + 12_000 // hop}


def test_the_default_window_is_too_short_for_a_waveform(caches: Path, tmp_path: Path) -> None:
    options = ["--src", "ravdess", "--tgt", "emodb", "--cache", caches, "--feature-set", "wave16k"]
    assert_one_line_error(
        run_command(fit_command.main, *options, "--out", tmp_path / "run"),
        "--set frames=188: ",
        FEATURE_SETS["wave16k"].name,
        "70000 frames are 4.4 s",
    )
    assert not (tmp_path / "run").exists()


def test_show_chooses_the_default_feature_set(caches: Path, emodna_cache: Command) -> None:
    shown = emodna_cache("show", "emodb", "--cache", caches, "--json").json
    assert shown["feature_set"] == "mfcc40-22050hz-1d163ad7"
    other = next(path.name for path in (caches / "emodb").iterdir() if path.name.startswith("logmel"))
    assert emodna_cache("show", f"emodb/{other}", "--cache", caches, "--json").json["feature_set"] == other
