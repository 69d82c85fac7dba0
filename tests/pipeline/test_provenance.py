"""Channel and bandwidth: which part of the audio a store holds, and that its features stay those of any other store."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from emodna.pipeline.audio.decode import decode, limit_bandwidth, resample
from emodna.pipeline.audio.provenance import AudioProvenance, split_store_name
from emodna.pipeline.corpora import find_selection
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import EmodnaError, ForeignStoreError
from emodna.pipeline.features import LogMelSet, MfccSet, WaveSet
from emodna.pipeline.inspect.diff import compare_stores
from emodna.pipeline.inspect.report import compute_statistics
from emodna.pipeline.prepare import PrepareReport, history
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.snapshot import compute_checksum, encode_document
from tests.pipeline.making import noise, prepare_corpus, prepare_without_commit, wav, write_tiny_emodb

RATE = 24_000


def make_call(seconds: float = 0.3, *, seed: int = 0) -> np.ndarray:
    """Return two channels (n, 2) of noise over the whole spectrum."""
    generator = np.random.default_rng(seed)
    return (0.1 * generator.normal(size=(int(seconds * RATE), 2))).astype(np.float32)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two stereo recordings."""
    folder = tmp_path_factory.mktemp("calls")
    for number, name in enumerate(("a.wav", "b.wav")):
        soundfile.write(folder / name, make_call(seed=number), RATE, subtype="PCM_16")
    return folder


def prepare_calls(calls: Path, cache: Path, name: str = "calls", **options: Any) -> PrepareReport:
    return prepare_corpus(calls, cache, Recordings(calls, name), workers=1, **options)


class TestNames:
    @pytest.mark.parametrize("channel", [0, 1, 31])
    @pytest.mark.parametrize("bandwidth", [None, 500.0, 11_024.0, 100_000.0])
    def test_a_store_name_tells_the_provenance(self, channel: int, bandwidth: float | None) -> None:
        provenance = AudioProvenance(channel, bandwidth)
        assert split_store_name(f"iemocap-all{provenance.suffix}") == ("iemocap-all", provenance)

    def test_a_registered_corpus_is_found_by_the_name_of_its_store(self) -> None:
        provenance = AudioProvenance(1, 4000.0)
        assert find_selection("iemocap-all-channel1-4000hz") == ("iemocap", "all", provenance)
        assert find_selection("ravdess-channel1-4000hz") == ("ravdess", None, provenance)
        assert find_selection("calls-channel1-4000hz") is None

    @pytest.mark.parametrize("name", ["calls", "calls-channel0", "-channel1", "4000hz", "a-0hz", "channel1"])
    def test_other_names_have_none(self, name: str) -> None:
        assert split_store_name(name) == (name, AudioProvenance())


@pytest.mark.parametrize("bandwidth", [499, 11025, 22050, -4000, 0, 4000.5, float("nan"), float("inf")])
def test_a_bandwidth_that_removes_nothing_or_all_is_refused(bandwidth: float) -> None:
    with pytest.raises(EmodnaError) as caught:
        ExtractionConfig(MfccSet(), bandwidth=bandwidth)
    assert caught.value.field == "bandwidth"
    assert "11024" in str(caught.value)


@pytest.fixture(scope="module")
def stores(calls: Path, tmp_path_factory: pytest.TempPathFactory) -> list[FeatureStore]:
    """Return three stores of the same recordings, side by side in one cache."""
    parts = (AudioProvenance(), AudioProvenance(1), AudioProvenance(1, 4000))
    cache = tmp_path_factory.mktemp("cache")
    reports = [prepare_calls(calls, cache, "calls" + part.suffix, **asdict(part)) for part in parts]
    return [FeatureStore(report.store) for report in reports]


class TestIdentity:
    def test_provenance_is_recorded_and_hashed_but_is_no_part_of_the_features(self, stores: list[FeatureStore]) -> None:
        expected = [{"channel": 0}, {"channel": 1}, {"channel": 1, "bandwidth": 4000.0}]
        assert len({store.fingerprint for store in stores}) == len({store.path.parent for store in stores}) == 3
        for store, parameters in zip(stores, expected, strict=True):
            assert store.path.name == store.snapshot.feature_set == MfccSet().name
            assert store.snapshot.feature_parameters == MfccSet().parameters()
            assert store.snapshot.parameters == {**MfccSet().parameters(), **parameters}
            for shard in store.path.glob("*.h5"):
                with h5py.File(shard) as file:
                    assert {name: file.attrs.get(name) for name in parameters} == parameters
                    assert ("bandwidth" in file.attrs) == ("bandwidth" in parameters)

    def test_features_come_from_the_channel(self, stores: list[FeatureStore], calls: Path) -> None:
        for store, channel in zip(stores[:2], (0, 1), strict=True):
            with (calls / "b.wav").open("rb") as stream:
                samples = decode(stream, channel=channel).samples
            expected, _ = MfccSet().extract(resample(samples, RATE, 22_050))
            assert np.array_equal(store[store.find_row("b.wav")], expected)

    def test_statistics_and_differences_tell_the_provenance(self, stores: list[FeatureStore]) -> None:
        document = compute_statistics(stores[2], window=4.4)
        assert (document["channel"], document["bandwidth"], document["band_limited"]) == (1, 4000.0, [])
        difference = compare_stores(stores[0], stores[2], lambda _count: lambda _more: None)
        assert difference["parameters"] == {"channel": {"a": 0, "b": 1}, "bandwidth": {"b": 4000.0}}

    @pytest.mark.parametrize("part", [{"channel": 1}, {"bandwidth": 4000}])
    def test_another_provenance_in_the_same_store_is_refused_and_loses_nothing(
        self, part: dict[str, Any], calls: Path, tmp_path: Path
    ) -> None:
        store = prepare_calls(calls, tmp_path).store
        before = {path: path.read_bytes() for path in store.iterdir() if path.is_file()}
        with pytest.raises(ForeignStoreError) as caught:
            prepare_calls(calls, tmp_path, **part)
        assert caught.value.where == store
        assert {path: path.read_bytes() for path in before} == before
        assert prepare_calls(calls, tmp_path).extracted == 0

    def test_finished_shards_of_another_provenance_are_not_reused(self, tmp_path: Path) -> None:
        """The folder of an interrupted preparation told the channel once; now its journal does."""
        write_tiny_emodb(tmp_path / "root", ["03a01Wa.wav", "08b02Fa.wav"])
        prepare_without_commit(tmp_path / "root", tmp_path / "cache")
        report = prepare_corpus(tmp_path / "root", tmp_path / "cache", bandwidth=4000)
        assert (report.extracted, report.reused) == (2, 0)

    def test_finished_shards_of_an_earlier_version_are_reused(self, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path / "root", ["03a01Wa.wav", "08b02Fa.wav"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(history, "_PROVENANCE", b"unknown")
            store = prepare_without_commit(tmp_path / "root", tmp_path / "cache")
        assert not any(b"provenance" in path.read_bytes() for path in (store / layout.JOURNAL).iterdir())
        report = prepare_corpus(tmp_path / "root", tmp_path / "cache")
        assert (report.extracted, report.reused) == (0, 2)


class TestBandwidth:
    def test_a_limited_file_has_the_features_of_one_at_a_lower_sample_rate(self) -> None:
        """Half a second of noise: in dB, the rest is the rounding of the resampled file to 16 bits."""
        whole = make_call(0.5)[:, 0]
        limited, rate = limit_bandwidth(whole, RATE, 4000.0)
        file = io.BytesIO()
        soundfile.write(file, resample(whole, RATE, 8000), 8000, format="WAV", subtype="PCM_16")
        features = LogMelSet()
        found, low, wide = (
            features.extract(resample(samples, hertz, 22_050))[0]
            for samples, hertz in ((limited, rate), (decode(file).samples, 8000), (whole, RATE))
        )
        assert np.abs(found - low).mean() < 0.1
        assert np.abs(found - wide).mean() > 5
        # Above 4 kHz, except where the noise begins and ends abruptly.
        assert found[3:-3, -30:].max() < found.max() - 60

    @pytest.mark.parametrize("features", [MfccSet(), WaveSet()], ids=["mfcc40", "wave16k"])
    def test_files_that_end_below_the_limit_are_unchanged(self, features: Any, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_bytes(wav(noise(0.3, 8000), 8000))
        stores = [
            FeatureStore(prepare_calls(tmp_path, tmp_path / "cache", f"calls{number}", features=features, **part).store)
            for number, part in enumerate(({}, {"bandwidth": 4000.0}))
        ]
        assert np.array_equal(stores[0][0], stores[1][0])

    def test_a_limit_that_changes_no_file_gives_a_warning(self, calls: Path, tmp_path: Path) -> None:
        assert not any("removes nothing" in line for line in prepare_calls(calls, tmp_path, bandwidth=8000).warnings)
        (tmp_path / "low").mkdir()
        (tmp_path / "low" / "a.wav").write_bytes(wav(noise(0.3, 8000), 8000))
        (warning,) = prepare_calls(tmp_path / "low", tmp_path, "low", bandwidth=4000).warnings
        assert "4000 Hz" in warning


def test_a_store_of_an_earlier_version_with_another_channel_fits_to_any_store(calls: Path, tmp_path: Path) -> None:
    """The channel was a parameter of the features, in the name of the folder too."""
    store = prepare_calls(calls, tmp_path, channel=1).store
    old = store.with_name("mfcc40-22050hz-0a1b2c3d")
    store.rename(old)
    document = json.loads((old / layout.STORE_JSON).read_text()) | {"feature_set": old.name}
    document.pop("checksum")
    (old / layout.STORE_JSON).write_bytes(encode_document({**document, "checksum": compute_checksum(document)}))
    opened = FeatureStore(old)
    assert opened.snapshot.feature_parameters == MfccSet().parameters()
    assert opened.snapshot.provenance == AudioProvenance(1)
    assert len(list(opened)) == 2
