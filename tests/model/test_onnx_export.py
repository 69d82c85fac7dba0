"""ONNX export of single models, and its errors; tests/cli/test_export.py exports a whole run."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from emodna.model.inference import onnx_export
from emodna.model.inference.onnx_export import write_onnx
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.methods.base import Method
from emodna.model.methods.clstm import Clstm
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import FeatureSet, make_feature_set
from tests.model.small import STEPPED, quick_if_representative
from tests.model.test_waveform_model import make_model, make_tone, predict_by_model, predict_by_module


class Branching(SourceOnly):
    """A method with a branch on its data, which no graph can contain."""

    name = "branching"

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        return super().predict(features if features.mean().item() > 0 else -features, lengths)


class Sized(SourceOnly):
    """A method that uses its batch size in Python, which tracing makes constant."""

    name = "sized"

    def predict(self, features: Tensor, lengths: Tensor) -> Tensor:
        return super().predict(features, lengths) + torch.ones(len(features), 2)


def make_model_of(kind: type[Method], features: FeatureSet, **framing: Any) -> TrainedModel:
    base = make_model(features, **framing)
    method = kind(features.dim, dataclasses.replace(kind.defaults, channels=8), 0)
    return dataclasses.replace(base, method=method.eval())


def make_masked_lstm() -> TrainedModel:
    features = make_feature_set("mfcc39", fixed_samples=30_000)
    return make_model_of(Clstm, features, padding="mask", per_utterance=True, frames=40)


@pytest.mark.slow  # the quick suite exports one model, in tests/cli/test_export.py
@pytest.mark.parametrize(
    "make", [make_masked_lstm, partial(make_model, make_feature_set("wave16k"), padding="zero", frames=4000)]
)
def test_an_exported_model_predicts_as_the_original(make: Callable[[], TrainedModel], tmp_path: Path) -> None:
    model = make()
    exported = write_onnx(model, {"task": "arousal"}, tmp_path / "model.onnx", force=False)
    assert exported.difference <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for length in (2048, 4321, 30_000, 30_001, 50_000):
        waveform = make_tone(length)
        (found,) = session.run(["probability"], {"waveform": waveform[None]})
        assert found == pytest.approx([predict_by_model(model, waveform)], abs=1e-4)
    three = np.stack([make_tone(9000), np.zeros(9000, np.float32), make_tone(9000, 0.01)])
    found, logits = session.run(None, {"waveform": three})
    assert found == pytest.approx(predict_by_module(model, *three), abs=1e-4, nan_ok=True)
    assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(1)[:, 1], found, rtol=1e-5)


# torch warns about every nn.LSTM; the export itself suppresses warnings.
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights.* were assigned during export:UserWarning")
@pytest.mark.parametrize("name", quick_if_representative(STEPPED))
def test_the_prediction_of_every_method_can_be_traced(name: str) -> None:
    kind = STEPPED[name]
    dim, frames = max(6, kind.min_dim), max(32, kind.min_frames)
    method = kind(dim, dataclasses.replace(kind.defaults, channels=8), 0).eval()

    class Predicting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.method = method

        def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
            return self.method.predict(features, lengths)

    batch = {0: torch.export.Dim("batch", min=2)}
    features, lengths = torch.randn(3, dim, frames), torch.tensor([frames, 20, 7])
    shapes = {"features": batch, "lengths": batch}
    with torch.no_grad():
        program = torch.export.export(Predicting(), (features, lengths), dynamic_shapes=shapes, strict=False)
        torch.testing.assert_close(program.module()(features, lengths), method.predict(features, lengths))


@pytest.mark.parametrize("kind", [Branching, Sized])
def test_a_method_that_cannot_be_traced_is_an_error(kind: type[Method], tmp_path: Path) -> None:
    model = make_model_of(kind, make_feature_set("wave16k"), frames=4000)
    with pytest.raises(ExportError) as error:
        write_onnx(model, {}, tmp_path / "model.onnx", force=False)
    assert error.value.where == f"method {kind.name}"
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


class TestWrongFiles:
    """A wrong file is deleted, and an earlier file is kept."""

    def export(self, folder: Path, patch: pytest.MonkeyPatch, prediction: float | None = None) -> str:
        """Return the error of an invalid file; `prediction` replaces all probabilities of onnxruntime."""
        (folder / "model.onnx").write_bytes(b"earlier")
        patch.setattr(onnx_export, "_serialise", lambda *_: b"no model")
        if prediction is not None:
            patch.setattr(
                onnx_export, "_predict", lambda _, _output, batches: [np.full(len(b), prediction) for b in batches]
            )
        with pytest.raises(ExportError) as error:
            write_onnx(make_model(make_feature_set("mfcc40")), {}, folder / "model.onnx", force=True)
        assert [path.read_bytes() for path in folder.iterdir()] == [b"earlier"]
        return str(error.value)

    def test_other_predictions_are_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "0.700000 instead of " in self.export(tmp_path, monkeypatch, prediction=0.7)

    def test_a_probability_for_silence_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnx_export, "TOLERANCE", 2.0)
        assert "digital silence" in self.export(tmp_path, monkeypatch, prediction=0.7)

    def test_an_unreadable_file_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        error = self.export(tmp_path, monkeypatch)
        assert "onnxruntime cannot run" in error
        assert "\n" not in error
