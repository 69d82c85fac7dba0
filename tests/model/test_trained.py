"""The trained model's file: all that prediction needs, exactly as it was, and clear about damage."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model import checkpoint
from emodna.model.config import NORMALISATIONS, PADDINGS
from emodna.model.errors import RunError
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods import METHODS
from emodna.pipeline.features import feature_set
from emodna.pipeline.store import FeatureStore
from tests.model.small import damaged_copies, fit_small, refused, supervision_of

CPU = torch.device("cpu")


def load(run: Path) -> TrainedModel:
    return TrainedModel.load(run / "model.safetensors", CPU)


def utterances(store: FeatureStore) -> list[tuple[np.ndarray, float]]:
    return [(store[row], float(store.peak_db[row])) for row in range(len(store))]


@pytest.fixture(scope="session")
def model_file(trained_run: Path) -> Path:
    return trained_run / "model.safetensors"


class TestRoundTrip:
    # Of a run that is cross-validated, each network judged some utterances, and the model is all of them together.
    @pytest.mark.parametrize("method", [name for name in METHODS if supervision_of(name) != "oracle-folds"])
    def test_gives_the_probabilities_of_the_run(
        self, method: str, source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "run", method=method)
        written = pq.read_table(tmp_path / "run" / "predictions.parquet")["probability"].to_numpy()
        assert np.array_equal(load(tmp_path / "run").probabilities(utterances(target)), written)

    @pytest.mark.parametrize(
        "settings",
        [{"padding": padding} for padding in PADDINGS] + [{"normalisation": each} for each in NORMALISATIONS],
        ids=lambda settings: "=".join(*settings.items()),
    )
    def test_keeps_how_windows_are_made(
        self, settings: dict[str, str], source: FeatureStore, target: FeatureStore, tmp_path: Path
    ) -> None:
        fit_small(source, target, tmp_path / "run", steps=1, method="source-only", settings=settings)
        written = pq.read_table(tmp_path / "run" / "predictions.parquet")["probability"].to_numpy()
        assert np.array_equal(load(tmp_path / "run").probabilities(utterances(target)), written)

    def test_again_is_the_same_file(self, model_file: Path, tmp_path: Path) -> None:
        load(model_file.parent).save(tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == model_file.read_bytes()

    def test_needs_nothing_beside_the_file(self, model_file: Path, target: FeatureStore, tmp_path: Path) -> None:
        shutil.copy(model_file, tmp_path)
        alone = TrainedModel.load(tmp_path / "model.safetensors", CPU)
        assert alone.task == "arousal"
        assert alone.features == feature_set("mfcc40")
        assert len(alone.probabilities(utterances(target))) == len(target)

    def test_is_in_evaluation_mode(self, model_file: Path) -> None:
        assert not any(module.training for module in load(model_file.parent).method.modules())

    def test_leaves_the_random_numbers_alone(self, model_file: Path) -> None:
        before = torch.get_rng_state()
        load(model_file.parent)
        assert torch.equal(torch.get_rng_state(), before)


class TestProbabilities:
    def test_lie_between_0_and_1_and_differ(self, model_file: Path, target: FeatureStore) -> None:
        found = load(model_file.parent).probabilities(utterances(target))
        assert found.shape == (32,)
        assert ((found > 0) & (found < 1)).all()
        assert len(set(found.tolist())) == 32

    def test_of_one_utterance_do_not_depend_on_the_others(self, model_file: Path, target: FeatureStore) -> None:
        model, given = load(model_file.parent), utterances(target)
        together = model.probabilities(given)
        alone = np.concatenate([model.probabilities([each]) for each in given])
        np.testing.assert_allclose(alone, together, atol=1e-6)

    def test_of_many_come_in_order(self, model_file: Path, target: FeatureStore) -> None:
        # More than go through the network at once.
        model, given = load(model_file.parent), utterances(target)
        np.testing.assert_allclose(model.probabilities(given * 17), np.tile(model.probabilities(given), 17), atol=1e-6)

    def test_of_nothing_are_none(self, model_file: Path) -> None:
        assert load(model_file.parent).probabilities([]).shape == (0,)


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b"just some text", b"\x00" * 4096], ids=["empty", "text", "zeros"])
    def test_names_the_file(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(RunError, match=r"model\.safetensors: damaged"):
            load(tmp_path)

    def test_of_a_cut_file_is_noticed(self, model_file: Path, tmp_path: Path) -> None:
        content = model_file.read_bytes()
        (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
        with pytest.raises(RunError, match=r"model\.safetensors"):
            load(tmp_path)

    def test_missing_names_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"model\.safetensors: no such file"):
            load(tmp_path / "no run")

    @pytest.mark.parametrize(
        ("fact", "value"),
        [
            ("method", "not-installed"),
            ("method", 3),
            ("method_config", {"channels": 8, "unheard_of": 1}),
            ("method_config", []),
            ("method_config", {"channels": -8}),
            ("method_config", {"dropout": 7.0}),
            ("task", "boredom"),
            ("task", None),
            ("dim", -1),
            ("dim", 39),
            ("dim", "forty"),
            ("frames", 0),
            ("frames", "all"),
            ("padding", "reflect"),
            ("features", {"features": "wavelets"}),
            ("features", None),
        ],
    )
    def test_of_a_fact_is_noticed(self, fact: str, value: object, model_file: Path, tmp_path: Path) -> None:
        tensors, facts = checkpoint.load_tensors(model_file)
        checkpoint.save_tensors(tmp_path / "model.safetensors", tensors, {**facts, fact: value})
        with pytest.raises(RunError, match=r"model\.safetensors"):
            load(tmp_path)

    @pytest.mark.parametrize("fact", ["method", "method_config", "task", "dim", "frames", "padding", "features"])
    def test_of_a_missing_fact_is_noticed(self, fact: str, model_file: Path, tmp_path: Path) -> None:
        tensors, facts = checkpoint.load_tensors(model_file)
        del facts[fact]
        checkpoint.save_tensors(tmp_path / "model.safetensors", tensors, facts)
        with pytest.raises(RunError, match=r"model\.safetensors"):
            load(tmp_path)

    @pytest.mark.parametrize("name", ["normalisation.mean", "normalisation.std", "method.network.classifier.weight"])
    def test_of_a_tensor_is_noticed(self, name: str, model_file: Path, tmp_path: Path) -> None:
        tensors, facts = checkpoint.load_tensors(model_file)
        missing = {key: tensor for key, tensor in tensors.items() if key != name}
        for damaged in (missing, {**tensors, name: torch.zeros(39)}):
            checkpoint.save_tensors(tmp_path / "model.safetensors", damaged, facts)
            with pytest.raises(RunError, match=r"model\.safetensors"):
                load(tmp_path)

    def test_of_any_kind_is_a_run_error(self, model_file: Path, target: FeatureStore, tmp_path: Path) -> None:
        path, given = tmp_path / "model.safetensors", utterances(target)[:1]
        for content in damaged_copies(model_file.read_bytes(), 200):
            path.write_bytes(content)
            with refused(path):
                TrainedModel.load(path, CPU).probabilities(given)


def test_models_cannot_be_changed_by_accident(model_file: Path) -> None:
    model = load(model_file.parent)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.task = "valence"  # type: ignore[misc]
