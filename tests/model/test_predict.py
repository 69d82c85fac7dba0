"""Prediction on audio files: any format and rate, the same answer as in training, an error for each bad file."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from emodna.model.predict import Prediction, predict_files
from emodna.model.trained import TrainedModel
from emodna.pipeline.features import feature_set
from tests.model.small import fit_small, prepared

Float32 = NDArray[np.float32]


@pytest.fixture(scope="session")
def model(trained_run: Path) -> TrainedModel:
    return TrainedModel.load(trained_run / "model.safetensors", torch.device("cpu"))


@pytest.fixture(scope="session")
def recording(roots: dict[str, Path]) -> Path:
    """One file of the target, at 16 kHz."""
    return sorted((roots["emodb"] / "wav").glob("*.wav"))[0]


def one(model: TrainedModel, file: Path) -> Prediction:
    (prediction,) = predict_files(model, [file])
    return prediction


def tone(seconds: float, rate: int, hertz: float = 220.0) -> Float32:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_files_of_the_target_get_the_probabilities_of_the_run(
    model: TrainedModel, trained_run: Path, roots: dict[str, Path]
) -> None:
    table = pq.read_table(trained_run / "predictions.parquet").to_pydict()
    written = dict(zip(table["id"], table["probability"], strict=True))
    files = sorted((roots["emodb"] / "wav").glob("*.wav"))
    found = {Path(each.file).stem: each.probability for each in predict_files(model, files)}
    assert found == pytest.approx(written, abs=1e-6)
    labels = dict(zip(table["id"], table["label"], strict=True))
    assert {Path(each.file).stem: each.label for each in predict_files(model, files)} == labels


class TestFormats:
    @pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
    def test_any_rate(self, rate: int, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "tone.wav", tone(1.0, rate), rate, subtype="FLOAT")
        soundfile.write(tmp_path / "same.wav", tone(1.0, 22050), 22050, subtype="FLOAT")
        found, same = one(model, tmp_path / "tone.wav"), one(model, tmp_path / "same.wav")
        assert found.error is None
        # The same tone, but for what resampling does at its ends.
        assert found.probability == pytest.approx(same.probability, abs=0.05)

    @pytest.mark.parametrize("name", ["speech.flac", "speech.ogg", "speech.aiff", "SPEECH.WAV"])
    def test_any_container(self, name: str, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        samples, rate = soundfile.read(recording)
        soundfile.write(tmp_path / name, samples, rate)
        assert one(model, tmp_path / name).probability == pytest.approx(one(model, recording).probability, abs=0.05)

    def test_the_first_of_two_channels_counts(self, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        samples, rate = soundfile.read(recording, dtype="int16")
        other = np.random.default_rng(0).integers(-9999, 9999, len(samples), np.int16)
        soundfile.write(tmp_path / "stereo.wav", np.stack([samples, other], axis=1), rate)
        assert one(model, tmp_path / "stereo.wav").probability == one(model, recording).probability

    def test_digital_silence_gets_no_emotion(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
        prediction = one(model, tmp_path / "silence.wav")
        assert prediction.probability is None
        assert prediction.error == "all zeros: there is nothing to hear"


class TestSpan:
    def test_of_a_short_file_is_all_of_it(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "short.wav", tone(0.5, 16000), 16000)
        found = one(model, tmp_path / "short.wav")
        assert (found.start, found.end) == (0, 0.5)

    def test_of_a_long_file_is_the_middle_as_long_as_the_window(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "long.wav", tone(10.0, 16000), 16000)
        found = one(model, tmp_path / "long.wav")
        assert found.start is not None
        assert found.end is not None
        assert found.end - found.start == pytest.approx(32 * 512 / 22050, rel=0.01)
        assert (found.start + found.end) / 2 == pytest.approx(5.0, abs=0.03)

    def test_is_what_the_answer_depends_on(self, model: TrainedModel, tmp_path: Path) -> None:
        rng, rate = np.random.default_rng(0), 22050
        samples = 0.1 * rng.normal(size=10 * rate)
        other = samples.copy()
        soundfile.write(tmp_path / "a.wav", samples, rate)
        found = one(model, tmp_path / "a.wav")
        assert found.start is not None
        assert found.end is not None
        # A frame reaches 1024 samples to either side of its middle.
        start, end = int(found.start * rate) - 1600, int(found.end * rate) + 1600
        other[:start], other[end:] = samples[:start][::-1], samples[end:][::-1]
        soundfile.write(tmp_path / "b.wav", other, rate)
        assert one(model, tmp_path / "b.wav").probability == pytest.approx(found.probability, abs=1e-3)
        other[start + 3000 : end - 3000] *= 0.01
        soundfile.write(tmp_path / "c.wav", other, rate)
        assert one(model, tmp_path / "c.wav").probability != pytest.approx(found.probability, abs=1e-3)

    def test_of_fixed_samples_is_the_part_that_is_left_of_the_file(
        self, roots: dict[str, Path], tmp_path: Path
    ) -> None:
        fixed = feature_set("mfcc40", fixed_samples=11025)
        stores = [prepared(name, roots[name], tmp_path / "cache", fixed) for name in ("ravdess", "emodb")]
        fit_small(*stores, tmp_path / "run", steps=1, method="source-only")
        model = TrainedModel.load(tmp_path / "run" / "model.safetensors", torch.device("cpu"))
        soundfile.write(tmp_path / "long.wav", tone(10.0, 22050), 22050)
        found = one(model, tmp_path / "long.wav")
        assert (found.start, found.end) == pytest.approx((4.75, 5.25), abs=0.05)


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("empty.wav", b"", "empty"),
            ("text.wav", b"these are words, not samples", "not readable as audio"),
            ("text.txt", b"these are words, not samples", "not readable as audio"),
            ("noise.mp3", bytes(range(256)) * 8, "not readable as audio"),
            ("head.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "truncated"),
            ("samples.raw", bytes(40000), "not readable as audio"),
        ],
    )
    def test_say_what_is_wrong_with_a_file(
        self, name: str, content: bytes, says: str, model: TrainedModel, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_bytes(content)
        found = one(model, tmp_path / name)
        assert found.error is not None
        assert says in found.error
        assert found == Prediction(str(tmp_path / name), error=found.error)
        assert found.label is None

    def test_too_short(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "click.wav", tone(0.05, 16000), 16000)
        assert "too short" in (one(model, tmp_path / "click.wav").error or "")

    def test_truncated(self, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.wav").write_bytes(recording.read_bytes()[:-1000])
        assert "truncated" in (one(model, tmp_path / "cut.wav").error or "")

    def test_samples_that_are_no_numbers(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "nan.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
        assert "not finite" in (one(model, tmp_path / "nan.wav").error or "")

    def test_missing_and_folder(self, model: TrainedModel, tmp_path: Path) -> None:
        assert "No such file" in (one(model, tmp_path / "absent.wav").error or "")
        assert "directory" in (one(model, tmp_path).error or "")

    def test_do_not_keep_the_other_files_from_their_answers(
        self, model: TrainedModel, recording: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "bad.wav").write_bytes(b"")
        shutil.copy(recording, tmp_path / "good.wav")
        files = [tmp_path / name for name in ("good.wav", "bad.wav", "absent.wav", "good.wav")]
        found = list(predict_files(model, files))
        assert [each.file for each in found] == [str(file) for file in files]
        assert [each.error is None for each in found] == [True, False, False, True]
        assert found[0] == found[3]


@pytest.mark.parametrize(("probability", "label"), [(0.0, 0), (0.4999, 0), (0.5, 1), (1.0, 1), (None, None)])
def test_label_is_1_from_one_half_on(probability: float | None, label: int | None) -> None:
    assert Prediction("a.wav", probability=probability).label == label
