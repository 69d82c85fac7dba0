"""Past bugs in writing, updating and reading stores."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import ForeignStoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.layout import StoredFile
from emodna.pipeline.store.shards import write_shard
from emodna.pipeline.store.snapshot import compute_checksum, hash_file
from tests.pipeline.making import age, content, make_emodb_names, noise, prepare_corpus, wav, write_tiny_emodb
from tests.pipeline.test_segment import make_bursts

NAMES = make_emodb_names(3)


def test_reading_keeps_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read shard kept a file descriptor, so a store of 1000 shards could not be read."""
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 1)
    write_tiny_emodb(tmp_path / "root", make_emodb_names(8))
    store = FeatureStore(prepare_corpus(tmp_path / "root", tmp_path / "cache").store)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 (its iterator would be open as well)
    assert len(store.snapshot.shards) > 2
    features = list(store)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208
    assert [len(each) for each in features] == store.frames.tolist()


def test_threads_can_write_shards_at_the_same_time(tmp_path: Path) -> None:
    """Shards in memory had the same name, by which HDF5 identifies files.

    The error was "unable to truncate a file which is already open".
    """
    features = noise(4.0, 40_000).reshape(-1, 40)

    def write(number: int) -> StoredFile:
        return write_shard(tmp_path, number, MfccSet().parameters(), [f"utterance {number}"], [features + number])

    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(write, range(48)))
    assert len({file.name for file in files}) == 48
    assert all(hash_file(tmp_path / file.name) == file.sha256 for file in files)


def test_audio_of_another_root_is_read_despite_equal_size_and_time(tmp_path: Path) -> None:
    """Sizes and times were compared with those of another root."""
    age(write_tiny_emodb(tmp_path / "one", NAMES))
    age(write_tiny_emodb(tmp_path / "two", NAMES, variant="other samples"))
    assert prepare_corpus(tmp_path / "one", tmp_path / "cache").extracted == 3
    assert prepare_corpus(tmp_path / "two", tmp_path / "cache").extracted == 3


def test_features_are_reused_after_a_root_moved(tmp_path: Path) -> None:
    """The fix of the previous bug must not extract moved audio again."""
    age(write_tiny_emodb(tmp_path / "one", NAMES))
    prepare_corpus(tmp_path / "one", tmp_path / "cache")
    (tmp_path / "one").rename(tmp_path / "two")
    report = prepare_corpus(tmp_path / "two", tmp_path / "cache")
    assert (report.extracted, report.reused) == (0, 3)


def test_features_of_another_configuration_are_not_reused(tmp_path: Path) -> None:
    """A store that was copied into the folder of another configuration was accepted."""
    write_tiny_emodb(tmp_path / "root", NAMES)
    other = prepare_corpus(tmp_path / "root", tmp_path / "cache", features=MfccSet(fixed_samples=4096)).store
    place = other.with_name(MfccSet().name)
    shutil.copytree(other, place)
    before = content(place)
    with pytest.raises(ForeignStoreError, match="holds emodb as"):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert content(place) == before


def test_a_store_of_a_newer_format_is_not_changed(tmp_path: Path) -> None:
    """A store that this version cannot read was replaced."""
    write_tiny_emodb(tmp_path / "root", NAMES)
    store = prepare_corpus(tmp_path / "root", tmp_path / "cache").store
    document = json.loads((store / layout.STORE_JSON).read_text())
    del document["checksum"]
    document["version"] = layout.FORMAT_VERSION + 1
    document["checksum"] = compute_checksum(document)
    (store / layout.STORE_JSON).write_text(json.dumps(document))
    before = content(store)
    with pytest.raises(ForeignStoreError, match="format version 2"):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert content(store) == before


def test_a_store_of_another_segmentation_is_replaced_with_a_warning(tmp_path: Path) -> None:
    """A forgotten --segment silently replaced a store of segments."""
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "a.wav").write_bytes(wav(make_bursts(4, [(0.8, 1.6), (2.6, 3.2)], rate=16_000)))
    calls, cache = Recordings(tmp_path / "calls", "calls"), tmp_path / "cache"
    cut = prepare_corpus(tmp_path / "calls", cache, calls, segmenter=EnergySegmenter())
    assert (cut.utterances, cut.warnings) == (2, [])
    whole = prepare_corpus(tmp_path / "calls", cache, calls)
    assert whole.utterances == 1
    assert whole.warnings == ["replaced the earlier store, which has another segmentation of its recordings"]
    assert FeatureStore(cut.store).snapshot.segmentation is None


def test_deleted_recordings_are_reported(tmp_path: Path) -> None:
    """They disappeared from the store silently."""
    paths = write_tiny_emodb(tmp_path / "root", NAMES)
    prepare_corpus(tmp_path / "root", tmp_path / "cache")
    paths[0].unlink()
    report = prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert f"1 recording of the earlier store dropped (the first: {paths[0].stem})" in report.warnings
