"""One small benchmark, trained."""

from __future__ import annotations

import pytest

from emodna.model.bench.spec import Experiment
from emodna.pipeline.store import FeatureStore
from tests.model.bench.builders import trained_bench


@pytest.fixture(scope="session")
def small_bench(source: FeatureStore, target: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Source Only and Emo-DNA from RAVDESS to EMODB are done; only the analysis is written into it."""
    return trained_bench(tmp_path_factory.mktemp("bench"), source, target, "source-only", "emo-dna")
