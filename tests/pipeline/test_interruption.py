"""Runs that end before their time, and the side files that they leave: the next run comes to the same bytes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import content, emodb_names, prepared, tiny_emodb

NAMES = emodb_names(12)


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a module of the tests in a process of its own."""
    command = [sys.executable, "-X", "faulthandler", "-m", *map(str, arguments)]
    folder = Path(str(tests.__file__)).parents[1]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `interrupted`


@pytest.mark.parametrize(
    ("point", "finished_shards", "committed"),
    [
        ("before:decode:7", 0, False),
        ("after:write_shard:3", 2, False),
        ("after:write_journal:3", 3, False),
        ("before:store.json", 4, False),
        ("after:store.json", 4, True),
    ],
)
def test_a_killed_run_harms_nothing_and_its_finished_work_is_used(
    tmp_path: Path, point: str, finished_shards: int, committed: bool
) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    tiny_emodb(root, NAMES, variant="old")
    store = prepared(root, cache).store
    old = content(store)
    shutil.rmtree(root)
    tiny_emodb(root, NAMES)
    expected = content(prepared(root, tmp_path / "undisturbed").store)
    sizes = [len(store_ids) for store_ids in ids_by_shard(tmp_path / "undisturbed" / "emodb" / MfccSet().name)]

    options = ("--corpus", "emodb", "--root", root, "--cache", cache, "--workers", 1)
    killed = python("tests.pipeline.interrupted", point, "SIGKILL", *options)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    snapshot = FeatureStore(store)
    assert snapshot.verify() == []
    assert {file.name for file in snapshot.snapshot.files} == (expected if committed else old).keys()
    del snapshot

    report = prepared(root, cache, wait=False)  # the lock died with its holder
    assert content(store) == expected
    assert FeatureStore(store).verify() == []
    assert not list(store.rglob("*.tmp"))
    assert list((store / "journal").iterdir()) == []
    assert report.reused >= sum(sorted(sizes)[:finished_shards])
    assert report.reused + report.extracted == 12


def ids_by_shard(store: Path) -> list[list[str]]:
    opened = FeatureStore(store)
    shards: dict[int, list[str]] = {}
    for shard, id in zip(opened.column("shard"), opened.ids, strict=True):
        shards.setdefault(shard, []).append(id)
    return list(shards.values())


@pytest.mark.parametrize("kind", ["audio-stat.sealed", "journal"])
def test_a_damaged_side_file_costs_time_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """It neither ends the next run nor puts anything wrong into the store."""
    run = python("tests.pipeline.damaged_side_files", kind, tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout == ""
