"""Descriptors of eGeMAPS: those of openSMILE, the same for any number of workers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from emodna.pipeline.errors import EmodnaError
from emodna.pipeline.features import EgemapsSet, MfccSet
from emodna.pipeline.features.base import measure_peak_db
from emodna.pipeline.prepare.executors import make_local_factory
from emodna.pipeline.prepare.extract import ExtractionConfig
from emodna.pipeline.store import FeatureStore
from tests.pipeline.making import content, make_emodb_names, noise, prepare_corpus, write_tiny_emodb

SET = EgemapsSet()


def test_the_missing_package_is_an_error_with_the_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the preparation, not a rejection of each recording."""
    write_tiny_emodb(tmp_path, make_emodb_names(2))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmodnaError, match=r"emodna\[egemaps\].* research ") as caught:
        prepare_corpus(tmp_path, tmp_path / "cache", features=SET)
    assert (caught.value.field, caught.value.value) == ("feature_set", "egemaps")


def test_a_set_is_described_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    assert (SET.dim, SET.hop_length, SET.min_samples) == (25, 160, 960)


class TestExtraction:
    @pytest.fixture(autouse=True)
    def _need_opensmile(self) -> None:
        pytest.importorskip("opensmile")

    def test_values_and_names_are_those_of_opensmile(self) -> None:
        import opensmile

        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
        assert SET.value_names == tuple(smile.feature_names)
        samples = noise(0.5)
        expected = smile.process_signal(samples, 16_000)
        extracted, peak_db = SET.extract(samples)
        assert np.array_equal(extracted, expected.to_numpy())
        assert len(extracted) == 1 + (len(samples) - 800) // 160
        assert peak_db == measure_peak_db(samples)

    def test_the_shortest_recording_has_finite_values(self) -> None:
        assert SET.extract(noise(960 / 16_000))[0].shape == (2, 25)

    @pytest.mark.parametrize("peak", [1.0, 1.5, -1.5])
    def test_samples_beyond_full_scale_are_clipped(self, peak: float) -> None:
        """The package alone would turn 1.0 into -1.0."""
        samples = noise(0.2)
        samples[1000:1010] = peak
        clipped = np.clip(samples, -1, 1 - 2**-15)
        assert np.array_equal(SET.extract(samples)[0], SET.extract(clipped)[0])

    def test_a_store_does_not_depend_on_the_workers(self, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path, make_emodb_names(5))
        reports = [
            prepare_corpus(tmp_path, tmp_path / name, features=SET, workers=workers)
            for name, workers in (("threads", 2), ("process", make_local_factory(1)))
        ]
        first, second = (content(report.store) for report in reports)
        assert first == second
        store = FeatureStore(reports[0].store)
        assert store.snapshot.libraries["opensmile"] == importlib.metadata.version("opensmile")
        assert ExtractionConfig(SET).get_versions()["opensmile"] == store.snapshot.libraries["opensmile"]
        assert "opensmile" not in ExtractionConfig(MfccSet()).read_all_versions()
        assert store.dim == 25
        assert store.frames.tolist() == [1 + (2400 - 800) // 160] * 5
