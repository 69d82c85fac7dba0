"""Tests of emodna-cache plot: files, drawn numbers and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.emotions import EMOTIONS
from emodna.pipeline.features import LogMelSet
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command
from tests.pipeline.making import noise, prepare_corpus, wav

SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of figures that would be saved; saving takes time."""
    figures: list[Any] = []
    monkeypatch.setattr("emodna.cli.store_figures.save_figure", lambda figure, *_: figures.append(figure))
    return figures


def test_the_suffix_sets_the_format_and_an_existing_file_is_overwritten(
    emodna_cache: Command, cache: Path, here: Path
) -> None:
    for suffix, signature in SIGNATURES.items():
        (here / f"a.{suffix}").write_text("old")
        ran = emodna_cache("plot", "emodb", "08b03Wa", "--cache", cache, "--out", f"a.{suffix}")
        assert (ran.code, ran.out, ran.err) == (0, f"wrote a.{suffix}\n", "")
        assert (here / f"a.{suffix}").read_bytes().startswith(signature)


def test_an_utterance_is_drawn(emodna_cache: Command, cache: Path, here: Path, saved_figures: list[Any]) -> None:
    document = emodna_cache("plot", "emodb", "08b03Wa", "--cache", cache, "--json").json
    assert tuple(document) == ("file", "store", "utterance", "seconds_per_frame", "value", "unit", "features")
    assert document["file"] == str(here / "emodb-08b03Wa-mfcc40.png")
    store = FeatureStore(document["store"])
    features = store[store.find_row("08b03Wa")]
    assert document["utterance"]["emotion"] == "anger"
    np.testing.assert_allclose(document["features"], features, rtol=1e-6)
    upper, lower, _ = saved_figures[-1].axes
    assert np.array_equal(lower.images[0].get_array(), features[:, 1:].T)
    assert upper.get_title().splitlines()[0] == "emodb 08b03Wa"
    assert upper.get_title().splitlines()[1].startswith("anger, speaker 08, f, ")
    assert (lower.get_xlabel(), lower.get_ylabel()) == ("time (s)", "coefficient")


def test_the_distributions_of_a_store_are_drawn(
    emodna_cache: Command, cache: Path, here: Path, saved_figures: list[Any]
) -> None:
    document = emodna_cache("plot", "emodb", "--cache", cache, "--json").json
    assert tuple(document) == ("file", "store", "labels", "emotions", "speakers", "durations", "peak_db", "features")
    assert document["file"] == str(here / "emodb-mfcc40.png")
    store = FeatureStore(document["store"])
    assert sum(document["durations"]["counts"][0]) == len(store)
    assert sum(document["emotions"].values()) == len(store)
    titles = [axes.get_title() for axes in saved_figures[-1].axes[:6]]
    assert titles == ["labels", "emotions", "speakers", "durations", "peaks", "features: mean and standard deviation"]
    assert all(axes.get_ylabel() for axes in saved_figures[-1].axes)


def test_two_stores_are_drawn_side_by_side(
    emodna_cache: Command, cache: Path, here: Path, saved_figures: list[Any]
) -> None:
    arguments = ("emodb", "--against", "ravdess", "--task", "valence", "--cache", cache)
    document = emodna_cache("plot", *arguments, "--json").json
    assert tuple(document) == (
        "file", "store", "against", "task", "classes", "corpora", "features", "mean_difference", "labels", "durations",
        "plane",
    )  # fmt: skip
    assert document["file"] == str(here / "emodb-ravdess-valence-mfcc40.png")
    one, other = document["features"]
    pooled = np.sqrt((np.square(one["std"]) + np.square(other["std"])) / 2)
    expected = (np.array(other["mean"]) - one["mean"]) / pooled
    np.testing.assert_allclose(document["mean_difference"], expected, rtol=1e-9)
    for points, path in zip(document["plane"]["utterances"], (document["store"], document["against"]), strict=True):
        assert points["ids"] == FeatureStore(path).ids
        assert len(points["x"]) == len(points["y"]) == len(points["ids"])
    assert [sum(counts) for counts in document["durations"]["counts"]] == pytest.approx([1, 1])
    assert len(saved_figures[-1].axes) == 6


def test_classes_of_emotions_are_those_of_both_stores(
    emodna_cache: Command, cache: Path, saved_figures: list[Any]
) -> None:
    arguments = ("emodb", "--against", "ravdess", "--cache", cache, "--json")
    assert emodna_cache("plot", *arguments, "--task", "emotion").json["classes"] == sorted(EMOTIONS)
    document = emodna_cache("plot", *arguments, "--classes", "calm,boredom").json
    assert (document["task"], document["classes"]) == ("emotion", ["boredom", "calm"])
    marked = {text.get_text() for text in saved_figures[-1].axes[-1].get_legend().get_texts()}
    assert marked == {"emodb, boredom", "emodb, no class", "ravdess, calm", "ravdess, no class"}


def test_unusual_names_are_drawn_as_text(emodna_cache: Command, tmp_path: Path, here: Path) -> None:
    """Names may look like formulas or paths, lack glyphs, or be too long for a file."""
    ids = ["x$_$y 日本語", "../up\n[red]%s", "." * 50 + "x" * 300]
    lines = []
    for number, id in enumerate(ids):
        (tmp_path / f"{number}.wav").write_bytes(wav(noise(seed=number)))
        lines.append(f'{number}.wav,"{id}","{id}",anger\n')
    (tmp_path / "own.csv").write_text("path,id,speaker,emotion\n" + "".join(lines))
    prepare_corpus(tmp_path, here / "cache", Manifest(tmp_path / "own.csv", "own"))
    for id in ids:
        ran = emodna_cache("plot", "own", id)
        assert (ran.code, ran.err) == (0, "")
        assert (here / ran.out.removeprefix("wrote ").rstrip("\n")).parent == here
    assert len(list(here.glob("*.png"))) == len(ids)


class TestErrors:
    def test_an_unknown_suffix(self, emodna_cache: Command, cache: Path) -> None:
        for name in ("a.gif", "a"):
            line = emodna_cache("plot", "emodb", "--cache", cache, "--out", name).usage()
            assert f"--out {name}: unknown suffix; valid: .png, .svg, .pdf" in line
        assert "valid: .png" in emodna_cache("show", "emodb", "x", "--cache", cache, "--png", "a.jpg").usage()

    def test_a_missing_folder(self, emodna_cache: Command, cache: Path) -> None:
        for arguments in (("plot", "emodb", "--out"), ("show", "emodb", "x", "--png")):
            line = emodna_cache(*arguments, "nodir/a.png", "--cache", cache).error()
            assert f"{arguments[-1]} nodir/a.png: folder nodir not found" in line

    def test_a_store_cannot_be_compared_with_itself(self, emodna_cache: Command, cache: Path) -> None:
        assert "--against emodb" in emodna_cache("plot", "emodb", "--against", "emodb", "--cache", cache).error()

    def test_stores_of_different_features_cannot_be_compared(
        self, emodna_cache: Command, cache: Path, here: Path, emodb_root: Path
    ) -> None:
        prepare_corpus(emodb_root, here / "cache", features=LogMelSet())
        line = emodna_cache(
            "plot", "ravdess", "--against", here / "cache/emodb" / LogMelSet().name, "--cache", cache
        ).error()
        assert "--against" in line
        assert LogMelSet().name in line
