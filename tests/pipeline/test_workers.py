"""Extraction in worker processes: the same bytes as in threads, and no process outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from emodna.pipeline import processes
from emodna.pipeline.archives import FolderTree
from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare import executors
from emodna.pipeline.prepare.executors import make_local_factory, make_process_factory
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job
from tests.pipeline.making import CallbackLog, age, content, noise, prepare_corpus, wav

RECORDINGS = 48
PATIENCE = 60


def write_recordings(folder: Path, count: int) -> Path:
    """Write this many short recordings, and one invalid file."""
    for number in range(count):
        (folder / f"{number:03d}.wav").write_bytes(wav(noise(0.15 + number % 7 / 50, seed=number)))
    (folder / "bad.wav").write_bytes(b"no audio")
    age(folder.iterdir())
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("some"), RECORDINGS)


def test_processes_give_the_same_bytes_as_threads(root: Path, tmp_path: Path) -> None:
    corpus = Recordings(root, "some")
    threads, in_processes = (
        prepare_corpus(root, tmp_path / name, corpus, workers=workers, segmenter=EnergySegmenter())
        for name, workers in (("threads", 2), ("processes", make_process_factory(2)))
    )
    assert content(in_processes.store) == content(threads.store)
    assert in_processes.rejections == threads.rejections
    assert "bad.wav" in dict(in_processes.rejections)


class UnpicklableError(Exception):
    """An error that cannot be pickled, as in other packages."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")


def test_an_unpicklable_error_is_not_reported_as_a_dead_worker() -> None:
    sendable = processes.make_sendable(UnpicklableError(7, why="no such band"))
    assert isinstance(sendable, RuntimeError)
    assert "UnpicklableError: 7: no such band" in str(sendable)
    assert processes.make_sendable(same := OSError(5, "Input/output error")) is same


def test_a_killed_process_ends_the_preparation_and_finished_work_is_reused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emodna.pipeline.store.layout.UTTERANCES_PER_SHARD", 4)
    corpus = Recordings(root, "some")

    class KillWorkers(CallbackLog):
        def on_batch(self, results: Sequence[ExtractionResult]) -> None:
            super().on_batch(results)
            if len(self.results) > RECORDINGS // 2:
                for worker in multiprocessing.active_children():
                    worker.kill()

    with pytest.raises(WorkerError, match="a worker process died"):
        prepare_corpus(root, tmp_path / "cache", corpus, workers=make_process_factory(2), callback=KillWorkers())
    report = prepare_corpus(root, tmp_path / "cache", corpus)
    assert report.reused > 0
    assert content(report.store) == content(prepare_corpus(root, tmp_path / "undisturbed", corpus).store)


class JobsThatKillDuringReply:
    """Jobs that end the worker process after it sends half of its reply."""

    def __iter__(self) -> Iterator[Job]:
        frame = sys._getframe()
        while "connection" not in frame.f_locals:
            assert frame.f_back is not None
            frame = frame.f_back
        os.write(frame.f_locals["connection"].fileno(), struct.pack("!i", 1000) + b"half of it")
        os._exit(1)


def test_a_process_that_dies_while_sending_ends_the_preparation(root: Path) -> None:
    with make_process_factory(1)(FolderTree(root), ExtractionConfig(MfccSet()), 1) as executor:
        for _ in range(2):  # the current batch and later ones
            with pytest.raises(WorkerError, match="a worker process died"):
                executor.pool.submit(executor.examine, JobsThatKillDuringReply()).result(PATIENCE)  # type: ignore[arg-type]


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_processes_end_with_their_parent(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "many").mkdir()
    root = write_recordings(tmp_path / "many", 200)
    options = ["--folder", root, "--cache", tmp_path, "--workers", 2, "--quiet"]
    command = [Path(sys.executable).with_name("emodna-prep"), *options]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        parent, children = psutil.Process(run.pid), []
        deadline = time.monotonic() + PATIENCE
        # Until the fork server and two workers run.
        while len(children) < 4 and run.poll() is None and time.monotonic() < deadline:
            children = parent.children(recursive=True)
            time.sleep(0.01)
        if sent is signal.SIGINT:  # like a terminal: to all processes
            for process in (*children, parent):
                process.send_signal(sent)
        else:
            parent.kill()
        try:
            _, err = run.communicate(timeout=PATIENCE)
        finally:
            run.kill()
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert alive == []
    assert len(children) >= 2
    if sent is signal.SIGINT and run.returncode:  # unless it finished before
        assert run.returncode == 130
        assert err == "interrupted; run the same command again to continue\n"


@pytest.mark.parametrize(
    ("packed", "count", "due", "kind"),
    [
        (None, 2, 200, "process"),
        (None, 2, 199, "thread"),
        (None, 1, 200, "thread"),
        ("tar", 2, 200, "process"),
        ("gztar", 2, 200, "thread"),  # each process would unpack it
    ],
)
def test_large_corpora_use_processes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str | None, count: int, due: int, kind: str
) -> None:
    for name in ("thread", "process"):
        monkeypatch.setattr(executors, f"make_{name}_factory", lambda _, name=name: lambda *_: name)
    place = Path(shutil.make_archive(str(tmp_path / "some"), packed, root)) if packed else root
    tree = Recordings(place, "some").open(place)
    assert make_local_factory(count)(tree, ExtractionConfig(MfccSet()), due) == kind


def test_workers_may_differ_in_libraries_that_affect_no_feature() -> None:
    assert not {"librosa", "scipy"} & ExtractionConfig(MfccSet()).get_versions().keys()
