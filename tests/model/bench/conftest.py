"""One small benchmark, trained."""

from __future__ import annotations

import pytest

from emodna.model.bench.spec import Experiment
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import train_experiment


@pytest.fixture(scope="session")
def small_experiment(
    source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory
) -> Experiment:
    """Source Only and Emo-DNA from RAVDESS to EMODB are done; only the analysis is written into it."""
    return train_experiment(tmp_path_factory.mktemp("bench"), source, target, "source-only", "emo-dna")
