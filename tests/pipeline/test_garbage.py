"""What is left over in stores' folders: what goes, what stays, and for whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emodna.pipeline.files import is_temporary, make_temporary_path
from emodna.pipeline.prepare import run as prepare
from emodna.pipeline.store import FeatureStore, layout, shards
from emodna.pipeline.store.gc import IN_USE, REUSABLE, GarbageReport, LeftoverKind, collect_garbage, list_store_folders
from tests.pipeline.making import content, make_emodb_names, prepare_corpus, write_tiny_emodb

NAMES = make_emodb_names(12)
OLD_SHARD = "shard-0123456789abcdef.h5"
HALF = "shard-0123456789abcdef.h5.4711.tmp"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)  # as in `prep_with_interrupt`


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings, their store, and the state that a run leaves which is stopped before its commit."""
    pool = tmp_path_factory.mktemp("pool")
    write_tiny_emodb(pool / "root", NAMES)
    write_tiny_emodb(pool / "other", NAMES, variant="other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        prepare_corpus(pool / "root", pool / "cache")
        shutil.copytree(pool / "cache", pool / "stopped")
        stop(pool / "other", pool / "stopped", patch)
        stop(pool / "other", pool / "first", patch)
    return pool


def stop(root: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Prepare up to the commit, and no further."""

    def fail(*_: Any) -> None:
        raise InterruptedError

    with patch.context() as inner:
        inner.setattr(prepare, "commit", fail)
        with pytest.raises(InterruptedError):
            prepare_corpus(root, cache)


@pytest.fixture
def store(pool: Path, tmp_path: Path) -> Path:
    """A copy of a whole store."""
    return only(Path(shutil.copytree(pool / "cache", tmp_path / "cache")))


@pytest.fixture
def stopped(pool: Path, tmp_path: Path) -> Path:
    """A copy of a store on which a run was interrupted that wrote all shards anew."""
    return only(Path(shutil.copytree(pool / "stopped", tmp_path / "stopped")))


@pytest.fixture
def first(pool: Path, tmp_path: Path) -> Path:
    """A copy of a folder whose first run was interrupted."""
    return only(Path(shutil.copytree(pool / "first", tmp_path / "first")))


def only(cache: Path) -> Path:
    (store,) = list_store_folders(cache)
    return store


def everything(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def removed(tidied: GarbageReport) -> dict[str, LeftoverKind]:
    return {leftover.path.name: leftover.kind for leftover in tidied.removed}


def kept(tidied: GarbageReport) -> dict[str, str]:
    return {each.path.name: each.reason for each in tidied.kept}


class TestWhole:
    def test_a_clean_store_has_nothing_left_over_and_is_not_touched(self, store: Path) -> None:
        before = everything(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert everything(store) == before

    def test_old_and_half_written_files_go(self, store: Path) -> None:
        before = everything(store)
        for name in (OLD_SHARD, HALF, "index-0123456789abcdef.parquet", "store.json.7.tmp", "journal/x.sealed.8.tmp"):
            (store / name).write_bytes(b"left")
        gone = {
            OLD_SHARD: LeftoverKind.OLD,
            "index-0123456789abcdef.parquet": LeftoverKind.OLD,
            HALF: LeftoverKind.TEMPORARY,
            "store.json.7.tmp": LeftoverKind.TEMPORARY,
            "x.sealed.8.tmp": LeftoverKind.TEMPORARY,
        }
        with_them = everything(store)
        dry = collect_garbage(store, delete=False, unfinished=False)
        assert removed(dry) == gone
        assert {leftover.bytes for leftover in dry.removed} == {4}
        assert everything(store) == with_them  # a dry run changes nothing
        assert collect_garbage(store, delete=True, unfinished=False) == dry
        assert everything(store) == before
        assert FeatureStore(store).verify() == []

    def test_what_a_user_laid_there_stays(self, store: Path) -> None:
        """Also when the next run commits."""
        for name in ("mine.h5", "notes.parquet", "a.tmp", "shard-mine.h5", "journal/mine.txt"):
            (store / name).write_bytes(b"mine")
        (store / "shard-ffffffffffffffff.h5").symlink_to(store / "mine.h5")
        (store / "index-ffffffffffffffff.parquet").mkdir()
        before = everything(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert everything(store) == before

    def test_a_commit_sweeps_by_the_same_rule(self, store: Path, pool: Path) -> None:
        for name in (OLD_SHARD, HALF, "mine.h5", "journal/x.sealed", "journal/x.sealed.8.tmp"):
            (store / name).write_bytes(b"left")
        prepare_corpus(pool / "root", store.parents[1])
        left = {name for name in everything(store) if Path(name).name in (OLD_SHARD, HALF, "mine.h5")}
        assert left == {"mine.h5"}
        assert list((store / layout.JOURNAL).iterdir()) == []


class TestInterrupted:
    def test_finished_work_stays_and_is_used(self, stopped: Path, pool: Path) -> None:
        tidied = collect_garbage(stopped, delete=True, unfinished=False)
        assert tidied.removed == ()
        assert set(kept(tidied).values()) == {REUSABLE}
        assert len(tidied.kept) == 8  # four shards, four entries of the journal
        report = prepare_corpus(pool / "other", stopped.parents[1])
        assert (report.reused, report.extracted) == (12, 0)

    def test_finished_work_goes_if_asked_for(self, stopped: Path, store: Path) -> None:
        tidied = collect_garbage(stopped, delete=True, unfinished=True)
        assert set(removed(tidied).values()) == {LeftoverKind.UNFINISHED}
        assert tidied.kept == ()
        assert everything(stopped).keys() == everything(store).keys()
        assert FeatureStore(stopped).verify() == []

    def test_a_first_run_is_finished_work_too(self, first: Path, pool: Path) -> None:
        assert not (first / layout.STORE_JSON).exists()
        (first / OLD_SHARD).write_bytes(b"whose?")
        (first / HALF).write_bytes(b"half")
        tidied = collect_garbage(first, delete=True, unfinished=False)
        assert removed(tidied) == {HALF: LeftoverKind.TEMPORARY}
        assert len(tidied.kept) == 8
        assert prepare_corpus(pool / "other", first.parents[1]).reused == 12

    def test_without_a_description_nothing_else_is_judged(self, store: Path) -> None:
        """It may be lost, and come back from a backup."""
        (store / layout.STORE_JSON).unlink()
        before = everything(store)
        assert collect_garbage(store, delete=True, unfinished=True) == GarbageReport(store)
        assert everything(store) == before


class TestLeftAlone:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "damaged"),
            ('{"format": "emodna feature store", "version": 99}', "format version 99"),
            ('{"format": "other"}', "not the description of a feature store"),
        ],
    )
    def test_a_store_that_cannot_be_read(self, store: Path, text: str, reason: str) -> None:
        (store / layout.STORE_JSON).write_text(text)
        (store / HALF).write_bytes(b"half")
        before = everything(store)
        tidied = collect_garbage(store, delete=True, unfinished=True)
        assert tidied.skipped is not None
        assert reason in tidied.skipped
        assert (tidied.removed, tidied.kept) == ((), ())
        assert everything(store) == before

    def test_a_folder_that_is_no_store(self, tmp_path: Path, store: Path) -> None:
        (tmp_path / "cache" / "notes" / "2024").mkdir(parents=True)
        (tmp_path / "cache" / "notes" / "2024" / OLD_SHARD).write_bytes(b"")
        (tmp_path / "cache" / "README").write_text("")
        assert list_store_folders(tmp_path / "cache") == [store]
        assert list_store_folders(tmp_path / "absent") == []

    @pytest.mark.parametrize("delete", [True, False])
    def test_a_store_that_is_being_written(self, store: Path, delete: bool) -> None:
        (store / HALF).write_bytes(b"half")
        with shards.hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            tidied = collect_garbage(store, delete=delete, unfinished=True)
        assert tidied == GarbageReport(store, skipped="another process is writing it")
        assert (store / HALF).exists()

    @pytest.mark.parametrize("delete", [True, False])
    def test_data_while_a_reader_may_hold_it(self, store: Path, delete: bool) -> None:
        for name in (OLD_SHARD, HALF):
            (store / name).write_bytes(b"left")
        reader = FeatureStore(store)
        tidied = collect_garbage(store, delete=delete, unfinished=True)
        assert removed(tidied) == {HALF: LeftoverKind.TEMPORARY}
        assert kept(tidied) == {OLD_SHARD: IN_USE}
        assert not tidied.failed
        assert (store / OLD_SHARD).exists()
        del reader
        assert OLD_SHARD in removed(collect_garbage(store, delete=delete, unfinished=True))


class TestProcesses:
    """With real processes: one that reads, one that writes."""

    def test_a_reader_of_an_older_commit_loses_nothing(self, store: Path, pool: Path) -> None:
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
            tidied = collect_garbage(store, delete=True, unfinished=True)
            assert set(kept(tidied)) == old - {file.name for file in FeatureStore(store).snapshot.files}
            reader.stdin.write("\n")
            reader.stdin.flush()
            assert reader.stdout.readline() == "[]\n"
        assert set(removed(collect_garbage(store, delete=True, unfinished=True))) == set(kept(tidied))
        assert FeatureStore(store).verify() == []
        assert content(store).keys() == {file.name for file in FeatureStore(store).snapshot.files}


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_a_temporary_name_is_known_as_such(name: str) -> None:
    if name not in (".", ".."):
        assert is_temporary(make_temporary_path(Path("folder") / name))
        assert not layout.is_content_name(make_temporary_path(Path(name)).name)
