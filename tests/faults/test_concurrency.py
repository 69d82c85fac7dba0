"""Several processes on one store, each defined: they wait, are refused, or keep what they opened."""

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


def stopped(pid: int) -> bool:
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a stopped process")
def test_a_second_run_is_refused_or_waits_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    write_tiny_emodb(root, NAMES)
    options = ["--corpus", "emodb", "--root", root, "--cache", cache, "--workers", 1]
    interrupted = [sys.executable, "-m", "tests.pipeline.prep_with_interrupt"]
    folder = Path(str(tests.__file__)).parents[1]
    first = subprocess.Popen([*interrupted, "before:store.json", "SIGSTOP", *map(str, options)], cwd=folder)
    try:
        wait_for(lambda: stopped(first.pid))
        with pytest.raises(StoreError, match=r"another emodna-prep is writing this store"):
            prepare_corpus(root, cache, wait=False)
        # The other process has small shards, too: a point that is never reached.
        second = subprocess.Popen(
            [*interrupted, "before:store.json:9", "SIGCONT", *map(str, options), "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
    finally:
        first.kill()
        first.wait()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert json.loads(out)[0]["reused"] == 12  # all that the first had finished
    store = next((cache / "emodb").iterdir())
    assert content(store) == content(prepare_corpus(root, tmp_path / "alone").store)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a stopped process")
def test_a_training_run_keeps_what_it_opened_while_its_stores_are_replaced(
    tmp_path: Path, ravdess_root: Path, emodb_root: Path, cache: Path
) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    store = next((tmp_path / "cache" / "emodb").iterdir())
    before = FeatureStore(store)
    fingerprint, files = before.fingerprint, content(store)
    del before
    out = tmp_path / "run"
    command = [Path(sys.executable).with_name("emodna-fit"), "--src", "ravdess", "--tgt", "emodb", "--out", out]
    command += ["--cache", tmp_path / "cache", "--threads", 1, "--steps", 3]
    for value in ("batch_size=8", "frames=32", "channels=8", "log_every=1"):
        command += ["--set", value]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as fit:
        try:
            wait_for((out / "config.json").exists)  # its stores are open
            fit.send_signal(signal.SIGSTOP)
            wait_for(lambda: stopped(fit.pid))
            root = Path(shutil.copytree(emodb_root, tmp_path / "root"))
            gone = sorted(root.rglob("*.wav"))[0]
            gone.unlink()
            prepare_corpus(root, tmp_path / "cache")
            assert FeatureStore(store).fingerprint != fingerprint
            assert files.keys() < content(store).keys()  # nothing that the fit may read was removed
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


def checksums(opened: FeatureStore) -> list[int]:
    return [int(features.view(np.uint32).sum()) for features in opened]


def send_checksums(opened: FeatureStore, answers: Connection) -> None:
    answers.send(checksums(opened))


class TestAStoreInSeveralProcesses:
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    @pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
    def test_a_worker_reads_what_its_parent_opened(self, store: Path, tmp_path: Path, method: str) -> None:
        """Both before and after another content was committed."""
        opened = FeatureStore(store)
        write_tiny_emodb(tmp_path / "root", NAMES[:6], variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        context = multiprocessing.get_context(method)
        answers, end = context.Pipe(duplex=False)
        worker = context.Process(target=send_checksums, args=(opened, end))
        worker.start()
        end.close()
        assert answers.recv() == checksums(opened)
        worker.join()
        assert worker.exitcode == 0

    def test_pickled_it_is_small_and_opens_the_same_snapshot(self, store: Path, tmp_path: Path) -> None:
        opened = FeatureStore(store)
        expected = checksums(opened)
        pickled = pickle.dumps(opened)
        assert len(pickled) < 10_000
        write_tiny_emodb(tmp_path / "root", NAMES[:6], variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        for again in (pickle.loads(pickled), copy.deepcopy(opened)):
            assert (again.fingerprint, checksums(again)) == (opened.fingerprint, expected)
        del opened, again
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        with pytest.raises(StoreError, match="missing; run emodna-prep again"):
            pickle.loads(pickled)


class TestPlaces:
    def test_a_reader_of_a_copy_without_locks_holds_its_files(self, store: Path, tmp_path: Path) -> None:
        (store / layout.READER_LOCK).unlink()
        reader = FeatureStore(store)
        write_tiny_emodb(tmp_path / "root", NAMES, variant="b")
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        assert reader.verify() == []

    def test_a_folder_that_is_no_store_gets_no_lock(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="no feature store"):
            FeatureStore(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_store_that_was_deleted_is_missing_and_its_mapped_part_stays(self, store: Path) -> None:
        reader = FeatureStore(store)
        first = reader[0].copy()
        shutil.rmtree(store)
        np.testing.assert_array_equal(reader[0], first)
        with pytest.raises(StoreError, match="missing; run emodna-prep again"):
            list(reader)
        with pytest.raises(StoreError, match="no feature store"):
            FeatureStore(store)

    def test_a_deleted_store_is_locked_anew(self, store: Path) -> None:
        with hold_writer_lock(store, wait=False, on_wait=pytest.fail):
            shutil.rmtree(store)
            with hold_writer_lock(store, wait=False, on_wait=pytest.fail):
                assert (store / layout.WRITER_LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_one_may_read_and_not_write(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert FeatureStore(store).verify() == []
    with pytest.raises(StoreError, match=f"cannot be written: {os.strerror(number)}.*; choose another --cache"):
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
    assert not list(tmp_path.rglob("*.lock.*"))
