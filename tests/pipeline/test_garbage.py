"""Garbage collection: the leftovers that it deletes, and those that it keeps."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.files import is_temporary, make_temporary_path
from emodna.pipeline.store import FeatureStore, layout, shards
from emodna.pipeline.store.gc import IN_USE, REUSABLE, GarbageReport, LeftoverKind, collect_garbage, list_store_folders
from tests.pipeline.making import content, make_emodb_names, prepare_corpus, prepare_without_commit, write_tiny_emodb

NAMES = make_emodb_names(12)
OLD_SHARD = "shard-0123456789abcdef.h5"
HALF = "shard-0123456789abcdef.h5.4711.tmp"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `prep_with_interrupt`


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make twelve recordings, their store, and caches after a preparation that stopped before its commit."""
    pool = tmp_path_factory.mktemp("pool")
    write_tiny_emodb(pool / "root", NAMES)
    write_tiny_emodb(pool / "other", NAMES, variant="other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        prepare_corpus(pool / "root", pool / "cache")
        shutil.copytree(pool / "cache", pool / "stopped")
        prepare_without_commit(pool / "other", pool / "stopped")
        prepare_without_commit(pool / "other", pool / "first")
    return pool


@pytest.fixture
def store(pool: Path, tmp_path: Path) -> Path:
    return copy_store(pool / "cache", tmp_path)


@pytest.fixture
def interrupted_store(pool: Path, tmp_path: Path) -> Path:
    """Copy a store after an interrupted preparation that wrote all shards again."""
    return copy_store(pool / "stopped", tmp_path)


@pytest.fixture
def interrupted_folder(pool: Path, tmp_path: Path) -> Path:
    """Copy a folder after an interrupted first preparation."""
    return copy_store(pool / "first", tmp_path)


def copy_store(cache: Path, folder: Path) -> Path:
    """Copy a cache with one store into a folder; return the store."""
    (store,) = list_store_folders(Path(shutil.copytree(cache, folder / cache.name)))
    return store


def read_files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def list_removed(report: GarbageReport) -> dict[str, LeftoverKind]:
    return {leftover.path.name: leftover.kind for leftover in report.removed}


def list_kept(report: GarbageReport) -> dict[str, str]:
    return {each.path.name: each.reason for each in report.kept}


class TestIntactStore:
    def test_a_clean_store_has_no_leftovers_and_does_not_change(self, store: Path) -> None:
        before = read_files(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert read_files(store) == before

    def test_old_and_temporary_files_are_deleted(self, store: Path) -> None:
        before = read_files(store)
        for name in (OLD_SHARD, HALF, "index-0123456789abcdef.parquet", "store.json.7.tmp", "journal/x.sealed.8.tmp"):
            (store / name).write_bytes(b"left")
        expected = {
            OLD_SHARD: LeftoverKind.OLD,
            "index-0123456789abcdef.parquet": LeftoverKind.OLD,
            HALF: LeftoverKind.TEMPORARY,
            "store.json.7.tmp": LeftoverKind.TEMPORARY,
            "x.sealed.8.tmp": LeftoverKind.TEMPORARY,
        }
        with_leftovers = read_files(store)
        dry = collect_garbage(store, delete=False, unfinished=False)
        assert list_removed(dry) == expected
        assert {leftover.bytes for leftover in dry.removed} == {4}
        assert read_files(store) == with_leftovers  # a dry run changes nothing
        assert collect_garbage(store, delete=True, unfinished=False) == dry
        assert read_files(store) == before
        assert FeatureStore(store).verify() == []

    def test_files_of_the_user_are_kept(self, store: Path) -> None:
        for name in ("mine.h5", "notes.parquet", "a.tmp", "shard-mine.h5", "journal/mine.txt"):
            (store / name).write_bytes(b"mine")
        (store / "shard-ffffffffffffffff.h5").symlink_to(store / "mine.h5")
        (store / "index-ffffffffffffffff.parquet").mkdir()
        before = read_files(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert read_files(store) == before

    def test_a_commit_deletes_the_same_leftovers(self, store: Path, pool: Path) -> None:
        for name in (OLD_SHARD, HALF, "mine.h5", "journal/x.sealed", "journal/x.sealed.8.tmp"):
            (store / name).write_bytes(b"left")
        prepare_corpus(pool / "root", store.parents[1])
        left = {name for name in read_files(store) if Path(name).name in (OLD_SHARD, HALF, "mine.h5")}
        assert left == {"mine.h5"}
        assert list((store / layout.JOURNAL).iterdir()) == []


class TestInterruptedPreparation:
    def test_finished_work_is_kept_and_reused(self, interrupted_store: Path, pool: Path) -> None:
        report = collect_garbage(interrupted_store, delete=True, unfinished=False)
        assert report.removed == ()
        assert set(list_kept(report).values()) == {REUSABLE}
        assert len(report.kept) == 8  # four shards, four entries of the journal
        again = prepare_corpus(pool / "other", interrupted_store.parents[1])
        assert (again.reused, again.extracted) == (12, 0)

    def test_finished_work_is_deleted_on_request(self, interrupted_store: Path, store: Path) -> None:
        report = collect_garbage(interrupted_store, delete=True, unfinished=True)
        assert set(list_removed(report).values()) == {LeftoverKind.UNFINISHED}
        assert report.kept == ()
        assert read_files(interrupted_store).keys() == read_files(store).keys()
        assert FeatureStore(interrupted_store).verify() == []

    def test_finished_work_of_a_first_preparation_is_kept(self, interrupted_folder: Path, pool: Path) -> None:
        assert not (interrupted_folder / layout.STORE_JSON).exists()
        (interrupted_folder / OLD_SHARD).write_bytes(b"unknown")
        (interrupted_folder / HALF).write_bytes(b"half")
        report = collect_garbage(interrupted_folder, delete=True, unfinished=False)
        assert list_removed(report) == {HALF: LeftoverKind.TEMPORARY}
        assert len(report.kept) == 8
        assert prepare_corpus(pool / "other", interrupted_folder.parents[1]).reused == 12

    def test_without_store_json_other_files_are_kept(self, store: Path) -> None:
        """The store.json may come back from a backup."""
        (store / layout.STORE_JSON).unlink()
        before = read_files(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert read_files(store) == before


class TestSkippedStores:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "damaged"),
            ('{"format": "emodna feature store", "version": 99}', "format version 99"),
            ('{"format": "other"}', "not the store.json of a feature store"),
        ],
    )
    def test_an_unreadable_store_is_skipped(self, store: Path, text: str, reason: str) -> None:
        (store / layout.STORE_JSON).write_text(text)
        (store / HALF).write_bytes(b"half")
        before = read_files(store)
        report = collect_garbage(store, delete=True, unfinished=True)
        assert report.skipped is not None
        assert reason in report.skipped
        assert (report.removed, report.kept) == ((), ())
        assert read_files(store) == before

    def test_other_folders_are_not_stores(self, tmp_path: Path, store: Path) -> None:
        (tmp_path / "cache" / "notes" / "2024").mkdir(parents=True)
        (tmp_path / "cache" / "notes" / "2024" / OLD_SHARD).write_bytes(b"")
        (tmp_path / "cache" / "README").write_text("")
        assert list_store_folders(tmp_path / "cache") == [store]
        assert list_store_folders(tmp_path / "absent") == []

    @pytest.mark.parametrize("delete", [True, False])
    def test_a_store_that_is_being_written_is_skipped(self, store: Path, delete: bool) -> None:
        (store / HALF).write_bytes(b"half")
        with shards.hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            report = collect_garbage(store, delete=delete, unfinished=True)
        assert report == GarbageReport(store, skipped="another process is writing it")
        assert (store / HALF).exists()

    @pytest.mark.parametrize("delete", [True, False])
    def test_data_is_kept_while_a_reader_may_use_it(self, store: Path, delete: bool) -> None:
        for name in (OLD_SHARD, HALF):
            (store / name).write_bytes(b"left")
        reader = FeatureStore(store)
        report = collect_garbage(store, delete=delete, unfinished=True)
        assert list_removed(report) == {HALF: LeftoverKind.TEMPORARY}
        assert list_kept(report) == {OLD_SHARD: IN_USE}
        assert not report.failed
        assert (store / OLD_SHARD).exists()
        del reader
        assert OLD_SHARD in list_removed(collect_garbage(store, delete=delete, unfinished=True))


class TestProcesses:
    def test_a_reader_of_an_earlier_commit_keeps_its_files(self, store: Path, pool: Path) -> None:
        program = (
            "import sys; from emodna.pipeline.store import FeatureStore; store = FeatureStore(sys.argv[1]);"
            "print('open', flush=True); sys.stdin.readline(); print(store.verify(), flush=True)"
        )
        command = [sys.executable, "-c", program, str(store)]
        old = content(store).keys()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdin
            assert reader.stdout
            assert reader.stdout.readline() == "open\n"
            prepare_corpus(pool / "other", store.parents[1])
            report = collect_garbage(store, delete=True, unfinished=True)
            assert set(list_kept(report)) == old - {file.name for file in FeatureStore(store).snapshot.files}
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "[]\n"
        assert set(list_removed(collect_garbage(store, delete=True, unfinished=True))) == set(list_kept(report))
        assert FeatureStore(store).verify() == []
        assert content(store).keys() == {file.name for file in FeatureStore(store).snapshot.files}


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_temporary_names_are_recognised(name: str) -> None:
    if name not in (".", ".."):
        assert is_temporary(make_temporary_path(Path("folder") / name))
        assert not layout.is_content_name(make_temporary_path(Path(name)).name)
