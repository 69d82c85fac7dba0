"""Several processes on one store: they wait, are refused, or keep the opened snapshot."""

from __future__ import annotations

import copy
import errno
import fcntl
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import tests
from emodna.pipeline.errors import StoreError
from emodna.pipeline.store import FeatureStore, layout
from emodna.pipeline.store.shards import hold_writer_lock
from tests.pipeline.making import content, make_emodb_names, prepare_corpus, write_tiny_emodb

NAMES = make_emodb_names(12)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_stopped(pid: int) -> bool:
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a stopped process")
def test_a_second_preparation_is_refused_or_waits_for_the_first_to_end(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    write_tiny_emodb(root, NAMES)
    options = ["--corpus", "emodb", "--root", root, "--cache", cache, "--workers", 1]
    interrupted = [sys.executable, "-m", "tests.pipeline.prep_with_interrupt"]
    folder = Path(str(tests.__file__)).parents[1]
    first = subprocess.Popen([*interrupted, "before:store.json", "SIGSTOP", *map(str, options)], cwd=folder)
    try:
        wait_for(lambda: is_stopped(first.pid))
        with pytest.raises(StoreError, match="another process is writing this store"):
            prepare_corpus(root, cache, wait=False)
        # The second process runs the same module for its small shards, and never sends the signal.
        command = [*interrupted, "before:store.json:9", "SIGCONT", *map(str, options), "--json"]
        second = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
    finally:
        first.kill()
        first.wait()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert json.loads(out)[0]["reused"] == 12  # all shards that the first finished
    store = next((cache / "emodb").iterdir())
    assert content(store) == content(prepare_corpus(root, tmp_path / "alone").store)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a stopped process")
def test_a_training_run_keeps_its_snapshots_while_stores_are_replaced(
    tmp_path: Path, ravdess_root: Path, emodb_root: Path, cache: Path
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    store = next((tmp_path / "cache" / "emodb").iterdir())
    fingerprint, files = FeatureStore(store).fingerprint, content(store)
    out = tmp_path / "run"
    command = [Path(sys.executable).with_name("emodna-fit"), "--src", "ravdess", "--tgt", "emodb", "--out", out]
    command += ["--cache", tmp_path / "cache", "--threads", 1, "--steps", 3]
    for value in ("batch_size=8", "frames=32", "channels=8", "log_every=1"):
        command += ["--set", value]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as fit:
        try:
            wait_for((out / "config.json").exists)  # the stores are open
            fit.send_signal(signal.SIGSTOP)
            wait_for(lambda: is_stopped(fit.pid))
            root = Path(shutil.copytree(emodb_root, tmp_path / "root"))
            sorted(root.rglob("*.wav"))[0].unlink()
            prepare_corpus(root, tmp_path / "cache")
            assert FeatureStore(store).fingerprint != fingerprint
            assert files.keys() < content(store).keys()  # no file of the open snapshot was deleted
        finally:
            fit.send_signal(signal.SIGCONT)
        _, err = fit.communicate(timeout=300)
    assert fit.returncode == 0, err
    assert fingerprint in (out / "config.json").read_text()
    prepare_corpus(root, tmp_path / "cache")
    assert content(store).keys() == {file.name for file in FeatureStore(store).snapshot.files}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny_emodb(tmp_path / "root", NAMES)
    return prepare_corpus(tmp_path / "root", tmp_path / "cache").store


def compute_checksums(opened: FeatureStore) -> list[int]:
    return [int(features.view(np.uint32).sum()) for features in opened]


def send_checksums(opened: FeatureStore, connection: Connection) -> None:
    connection.send(compute_checksums(opened))


class TestSeveralProcesses:
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    @pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
    def test_a_worker_reads_the_snapshot_of_its_parent(self, store: Path, tmp_path: Path, method: str) -> None:
        opened = FeatureStore(store)
        write_tiny_emodb(tmp_path / "root", NAMES[:6], variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        context = multiprocessing.get_context(method)
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=send_checksums, args=(opened, there))
        worker.start()
        there.close()
        assert here.recv() == compute_checksums(opened)
        worker.join()
        assert worker.exitcode == 0

    def test_a_pickled_store_is_small_and_opens_the_same_snapshot(self, store: Path, tmp_path: Path) -> None:
        opened = FeatureStore(store)
        expected = compute_checksums(opened)
        pickled = pickle.dumps(opened)
        assert len(pickled) < 10_000
        write_tiny_emodb(tmp_path / "root", NAMES[:6], variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        for again in (pickle.loads(pickled), copy.deepcopy(opened)):
            assert (again.fingerprint, compute_checksums(again)) == (opened.fingerprint, expected)
        del opened, again
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        with pytest.raises(StoreError, match="missing"):
            pickle.loads(pickled)


class TestFolders:
    def test_a_reader_of_a_copy_without_lock_files_keeps_its_files(self, store: Path, tmp_path: Path) -> None:
        (store / layout.READER_LOCK).unlink()
        reader = FeatureStore(store)
        write_tiny_emodb(tmp_path / "root", NAMES, variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        assert reader.verify() == []

    def test_other_folders_get_no_lock_file(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="not a feature store"):
            FeatureStore(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_mapped_features_of_a_deleted_store_stay_readable(self, store: Path) -> None:
        reader = FeatureStore(store)
        first = reader[0].copy()
        shutil.rmtree(store)
        np.testing.assert_array_equal(reader[0], first)
        with pytest.raises(StoreError, match="missing"):
            list(reader)
        with pytest.raises(StoreError, match="not a feature store"):
            FeatureStore(store)

    def test_a_deleted_store_can_be_locked_again(self, store: Path) -> None:
        with hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            shutil.rmtree(store)
            with hold_writer_lock(store, wait=False, on_wait=pytest.fail):
                assert (store / layout.WRITER_LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_stores_are_read_only(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert FeatureStore(store).verify() == []
    with pytest.raises(StoreError, match=f"cannot be written: {os.strerror(number)}"):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert not list(tmp_path.rglob("*.lock.*"))
