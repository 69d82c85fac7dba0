"""Tests of emodna-cache gc."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emodna.pipeline.store import FeatureStore, shards
from tests.cli.running import Command

OLD = "shard-0123456789abcdef.h5"
TEMPORARY = "index-0123456789abcdef.parquet.4711.tmp"


@pytest.fixture
def stores(cache: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return copies of two stores, EMODB's with two leftovers."""
    copied = Path(shutil.copytree(cache, tmp_path / "copied"))
    emodb, ravdess = (next((copied / corpus).iterdir()) for corpus in ("emodb", "ravdess"))
    (emodb / OLD).write_bytes(bytes(2_000_000))
    (emodb / TEMPORARY).write_bytes(bytes(500))
    return emodb, ravdess


def test_leftovers_are_only_listed_by_default(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, _ = stores
    ran = emodna_cache("gc", "--cache", emodb.parents[1])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{emodb}: 2 files, 2.0 MB: 1 old, 1 temporary",
        "2 files, 2.0 MB can be deleted; add --delete to do so",
    ]
    assert (emodb / OLD).exists()
    assert (emodb / TEMPORARY).exists()
    verbose = emodna_cache("gc", "-v", "--cache", emodb.parents[1]).out
    assert f"  {OLD}: 2.0 MB\n" in verbose
    assert f"  {TEMPORARY}: 500 bytes\n" in verbose


def test_delete_deletes_leftovers(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, _ = stores
    ran = emodna_cache("gc", "--delete", "--cache", emodb.parents[1])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "deleted 2 files, 2.0 MB"
    assert not (emodb / OLD).exists()
    assert not (emodb / TEMPORARY).exists()
    for store in stores:
        assert FeatureStore(store).verify() == []
    assert emodna_cache("gc", "--delete", "--cache", emodb.parents[1]).out == "nothing to delete\n"


def test_json_lists_every_file(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, ravdess = stores
    files = [{"file": TEMPORARY, "bytes": 500, "kind": "temporary"}, {"file": OLD, "bytes": 2_000_000, "kind": "old"}]
    expected = {
        "cache": str(emodb.parents[1]),
        "deleted": False,
        "bytes": 2_000_500,
        "stores": [
            {"store": str(store), "corpus": store.parent.name, "feature_set": store.name, **found}
            for store, found in (
                (emodb, {"bytes": 2_000_500, "files": files, "kept": [], "skipped": None}),
                (ravdess, {"bytes": 0, "files": [], "kept": [], "skipped": None}),
            )
        ],
    }
    assert emodna_cache("gc", "--json", "--cache", emodb.parents[1]).json == expected
    assert emodna_cache("gc", "--json", "--delete", "--cache", emodb.parents[1]).json == expected | {"deleted": True}


def test_only_the_given_stores_are_cleaned(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, _ = stores
    options = ("--json", "--cache", emodb.parents[1])
    assert [each["corpus"] for each in emodna_cache("gc", "ravdess", *options).json["stores"]] == ["ravdess"]
    assert [each["corpus"] for each in emodna_cache("gc", emodb, "emodb", *options).json["stores"]] == ["emodb"]
    assert "savee" in emodna_cache("gc", "savee", *options).error()


def test_finished_shards_of_interrupted_runs_are_kept(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, ravdess = stores
    (ravdess / OLD).write_bytes(bytes(300))
    (ravdess / "journal" / f"{OLD}.sealed").write_bytes(bytes(30))
    ran = emodna_cache("gc", "ravdess", "--cache", emodb.parents[1])
    kept, total = ran.out.splitlines()
    assert kept.startswith(f"{ravdess}: kept 2 files, 330 bytes: ")
    assert total == "nothing to delete"
    (entry,) = emodna_cache("gc", "ravdess", "--cache", emodb.parents[1], "--json").json["stores"]
    assert [(each["file"], each["kind"]) for each in entry["kept"]] == [
        (f"journal/{OLD}.sealed", "unfinished"),
        (OLD, "unfinished"),
    ]
    ran = emodna_cache("gc", "ravdess", "--unfinished", "--delete", "--cache", emodb.parents[1])
    assert ran.out.splitlines()[-1] == "deleted 2 files, 330 bytes"


def test_skipped_stores_are_reported_and_the_others_cleaned(emodna_cache: Command, stores: tuple[Path, Path]) -> None:
    emodb, ravdess = stores
    (ravdess / OLD).write_bytes(bytes(300))
    with shards.hold_writer_lock(emodb, wait=False, on_wait=pytest.fail):
        ran = emodna_cache("gc", "--delete", "--cache", emodb.parents[1])
    assert ran.code == 0
    assert ran.err.startswith(f"skipped: {emodb}: ")
    assert ran.out.splitlines()[-1] == "deleted 1 file, 300 bytes"
    (emodb / "store.json").write_text("[red]")
    ran = emodna_cache("gc", "--delete", "--json", "--cache", emodb.parents[1])
    assert ran.code == 0
    assert "store.json: damaged" in ran.json["stores"][0]["skipped"]
    assert (emodb / OLD).exists()
    named = emodna_cache("gc", emodb)
    assert (named.code, named.out, named.err.count(str(emodb))) == (1, "", 1)
    assert emodna_cache("gc", "-q", "--cache", emodb.parents[1]).err == ""


def test_files_that_cannot_be_deleted_exit_1(
    emodna_cache: Command, stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(self: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    emodb, _ = stores
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        ran = emodna_cache("gc", "--delete", "--cache", emodb.parents[1])
    assert ran.code == 1
    kept, total = ran.out.splitlines()
    assert kept.startswith(f"{emodb}: kept 2 files, 2.0 MB: ")
    assert kept.endswith("Permission denied")
    assert total == "nothing to delete"
