"""The trained model's file: all that prediction needs, exactly as it was, and clear about damage."""

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
from emodna.model.methods import METHODS
from emodna.pipeline.features import make_feature_set
from emodna.pipeline.store import FeatureStore
from tests.model.small import expect_run_error, fit_small, get_supervision, quick_if_representative

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
    # Of a run that is cross-validated, each network judged some utterances, and the model is all of them together.
    @pytest.mark.parametrize(
        "method", quick_if_representative(name for name in METHODS if get_supervision(name) != "oracle-folds")
    )
    def test_gives_the_probabilities_of_the_run(
        self, method: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "run", method=method, steps=2)
        written = pq.read_table(tmp_path / "run" / "predictions.parquet")["probability"].to_numpy()
        assert np.array_equal(load(tmp_path / "run").probabilities(utterances(target)), written)

    @pytest.mark.parametrize("normalisation", NORMALISATIONS)
    @pytest.mark.parametrize("padding", PADDINGS)
    def test_keeps_how_windows_are_made(
        self, normalisation: Normalisation, padding: Padding, model: TrainedModel, target: FeatureStore, tmp_path: Path
    ) -> None:
        statistics = None if normalisation == "per-utterance" else model.framer.statistics
        other = replace(model, framer=replace(model.framer, padding=padding, statistics=statistics))
        other.save(tmp_path / "model.safetensors")
        expected = other.probabilities(utterances(target))
        assert np.array_equal(load(tmp_path).probabilities(utterances(target)), expected)

    def test_needs_nothing_beside_the_file(self, model_file: Path, target: FeatureStore, tmp_path: Path) -> None:
        shutil.copy(model_file, tmp_path)
        alone = TrainedModel.load(tmp_path / "model.safetensors", CPU)
        assert alone.task == "arousal"
        assert alone.features == make_feature_set("mfcc40")
        assert len(alone.probabilities(utterances(target))) == len(target)

    def test_is_in_evaluation_mode_and_leaves_the_random_numbers_alone(self, model_file: Path) -> None:
        before = torch.get_rng_state()
        assert not any(module.training for module in load(model_file.parent).method.modules())
        assert torch.equal(torch.get_rng_state(), before)


class TestProbabilities:
    def test_do_not_depend_on_the_other_utterances(self, model: TrainedModel, target: FeatureStore) -> None:
        given = utterances(target)
        together = model.probabilities(given)
        alone = np.concatenate([model.probabilities([each]) for each in given])
        np.testing.assert_allclose(alone, together, atol=1e-6)
        # More than go through the network at once come in order, and nothing gives nothing.
        np.testing.assert_allclose(model.probabilities(given * 3), np.tile(together, 3), atol=1e-6)
        assert model.probabilities([]).shape == (0,)


class TestDamage:
    @pytest.mark.parametrize(
        ("fact", "values"),
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
    def test_of_a_fact_is_noticed(self, fact: str, values: list[object], model_file: Path, tmp_path: Path) -> None:
        tensors, facts = checkpoint.load_tensors(model_file)
        missing = {name: value for name, value in facts.items() if name != fact}
        for damaged in (missing, *({**facts, fact: value} for value in values)):
            checkpoint.save_tensors(tmp_path / "model.safetensors", tensors, damaged)
            with expect_run_error(tmp_path / "model.safetensors"):
                load(tmp_path)

    @pytest.mark.parametrize("name", ["normalisation.mean", "normalisation.std", "method.network.classifier.weight"])
    def test_of_a_tensor_is_noticed(self, name: str, model_file: Path, tmp_path: Path) -> None:
        tensors, facts = checkpoint.load_tensors(model_file)
        missing = {key: tensor for key, tensor in tensors.items() if key != name}
        for damaged in (missing, {**tensors, name: torch.zeros(39)}):
            checkpoint.save_tensors(tmp_path / "model.safetensors", damaged, facts)
            with expect_run_error(tmp_path / "model.safetensors"):
                load(tmp_path)
