"""Each shard that was read held a file descriptor, so that a store of 1000 shards could not be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import emodb_names, prepared, tiny_emodb


def test_reading_holds_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 1)
    tiny_emodb(tmp_path / "root", emodb_names(8))
    store = FeatureStore(prepared(tmp_path / "root", tmp_path / "cache").store)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 (its iterator would be open, too)
    assert len(store.snapshot.shards) > 2
    features = list(store)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208
    assert [len(each) for each in features] == store.frames.tolist()
