"""Two small prepared corpora, and one finished run between them."""

from pathlib import Path

import pytest
import torch

from emodna.pipeline.store import FeatureStore
from tests.model.small import Stores, fit_small, make_corpora, prepare_store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Small tensors gain nothing from more, and two test processes would fight for the cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the recordings of `ravdess` and `emodb` lie."""
    return make_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="session")
def source(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """RAVDESS, 32 utterances."""
    return prepare_store("ravdess", roots["ravdess"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def target(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """EMODB, 32 utterances."""
    return prepare_store("emodb", roots["emodb"], tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def pair(source: FeatureStore, target: FeatureStore) -> Stores:
    """The source and the target of most runs."""
    return source, target


@pytest.fixture(scope="session")
def trained_run(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run; not to be written to."""
    run = tmp_path_factory.mktemp("runs") / "run"
    # Long enough that the probabilities of different files differ.
    fit_small(source, target, run, steps=20)
    return run
