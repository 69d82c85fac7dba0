"""The training domain: audio like that of the training is inside, audio of another kind is outside in the right way."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from numpy.typing import NDArray

from emodna.model.data.domain import Deviation, TrainingDomain
from emodna.model.errors import RunError
from emodna.model.evaluation.evaluate import count_outside
from emodna.model.inference.predict import predict_files
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows
from emodna.pipeline.audio.decode import resample
from emodna.pipeline.audio.quality import AudioQuality
from emodna.pipeline.store import FeatureStore
from tests.model.small import Stores

Float32 = NDArray[np.float32]
RATE = 16000


@pytest.fixture(scope="module")
def model(trained_run: Path) -> TrainedModel:
    return TrainedModel.load(trained_run)


@pytest.fixture(scope="module")
def domain(model: TrainedModel) -> TrainingDomain:
    assert model.domain is not None
    return model.domain


@pytest.fixture(scope="module")
def files(roots: dict[str, Path]) -> list[Path]:
    return sorted((roots["emodb"] / "wav").glob("*.wav"))


@pytest.fixture(scope="module")
def speech(files: list[Path]) -> Float32:
    samples, rate = soundfile.read(files[0], dtype="float32")
    assert rate == RATE
    return np.asarray(samples)


def predict_samples(model: TrainedModel, folder: Path, samples: Float32, rate: int = RATE) -> Prediction:
    soundfile.write(folder / "a.wav", samples, rate, subtype="FLOAT")
    (prediction,) = predict_files(model, [folder / "a.wav"])
    return prediction


def test_the_training_audio_is_inside(model: TrainedModel, files: list[Path], pair: Stores) -> None:
    assert model.domain is not None
    assert model.domain.corpora == ["ravdess", "emodb"]
    for store in pair:
        assert sum(map(bool, model.domain.compare_store(store))) <= 1
    predictions = list(predict_files(model, files))
    # A store and the files that it was made of give the same comparison.
    assert [each.deviations for each in predictions] == model.domain.compare_store(pair[1])
    assert {each.outside for each in predictions[:3]} == {""}


@pytest.mark.parametrize(
    ("measure", "degrade"),
    {
        "bandwidth": lambda speech: resample(resample(speech, RATE, 8000), 8000, RATE),
        "duration": lambda speech: np.tile(speech, 20),
        "level": lambda speech: speech * np.float32(32768),
        "clipping": lambda speech: np.clip(8 * speech / abs(speech).max(), -1, 1),
        "features": lambda speech: (
            speech + speech.std() * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
        ),
    }.items(),
)
def test_degraded_audio_is_outside_in_its_measure(
    model: TrainedModel, speech: Float32, tmp_path: Path, measure: str, degrade: Callable[[Float32], Float32]
) -> None:
    prediction = predict_samples(model, tmp_path, degrade(speech))
    assert measure in str(prediction.outside).split(",")
    if measure == "bandwidth":
        assert dict(prediction.deviations or ())["bandwidth"] == pytest.approx(4000, rel=0.05)


def test_other_sample_rates_and_formats_of_the_same_band_are_inside(
    model: TrainedModel, speech: Float32, tmp_path: Path
) -> None:
    # Above half the features' sample rate, a model notices nothing.
    for rate in (RATE, 2 * RATE, 48000):
        assert predict_samples(model, tmp_path, resample(speech, RATE, rate), rate).outside == ""


def test_each_window_is_compared(model: TrainedModel, speech: Float32, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.concatenate([speech, 1e-4 * speech]), RATE, subtype="FLOAT")
    seconds = len(speech) / RATE
    first, second = predict_files(model, [tmp_path / "a.wav"], windows=Windows(seconds, seconds))
    assert first.outside == ""
    assert "level" in str(second.outside)


def test_a_value_inside_the_range_of_any_corpus_is_inside(domain: TrainingDomain, source: FeatureStore) -> None:
    domain = replace(domain, ranges={**domain.ranges, "bandwidth": [(4000.0, 4000.0), (8000.0, 9000.0)]})
    quality = AudioQuality(0.5, float(source.column("level_db")[0]), 0.0, 0.0)

    def compare(bandwidth: float) -> tuple[Deviation, ...]:
        return domain.compare(source[0], source.column("duration")[0], replace(quality, bandwidth=bandwidth))

    for bandwidth, outside in ((3000, True), (4000, False), (6000, True), (8500, False), (11025, True)):
        assert [each.measure for each in compare(bandwidth)] == ["bandwidth"] * outside
    assert domain.get_ranges("bandwidth") == [(4000.0, 4000.0), (8000.0, 9000.0)]


def test_measures_that_a_corpus_does_not_know_are_not_compared(
    domain: TrainingDomain, source: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = source.columns

    def read_without_level(names: Sequence[str]) -> pa.Table:
        table = read(names)
        return pa.table({"level_db": pa.nulls(len(table), pa.float32())}) if names == ["level_db"] else table

    monkeypatch.setattr(source, "columns", read_without_level)
    found = TrainingDomain.of_corpora([(source, np.arange(len(source)))], 22050)
    assert found.list_unknown_measures() == domain.list_unknown_measures(source) == ["level"]
    assert domain.list_unknown_measures() == []
    counts = count_outside([(Deviation("bandwidth", 4000.0),), ()], ["level"])
    assert counts == {"utterances": 1, "bandwidth": 1, "duration": 0, "level": None, "clipping": 0, "features": 0}
    assert found.get_ranges("level") == []
    loud = AudioQuality(1e4, 80.0, 0.0, float(source.column("bandwidth")[0]))
    assert found.compare(source[0], float(source.column("duration")[0]), loud) == ()


class TestSaved:
    def test_a_saved_domain_is_equal(self, model: TrainedModel, domain: TrainingDomain, tmp_path: Path) -> None:
        model.save(tmp_path / "model.safetensors")
        again = TrainedModel.load(tmp_path / "model.safetensors").domain
        assert again is not None
        assert (again.corpora, again.ranges, again.nyquist) == (domain.corpora, domain.ranges, domain.nyquist)
        assert np.array_equal(again.centres, domain.centres)
        assert np.array_equal(again.scale, domain.scale)

    def test_a_model_without_a_domain_predicts_without_comparing(
        self, model: TrainedModel, files: list[Path], tmp_path: Path
    ) -> None:
        replace(model, domain=None).save(tmp_path / "model.safetensors")
        (prediction,) = predict_files(TrainedModel.load(tmp_path / "model.safetensors"), files[:1])
        assert prediction.probability is not None
        assert (prediction.deviations, prediction.outside) == (None, None)

    def test_a_domain_that_does_not_fit_is_an_error(
        self, model: TrainedModel, domain: TrainingDomain, tmp_path: Path
    ) -> None:
        for wrong in (replace(domain, scale=domain.scale[1:]), replace(domain, corpora=["a"])):
            replace(model, domain=wrong).save(tmp_path / "model.safetensors")
            with pytest.raises(RunError, match="training audio"):
                TrainedModel.load(tmp_path / "model.safetensors")

    def test_the_run_and_its_card_list_the_ranges(self, trained_run: Path, domain: TrainingDomain) -> None:
        corpora = json.loads((trained_run / "corpora.json").read_text())["corpora"]
        assert [each["audio"] for each in corpora] == [domain.describe(0), domain.describe(1)]
        card = (trained_run / "MODEL_CARD.md").read_text()
        low, high = corpora[1]["audio"]["bandwidth"]
        assert f"| emodb | {low:.0f} to {high:.0f} |" in card
