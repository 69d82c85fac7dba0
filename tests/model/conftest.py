"""Fixtures: two small prepared corpora and a finished run."""

from pathlib import Path

import pytest
import torch

from emodna.pipeline.store import FeatureStore
from tests.model.small import Stores, fit_small, make_corpora, prepare_store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Small tensors gain nothing from more threads, and test processes share the cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="session")
def source(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return the store of RAVDESS, 32 utterances."""
    return prepare_store("ravdess", roots["ravdess"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def target(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Return the store of EMODB, 32 utterances."""
    return prepare_store("emodb", roots["emodb"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def pair(source: FeatureStore, target: FeatureStore) -> Stores:
    return source, target


@pytest.fixture(scope="session")
def trained_run(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run; tests must not write to it."""
    run = tmp_path_factory.mktemp("runs") / "run"
    # Long enough that the probabilities of different files differ.
    fit_small(source, target, run, steps=20)
    return run
