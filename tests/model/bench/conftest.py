"""A small experiment with trained runs."""

import pytest

from emodna.model.bench.spec import Experiment
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import train_experiment


@pytest.fixture(scope="session")
def small_experiment(
    source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory
) -> Experiment:
    """Train Source Only and Emo-DNA from RAVDESS to EMODB. Tests write only the analysis into it."""
    return train_experiment(tmp_path_factory.mktemp("bench"), source, target, "source-only", "emo-dna")
