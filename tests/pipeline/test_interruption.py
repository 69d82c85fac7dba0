"""Tests of killed preparations: the next one writes the same bytes as an undisturbed one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import tests
from emodna.pipeline.features import MfccSet
from emodna.pipeline.store import FeatureStore, layout
from tests.pipeline.making import content, make_emodb_names, prepare_corpus, write_tiny_emodb

NAMES = make_emodb_names(12)


@pytest.fixture(autouse=True, scope="module")
def _small_shards() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `prep_with_interrupt`
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root, its store in `expected`, and a store of other audio with the same names in `cache`. Read-only."""
    folder = tmp_path_factory.mktemp("folders")
    write_tiny_emodb(folder / "root", NAMES, variant="old")
    prepare_corpus(folder / "root", folder / "cache")
    shutil.rmtree(folder / "root")
    write_tiny_emodb(folder / "root", NAMES)
    prepare_corpus(folder / "root", folder / "expected")
    return folder


def find_store(cache: Path) -> Path:
    return cache / "emodb" / MfccSet().name


@pytest.mark.parametrize(
    ("point", "finished_shards", "committed"),
    [
        pytest.param("before:decode:7", 0, False, marks=pytest.mark.slow),
        pytest.param("after:write_shard:3", 2, False, marks=pytest.mark.slow),
        ("after:write_journal:3", 3, False),
        pytest.param("before:store.json", 4, False, marks=pytest.mark.slow),
        pytest.param("after:store.json", 4, True, marks=pytest.mark.slow),
    ],
)
def test_a_killed_preparation_keeps_the_store_and_its_finished_shards_are_used(
    folders: Path, tmp_path: Path, point: str, finished_shards: int, committed: bool
) -> None:
    cache = Path(shutil.copytree(folders / "cache", tmp_path / "cache"))
    store = find_store(cache)
    old, expected = (content(find_store(folders / name)) for name in ("cache", "expected"))
    sizes = Counter(FeatureStore(find_store(folders / "expected")).column("shard")).values()

    command = [sys.executable, "-m", "tests.pipeline.prep_with_interrupt", point, "SIGKILL", "--corpus", "emodb"]
    options = ["--root", folders / "root", "--cache", cache, "--workers", 1]
    folder = Path(str(tests.__file__)).parents[1]
    words = [*command, *map(str, options)]
    killed = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    snapshot = FeatureStore(store)
    assert snapshot.verify() == []
    assert {file.name for file in snapshot.snapshot.files} == (expected if committed else old).keys()
    del snapshot

    report = prepare_corpus(folders / "root", cache, wait=False)  # the lock of a killed process is free
    assert content(store) == expected
    assert FeatureStore(store).verify() == []
    assert not list(store.rglob("*.tmp"))
    assert list((store / "journal").iterdir()) == []
    assert report.reused >= sum(sorted(sizes)[:finished_shards])
    assert report.reused + report.extracted == 12
