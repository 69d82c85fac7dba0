"""A trained model's file contains everything that prediction needs, and damage is an error."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model import checkpoint
from emodna.model.config import NORMALISATIONS, PADDINGS, Normalisation, Padding
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.tasks import AROUSAL
from tests.model.small import STEPPED, expect_run_error, fit_small, get_supervision, quick_if_representative

CPU = torch.device("cpu")


def load(run: Path) -> TrainedModel:
    return TrainedModel.load(run / "model.safetensors", CPU)


def utterances(store: FeatureStore) -> list[tuple[np.ndarray, float]]:
    return [(store[row], float(store.peak_db[row])) for row in range(len(store))]


@pytest.fixture(scope="session")
def model_file(trained_run: Path) -> Path:
    return trained_run / "model.safetensors"


@pytest.fixture(scope="session")
def model(trained_run: Path) -> TrainedModel:
    return load(trained_run)


class TestRoundTrip:
    # A cross-validated run predicts each utterance by one network, its saved model by all of them.
    @pytest.mark.parametrize(
        "method", quick_if_representative(name for name in STEPPED if get_supervision(name) != "oracle-folds")
    )
    def test_a_loaded_model_has_the_probabilities_of_the_run(
        self, method: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "run", method=method, steps=2)
        written = pq.read_table(tmp_path / "run" / "predictions.parquet")["probability"].to_numpy()
        assert np.array_equal(load(tmp_path / "run").probabilities(utterances(target))[:, 1], written)

    @pytest.mark.parametrize("normalisation", NORMALISATIONS)
    @pytest.mark.parametrize("padding", PADDINGS)
    def test_a_loaded_model_has_the_same_framing(
        self, normalisation: Normalisation, padding: Padding, model: TrainedModel, target: FeatureStore, tmp_path: Path
    ) -> None:
        statistics = None if normalisation == "per-utterance" else model.framer.statistics
        other = replace(model, framer=replace(model.framer, padding=padding, statistics=statistics))
        other.save(tmp_path / "model.safetensors")
        expected = other.probabilities(utterances(target))
        assert np.array_equal(load(tmp_path).probabilities(utterances(target)), expected)

    def test_a_model_needs_no_other_file(self, model_file: Path, target: FeatureStore, tmp_path: Path) -> None:
        shutil.copy(model_file, tmp_path)
        alone = TrainedModel.load(tmp_path / "model.safetensors", CPU)
        assert alone.task == AROUSAL
        assert alone.features == make_feature_set("mfcc40")
        assert len(alone.probabilities(utterances(target))) == len(target)

    def test_loading_sets_evaluation_mode_and_keeps_the_random_state(self, model_file: Path) -> None:
        before = torch.get_rng_state()
        assert not any(module.training for module in load(model_file.parent).method.modules())
        assert torch.equal(torch.get_rng_state(), before)


class TestProbabilities:
    def test_a_probability_does_not_depend_on_other_utterances(self, model: TrainedModel, target: FeatureStore) -> None:
        given = utterances(target)
        together = model.probabilities(given)
        alone = np.concatenate([model.probabilities([each]) for each in given])
        np.testing.assert_allclose(alone, together, atol=1e-6)
        # More than one batch keeps its order, and no utterance gives no probability.
        np.testing.assert_allclose(model.probabilities(given * 3), np.tile(together, (3, 1)), atol=1e-6)
        assert model.probabilities([]).shape == (0, 2)


class TestDamage:
    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("method", ["not-installed", 3]),
            ("method_config", [{"channels": 8, "unheard_of": 1}, [], {"channels": -8}, {"dropout": 7.0}]),
            ("task", ["boredom", None]),
            ("dim", [-1, 39, "forty"]),
            ("frames", [0, "all"]),
            ("padding", ["reflect"]),
            ("features", [{"features": "wavelets"}, None]),
        ],
    )
    def test_wrong_metadata_is_an_error(self, key: str, values: list[object], model_file: Path, tmp_path: Path) -> None:
        tensors, metadata = checkpoint.load_tensors(model_file)
        missing = {name: value for name, value in metadata.items() if name != key}
        for damaged in (missing, *({**metadata, key: value} for value in values)):
            checkpoint.save_tensors(tmp_path / "model.safetensors", tensors, damaged)
            with expect_run_error(tmp_path / "model.safetensors"):
                load(tmp_path)

    @pytest.mark.parametrize("name", ["normalisation.mean", "normalisation.std", "method.network.classifier.weight"])
    def test_a_damaged_tensor_is_an_error(self, name: str, model_file: Path, tmp_path: Path) -> None:
        tensors, metadata = checkpoint.load_tensors(model_file)
        missing = {key: tensor for key, tensor in tensors.items() if key != name}
        for damaged in (missing, {**tensors, name: torch.zeros(39)}):
            checkpoint.save_tensors(tmp_path / "model.safetensors", damaged, metadata)
            with expect_run_error(tmp_path / "model.safetensors"):
                load(tmp_path)
