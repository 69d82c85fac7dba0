"""Tests of emodna-cache export: output, JSON and destination."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from emodna.cli import progress
from emodna.pipeline.export import FORMATS
from emodna.pipeline.store import FeatureStore
from tests.cli.running import Command


def test_the_default_destination_is_in_the_current_folder(
    emodna_cache: Command, cache: Path, emodb_store: Path, here: Path
) -> None:
    ran = emodna_cache("export", "emodb", "--to", "parquet", "--cache", cache)
    store = FeatureStore(emodb_store)
    name = f"emodb-{emodb_store.name}.parquet"
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == f"{name}: {len(store)} utterances, 1 file, {(here / name).stat().st_size / 1e6:.1f} MB"
    assert second == f"open it with: table = pyarrow.parquet.read_table('{name}')"
    assert ran.err == f"licence of the corpus and of this export: {store.snapshot.licence}\n"
    assert pq.read_table(here / name)["id"].to_pylist() == store.ids


@pytest.mark.parametrize("name", FORMATS)
def test_json_describes_the_export(
    emodna_cache: Command, cache: Path, emodb_store: Path, here: Path, name: str
) -> None:
    ran = emodna_cache("export", emodb_store, "--to", name, "--out", "mine", "--json", "-q")
    store = FeatureStore(emodb_store)
    document = ran.json
    assert (ran.code, ran.err) == (0, "")
    assert document.pop("wall_seconds") > 0
    files = [path for path in (here / "mine", *(here / "mine").rglob("*")) if path.is_file()]
    assert document == {
        "store": str(store.path),
        "to": name,
        "out": str(here / "mine"),
        "utterances": len(store),
        "frames": int(store.frames.sum()),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "fingerprint": store.fingerprint,
    }
    again = emodna_cache("export", emodb_store, "--to", name, "--out", "mine").error()
    assert "--out mine" in again
    assert "--force" in again
    assert emodna_cache("export", emodb_store, "--to", name, "--out", "mine", "--force").code == 0


def test_an_unknown_format_is_an_error_that_names_the_others(emodna_cache: Command) -> None:
    assert "'parquet', 'npz', 'webdataset', 'hf'" in emodna_cache("export", "emodb", "--to", "csv").usage()
    assert "Missing option '--to'" in emodna_cache("export", "emodb").usage() + emodna_cache("export", "emodb").err


def test_progress_without_a_terminal_is_printed_as_lines(
    emodna_cache: Command, cache: Path, emodb_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    size = len(FeatureStore(emodb_store))
    ran = emodna_cache("export", "emodb", "--to", "npz", "--cache", cache)
    assert ran.err.splitlines()[0] == f"exporting: {size}/{size}"
    assert emodna_cache("export", "emodb", "--to", "npz", "--cache", cache, "--force", "-q").err == ""


def test_interrupting_leaves_no_files(
    emodna_cache: Command, cache: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupt)
    ran = emodna_cache("export", "emodb", "--to", "webdataset", "--cache", cache)
    assert ran.code == 130
    assert list(here.iterdir()) == []
