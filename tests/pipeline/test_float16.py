"""Feature sets whose stores hold float16: readers see float32 values, and every byte is checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from emodna.pipeline.errors import AudioError, StoreError
from emodna.pipeline.export import export_store
from emodna.pipeline.features import LogMelSet, WaveSet
from emodna.pipeline.features.base import measure_peak_db
from emodna.pipeline.store import FeatureStore
from emodna.pipeline.store.snapshot import read_snapshot
from tests.pipeline.making import (
    content,
    find_features_offset,
    flip,
    make_emodb_names,
    noise,
    prepare_corpus,
    write_tiny_emodb,
)


@dataclass(frozen=True, slots=True)
class HalfLogMel(LogMelSet):
    """Log-mel spectrograms in float16."""

    storage: ClassVar[Literal["float32", "float16"]] = "float16"


@dataclass(frozen=True, slots=True)
class Loud(WaveSet):
    """Samples that are too large for float16."""

    storage: ClassVar[Literal["float32", "float16"]] = "float16"

    def transform(self, samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        return (samples * np.float32(1e6))[:, None], measure_peak_db(samples)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny_emodb(tmp_path, make_emodb_names(4))
    return tmp_path


@pytest.fixture
def store(root: Path) -> Path:
    return prepare_corpus(root, root / "cache", features=HalfLogMel()).store


def test_extracted_values_are_those_of_the_store() -> None:
    samples = noise(0.5, 22_050)
    extracted, _ = HalfLogMel().extract(samples)
    exact, _ = LogMelSet().extract(samples)
    assert extracted.dtype == np.float32
    assert np.array_equal(extracted, exact.astype(np.float16).astype(np.float32))
    assert not np.array_equal(extracted, exact)
    assert HalfLogMel().name != LogMelSet().name


def test_readers_see_the_rounded_values_as_float32(root: Path, store: Path) -> None:
    half = FeatureStore(store)
    full = FeatureStore(prepare_corpus(root, root / "cache", features=LogMelSet()).store)
    ((_, block),) = half.iterate_blocks(10**9)
    expected = [features.astype(np.float16).astype(np.float32) for features in full]
    for read in (list(half), half.gather(np.arange(4)), np.split(block, np.cumsum(half.frames)[:-1])):
        for features, values in zip(read, expected, strict=True):
            assert features.dtype == np.float32
            assert not features.flags.writeable
            assert np.array_equal(features, values)
    assert half.dim == full.dim == 128
    (shard,) = store.glob("*.h5")
    with h5py.File(shard) as file:
        assert file["features"].dtype == np.dtype("<f2")
        assert file["features"].size * 2 < shard.stat().st_size < file["features"].size * 2 + 16_384


def test_features_are_reused_without_another_rounding(root: Path, store: Path) -> None:
    before = content(store)
    report = prepare_corpus(root, root / "cache", features=HalfLogMel())
    assert (report.extracted, content(store)) == (0, before)
    write_tiny_emodb(root, make_emodb_names(5))
    report = prepare_corpus(root, root / "cache", features=HalfLogMel())
    assert (report.reused, report.extracted) == (4, 1)
    fresh = prepare_corpus(root, root / "other cache", features=HalfLogMel())
    assert content(report.store) == content(fresh.store)


def test_every_byte_is_checked(store: Path) -> None:
    assert not FeatureStore(store).verify()
    (shard,) = store.glob("*.h5")
    flip(shard, find_features_offset(shard), 1)
    assert len(FeatureStore(store).verify()) == 2  # the file and the utterance
    with pytest.raises(StoreError):
        FeatureStore(store)[0]


def test_exports_hold_float32(store: Path) -> None:
    values = np.concatenate(list(FeatureStore(store)))
    export_store(FeatureStore(store), "npz", store.parent / "x.npz", force=False, on_progress=lambda _: None)
    export_store(FeatureStore(store), "parquet", store.parent / "x", force=False, on_progress=lambda _: None)
    assert np.array_equal(np.load(store.parent / "x.npz")["features"], values)
    lists = pq.read_table(store.parent / "x")["features"].combine_chunks()
    assert np.array_equal(lists.values.to_numpy(), values.ravel())


def test_values_beyond_float16_are_refused() -> None:
    with pytest.raises(AudioError, match="float16"):
        Loud().extract(noise())


def test_the_place_of_the_weights_is_recorded_if_there_is_one(root: Path) -> None:
    """Earlier versions refuse a store.json with an unknown key, so that others do not have it."""
    store = prepare_corpus(root, root / "cache", features=HalfLogMel()).store
    assert "location" not in json.loads((store / "store.json").read_bytes())
    fingerprint = read_snapshot(store).fingerprint
    for place in ("/weights", "/moved"):
        report = prepare_corpus(root, root / "cache", features=HalfLogMel(location=place))
        assert report.extracted == 0
        assert (read_snapshot(store).location, read_snapshot(store).fingerprint) == (place, fingerprint)
