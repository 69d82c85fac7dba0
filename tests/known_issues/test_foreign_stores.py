"""A store of another configuration, copied into a folder, was taken for what the folder's name says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emodna.pipeline.errors import ForeignStoreError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import layout
from emodna.pipeline.store.snapshot import checksum
from tests.pipeline.making import content, emodb_names, prepared, tiny_emodb


def test_features_of_another_configuration_are_not_used(tmp_path: Path) -> None:
    tiny_emodb(tmp_path / "root", emodb_names(2))
    other = prepared(tmp_path / "root", tmp_path / "cache", features=MfccSet(fixed_samples=4096)).store
    place = other.with_name(MfccSet().name)
    shutil.copytree(other, place)
    before = content(place)
    with pytest.raises(ForeignStoreError, match="move it away, or choose another --cache"):
        prepared(tmp_path / "root", tmp_path / "cache")
    assert content(place) == before


def test_a_store_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    tiny_emodb(tmp_path / "root", emodb_names(2))
    store = prepared(tmp_path / "root", tmp_path / "cache").store
    document = json.loads((store / layout.STORE_JSON).read_text())
    del document["checksum"]
    document["version"] = layout.FORMAT_VERSION + 1
    document["checksum"] = checksum(document)
    (store / layout.STORE_JSON).write_text(json.dumps(document))
    before = content(store)
    with pytest.raises(ForeignStoreError, match="format version 2"):
        prepared(tmp_path / "root", tmp_path / "cache")
    assert content(store) == before
