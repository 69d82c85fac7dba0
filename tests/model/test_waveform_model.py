"""The model from the waveform on: the product's own features, windows and answers, in one module without a branch."""

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
from emodna.model.inference.waveform_model import WaveformModel, front_end
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.errors import ExportError
from emodna.pipeline.features import FEATURE_SETS, FeatureSet, make_feature_set
from tests.pipeline.making import noise

Float32 = NDArray[np.float32]

SETS: dict[str, Callable[[], FeatureSet]] = {
    **{name: partial(make_feature_set, name) for name in FEATURE_SETS},
    "fixed, even": lambda: make_feature_set("mfcc39", fixed_samples=9600),
    "fixed, odd": lambda: make_feature_set("mfcc40", fixed_samples=9601),
    "fixed wave": lambda: make_feature_set("wave16k", fixed_samples=5000),
}
#: Shortest, hop's and row's multiples and what lies beside them, longer than the fixed lengths.
LENGTHS = (2048, 2049, 4095, 4096, 4097, 9599, 9600, 9601, 9602, 9603, 20_011)


def tone(samples: int, level: float = 0.3) -> Float32:
    """A tone that dies away in noise: its quiet end lies below what is cut off."""
    time = np.arange(samples) / 22050
    waveform = np.sin(2 * np.pi * 300 * time) * np.exp(-8 * time) + 1e-6 * noise(samples / 22050, 22050)[:samples]
    return (level * waveform).astype(np.float32)


def made(
    features: FeatureSet, *, padding: Padding = "silence", frames: int = 32, per_utterance: bool = False
) -> TrainedModel:
    """A model of random weights, sensitive to what it is given, and undecided on `tone(9600)`."""
    method = SourceOnly(features.dim, dataclasses.replace(SourceOnly.defaults, channels=8, tcn_blocks=1), 0)
    draw = np.random.default_rng(0)
    statistics = Statistics(
        draw.normal(scale=10, size=features.dim).astype(np.float32),
        draw.uniform(10, 30, features.dim).astype(np.float32),
    )
    framer = Framer(frames, padding, None if per_utterance else statistics, features.silence)
    model = TrainedModel(method.eval(), {}, "arousal", features.dim, framer, features)
    classifier = method.network.classifier
    with torch.no_grad():
        probability = expected(model, tone(9600))
        classifier.bias[1] -= np.log(probability / (1 - probability))
        for parameter in classifier.parameters():
            parameter *= 20
    return model


def answer(model: TrainedModel, *waveforms: Float32) -> list[float]:
    with torch.inference_mode():
        probability, logits = WaveformModel(model)(torch.from_numpy(np.stack(waveforms)))
    assert logits.shape == (len(waveforms), 2)
    return [float(each) for each in probability]


def expected(model: TrainedModel, waveform: Float32) -> float:
    return float(model.probabilities([model.features.extract(waveform)])[0])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("level", [0.3, 1e-4, 1e-7])
def test_the_features_are_the_products(name: str, level: float) -> None:
    features = SETS[name]()
    module = front_end(features)
    for length in LENGTHS:
        waveform = tone(length, level)
        array, peak_db = features.extract(waveform)
        found = module(torch.from_numpy(waveform)[None])
        tolerance = 0 if features.kind == "wave" else 5e-3
        np.testing.assert_allclose(found.features[0].numpy(), array, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.silence[0].numpy(), features.silence(peak_db), rtol=1e-5)


@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("per_utterance", [False, True])
def test_the_windows_are_the_products(padding: Padding, per_utterance: bool) -> None:
    features = make_feature_set("mfcc40")
    model = made(features, padding=padding, per_utterance=per_utterance)
    module = WaveformModel(model)
    for frames in (5, 30, 31, 32, 33, 34, 35, 71):
        waveform = tone((frames - 1) * 512 + 5)
        array, peak_db = features.extract(waveform)
        window = np.empty((32, features.dim), np.float32)
        length = model.framer(array, peak_db, window)
        found, lengths = module.window(module.front_end(torch.from_numpy(waveform)[None]))
        np.testing.assert_allclose(found[0].T.numpy(), window, rtol=0, atol=2e-3)
        assert lengths.tolist() == [length]


@pytest.mark.parametrize("name", SETS)
def test_the_answers_are_the_products(name: str) -> None:
    features = SETS[name]()
    model = made(features, frames=32 if features.kind != "wave" else 4000)
    for waveform in map(tone, (2048, 9600, 20_011)):
        assert answer(model, waveform) == pytest.approx([expected(model, waveform)], abs=1e-4)


def test_no_waveform_of_a_batch_changes_the_answer_for_another() -> None:
    model = made(make_feature_set("mfcc40"))
    loud, quiet = tone(8000), tone(8000, 1e-3)[::-1].copy()
    together = answer(model, loud, quiet, np.zeros(8000, np.float32))
    assert together[:2] == pytest.approx([expected(model, loud), expected(model, quiet)], abs=1e-4)
    assert abs(together[0] - together[1]) > 1e-3
    assert np.isnan(together[2])


@pytest.mark.parametrize("name", ["mfcc40", "logmel", "wave16k"])
def test_samples_without_a_finite_power_give_no_answer(name: str) -> None:
    model = made(make_feature_set(name), frames=64)
    for value in (np.nan, np.inf, -np.inf, *([] if name == "wave16k" else [1e30])):
        waveform = tone(6000)
        waveform[3000] = value
        assert np.isnan(answer(model, waveform)).all()


@pytest.mark.parametrize("name", ["mfcc40", "wave16k"])
def test_silence_is_what_the_commands_take_for_it(name: str) -> None:
    features, levels = make_feature_set(name), (0, 1e-9, 1e-2)
    audible = [bool(front_end(features)(torch.from_numpy(tone(6000, level))[None]).audible) for level in levels]
    assert audible == [features.extract(tone(6000, level))[1] > -100 for level in levels] == [False, False, True]


def test_features_of_another_kind_are_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Energy(FeatureSet):
        kind, title, hop_length, min_samples = "energy", "energy", 512, 2048

        def transform(self, samples: Float32) -> tuple[Float32, float]:
            raise NotImplementedError

        def silence(self, peak_db: float) -> Float32:
            raise NotImplementedError

    with pytest.raises(ExportError, match=r"^energy-\w{8}: "):
        front_end(Energy())
