"""Prepare on a real Dask cluster: the same bytes, and clear errors if something is missing or dies."""

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
from emodna.pipeline.features.encoder import describe_encoder
from emodna.pipeline.prepare import PrepareReport
from emodna.pipeline.prepare import cluster as cluster_module
from emodna.pipeline.prepare.cluster import connect_cluster
from emodna.pipeline.prepare.executors import Executor
from emodna.pipeline.prepare.extract import ExtractionConfig, ExtractionResult, Job
from emodna.pipeline.store import layout
from tests.cli.running import run_script
from tests.pipeline.clusters import Cluster, can_hide_files, start_cluster, wait_until
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
from tests.pipeline.tiny_encoders import write_onnx

NAMES = make_emodb_names(24)
#: Statements that import the module on a worker, and that restore it after a change.
REMOTE = "from emodna.pipeline.prepare import cluster as remote"
RELOAD = f"import importlib; {REMOTE}; importlib.reload(remote)"
needs_mounts = pytest.mark.skipif(not can_hide_files(), reason="needs unshare -rm, to hide files from a worker")


def test_a_worker_without_the_encoder_ends_the_preparation(
    shared_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recordings are usable, so none may be rejected."""
    encoder = write_onnx(tmp_path / "encoder.onnx")
    features = replace(describe_encoder(str(encoder)), location=None)
    monkeypatch.setenv("EMODNA_ENCODERS", str(tmp_path))  # of this process alone
    write_tiny_emodb(tmp_path / "audio", NAMES[:4])
    with (
        connect_cluster(shared_cluster.address, notify=print) as workers,
        pytest.raises(WorkerError, match=features.encoder_sha256) as caught,
    ):
        prepare_corpus(tmp_path / "audio", tmp_path / "cache", features=features, workers=workers)
    assert str(caught.value.where).startswith("worker tcp://")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "UTTERANCES_PER_SHARD", 4)


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster") / "running") as shared_cluster:
        shared_cluster.add_worker(threads=2)
        shared_cluster.add_worker(threads=3)
        yield shared_cluster


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small corpus as folder, ZIP and tar.gz, with unusable files. Read-only."""
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
    """Return the hashes of the pool's shards and index, prepared without a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "UTTERANCES_PER_SHARD", 4)
        return content(prepare_corpus(pool / "root", pool / "cache").store)


def prepare_on(
    cluster: Cluster, root: Path, cache: Path, *arguments: Any, messages: list[str] | None = None, **options: Any
) -> PrepareReport:
    with connect_cluster(cluster.address, (messages if messages is not None else []).append) as start:
        return prepare_corpus(root, cache, *arguments, workers=start, **options)


class TestSameBytes:
    @pytest.mark.parametrize("root", ["root", "root.zip", "root.tar.gz"])
    def test_a_cluster_gives_the_same_bytes_as_this_machine(
        self, shared_cluster: Cluster, pool: Path, local: dict[str, str], tmp_path: Path, root: str
    ) -> None:
        callback = CallbackLog()
        report = prepare_on(shared_cluster, pool / root, tmp_path, callback=callback)
        assert content(report.store) == local
        assert (report.utterances, report.extracted, report.rejected) == (22, 22, 2)
        assert callback.planned_recordings == len(callback.results) == 24
        with shared_cluster.client() as client:
            assert set(client.run(count_open_roots).values()) == {0}

    def test_segments_of_another_feature_set_have_the_same_bytes(self, shared_cluster: Cluster, tmp_path: Path) -> None:
        calls = tmp_path / "calls"
        calls.mkdir()
        for number in range(3):
            voice, pause = noise(1.0, seed=number), noise(1.0, seed=number, level=1e-4)
            (calls / f"{number}.wav").write_bytes(wav(b"".join(map(pcm16, (voice, pause, voice, pause)))))
        options: Any = {"features": FEATURE_SETS["wave16k"], "segmenter": EnergySegmenter()}
        report = prepare_on(shared_cluster, calls, tmp_path / "cluster", Recordings(calls, "calls"), **options)
        assert report.utterances == 6
        local = prepare_corpus(calls, tmp_path / "local", Recordings(calls, "calls"), **options)
        assert content(report.store) == content(local.store)

    def test_a_cluster_extends_an_earlier_store(self, shared_cluster: Cluster, tmp_path: Path) -> None:
        write_tiny_emodb(tmp_path / "root", NAMES[:6])
        prepare_corpus(tmp_path / "root", tmp_path / "cache")
        write_tiny_emodb(tmp_path / "root", NAMES[:12])
        report = prepare_on(shared_cluster, tmp_path / "root", tmp_path / "cache")
        assert (report.extracted, report.reused) == (6, 6)
        assert content(report.store) == content(prepare_corpus(tmp_path / "root", tmp_path / "fresh").store)

    def test_the_command_prepares_on_a_cluster(self, shared_cluster: Cluster, pool: Path, tmp_path: Path) -> None:
        options = ("--corpus", "emodb", "--root", pool / "root", "--cache", tmp_path / "cache", "--scheduler")
        ran = run_script("emodna-prep", *options, shared_cluster.file, "--json", "-q")
        assert (ran.code, ran.err) == (0, "")
        assert ran.json[0]["extracted"] == 22


def count_open_roots() -> int:
    from emodna.pipeline.prepare import cluster

    return cluster._open_root.cache_info().currsize


class TestDyingWorker:
    @pytest.fixture
    def dying_worker(self, shared_cluster: Cluster) -> Any:
        """Add a third worker that dies of its first batch."""
        with shared_cluster.client() as client:
            others = set(client.nthreads())
            process = shared_cluster.add_worker(threads=1)
            (address,) = set(client.nthreads()) - others
            client.run(exec, f"import os; {REMOTE}; remote._open_root = lambda _: os._exit(1)", workers=[address])
        return process

    def test_other_workers_redo_its_batches(
        self, shared_cluster: Cluster, dying_worker: Any, pool: Path, local: dict[str, str], tmp_path: Path
    ) -> None:
        report = prepare_on(shared_cluster, pool / "root", tmp_path / "cache")
        assert dying_worker.wait(10) == 1
        assert report.extracted == 22
        assert content(report.store) == local

    def test_too_many_deaths_end_the_preparation_and_name_the_recordings(
        self, shared_cluster: Cluster, dying_worker: Any, pool: Path, local: dict[str, str], tmp_path: Path
    ) -> None:
        with shared_cluster.client() as client:
            client.run_on_scheduler(allow_failures, 0)
            try:
                with pytest.raises(WorkerError) as caught:
                    prepare_on(shared_cluster, pool / "root", tmp_path / "cache")
            finally:
                client.run_on_scheduler(allow_failures, 3)
        assert dying_worker.wait(10) == 1
        (line,) = str(caught.value).splitlines()
        assert "died 1 times while processing" in line
        assert line.count(".wav") in range(1, 5)
        assert content(prepare_corpus(pool / "root", tmp_path / "cache", wait=False).store) == local


def allow_failures(count: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = count


def test_preparation_waits_for_workers_and_ends_without_a_scheduler(pool: Path, tmp_path: Path) -> None:
    with start_cluster(tmp_path / "empty") as empty:
        messages: list[str] = []

        def interrupt(line: str) -> None:
            messages.append(line)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt), connect_cluster(empty.address, interrupt) as start:
            prepare_corpus(pool / "root", tmp_path / "cache", workers=start)
        assert messages[0].startswith(f"waiting for workers at {empty.address}")

        def kill(_: str) -> None:
            empty.scheduler.kill()

        with pytest.raises(WorkerError) as caught, connect_cluster(empty.address, kill) as start:
            prepare_corpus(pool / "root", tmp_path / "cache", workers=start)
        assert caught.value.where == empty.address
        assert "connection to the scheduler lost" in caught.value.problem


@pytest.mark.slow
def test_finished_work_is_reused_after_the_scheduler_was_killed(
    pool: Path, local: dict[str, str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    journal = cache / "emodb" / FEATURE_SETS["mfcc40"].name / "journal"
    with start_cluster(tmp_path / "mortal") as mortal:
        worker = mortal.add_worker(threads=1)
        calls = count(1)

        @contextmanager
        def kill(tree: Tree, extraction: ExtractionConfig, recordings: int) -> Iterator[Executor]:
            with start(tree, extraction, recordings) as executor:

                def examine(jobs: Sequence[Job]) -> list[ExtractionResult]:
                    """Examine two batches; later ones end after the scheduler."""
                    number = next(calls)
                    if number > 2:
                        wait_until(lambda: len(list(journal.glob("*.sealed"))) >= 2)
                        worker.send_signal(signal.SIGSTOP)
                    if number == 3:
                        threading.Timer(0.5, mortal.scheduler.kill).start()
                    return executor.examine(jobs)

                yield replace(executor, examine=examine)

        with (
            pytest.raises(WorkerError, match="connection to the scheduler lost"),
            connect_cluster(mortal.address, [].append) as start,
        ):
            prepare_corpus(pool / "root", cache, workers=kill)
    report = prepare_corpus(pool / "root", cache, wait=False)
    assert report.reused >= 2
    assert report.extracted == 22 - report.reused
    assert content(report.store) == local


class TestUnfitWorkers:
    @contextmanager
    def change_workers(self, shared_cluster: Cluster, statements: str) -> Iterator[None]:
        with shared_cluster.client() as client:
            client.run(exec, statements)
            try:
                yield
            finally:
                client.run(exec, RELOAD)

    def test_another_library_version_is_refused(
        self, shared_cluster: Cluster, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = ExtractionConfig(FEATURE_SETS["mfcc40"]).get_versions()
        monkeypatch.setattr(ExtractionConfig, "get_versions", lambda _: mine | {"soxr": "0.0.1"})
        with pytest.raises(WorkerError, match=r"^worker tcp://") as caught:
            prepare_on(shared_cluster, pool / "root", tmp_path)
        assert f"has soxr {mine['soxr']}, but the main process has soxr 0.0.1" in caught.value.problem

    @pytest.mark.parametrize(
        ("statements", "complaint"),
        [
            (f"{REMOTE}; del remote.examine_on_worker", "a worker cannot import emodna: "),
            (
                f"import errno; {REMOTE}\n"
                "def fail(*_): raise OSError(errno.EMFILE, 'Too many open files', '/there/a.wav')\n"
                "remote.examine_all = fail",
                "/there/a.wav: Too many open files; raise the limit of",
            ),
        ],
        ids=["emodna is missing", "the machine fails"],
    )
    def test_an_unusable_worker_is_one_error_line(
        self, shared_cluster: Cluster, pool: Path, tmp_path: Path, statements: str, complaint: str
    ) -> None:
        with self.change_workers(shared_cluster, statements), pytest.raises(WorkerError) as caught:
            prepare_on(shared_cluster, pool / "root", tmp_path / "cache")
        assert shared_cluster.address in str(caught.value.where)
        assert caught.value.problem.startswith(complaint)

    @pytest.mark.parametrize(
        ("root", "change", "complaint"),
        [
            ("root.zip", "remote._describe_archive_size = lambda _: '1 bytes'", "1 bytes on the worker, "),
            (
                "root",
                "remote.examine_all = lambda jobs, *_, result=remote.ExtractionResult: "
                "[result(job, rejection='gone') for job in jobs]",
                "gone on the worker, usable in the main process",
            ),
        ],
    )
    def test_other_audio_on_a_worker_ends_the_preparation(
        self, shared_cluster: Cluster, pool: Path, tmp_path: Path, root: str, change: str, complaint: str
    ) -> None:
        with (
            self.change_workers(shared_cluster, f"{REMOTE}\n{change}"),
            pytest.raises(CorpusError, match=complaint) as caught,
        ):
            prepare_on(shared_cluster, pool / root, tmp_path / "cache")
        assert str(caught.value.where).startswith("worker tcp://127.0.0.1:")
        assert not list(tmp_path.rglob("store.json"))

    def test_different_processors_are_reported(self, shared_cluster: Cluster, pool: Path, tmp_path: Path) -> None:
        messages: list[str] = []
        fake = f"import os; {REMOTE}; remote.get_cpu_capability = lambda: str(os.getpid())"
        with self.change_workers(shared_cluster, fake):
            prepare_on(shared_cluster, pool / "root", tmp_path / "cache", messages=messages)
        (line,) = messages
        assert line.startswith("the workers' processors differ (")


def test_unreadable_files_are_rejected_or_replaced_like_locally(shared_cluster: Cluster, tmp_path: Path) -> None:
    write_tiny_emodb(tmp_path / "root", NAMES[:4])
    (tmp_path / "root" / "wav" / NAMES[4]).symlink_to("nowhere.wav")
    write_tiny_emodb(tmp_path / "root" / "copies", NAMES[:1])
    (tmp_path / "root" / "wav" / NAMES[0]).write_bytes(b"no audio")
    report = prepare_on(shared_cluster, tmp_path / "root", tmp_path / "cache")
    assert report.rejections == [(f"wav/{NAMES[4]}", "cannot be read: No such file or directory")]
    local = prepare_corpus(tmp_path / "root", tmp_path / "local")
    assert (report.rejections, content(report.store)) == (local.rejections, content(local.store))


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("somewhere", "not an address"),
            ("http://host:8786", "unknown address scheme"),
            ("missing.json", "No such"),
            ("tls://a:1", "TLS"),
        ],
    )
    def test_an_invalid_address_is_refused(self, address: str, reason: str) -> None:
        assert reason in read_refusal(address)

    def test_connecting_without_a_scheduler_fails_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
        assert "no Dask scheduler found" in read_refusal("127.0.0.1:9")


def read_refusal(address: object) -> str:
    with pytest.raises(WorkerError) as caught, connect_cluster(str(address), [].append):
        pass
    assert (caught.value.field, caught.value.value) == ("scheduler", address)
    return caught.value.problem


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def elsewhere(folder: Path, pool: Path) -> Iterator[Cluster]:
    """Start a cluster whose worker sees other files in some folders."""
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
    with start_cluster(folder / "elsewhere") as elsewhere:
        elsewhere.add_worker(replacements={here: there})
        yield elsewhere


@pytest.mark.slow
@needs_mounts
class TestOtherFilesOnAWorker:
    @pytest.mark.parametrize(
        ("root", "file", "expected"),
        [
            ("unmounted/root", "", "not found; make the audio available at the same path on every worker"),
            (
                "without-one",
                f"/wav/{NAMES[5]}",
                "cannot be read: No such file or directory on the worker, usable in the main process;",
            ),
            ("cut-short", f"/wav/{NAMES[5]}", "bytes of audio, the file holds"),
            ("longer", f"/wav/{NAMES[5]}", "9644 bytes on the worker, 4844 bytes in the main process;"),
            ("packed/other.zip", "", "in the main process; make the audio the same"),
        ],
    )
    def test_different_files_end_the_preparation_with_worker_and_path(
        self, elsewhere: Cluster, folder: Path, tmp_path: Path, root: str, file: str, expected: str
    ) -> None:
        with pytest.raises(CorpusError) as caught:
            prepare_on(elsewhere, folder / "here" / root, tmp_path / "cache")
        (line,) = str(caught.value).splitlines()
        assert line.startswith("worker tcp://127.0.0.1:")
        assert f"{folder}/here/{root}{file}" in line
        assert expected in line
        assert not list(tmp_path.rglob("store.json"))
        assert prepare_corpus(folder / "here" / root, tmp_path / "cache").rejected == 2

    def test_copies_with_other_times_are_accepted(
        self, elsewhere: Cluster, folder: Path, tmp_path: Path, local: dict[str, str]
    ) -> None:
        """The next preparation hashes each file again, and reuses its features."""
        root = folder / "here" / "copied"
        assert content(prepare_on(elsewhere, root, tmp_path / "cache").store) == local
        report = prepare_corpus(root, tmp_path / "cache")
        assert (report.extracted, report.reused) == (0, 22)
        assert content(report.store) == local
