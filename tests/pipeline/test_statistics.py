"""Tests of the statistics of a store against naive computations, and of the search for anomalies."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from emodna.pipeline.audio.decode import resample
from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora.own import Manifest
from emodna.pipeline.errors import CorpusError
from emodna.pipeline.features import FEATURE_SETS, make_feature_set
from emodna.pipeline.inspect.anomalies import measure_waveform, measure_waveforms
from emodna.pipeline.inspect.report import compute_statistics
from emodna.pipeline.inspect.spectra import has_spectrum
from emodna.pipeline.inspect.survey import (
    Moments,
    compute_moments,
    project_utterances,
    standardise_difference,
    survey_store,
)
from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import noise, prepare_corpus, wav

Float32 = NDArray[np.float32]
RATE = 22_050


def synthesise(seed: int, seconds: float = 1.5, take: int = 0) -> Float32:
    """Return noise that changes like syllables: a sentence per seed; each take varies times and lengths."""
    random, timing = np.random.default_rng(seed), np.random.default_rng((seed, take))
    length = round(seconds * RATE)
    samples = np.zeros(length, np.float32)
    start = round(0.1 * RATE)
    while start < length - round(0.3 * RATE):
        size = round(timing.uniform(0.12, 0.25) * RATE)
        spectrum = np.fft.rfft(timing.standard_normal(size))
        hertz = np.fft.rfftfreq(size, 1 / RATE)
        for centre in random.uniform(300, 9000, 3):
            spectrum *= 1 + 30 * np.exp(-(((hertz - centre) / 250) ** 2))
        syllable = np.fft.irfft(spectrum, size) * np.hanning(size)
        samples[start : start + size] += random.uniform(0.1, 0.4) * syllable / np.abs(syllable).max()
        start += round(timing.uniform(0.7, 1.1) * size)
    return samples + random.normal(0, 1e-4, length).astype(np.float32)


def make_store(
    folder: Path, files: Mapping[str, bytes], *, name: str = "mfcc40", rows: str = "", **options: Any
) -> FeatureStore:
    """Return a store of these files; `rows` is its table."""
    folder.mkdir(exist_ok=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)
    (folder / "own.csv").write_text(rows or "path\n" + "".join(f"{path}\n" for path in files))
    report = prepare_corpus(
        folder, folder / "cache", Manifest(folder / "own.csv", "own"), features=make_feature_set(name), **options
    )
    return FeatureStore(report.store)


def encode(samples: Float32, **options: object) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def voices() -> list[Float32]:
    return [synthesise(seed) for seed in range(24)]


@pytest.fixture(scope="module")
def anomalies(voices: list[Float32], tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, dict[str, Any]]:
    """Return a store of 24 utterances and one example of each anomaly, and its statistics."""
    files = {f"v{number:02}.wav": wav(samples, RATE) for number, samples in enumerate(voices)}
    files |= {
        "equal.wav": files["v00.wav"],
        "lossless.flac": encode(soundfile.read(io.BytesIO(files["v01.wav"]), dtype="float32")[0], format="FLAC"),
        "quiet.wav": wav(0.1 * voices[2], RATE),
        "coded.mp3": encode(voices[3], format="MP3", compression_level=0.0),
        "other_rate.wav": wav(resample(voices[4], RATE, 16_000), 16_000),
        "trimmed.wav": wav(voices[5][700:], RATE),
        "second_take.wav": wav(synthesise(6, take=1), RATE),
        "telephone.wav": wav(resample(resample(synthesise(90), RATE, 8_000), 8_000, RATE), RATE),
        "silent.wav": wav(bytes(2 * RATE), RATE),
        "tone.wav": wav(0.3 * np.sin(np.arange(2 * RATE) * 0.3).astype(np.float32), RATE),
        "long.wav": wav(np.tile(synthesise(91, 3.0), 6), RATE),
        "loud.wav": wav(np.clip(8 * synthesise(92), -1, 1), RATE),
        "stereo.wav": wav(np.repeat(synthesise(93), 2), RATE, channels=2),
    }
    store = make_store(tmp_path_factory.mktemp("planted"), files)
    return store, compute_statistics(store, window=4.4, waveforms=measure_waveforms(store, None, lambda: None))


class TestStatistics:
    @pytest.mark.parametrize("name", FEATURE_SETS)
    def test_mean_and_deviation_equal_those_of_all_frames(
        self, voices: list[Float32], tmp_path: Path, name: str
    ) -> None:
        store = make_store(
            tmp_path, {f"{n}.wav": wav(samples, RATE) for n, samples in enumerate(voices[:5])}, name=name
        )
        frames = np.concatenate([features.astype(np.float64) for features in store])
        found = compute_statistics(store, window=4.4)["features"]
        assert found["frames"] == len(frames)
        for name in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(found[name], getattr(frames, name)(axis=0), rtol=1e-9, atol=1e-9)

    def test_moments_do_not_depend_on_the_block_size(self, emodb_store: Path) -> None:
        store = FeatureStore(emodb_store)
        whole = compute_moments(store)
        for values in (1, 1000, 20_000):
            parts = Moments.empty(store.dim)
            counted = []
            for rows, features in store.iterate_blocks(values):
                parts.add(features)
                counted += range(rows.start, rows.stop)
                assert len(features) == store.frames[rows].sum()
                assert len(features) * store.dim <= max(values, store.frames[rows.start] * store.dim)
            assert counted == list(range(len(store)))
            np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
            np.testing.assert_allclose(parts.std, whole.std, rtol=1e-10)

    def test_moments_of_large_means_keep_their_digits(self) -> None:
        values = (1e6 + np.random.default_rng(0).normal(size=(5000, 2))).astype(np.float32)
        moments = Moments.empty(2)
        for part in np.array_split(values, 7):
            moments.add(part)
        np.testing.assert_allclose(moments.std, values.astype(np.float64).std(axis=0), rtol=1e-9)

    def test_counts_equal_those_of_the_table(self, emodb_store: Path) -> None:
        store = FeatureStore(emodb_store)
        found = compute_statistics(store, window=0.5)
        rows = store.table.to_pylist()
        for task in ("arousal", "valence"):
            balance = found["labels"][task]
            labels = [row[task] for row in rows]
            assert [balance[key] for key in ("0", "1", "unlabelled")] == [labels.count(each) for each in (0, 1, None)]
            assert balance["share"] == labels.count(1) / len(labels)
            for column, group in (("gender", balance["by_gender"]), ("speaker", balance["by_speaker"])):
                assert set(group) == {row[column] for row in rows}
                for value, each in group.items():
                    assert each["1"] == sum(row[task] == 1 for row in rows if row[column] == value)
            shares = [each["share"] for each in balance["by_speaker"].values()]
            assert balance["share_over_speakers"]["min"] == min(shares)
        speakers = found["speakers"]
        assert speakers["known"] == 2
        assert speakers["each"]["03"]["utterances"] == sum(row["speaker"] == "03" for row in rows)
        durations = np.array([row["duration"] for row in rows])
        assert found["durations"]["total"] == pytest.approx(durations.sum())
        assert found["durations"]["median"] == pytest.approx(np.median(durations))
        assert found["durations"]["longer"] == (durations > 0.5).sum()
        assert found["durations"]["cut"] == pytest.approx(np.maximum(durations - 0.5, 0).sum())

    @pytest.mark.parametrize("name", FEATURE_SETS)
    def test_a_store_may_have_one_unlabelled_utterance(self, tmp_path: Path, name: str) -> None:
        found = compute_statistics(make_store(tmp_path, {"a.wav": wav(noise())}, name=name), window=4.4)
        assert found["utterances"] == 1
        assert found["labels"]["arousal"]["share"] is None
        assert found["labels"]["arousal"]["unlabelled"] == 1
        assert found["speakers"] == {"known": 0, "without": 1, "utterances": None, "each": {}}
        assert found["emotions"] == found["gender"] == found["language"] == {"unknown": 1}
        assert found["outliers"] == found["silent"] == []


class TestAnomalies:
    def test_equal_files_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        _, found = anomalies
        (group,) = found["duplicates"]["audio"]
        assert sorted(group["ids"]) == ["equal.wav", "v00.wav"]
        assert (group["similarity"], group["differ"]) == (1.0, [])

    def test_equal_features_of_different_files_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        (group,) = anomalies[1]["duplicates"]["features"]
        assert sorted(group["ids"]) == ["lossless.flac", "v01.wav"]

    def test_only_altered_copies_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        groups = anomalies[1]["duplicates"]["altered"]
        assert sorted(sorted(group["ids"]) for group in groups) == [
            ["coded.mp3", "v03.wav"],
            ["other_rate.wav", "v04.wav"],
            ["quiet.wav", "v02.wav"],
            ["trimmed.wav", "v05.wav"],
        ]
        assert all(0.94 <= group["similarity"] <= 1 for group in groups)

    def test_silence_tones_and_missing_bands_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        assert (anomalies[1]["silent"], anomalies[1]["flat"]) == (["silent.wav"], ["tone.wav"])
        assert anomalies[1]["band_limited"] == [{"id": "telephone.wav", "hz": 4000.0}]

    def test_rare_values_and_outliers_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        _, found = anomalies
        assert found["other_sample_rate"] == ["other_rate.wav"]
        assert found["other_channels"] == ["stereo.wav"]
        outliers = {each["id"]: each for each in found["outliers"]}
        assert outliers["long.wav"]["figure"] == "duration"
        assert outliers["long.wav"]["value"] == pytest.approx(18.0)
        assert not {id for id in outliers if id.startswith("v")}
        scores = [abs(each["z"]) for each in found["outliers"]]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= 6

    def test_anomalies_of_the_audio_are_found(self, anomalies: tuple[FeatureStore, dict[str, Any]]) -> None:
        store, found = anomalies
        audio = found["audio"]
        assert audio["recordings"] == len(store)
        assert "loud.wav" in [each["id"] for each in audio["clipped"]]
        assert not {each["id"] for each in audio["clipped"]} & {f"v{number:02}.wav" for number in range(24)}
        assert [each["id"] for each in audio["zeros"]] == ["silent.wav"]
        assert audio["unusable"] == audio["offset"] == []

    @pytest.mark.parametrize("name", [name for name, each in FEATURE_SETS.items() if has_spectrum(each)])
    def test_every_spectrum_finds_copies(self, voices: list[Float32], tmp_path: Path, name: str) -> None:
        files = {f"{number}.wav": wav(samples, RATE) for number, samples in enumerate(voices[:8])}
        files["again.wav"] = wav(0.5 * voices[3][300:], RATE)
        files["telephone.wav"] = wav(resample(resample(voices[4], RATE, 8_000), 8_000, RATE), RATE)
        found = compute_statistics(make_store(tmp_path, files, name=name), window=4.4)
        groups = sorted(sorted(group["ids"]) for group in found["duplicates"]["altered"])
        assert groups == [["3.wav", "again.wav"], ["4.wav", "telephone.wav"]]
        assert [each["id"] for each in found["band_limited"]] == ["telephone.wav"]

    def test_columns_that_differ_between_copies_are_named(self, voices: list[Float32], tmp_path: Path) -> None:
        files = {"a.wav": wav(voices[0], RATE), "b.wav": wav(voices[0], RATE), "c.wav": wav(voices[1], RATE)}
        rows = "path,emotion,speaker\na.wav,anger,1\nb.wav,sadness,1\nc.wav,anger,2\n"
        (group,) = compute_statistics(make_store(tmp_path, files, rows=rows), window=4.4)["duplicates"]["audio"]
        assert group["differ"] == ["emotion", "arousal"]

    def test_segments_of_one_recording_are_no_duplicates(self, voices: list[Float32], tmp_path: Path) -> None:
        pause = np.zeros(RATE, np.float32)
        long = np.concatenate([voices[0], pause, voices[1], pause, voices[2]])
        files = {"a.wav": wav(long, RATE), "b.wav": wav(voices[5], RATE), "c.wav": wav(long, RATE)}
        store = make_store(tmp_path, files, segmenter=EnergySegmenter())
        found = compute_statistics(store, window=4.4, waveforms=measure_waveforms(store, None, lambda: None))
        assert len(store) > 6
        (group,) = found["duplicates"]["audio"]
        assert [id.partition("@")[0] for id in sorted(group["ids"])] == ["a.wav", "c.wav"]
        assert found["audio"]["recordings"] == 3


class TestWaveforms:
    def test_only_flat_peaks_are_clipped(self) -> None:
        sine = np.sin(np.arange(22_050) * 0.05).astype(np.float32)
        assert measure_waveform(0, sine, 22_050).clipped == 0
        clipped = 0.5 * np.clip(sine, -0.9, 0.9)  # clipped before the level was lowered
        assert measure_waveform(0, clipped, 22_050).clipped == pytest.approx(
            22_050 * np.mean(np.abs(sine) > 0.9), rel=0.01
        )

    def test_offset_and_silence_are_measured(self) -> None:
        samples = np.pad(noise(1.0, 8000), (800, 1600))
        found = measure_waveform(7, samples, 8000)
        assert (found.row, found.zeros_before, found.zeros_behind) == (7, 0.1, 0.2)
        assert measure_waveform(0, np.full(8000, 0.01, np.float32), 8000).offset == pytest.approx(0.01)
        assert measure_waveform(0, np.zeros(8000, np.float32), 8000).zeros_before == 1.0

    def test_changed_and_missing_files_are_unusable(self, tmp_path: Path) -> None:
        store = make_store(tmp_path, {f"{n}.wav": wav(noise(seed=n)) for n in range(3)})
        (tmp_path / "0.wav").write_bytes(wav(noise(seed=9)))
        (tmp_path / "1.wav").unlink()
        found = compute_statistics(store, window=4.4, waveforms=measure_waveforms(store, None, lambda: None))["audio"]
        assert [each["id"] for each in found["unusable"]] == ["0.wav", "1.wav"]
        assert "changed since" in found["unusable"][0]["reason"]
        assert "No such file" in found["unusable"][1]["reason"]

    def test_a_missing_root_is_an_error(self, tmp_path: Path) -> None:
        store = make_store(tmp_path / "there", {"a.wav": wav(noise())})
        (tmp_path / "there").rename(tmp_path / "elsewhere")
        moved = FeatureStore(tmp_path / "elsewhere" / store.path.relative_to(tmp_path / "there"))
        with pytest.raises(CorpusError) as error:
            list(measure_waveforms(moved, None, lambda: None))
        assert error.value.where == tmp_path / "there"
        assert [each.problem for each in measure_waveforms(moved, tmp_path / "elsewhere", lambda: None)] == [None]


class TestShift:
    def test_differences_are_in_standard_deviations(self) -> None:
        random = np.random.default_rng(0)
        one, other = Moments.empty(2), Moments.empty(2)
        one.add(random.normal([0, 5], [1, 2], (20_000, 2)).astype(np.float32))
        other.add(random.normal([1, 5], [1, 2], (20_000, 2)).astype(np.float32))
        np.testing.assert_allclose(standardise_difference(one, other), [1, 0], atol=0.03)
        constant = Moments.empty(1)
        constant.add(np.ones((5, 1), np.float32))
        assert standardise_difference(constant, constant).tolist() == [0.0]

    def test_the_projection_is_deterministic(self, emodb_store: Path, ravdess_store: Path) -> None:
        parts = [survey_store(FeatureStore(store))[1] for store in (emodb_store, ravdess_store)]
        rows, points, explained = project_utterances(parts)
        assert [len(each) for each in points] == [len(part.means) for part in parts]
        assert 0 < explained[1] <= explained[0] <= 1
        again = project_utterances(parts)
        assert all(np.array_equal(a, b) for a, b in zip(points, again[1], strict=True))
        assert [each.tolist() for each in rows] == [list(range(len(each))) for each in points]


def test_the_value_unknown_counts_as_missing(tmp_path: Path) -> None:
    """Regression: "unknown" in the table replaced the count of missing values."""
    rows = "path,speaker,language\na.wav,unknown,unknown\nb.wav,,\nc.wav,x,de\n"
    files = {f"{name}.wav": wav(synthesise(seed), RATE) for seed, name in enumerate("abc")}
    found = compute_statistics(make_store(tmp_path / "root", files, rows=rows), window=4.4)
    assert (found["speakers"]["known"], found["speakers"]["without"]) == (1, 2)
    assert found["language"] == {"unknown": 2, "de": 1}
    assert {name: each["unlabelled"] for name, each in found["labels"]["arousal"]["by_speaker"].items()} == {
        "unknown": 2,
        "x": 1,
    }
