"""Prediction for audio files: any format and rate, the same probability as in the run, an error for each bad file."""

import shutil
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from emodna.model.data.normalisation import Statistics
from emodna.model.data.windows import Framer
from emodna.model.errors import ConfigError
from emodna.model.inference.inputs import Input
from emodna.model.inference.predict import predict, predict_files
from emodna.model.inference.prediction import Prediction
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows, cut
from emodna.model.methods.source_only import SourceOnly
from emodna.pipeline.audio import decode as audio
from emodna.pipeline.audio.decode import resample
from emodna.pipeline.features import FeatureSet, make_feature_set
from emodna.pipeline.tasks import VALENCE
from tests.pipeline.archives.packing import pack

Float32 = NDArray[np.float32]


@pytest.fixture(scope="session")
def model(trained_run: Path) -> TrainedModel:
    return TrainedModel.load(trained_run / "model.safetensors", torch.device("cpu"))


@pytest.fixture(scope="session")
def recording(roots: dict[str, Path]) -> Path:
    """Return a file of the target, at 16 kHz."""
    return sorted((roots["emodb"] / "wav").glob("*.wav"))[0]


def predict_file(model: TrainedModel, file: Path) -> Prediction:
    (prediction,) = predict_files(model, [file])
    return prediction


def make_model(features: FeatureSet, frames: int = 32) -> TrainedModel:
    config = replace(SourceOnly.defaults, channels=4)
    framer = Framer(frames, "silence", Statistics.identity(features.dim), features.silence)
    method = SourceOnly(features.dim, config, 0).eval()
    return TrainedModel(method, {}, VALENCE, features.dim, framer, features)


def make_tone(seconds: float, rate: int, hertz: float = 220.0) -> Float32:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_files_of_the_target_have_the_probabilities_of_the_run(
    model: TrainedModel, trained_run: Path, roots: dict[str, Path]
) -> None:
    table = pq.read_table(trained_run / "predictions.parquet").to_pydict()
    written = dict(zip(table["id"], table["probability"], strict=True))
    files = sorted((roots["emodb"] / "wav").glob("*.wav"))
    found = {Path(each.file).stem: each.probability for each in predict_files(model, files)}
    assert found == written
    # With any number of threads and any other files.
    assert predict_file(model, files[0]).probability == pytest.approx(written[files[0].stem], abs=1e-6)
    by_threads = list(predict_files(model, [*files, *files, *files], threads=3))
    assert [each.probability for each in by_threads] == [written[file.stem] for file in files] * 3
    labels = dict(zip(table["id"], table["label"], strict=True))
    assert {Path(each.file).stem: each.label for each in by_threads} == labels


class TestFormats:
    def test_any_sample_rate_is_read(self, model: TrainedModel, tmp_path: Path) -> None:
        found = []
        for rate in (22050, 8000, 44100, 96000):
            soundfile.write(tmp_path / "tone.wav", make_tone(1.0, rate), rate, subtype="FLOAT")
            found.append(predict_file(model, tmp_path / "tone.wav").probability)
        # The same tone, except for the resampling of its ends.
        assert found == pytest.approx(found[:1] * 4, abs=0.05)

    def test_first_channels_of_any_format_are_read(self, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        samples, rate = soundfile.read(recording, dtype="int16")
        other = np.random.default_rng(0).integers(-9999, 9999, len(samples), np.int16)
        expected = predict_file(model, recording).probability
        for name, exact in (("speech.flac", 0), ("speech.ogg", 0.05), ("speech.aiff", 0), ("SPEECH.WAV", 0)):
            soundfile.write(tmp_path / name, np.stack([samples, other], axis=1), rate)
            assert predict_file(model, tmp_path / name).probability == pytest.approx(expected, abs=exact)


class TestSpan:
    def test_the_span_is_the_middle_of_a_long_file(self, model: TrainedModel, tmp_path: Path) -> None:
        fixed = make_model(make_feature_set("mfcc40", fixed_samples=11025))
        half = 16 * 512 / 22050
        for each, seconds, span in (
            (model, 0.5, (0, 0.5)),
            (model, 10, (5 - half, 5 + half)),
            (fixed, 10, (4.75, 5.25)),
        ):
            soundfile.write(tmp_path / "a.wav", make_tone(seconds, 16000), 16000)
            found = predict_file(each, tmp_path / "a.wav")
            assert (found.start, found.end) == pytest.approx(span, abs=0.05)

    def test_the_probability_depends_on_the_span_only(self, model: TrainedModel, tmp_path: Path) -> None:
        rng, rate = np.random.default_rng(0), 22050
        samples = 0.1 * rng.normal(size=10 * rate)
        other = samples.copy()
        soundfile.write(tmp_path / "a.wav", samples, rate)
        found = predict_file(model, tmp_path / "a.wav")
        assert found.start is not None
        assert found.end is not None
        # A frame reaches 1024 samples to either side of its middle.
        start, end = int(found.start * rate) - 1600, int(found.end * rate) + 1600
        other[:start], other[end:] = samples[:start][::-1], samples[end:][::-1]
        soundfile.write(tmp_path / "b.wav", other, rate)
        assert predict_file(model, tmp_path / "b.wav").probability == pytest.approx(found.probability, abs=1e-3)
        other[start + 3000 : end - 3000] *= 0.01
        soundfile.write(tmp_path / "c.wav", other, rate)
        assert predict_file(model, tmp_path / "c.wav").probability != pytest.approx(found.probability, abs=1e-3)


def test_only_bad_files_have_an_error(model: TrainedModel, recording: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", make_tone(0.05, 16000), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    (tmp_path / "folder").mkdir()
    bad = {
        "empty.wav": (b"", "empty"),
        "text.txt": (b"these are words, not samples", "not readable as audio"),
        "noise.mp3": (bytes(range(256)) * 8, "not readable as audio"),
        "head.wav": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "truncated"),
        "cut.wav": (recording.read_bytes()[:-1000], "truncated"),
        "click.wav": (None, "too short"),
        "nan.wav": (None, "not finite"),
        "silence.wav": (None, "all zeros"),
        "absent.wav": (None, "No such file"),
        "folder": (None, "no audio"),
    }
    for name, (content, _) in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    first, *found, last = predict_files(model, [recording, *(tmp_path / name for name in bad), recording])
    assert first == last == predict_file(model, recording)
    for each, (name, (_, says)) in zip(found, bad.items(), strict=True):
        assert says in (each.error or "")
        assert replace(each, duration=None, channels=None) == Prediction(str(tmp_path / name), error=each.error)
        assert each.label is None


class TestWindows:
    """Probability over time."""

    @pytest.fixture
    def long(self, recording: Path, tmp_path: Path) -> Path:
        """Return some seconds at 16 kHz of varying loudness."""
        samples, rate = soundfile.read(recording)
        parts = [samples * factor for factor in (1.0, 0.01, 0.3, 0.001, 0.6)]
        soundfile.write(tmp_path / "long.flac", np.concatenate(parts), rate)
        return tmp_path / "long.flac"

    def test_a_window_is_predicted_as_a_recording(self, model: TrainedModel, long: Path, tmp_path: Path) -> None:
        found = list(predict_files(model, [long], windows=Windows(0.5, 0.3)))
        samples, rate = soundfile.read(long, dtype="float32")
        whole = resample(samples, rate, 22050)
        assert (found[0].start, found[-1].end) == (0, len(samples) / rate)
        assert len(found) > 5
        for number, each in enumerate(found):
            assert each.start is not None
            assert each.end is not None
            first, last = int(each.start * 22050 + 1e-3), int(each.end * 22050 + 1e-3)
            piece = whole[first:] if number == len(found) - 1 else whole[first:last]
            soundfile.write(tmp_path / "piece.wav", piece, 22050, subtype="FLOAT")
            assert each.probability == pytest.approx(predict_file(model, tmp_path / "piece.wav").probability, abs=1e-6)
        assert len({each.probability for each in found}) == len(found)

    def test_the_last_window_has_the_remarks_on_the_file(self, model: TrainedModel, long: Path, tmp_path: Path) -> None:
        (tmp_path / "junk.flac").write_bytes(long.read_bytes() + b"no audio" * 99)
        *others, last = predict_files(model, [tmp_path / "junk.flac"], windows=Windows(0.5, 0.5))
        assert "792 bytes" in last.remarks[0]
        assert not any(each.remarks for each in others)
        assert predict_file(model, tmp_path / "junk.flac").remarks == last.remarks

    def test_a_file_shorter_than_a_window_has_one_window(self, model: TrainedModel, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "short.wav", make_tone(0.4, 44100), 44100)
        (found,) = predict_files(model, [tmp_path / "short.wav"], windows=Windows(0.5, 0.5))
        assert found == predict_file(model, tmp_path / "short.wav")

    def test_silent_windows_have_no_probability_and_are_not_failures(self, model: TrainedModel, tmp_path: Path) -> None:
        samples = np.concatenate([make_tone(1.0, 22050), np.zeros(22050), make_tone(1.0, 22050)])
        soundfile.write(tmp_path / "gap.wav", samples, 22050)
        found = list(predict_files(model, [tmp_path / "gap.wav"], windows=Windows(0.5, 0.5)))
        assert [each.error is None for each in found] == [True, True, False, False, True, True]
        assert [(each.start, each.has_failed) for each in found[2:4]] == [(1.0, False), (1.5, False)]

    def test_windows_before_a_damaged_part_are_predicted(
        self, model: TrainedModel, long: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 8000)
        content = bytearray(long.read_bytes())
        declared = struct.unpack(">I", content[22:26])[0]
        content[22:26] = struct.pack(">I", declared + 16000)
        long.write_bytes(content)
        found = list(predict_files(model, [long], windows=Windows(0.5, 0.5)))
        assert len(found) > 5
        assert all(each.error is None for each in found[:-1])
        assert "truncated" in (found[-1].error or "")
        assert found[-1].has_failed

    @given(duration=st.floats(0.3, 100), seconds=st.floats(0.25, 20), hop=st.floats(0.05, 30))
    def test_windows_cover_the_recording(self, duration: float, seconds: float, hop: float) -> None:
        spans = Windows(seconds, hop).spans(duration)
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(duration, abs=2e-6)
        for number, (start, end) in enumerate(spans[:-1]):
            assert start == number * hop
            assert end - start == pytest.approx(seconds)
            assert 0 < spans[number + 1][0] - start <= hop + 1e-6

    def test_whole_hops_do_not_add_a_window_at_the_end(self) -> None:
        assert Windows(0.3, 0.1).spans(0.3 + 0.1 + 0.1 + 0.1)[-1] == pytest.approx((0.3, 0.6))
        assert len(Windows(4.0, 2.0).spans(10.0)) == 4
        assert Windows(4.0, 2.0).spans(10.5)[-2:] == [(6.0, 10.0), (6.5, 10.5)]

    @given(st.lists(st.integers(0, 300), min_size=1, max_size=9), st.integers(1, 60), st.integers(1, 90))
    def test_windows_are_cut_from_blocks_of_any_length(self, lengths: list[int], length: int, hop: int) -> None:
        signal = np.arange(sum(lengths), dtype=np.float32)
        blocks = np.split(signal, np.cumsum(lengths)[:-1])
        starts = range(0, max(1, len(signal) - length + 1), hop)
        spans = [(start / 100, (start + length) / 100) for start in starts]
        found = list(cut(blocks, spans, 100))
        for start, each in zip(starts[:-1], found[:-1], strict=True):
            assert np.array_equal(each, signal[start : start + length])
        assert np.array_equal(found[-1], signal[starts[-1] :])

    def test_cutting_windows_needs_little_memory(self) -> None:
        blocks = (np.zeros(10_000, np.float32) for _ in range(400))
        tracemalloc.start()
        count = sum(1 for _ in cut(blocks, Windows(1.0, 0.5).spans(4_000_000 / 8000), 8000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count > 900
        assert peak < 3e6  # the signal has 16 MB


class TestSeveralModels:
    @pytest.mark.parametrize("windows", [None, Windows(0.5, 0.25)])
    def test_models_predict_together_as_alone(
        self, windows: Windows | None, model: TrainedModel, recording: Path, tmp_path: Path
    ) -> None:
        wave = make_model(make_feature_set("wave16k"), frames=4000)
        (tmp_path / "bad.wav").write_bytes(b"")
        files = [recording, tmp_path / "bad.wav", recording]
        models = [model, wave, model]
        together = list(predict_files(models, files, windows=windows, threads=2))
        for number, each in enumerate(models):
            mine = [replace(found, model=0) for found in together if found.model == number]
            alone = list(predict_files(each, files, windows=windows))
            for one_of_many, single in zip(mine, alone, strict=True):
                assert replace(one_of_many, probabilities=None) == replace(single, probabilities=None)
                assert one_of_many.probability == pytest.approx(single.probability, abs=1e-6)
        assert [found.model for found in together[:3]] == [0, 1, 2]  # window by window


class TestChannels:
    @pytest.fixture
    def call(self, recording: Path, tmp_path: Path) -> Path:
        """Return a stereo file; first.wav and second.wav have its channels."""
        samples, rate = soundfile.read(recording, dtype="int16")
        for name, channel in (("first.wav", samples), ("second.wav", samples[::-1])):
            soundfile.write(tmp_path / name, channel, rate)
        soundfile.write(tmp_path / "call.wav", np.stack([samples, samples[::-1]], axis=1), rate)
        return tmp_path / "call.wav"

    @pytest.mark.parametrize("windows", [None, Windows(0.5, 0.25)])
    def test_a_channel_is_predicted_as_a_file_of_its_own(
        self, windows: Windows | None, model: TrainedModel, call: Path
    ) -> None:
        files = [call.with_name("first.wav"), call.with_name("second.wav")]
        alone = [
            [replace(each, file=str(call), channels=2) for each in predict_files(model, [file], windows=windows)]
            for file in files
        ]
        second = [replace(each, channel=1) for each in alone[1]]
        assert alone[0][0].probability != second[0].probability
        assert list(predict_files(model, [call], windows=windows)) == alone[0]
        assert list(predict_files(model, [call], windows=windows, channel=1)) == second
        found = list(predict_files(model, [call], windows=windows, channel="all"))
        assert [replace(each, probabilities=None) for each in found] == [
            replace(each, probabilities=None) for each in (*alone[0], *second)
        ]
        expected = [each.probability for each in (*alone[0], *second)]
        assert [each.probability for each in found] == pytest.approx(expected, abs=1e-6)

    def test_a_file_is_opened_once_for_all_channels_and_models(self, model: TrainedModel, call: Path) -> None:
        opened = []

        def open_call() -> BinaryIO:
            opened.append(call)
            return BytesIO(call.read_bytes())

        found = [each for _, each in predict([model, model], [Input("call", open_call)], channel="all")]
        assert [(each.channel, each.model) for each in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert len(opened) == 1

    def test_a_file_without_the_channel_has_an_error_and_others_do_not(self, model: TrainedModel, call: Path) -> None:
        mono, first = predict_files(model, [call.with_name("first.wav"), call], channel=1)
        assert (mono.error, mono.channel, mono.has_failed) == ("no channel 1; the file has only channel 0", 1, True)
        assert (first.error, first.channel) == (None, 1)

    def test_errors_belong_to_their_channel(self, model: TrainedModel, call: Path, tmp_path: Path) -> None:
        samples, rate = soundfile.read(call, dtype="float32")
        for name, column, value in (("nan.wav", 0, np.nan), ("silent.wav", 1, 0.0)):
            changed = samples.copy()
            changed[:, column] = value
            soundfile.write(tmp_path / name, changed, rate, subtype="FLOAT")
        files = [tmp_path / "nan.wav", tmp_path / "silent.wav", tmp_path / "absent.wav"]
        found = list(predict_files(model, files, channel="all"))
        assert [each.channel for each in found] == [0, 1, 0, 1, None]
        problems = [each.error for each in found]
        assert problems == ["samples that are not finite (NaN or infinity)", None, None, "all zeros", problems[-1]]
        assert problems[-1] is not None

    @pytest.mark.parametrize("channel", [-1, "1", "both", None, 0.5, True])
    def test_other_channels_are_refused(self, channel: Any, model: TrainedModel, call: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            list(predict_files(model, [call], channel=channel))
        assert caught.value.field == "channel"


class TestInputs:
    def test_a_folder_is_searched_for_audio_files(self, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        for name in ("b/two.WAV", "a.wav", "b/.hidden.wav", "b/._two.wav", ".trash/x.wav", "b/notes.txt", "c/d/e.wav"):
            (tmp_path / "calls" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recording, tmp_path / "calls" / name)
        found = list(predict_files(model, [tmp_path / "calls", recording]))
        expected = [str(tmp_path / "calls" / name) for name in ("a.wav", "b/two.WAV", "c/d/e.wav")]
        assert [each.file for each in found] == [*expected, str(recording)]
        assert len({each.probability for each in found}) == 1

    def test_an_archive_is_searched_for_audio_files(self, model: TrainedModel, recording: Path, tmp_path: Path) -> None:
        members = {"b.wav": recording.read_bytes(), "readme.txt": b"words", "a/a.wav": b"bad"}
        packed = pack(tmp_path / "x.tar.gz", members)
        first, second = predict_files(model, [packed])
        assert (first.file, second.file) == (f"{packed}/a/a.wav", f"{packed}/b.wav")
        assert first.has_failed
        assert second.probability == predict_file(model, recording).probability

    def test_inputs_are_read_a_few_in_advance(self, model: TrainedModel, recording: Path) -> None:
        count = 0

        def endless() -> Iterator[Path]:
            nonlocal count
            while True:
                count += 1
                yield recording

        predictions = predict_files(model, endless(), threads=2)
        assert next(predictions).probability is not None
        assert count < 500


def test_the_label_is_1_from_a_probability_of_one_half() -> None:
    labels = [Prediction("a.wav", probabilities=(1 - each, each)).label for each in (0.0, 0.4999, 0.5, 1.0)]
    labels.append(Prediction("a.wav").label)
    assert labels == [0, 0, 1, 1, None]
