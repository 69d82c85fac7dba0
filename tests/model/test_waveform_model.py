"""The module for export equals the original: features, windows and predictions."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emodna.model.config import Padding
from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.waveform_model import FrontEnd, WaveformModel
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import FEATURE_SETS, FeatureSet, make_feature_set
from emodna.pipeline.tasks import AROUSAL, make_emotion_task
from tests.pipeline.making import noise

Float32 = NDArray[np.float32]

SETS: dict[str, Callable[[], FeatureSet]] = {
    **{name: partial(make_feature_set, name) for name, each in FEATURE_SETS.items() if each.has_silence},
    "fixed, even": lambda: make_feature_set("mfcc39", fixed_samples=9600),
    "fixed, odd": lambda: make_feature_set("mfcc40", fixed_samples=9601),
    "fixed wave": lambda: make_feature_set("wave16k", fixed_samples=5000),
}
#: The shortest length, multiples of the hop and of a row with their neighbours, and more than the fixed lengths.
LENGTHS = (2048, 2049, 4095, 4096, 4097, 9599, 9600, 9601, 9602, 9603, 20_011)


def make_tone(samples: int, level: float = 0.3) -> Float32:
    """Return a tone that fades into noise; its end is below the cut-off level."""
    time = np.arange(samples) / 22050
    waveform = np.sin(2 * np.pi * 300 * time) * np.exp(-8 * time) + 1e-6 * noise(samples / 22050, 22050)[:samples]
    return (level * waveform).astype(np.float32)


def make_model(
    features: FeatureSet, *, padding: Padding = "silence", frames: int = 32, per_utterance: bool = False
) -> TrainedModel:
    """Make a model with random weights that is sensitive to its input and undecided on `make_tone(9600)`."""
    method = SourceOnly(features.dim, dataclasses.replace(SourceOnly.defaults, channels=8, tcn_blocks=1), 0)
    draw = np.random.default_rng(0)
    statistics = Statistics(
        draw.normal(scale=10, size=features.dim).astype(np.float32),
        draw.uniform(10, 30, features.dim).astype(np.float32),
    )
    framer = Framer(frames, padding, None if per_utterance else statistics, features.silence)
    model = TrainedModel(method.eval(), {}, AROUSAL, features.dim, framer, features)
    classifier = method.network.classifier
    with torch.no_grad():
        probability = predict_by_model(model, make_tone(9600))
        classifier.bias[1] -= np.log(probability / (1 - probability))
        for parameter in classifier.parameters():
            parameter *= 20
    return model


def predict_by_module(model: TrainedModel, *waveforms: Float32) -> list[float]:
    with torch.inference_mode():
        probability, logits = WaveformModel(model)(torch.from_numpy(np.stack(waveforms)))
    assert logits.shape == (len(waveforms), 2)
    return [float(each) for each in probability]


def predict_by_model(model: TrainedModel, waveform: Float32) -> float:
    return float(model.probabilities([model.features.extract(waveform)])[0, 1])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("level", [0.3, 1e-4, 1e-7])
def test_features_equal_those_of_the_feature_set(name: str, level: float) -> None:
    features = SETS[name]()
    module = FrontEnd(features)
    for length in LENGTHS:
        waveform = make_tone(length, level)
        array, peak_db = features.extract(waveform)
        found = module(torch.from_numpy(waveform)[None])
        tolerance = 0 if features.kind == "wave" else 5e-3
        np.testing.assert_allclose(found.features[0].numpy(), array, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.silence[0].numpy(), features.silence(peak_db), rtol=1e-5)


@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("per_utterance", [False, True])
def test_windows_equal_those_of_the_framer(padding: Padding, per_utterance: bool) -> None:
    features = make_feature_set("mfcc40")
    model = make_model(features, padding=padding, per_utterance=per_utterance)
    module = WaveformModel(model)
    for frames in (5, 30, 31, 32, 33, 34, 35, 71):
        waveform = make_tone((frames - 1) * 512 + 5)
        array, peak_db = features.extract(waveform)
        window = np.empty((32, features.dim), np.float32)
        length = model.framer(array, peak_db, window)
        found, lengths = module.window(module.front_end(torch.from_numpy(waveform)[None]))
        np.testing.assert_allclose(found[0].T.numpy(), window, rtol=0, atol=2e-3)
        assert lengths.tolist() == [length]


@pytest.mark.parametrize("name", SETS)
def test_predictions_equal_those_of_the_model(name: str) -> None:
    features = SETS[name]()
    model = make_model(features, frames=32 if features.kind != "wave" else 4000)
    for waveform in map(make_tone, (2048, 9600, 20_011)):
        assert predict_by_module(model, waveform) == pytest.approx([predict_by_model(model, waveform)], abs=1e-4)


def test_four_classes_have_a_probability_each() -> None:
    base = make_model(make_feature_set("mfcc40"))
    config = dataclasses.replace(SourceOnly.defaults, channels=8, tcn_blocks=1)
    method, task = SourceOnly(base.dim, config, 0, 4).eval(), make_emotion_task(["emobox4"])
    model = dataclasses.replace(base, method=method, task=task)
    waveform = make_tone(9600)
    with torch.inference_mode():
        probabilities, logits = WaveformModel(model)(torch.from_numpy(waveform)[None])
    expected = model.probabilities([model.features.extract(waveform)])
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(probabilities.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(logits.softmax(1).numpy(), probabilities.numpy(), rtol=1e-5)


def test_waveforms_of_a_batch_do_not_change_each_other() -> None:
    model = make_model(make_feature_set("mfcc40"))
    loud, quiet = make_tone(8000), make_tone(8000, 1e-3)[::-1].copy()
    together = predict_by_module(model, loud, quiet, np.zeros(8000, np.float32))
    assert together[:2] == pytest.approx([predict_by_model(model, each) for each in (loud, quiet)], abs=1e-4)
    assert abs(together[0] - together[1]) > 1e-3
    assert np.isnan(together[2])


@pytest.mark.parametrize("name", ["mfcc40", "logmel", "wave16k"])
def test_samples_without_finite_power_have_no_probability(name: str) -> None:
    model = make_model(make_feature_set(name), frames=64)
    for value in (np.nan, np.inf, -np.inf, *([] if name == "wave16k" else [1e30])):
        waveform = make_tone(6000)
        waveform[3000] = value
        assert np.isnan(predict_by_module(model, waveform)).all()


@pytest.mark.parametrize("name", ["mfcc40", "wave16k"])
def test_silence_is_detected_as_in_prediction(name: str) -> None:
    features, levels = make_feature_set(name), (0, 1e-9, 1e-2)
    front_end = FrontEnd(features)
    audible = [bool(front_end(torch.from_numpy(make_tone(6000, level))[None]).audible) for level in levels]
    assert audible == [features.extract(make_tone(6000, level))[1] > -100 for level in levels] == [False, False, True]


def test_an_unknown_feature_set_is_an_error() -> None:
    @dataclasses.dataclass(frozen=True)
    class Energy(FeatureSet):
        kind, title, hop_length, min_samples = "energy", "energy", 512, 2048

        def transform(self, samples: Float32) -> tuple[Float32, float]:
            raise NotImplementedError

        def silence(self, peak_db: float) -> Float32:
            raise NotImplementedError

    with pytest.raises(ExportError) as raised:
        FrontEnd(Energy())
    assert raised.value.where == Energy().name
