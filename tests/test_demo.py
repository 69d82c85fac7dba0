"""What `make demo` shows, for more than one seed: adaptation works on corpora whose generator no model has shaped."""

from pathlib import Path
from typing import Any

import pytest

from emodna.model.fit import fit
from emodna.model.request import FitRequest
from emodna.pipeline.corpora import corpus
from emodna.pipeline.features import feature_set
from emodna.pipeline.prepare import prepare
from emodna.pipeline.prepare.executors import local_threads
from emodna.pipeline.prepare.extract import Extraction
from emodna.pipeline.store import FeatureStore
from tests.model.small import Silent
from tests.synthesis import make_emodb, make_ravdess
from tests.synthesis.__main__ import EMODB_SHARE, RAVDESS_REPETITIONS

STEPS = 300
MARGIN = 5.0


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FeatureStore]:
    home = tmp_path_factory.mktemp("demo")
    make_ravdess(home / "ravdess", repetitions=RAVDESS_REPETITIONS)
    make_emodb(home / "emodb", share=EMODB_SHARE)
    reports = [
        prepare(
            corpus(name),
            home / name,
            home / "cache",
            Extraction(feature_set("mfcc40")),
            Silent(),
            workers=local_threads(2),
        )
        for name in ("ravdess", "emodb")
    ]
    return {report.corpus: FeatureStore(report.store) for report in reports}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_emo_dna_beats_source_only_and_every_constant(
    stores: dict[str, FeatureStore], seed: int, tmp_path: Path
) -> None:
    def uar(method: str) -> tuple[float, dict[str, Any]]:
        request = FitRequest(
            [stores["ravdess"]],
            stores["emodb"],
            method=method,
            steps=STEPS,
            seed=seed,
            threads=1,
            out=tmp_path / method,
        )
        result = fit(request, Silent())
        return result["uar"], result["constant"]

    source_only, constants = uar("source-only")
    emo_dna, _ = uar("emo-dna")
    rivals = {"source-only": source_only} | {name: scores["uar"] for name, scores in constants.items()}
    assert all(emo_dna >= rival + MARGIN for rival in rivals.values()), (emo_dna, rivals)
