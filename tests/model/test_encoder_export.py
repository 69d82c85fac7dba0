"""Features of an encoder in an exported model equal those of the feature set, for each way to run the encoder."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer
from emodna.model.inference import onnx_export
from emodna.model.inference.encoder_front_end import EncoderFrontEnd
from emodna.model.inference.encoder_graph import insert_encoder
from emodna.model.inference.onnx_export import write_onnx
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.waveform_model import FrontEnd
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import EncoderSet, make_feature_set
from emodna.pipeline.tasks import AROUSAL, Task, make_emotion_task
from tests.pipeline import tiny_encoders

Float32 = NDArray[np.float32]

REAL_ENCODER = Path(os.environ.get("EMODNA_REAL_DATA", "none"), "encoder", "smart-turn-v3.2-cpu.onnx")
#: Input, its declared length, and the level in dB below which silence is cut.
ENCODERS: list[tuple[str, int | str, float | None]] = [
    ("log-mel", 100, 30.0),
    ("log-mel", "n", 30.0),
    ("waveform", 16_000, None),
    ("waveform", "n", 30.0),
]


def make_set(folder: Path, front_end: str, frames: int | str, trim: float | None) -> EncoderSet:
    path = tiny_encoders.write_onnx(folder / "tiny.onnx", front_end, frames=frames)
    features = make_feature_set("encoder", encoder=str(path), layer="0,1", trim_db=trim)
    assert isinstance(features, EncoderSet)
    return features


def make_speech(samples: int, seed: int = 0) -> Float32:
    """Return noise of varying loudness with silence at both ends."""
    draw = np.random.default_rng(seed)
    loudness = np.sin(np.pi * np.arange(samples) / samples) ** 8
    return (0.3 * loudness * draw.standard_normal(samples)).astype(np.float32)


def check_features(features: EncoderSet, extract: Any) -> None:
    """Compare the features of batches of two waveforms with those of the set."""
    for length in (features.min_samples, 3001, 16_000, 16_001, 2 * features.window + 11):
        waveforms = [make_speech(length), np.roll(make_speech(length, 1), length // 3) * np.float32(0.01)]
        found, frames, audible = extract(np.stack(waveforms))
        for waveform, values, count, is_audible in zip(waveforms, found, frames, audible, strict=True):
            expected, _ = features.extract(waveform)
            assert count == len(expected)
            assert is_audible
            np.testing.assert_allclose(values[:count], expected, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize(("front_end", "frames", "trim"), ENCODERS)
def test_features_equal_those_of_the_set(
    front_end: str, frames: int | str, trim: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = make_set(tmp_path, front_end, frames, trim)

    def encode(_module: EncoderFrontEnd, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        cut = [features.load().encode(each[None, ..., :n].numpy())[0] for each, n in zip(inputs, lengths, strict=True)]
        states = [torch.from_numpy(each) for each in cut]
        return torch.nn.utils.rnn.pad_sequence(states, batch_first=True), torch.tensor([len(each) for each in states])

    monkeypatch.setattr(EncoderFrontEnd, "_encode", encode)
    front = FrontEnd(features)

    def extract(waveforms: Float32) -> tuple[Tensor, Tensor, Tensor]:
        extracted = front(torch.from_numpy(waveforms))
        return extracted.features.numpy(), extracted.lengths, extracted.audible

    check_features(features, extract)
    assert not extract(np.zeros((1, 9000), np.float32))[2].any()
    broken = make_speech(9000)
    broken[-1] = np.nan
    assert not extract(broken[None])[2].any()


@pytest.mark.slow
@pytest.mark.parametrize(("front_end", "frames", "trim"), ENCODERS)
def test_the_encoder_takes_its_place_in_the_graph(
    front_end: str, frames: int | str, trim: float | None, tmp_path: Path
) -> None:
    features = make_set(tmp_path, front_end, frames, trim)

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front_end = FrontEnd(features)

        def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            extracted = self.front_end(waveform)
            return extracted.features, extracted.lengths, extracted.audible

    module, sizes = Features(), dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    with onnx_export._silence_torch(), torch.no_grad():
        example = torch.zeros(3, 2 * features.window + 7)
        traced = torch.export.export(module, (example,), dynamic_shapes=(sizes,), strict=False)
        program: Any = torch.onnx.export(traced, input_names=["waveform"], opset_version=18, dynamo=True, verbose=False)
    assert module.front_end.encoder is not None
    graph = program.model_proto
    insert_encoder(graph, module.front_end.encoder)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    check_features(features, lambda waveforms: session.run(None, {"waveform": waveforms}))


def test_an_encoder_of_transformers_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EncoderSet, "find_weights", lambda _: tmp_path)
    with pytest.raises(ExportError) as raised:
        FrontEnd(EncoderSet(layers="2", width=8))
    assert raised.value.where == tmp_path


def make_statistics_model(features: EncoderSet, task: Task = AROUSAL) -> TrainedModel:
    """Make a model with random weights on pooled statistics of a feature set."""
    dim, draw = 2 * features.dim, np.random.default_rng(0)
    config = dataclasses.replace(SourceOnly.defaults, channels=8, network="statistics")
    statistics = Statistics(draw.normal(size=dim).astype(np.float32), draw.uniform(1, 3, dim).astype(np.float32))
    framer = Framer(1, "mask", statistics, None)
    method = SourceOnly(dim, config, 0, len(task)).eval()
    return TrainedModel(
        method, dataclasses.asdict(config), task, dim, framer, features, per_speaker=True, reads_statistics=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", [AROUSAL, make_emotion_task(["emobox4"])], ids=len)
def test_a_model_is_exported_with_its_encoder(task: Task, tmp_path: Path) -> None:
    model = make_statistics_model(make_set(tmp_path, "log-mel", 100, 30.0), task)
    exported = write_onnx(model, {}, tmp_path / "model.onnx", force=False)
    assert exported.difference <= exported.tolerance == 1e-3
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    waveform = make_speech(40_000)
    found, logits = session.run(None, {"waveform": waveform[None]})
    expected = model.probabilities([model.features.extract(waveform)])
    if len(task) == 2:
        assert [each.name for each in session.get_outputs()] == ["probability", "logits"]
        expected = expected[:, 1]
    else:
        assert [each.name for each in session.get_outputs()] == ["probabilities", "logits"]
    assert logits.shape == (1, len(task))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_ENCODER.is_file(), reason=f"not in EMODNA_REAL_DATA: {REAL_ENCODER}")
def test_the_real_encoder_is_exported(tmp_path: Path) -> None:
    features = make_feature_set("encoder", encoder=str(REAL_ENCODER))
    assert isinstance(features, EncoderSet)
    exported = write_onnx(make_statistics_model(features), {}, tmp_path / "model.onnx", force=False)
    assert exported.difference <= exported.tolerance == 0.05
    assert exported.bytes < REAL_ENCODER.stat().st_size + 2**20
