"""Preparing on a real Dask cluster: the same bytes, and a clear end where something is missing or dies."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from emodna.pipeline.archives import Tree
from emodna.pipeline.audio.segment import EnergySegmenter
from emodna.pipeline.corpora.own import Recordings
from emodna.pipeline.errors import CorpusError, WorkerError
from emodna.pipeline.features import FEATURE_SETS
from emodna.pipeline.prepare import PrepareReport
from emodna.pipeline.prepare import cluster as cluster_module
from emodna.pipeline.prepare.cluster import connect_cluster
from emodna.pipeline.prepare.executors import Executor
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job
from emodna.pipeline.store import layout
from tests.cli.running import run_script
from tests.pipeline.clusters import Cluster, can_hide_files, cluster, wait_until
from tests.pipeline.making import (
    CallbackLog,
    age,
    content,
    make_emodb_names,
    noise,
    pcm16,
    prepare_corpus,
    wav,
    write_tiny_emodb,
)

NAMES = make_emodb_names(24)
#: Statements that change the module of this name on a worker, and that bring it back.
REMOTE = "from emodna.pipeline.prepare import cluster as remote"
RELOAD = f"import importlib; {REMOTE}; importlib.reload(remote)"
needs_mounts = pytest.mark.skipif(not can_hide_files(), reason="needs unshare -rm, which hides files from a worker")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two worker processes of several threads."""
    with cluster(tmp_path_factory.mktemp("cluster") / "running") as running:
        running.add_worker(threads=2)
        running.add_worker(threads=3)
        yield running


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus as folder, ZIP and tar.gz, with files that cannot be used. Only for reading."""
    folder = tmp_path_factory.mktemp("pool")
    wavs = write_tiny_emodb(folder / "root", NAMES)
    wavs[3].write_bytes(b"RIFF")
    wavs[8].write_bytes(wavs[8].read_bytes()[:-100])
    age(wavs)
    for form in ("zip", "gztar"):
        shutil.make_archive(str(folder / "root"), form, folder / "root")
    return folder


@pytest.fixture(scope="module")
def local(pool: Path) -> dict[str, str]:
    """Shards and index of the pool, prepared without a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        return content(prepare_corpus(pool / "root", pool / "cache").store)


def on(
    cluster: Cluster, root: Path, cache: Path, *arguments: Any, told: list[str] | None = None, **options: Any
) -> PrepareReport:
    """Prepare on a cluster."""
    with connect_cluster(cluster.address, (told if told is not None else []).append) as start:
        return prepare_corpus(root, cache, *arguments, workers=start, **options)


class TestTheSameBytes:
    @pytest.mark.parametrize("root", ["root", "root.zip", "root.tar.gz"])
    def test_out_of_a_folder_or_an_archive(
        self, running: Cluster, pool: Path, local: dict[str, str], tmp_path: Path, root: str
    ) -> None:
        callback = CallbackLog()
        report = on(running, pool / root, tmp_path, callback=callback)
        assert content(report.store) == local
        assert (report.utterances, report.extracted, report.rejected) == (22, 22, 2)
        assert callback.planned_recordings == len(callback.results) == 24
        with running.client() as client:  # and the workers hold nothing open
            assert set(client.run(opened_roots).values()) == {0}

    def test_of_another_feature_set_and_of_recordings_that_are_cut(self, running: Cluster, tmp_path: Path) -> None:
        calls = tmp_path / "calls"
        calls.mkdir()
        for number in range(3):
            voice, pause = noise(1.0, seed=number), noise(1.0, seed=number, level=1e-4)
            (calls / f"{number}.wav").write_bytes(wav(b"".join(map(pcm16, (voice, pause, voice, pause)))))
        options: Any = {"features": FEATURE_SETS["wave16k"], "segmenter": EnergySegmenter()}
        report = on(running, calls, tmp_path / "cluster", Recordings(calls, "calls"), **options)
        assert report.utterances == 6
        local = prepare_corpus(calls, tmp_path / "local", Recordings(calls, "calls"), **options)
        assert content(report.store) == content(local.store)

    def test_after_a_local_run_that_saw_less(self, running: Cluster, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path / "root", NAMES[:6])
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        write_tiny_emodb(tmp_path / "root", NAMES[:12])
        report = on(running, tmp_path / "root", tmp_path / "cache")
        assert (report.extracted, report.reused) == (6, 6)
        assert content(report.store) == content(prepare_corpus(tmp_path / "root", tmp_path / "fresh").store)

    def test_by_the_command(self, running: Cluster, pool: Path, tmp_path: Path) -> None:
        options = ("--corpus", "emodb", "--root", pool / "root", "--cache", tmp_path / "cache", "--scheduler")
        ran = run_script("emodna-prep", *options, running.file, "--json", "-q")
        assert (ran.code, ran.err) == (0, "")
        assert ran.json[0]["extracted"] == 22


def opened_roots() -> int:
    from emodna.pipeline.prepare import cluster

    return cluster._open.cache_info().currsize


class TestAWorkerThatDiesOfABatch:
    @pytest.fixture
    def doomed(self, running: Cluster) -> Any:
        """A third worker, which dies of the first batch that it gets."""
        with running.client() as client:
            others = set(client.nthreads())
            process = running.add_worker(threads=1)
            (address,) = set(client.nthreads()) - others
            client.run(exec, f"import os; {REMOTE}; remote._open = lambda _: os._exit(1)", workers=[address])
        return process

    def test_costs_only_its_batches(
        self, running: Cluster, doomed: Any, pool: Path, local: dict[str, str], tmp_path: Path
    ) -> None:
        report = on(running, pool / "root", tmp_path / "cache")
        assert doomed.wait(10) == 1
        assert report.extracted == 22
        assert content(report.store) == local

    def test_too_often_ends_the_run_which_names_the_recordings(
        self, running: Cluster, doomed: Any, pool: Path, local: dict[str, str], tmp_path: Path
    ) -> None:
        with running.client() as client:
            client.run_on_scheduler(allow_failures, 0)
            try:
                with pytest.raises(WorkerError) as caught:
                    on(running, pool / "root", tmp_path / "cache")
            finally:
                client.run_on_scheduler(allow_failures, 3)
        assert doomed.wait(10) == 1
        (line,) = str(caught.value).splitlines()
        assert "died, 1 times" in line
        assert line.count(".wav") in range(1, 5)
        assert content(prepare_corpus(pool / "root", tmp_path / "cache", wait=False).store) == local


def allow_failures(count: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = count


def test_without_workers_a_run_waits_and_without_a_scheduler_it_ends(pool: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "empty") as empty:
        told: list[str] = []

        def interrupt(line: str) -> None:
            told.append(line)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt), connect_cluster(empty.address, interrupt) as start:
            prepare_corpus(pool / "root", tmp_path / "cache", workers=start)
        assert told[0].startswith(f"waiting for workers: none at {empty.address}")
        with (
            pytest.raises(WorkerError) as caught,
            connect_cluster(empty.address, lambda _: empty.scheduler.kill()) as start,
        ):
            prepare_corpus(pool / "root", tmp_path / "cache", workers=start)
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"lost the connection to the scheduler at {empty.address}: finished shards are kept")


@pytest.mark.slow
def test_the_finished_work_of_a_run_whose_scheduler_was_killed_is_used(
    pool: Path, local: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    journal = cache / "emodb" / FEATURE_SETS["mfcc40"].name / "journal"
    with cluster(tmp_path / "mortal") as mortal:
        worker = mortal.add_worker(threads=1)
        calls = count(1)

        @contextmanager
        def kill(tree: Tree, extraction: ExtractionConfig, due: int) -> Iterator[Executor]:
            with start(tree, extraction, due) as executor:

                def examine(jobs: Sequence[Job]) -> list[ExtractionResult]:
                    """Two batches pass; those that come then do not end before the scheduler does."""
                    number = next(calls)
                    if number > 2:
                        wait_until(lambda: len(list(journal.glob("*.sealed"))) >= 2)
                        worker.send_signal(signal.SIGSTOP)
                    if number == 3:
                        threading.Timer(0.5, mortal.scheduler.kill).start()
                    return executor.examine(jobs)

                yield replace(executor, examine=examine)

        with (
            pytest.raises(WorkerError, match="lost the connection"),
            connect_cluster(mortal.address, [].append) as start,
        ):
            prepare_corpus(pool / "root", cache, workers=kill)
    report = prepare_corpus(pool / "root", cache, wait=False)
    assert report.reused >= 2
    assert report.extracted == 22 - report.reused
    assert content(report.store) == local


class TestWorkersThatDoNotFit:
    @contextmanager
    def changed(self, running: Cluster, statements: str) -> Iterator[None]:
        """Change the workers, and bring them back."""
        with running.client() as client:
            client.run(exec, statements)
            try:
                yield
            finally:
                client.run(exec, RELOAD)

    def test_are_refused_where_a_library_has_another_version(
        self, running: Cluster, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = ExtractionConfig(FEATURE_SETS["mfcc40"]).versions()
        monkeypatch.setattr(ExtractionConfig, "versions", lambda _: mine | {"soxr": "0.0.1"})
        with pytest.raises(WorkerError, match=r"^worker tcp://") as caught:
            on(running, pool / "root", tmp_path)
        assert f" has soxr {mine['soxr']}, but emodna-prep soxr 0.0.1: " in str(caught.value)

    @pytest.mark.parametrize(
        ("statements", "complaint"),
        [
            (f"{REMOTE}; del remote.examine_there", " cannot load emodna ("),
            (
                f"import errno; {REMOTE}\n"
                "def failing(*_): raise OSError(errno.EMFILE, 'Too many open files', '/there/a.wav')\n"
                "remote.examine_all = failing",
                ": /there/a.wav: Too many open files: raise the limit of",
            ),
        ],
        ids=["emodna is missing", "the machine fails"],
    )
    def test_are_one_line(self, running: Cluster, pool: Path, tmp_path: Path, statements: str, complaint: str) -> None:
        with self.changed(running, statements), pytest.raises(WorkerError) as caught:
            on(running, pool / "root", tmp_path / "cache")
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"a worker at {running.address}{complaint}")

    @pytest.mark.parametrize(
        ("root", "change", "complaint"),
        [
            ("root.zip", "remote._archive_size = lambda _: '1 bytes'", "1 bytes, "),
            (
                "root",
                "remote.examine_all = lambda jobs, *_, to=remote.Outcome: [to(job, rejection='gone') for job in jobs]",
                "gone; where emodna-prep runs: sound",
            ),
        ],
    )
    def test_end_the_run_where_they_see_other_audio(
        self, running: Cluster, pool: Path, tmp_path: Path, root: str, change: str, complaint: str
    ) -> None:
        with self.changed(running, f"{REMOTE}\n{change}"), pytest.raises(CorpusError, match=complaint) as caught:
            on(running, pool / root, tmp_path / "cache")
        assert str(caught.value).startswith("worker tcp://127.0.0.1:")
        assert not list(tmp_path.rglob("store.json"))

    def test_are_named_where_their_processors_differ(self, running: Cluster, pool: Path, tmp_path: Path) -> None:
        told: list[str] = []
        lie = f"import os; {REMOTE}; remote._cpu = lambda: str(os.getpid())"
        with self.changed(running, lie):
            on(running, pool / "root", tmp_path / "cache", told=told)
        (line,) = told
        assert line.startswith("the workers' processors differ (")


def test_a_file_that_nobody_can_read_is_rejected_as_locally(running: Cluster, tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES[:4])
    (tmp_path / "root" / "wav" / NAMES[4]).symlink_to("nowhere.wav")
    report = on(running, tmp_path / "root", tmp_path / "cache")
    assert report.rejections == [(f"wav/{NAMES[4]}", "cannot be read: No such file or directory")]
    assert report.rejections == prepare_corpus(tmp_path / "root", tmp_path / "local").rejections


class TestAnAddress:
    @pytest.mark.parametrize(
        ("address", "why"),
        [
            ("somewhere", "missing port number"),
            ("http://host:8786", "unknown address scheme"),
            ("missing.json", "No such"),
            ("tls://a:1", "TLS"),
        ],
    )
    def test_that_is_none_is_one_line(self, address: str, why: str) -> None:
        assert why in refusal(address)

    def test_where_nobody_is_ends_the_command_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
        assert "no Dask scheduler answers there" in refusal("127.0.0.1:9")


def refusal(address: object) -> str:
    """The one line that says why nothing can be prepared at an address."""
    with pytest.raises(WorkerError) as caught, connect_cluster(str(address), [].append):
        pass
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"--scheduler {address}: ")
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def elsewhere(folder: Path, pool: Path) -> Iterator[Cluster]:
    """A cluster whose worker finds other things in some folders than this process does."""
    here, there = folder / "here", folder / "there"
    for name in ("without-one", "cut-short", "longer", "copied"):
        shutil.copytree(pool / "root", here / name)
        shutil.copytree(pool / "root", there / name)
    (there / "without-one" / "wav" / NAMES[5]).unlink()
    (there / "cut-short" / "wav" / NAMES[5]).write_bytes(wav(noise(0.1))[:-100])
    (there / "longer" / "wav" / NAMES[5]).write_bytes(wav(noise(0.3)))
    age((there / "copied" / "wav").iterdir(), seconds=1_500_000_000)
    (here / "packed").mkdir()
    shutil.copy(pool / "root.zip", here / "packed" / "other.zip")
    shutil.make_archive(str(there / "packed" / "other"), "zip", there / "longer")
    (here / "unmounted" / "root").mkdir(parents=True)
    shutil.copytree(pool / "root", here / "unmounted" / "root", dirs_exist_ok=True)
    (there / "unmounted").mkdir()
    with cluster(folder / "elsewhere") as elsewhere:
        elsewhere.add_worker(over={here: there})
        yield elsewhere


@pytest.mark.slow
@needs_mounts
class TestAWorkerThatSeesOtherFiles:
    @pytest.mark.parametrize(
        ("root", "file", "what"),
        [
            ("unmounted/root", "", "no such folder; the audio has to lie at the same path on every worker"),
            (
                "without-one",
                f"/wav/{NAMES[5]}",
                "cannot be read: No such file or directory; where emodna-prep runs: sound;",
            ),
            ("cut-short", f"/wav/{NAMES[5]}", "bytes of audio, the file holds"),
            ("longer", f"/wav/{NAMES[5]}", "9644 bytes; where emodna-prep runs: 4844 bytes;"),
            ("packed/other.zip", "", "where emodna-prep runs; the audio has to lie"),
        ],
    )
    def test_ends_the_run_which_names_worker_and_path(
        self, elsewhere: Cluster, folder: Path, tmp_path: Path, root: str, file: str, what: str
    ) -> None:
        with pytest.raises(CorpusError) as caught:
            on(elsewhere, folder / "here" / root, tmp_path / "cache")
        (line,) = str(caught.value).splitlines()
        assert line.startswith("worker tcp://127.0.0.1:")
        assert f"{folder}/here/{root}{file}: " in line
        assert what in line
        assert not list(tmp_path.rglob("store.json"))
        assert prepare_corpus(folder / "here" / root, tmp_path / "cache").rejected == 2

    def test_is_no_matter_where_they_are_copies(
        self, elsewhere: Cluster, folder: Path, tmp_path: Path, local: dict[str, str]
    ) -> None:
        """Of other times: each is hashed again by the next run, and believed."""
        root = folder / "here" / "copied"
        assert content(on(elsewhere, root, tmp_path / "cache").store) == local
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.extracted, report.reused) == (0, 22)
        assert content(report.store) == local
