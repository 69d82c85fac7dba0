"""Extraction in processes of their own: the bytes are those of threads, and none of them outlives its parent."""

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

from emodna.pipeline.archives import FolderTree
from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import WorkerError
from emodna.pipeline.features import MfccSet
from emodna.pipeline.prepare.executors import local_processes, local_workers
from emodna.pipeline.prepare.extract import Extraction, Job, Outcome
from tests.pipeline.making import Watched, age, content, noise, prepared, wav

RECORDINGS = 240
PATIENCE = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many recordings as make processes worth while. Only for reading."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(RECORDINGS):
        (folder / f"{number:03d}.wav").write_bytes(wav(noise(0.15 + number % 7 / 50, seed=number)))
    (folder / "bad.wav").write_bytes(b"no audio")
    age(folder.iterdir())
    return folder


@pytest.mark.parametrize("segmenter", [None, EnergySegmenter()], ids=["whole", "cut"])
def test_have_the_bytes_of_threads(root: Path, tmp_path: Path, segmenter: EnergySegmenter | None) -> None:
    corpus = Recordings(root, "many")
    reports = [
        prepared(root, tmp_path / name, corpus, workers=workers, segmenter=segmenter)
        for name, workers in (("threads", 2), ("processes", local_processes(2)))
    ]
    threads, processes = (content(report.store) for report in reports)
    assert processes == threads
    assert reports[0].rejections == reports[1].rejections
    assert "bad.wav" in dict(reports[1].rejections)


def test_one_that_is_killed_ends_the_run_and_its_finished_work_is_used(root: Path, tmp_path: Path) -> None:
    corpus = Recordings(root, "many")

    class Killing(Watched):
        def examined(self, outcomes: Sequence[Outcome]) -> None:
            super().examined(outcomes)
            if len(self.outcomes) > RECORDINGS // 2:
                for server in psutil.Process().children():
                    for worker in server.children():
                        worker.kill()

    with pytest.raises(WorkerError, match=r"a worker process died .* the same command goes on from there"):
        prepared(root, tmp_path / "cache", corpus, workers=local_processes(2), watcher=Killing())
    report = prepared(root, tmp_path / "cache", corpus)
    assert content(report.store) == content(prepared(root, tmp_path / "undisturbed", corpus).store)


class HalfSent:
    """Jobs over which a worker dies in the midst of sending a result."""

    def __iter__(self) -> Iterator[Job]:
        frame = sys._getframe()
        while "connection" not in frame.f_locals:
            assert frame.f_back is not None
            frame = frame.f_back
        os.write(frame.f_locals["connection"].fileno(), struct.pack("!i", 1000) + b"half of it")
        os._exit(1)


def test_one_that_dies_while_it_sends_ends_the_run(root: Path) -> None:
    with local_processes(2)(FolderTree(root), Extraction(MfccSet()), 1) as executor:
        for _ in range(3):  # as often as there are batches
            with pytest.raises(WorkerError, match="a worker process died"):
                executor.submit(HalfSent()).result(PATIENCE)  # type: ignore[arg-type]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_end_with_their_parent(root: Path, tmp_path: Path, sent: signal.Signals) -> None:
    options = ["--folder", root, "--name", "many", "--cache", tmp_path, "--workers", 2, "--quiet"]
    command = [Path(sys.executable).with_name("emodna-prep"), *options]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        parent, children = psutil.Process(run.pid), []
        deadline = time.monotonic() + PATIENCE
        while len(children) < 4 and run.poll() is None and time.monotonic() < deadline:  # the server, and two workers
            children = parent.children(recursive=True)
            time.sleep(0.01)
        if sent is signal.SIGINT:  # as from a terminal: to all of them
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
    if sent is signal.SIGINT and run.returncode:  # unless it was ready before
        assert run.returncode == 130
        assert err == "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("packed", "count", "due", "processes"),
    [
        (None, 2, RECORDINGS, True),
        (None, 2, 150, False),
        (None, 1, RECORDINGS, False),
        ("tar", 2, RECORDINGS, True),
        ("gztar", 2, RECORDINGS, False),
    ],
    ids=["many", "few", "one worker", "tar", "tar.gz, which each process would unpack"],
)
def test_are_processes_where_that_pays(
    root: Path, tmp_path: Path, packed: str | None, count: int, due: int, processes: bool
) -> None:
    place = Path(shutil.make_archive(str(tmp_path / "many"), packed, root)) if packed else root
    tree = Recordings(place, "many").open(place)
    with local_workers(count)(tree, Extraction(MfccSet()), due) as executor:
        (outcome,) = executor.submit([Job("a", "000.wav")]).result(PATIENCE)
        assert outcome.extracted
        assert len(multiprocessing.active_children()) == (count if processes else 0)
