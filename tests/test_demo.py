"""Emo-DNA beats Source Only and every constant predictor on the synthetic corpora of the demo."""

from pathlib import Path
from typing import Any

import pytest

from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.pipeline.store import FeatureStore
from tests.model.small import SilentCallback, prepare_store
from tests.synthesis import make_emodb, make_ravdess
from tests.synthesis.__main__ import EMODB_SHARE, RAVDESS_REPETITIONS

#: Margin in points of UAR.
MARGIN = 5.0
#: Settings of a small network with a short window, which trains in seconds.
SMALL = {"channels": "16", "frames": "128", "batch_size": "32"}


def prepare_stores(home: Path) -> tuple[FeatureStore, FeatureStore]:
    source, target = (prepare_store(name, home / name, home / "cache") for name in ("ravdess", "emodb"))
    return source, target


def check_gain(stores: tuple[FeatureStore, FeatureStore], out: Path, steps: int, seed: int, **settings: str) -> None:
    source, target = stores

    def train(method: str) -> dict[str, Any]:
        fields = {"method": method, "steps": steps, "seed": seed, "threads": 1, "out": out / method}
        return fit(FitRequest([source], target, settings=settings, **fields), SilentCallback())

    source_only, emo_dna = train("source-only"), train("emo-dna")["uar"]
    baselines = {"source-only": source_only["uar"]}
    baselines |= {name: scores["uar"] for name, scores in source_only["constant"].items()}
    assert all(emo_dna >= uar + MARGIN for uar in baselines.values()), (emo_dna, baselines)


def test_emo_dna_adapts_in_a_shortened_demo(tmp_path: Path) -> None:
    make_ravdess(tmp_path / "ravdess", actors=range(1, 7), statements=(1,), repetitions=(1,))
    make_emodb(tmp_path / "emodb", speakers=("03", "08", "09", "10"))
    check_gain(prepare_stores(tmp_path), tmp_path, steps=200, seed=0, **SMALL)


@pytest.fixture(scope="module")
def demo_stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, FeatureStore]:
    home = tmp_path_factory.mktemp("demo")
    make_ravdess(home / "ravdess", repetitions=RAVDESS_REPETITIONS)
    make_emodb(home / "emodb", share=EMODB_SHARE)
    return prepare_stores(home)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_emo_dna_adapts_in_the_demo(demo_stores: tuple[FeatureStore, FeatureStore], seed: int, tmp_path: Path) -> None:
    check_gain(demo_stores, tmp_path, steps=300, seed=seed)
