"""Prediction in bulk on a real Dask cluster: the same table, and clear errors if a worker sees other files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emodna.model.inference import bulk
from emodna.model.inference.bulk import open_bulk
from emodna.model.inference.bulk_workers import make_cluster_workers
from emodna.model.inference.trained_model import TrainedModel
from emodna.pipeline.errors import CorpusError, WorkerError
from tests.model.bulk import list_inputs, make_request, predict_at_once
from tests.pipeline.archives.packing import pack
from tests.pipeline.clusters import Cluster, can_hide_files, start_cluster

pytestmark = pytest.mark.slow

REMOTE = "from emodna.model.inference import bulk_workers as remote"
RELOAD = f"import importlib; {REMOTE}; importlib.reload(remote)"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster") / "running") as cluster:
        cluster.add_worker(threads=2)
        cluster.add_worker(threads=1)
        yield cluster


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_WHOLE_PER_PART", 2)


@pytest.fixture(scope="module")
def audio(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a folder with an unusable file, and an archive."""
    folder = tmp_path_factory.mktemp("audio")
    files = sorted((roots["emodb"] / "wav").glob("*.wav"))[:6]
    for file in files[:4]:
        shutil.copy(file, folder)
    (folder / "bad.wav").write_bytes(b"bad")
    return [folder, pack(folder / "x.tar.gz", {f"in/{file.name}": file.read_bytes() for file in files[4:]})]


def predict_on(cluster: Cluster, run: Path, audio: list[Path], out: Path, **options: Any) -> pa.Table:
    models, messages = [TrainedModel.load(run)], list[str]()
    start = make_cluster_workers(cluster.address, messages.append, models)
    with open_bulk(make_request(run), list_inputs(audio), out, **options) as prediction:
        list(prediction.predict(start))
    return pq.read_table(out)


@contextmanager
def change_workers(cluster: Cluster, statements: str) -> Iterator[None]:
    with cluster.client() as client:
        client.run(exec, f"{REMOTE}\n{statements}")
        try:
            yield
        finally:
            client.run(exec, RELOAD)


def test_a_cluster_gives_the_table_of_one_process(
    cluster: Cluster, trained_run: Path, audio: list[Path], tmp_path: Path
) -> None:
    expected = predict_at_once(make_request(trained_run), audio, tmp_path / "x.parquet")
    assert len(expected) == 7
    assert predict_on(cluster, trained_run, audio, tmp_path / "out").equals(expected)


@pytest.mark.parametrize(
    ("statements", "kind", "complaint"),
    [
        ("remote._describe_size = lambda _: '1 bytes'", CorpusError, "not the same audio: 1 bytes on the worker, "),
        (
            "def fail(*_): raise FileNotFoundError(2, 'No such file', 'm')\nremote._load_model = fail",
            WorkerError,
            "No such",
        ),
        (
            "from emodna.model.inference.prediction import Prediction as P\n"
            "remote._predict_batch = lambda models, options, batch, P=P: "
            "[(n, P(each.file, error='gone')) for n, each in enumerate(batch)]",
            CorpusError,
            "not the same audio: gone on the worker, ",
        ),
        ("del remote.predict_on_worker", WorkerError, "a worker cannot import emodna: "),
    ],
)
def test_a_worker_that_sees_other_files_is_an_error(
    cluster: Cluster,
    trained_run: Path,
    audio: list[Path],
    tmp_path: Path,
    statements: str,
    kind: type[Exception],
    complaint: str,
) -> None:
    with change_workers(cluster, statements), pytest.raises(kind) as raised:
        predict_on(cluster, trained_run, audio, tmp_path / "out")
    assert complaint in str(raised.value)
    assert predict_on(cluster, trained_run, audio, tmp_path / "out", resume=True).num_rows == 7


def test_other_versions_are_refused(
    cluster: Cluster, trained_run: Path, audio: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "read_feature_versions", lambda **_: {"soxr": "0.0.1"})
    with pytest.raises(WorkerError, match=r"has soxr .*, but the main process has soxr 0\.0\.1"):
        predict_on(cluster, trained_run, audio, tmp_path / "out")


@pytest.mark.skipif(not can_hide_files(), reason="needs unshare -rm, to hide files from a worker")
@pytest.mark.parametrize("hidden", ["run", "audio"])
def test_files_that_only_this_machine_has_are_named(
    trained_run: Path, audio: list[Path], tmp_path: Path, hidden: str
) -> None:
    (tmp_path / "empty").mkdir()
    place = trained_run if hidden == "run" else audio[0]
    with start_cluster(tmp_path / "cluster") as cluster:
        cluster.add_worker(threads=1, replacements={place: tmp_path / "empty"})
        with pytest.raises((WorkerError, CorpusError)) as raised:
            predict_on(cluster, trained_run, audio[:1], tmp_path / "out")
    assert str(raised.value.where).startswith("worker tcp://")
    assert str(place) in str(raised.value)


def test_a_recording_that_kills_workers_gets_an_error(trained_run: Path, audio: list[Path], tmp_path: Path) -> None:
    with start_cluster(tmp_path / "cluster") as cluster:
        for _ in range(3):
            cluster.add_worker(threads=1)
        die = "[os._exit(1) for each in batch if each.file.endswith('bad.wav')]"
        statements = (
            f"import os; old = remote._predict_batch\ndef new(m, o, batch):\n    {die}\n    return old(m, o, batch)"
        )
        with cluster.client() as client:
            client.run_on_scheduler(allow_failures, 0)
            client.run(exec, f"{REMOTE}\n{statements}\nremote._predict_batch = new", {})
        found = predict_on(cluster, trained_run, audio[:1], tmp_path / "out").to_pylist()
    errors = {Path(row["file"]).name: row["error"] for row in found if row["error"]}
    assert errors == {"bad.wav": "every worker that read it died (killed, or out of memory)"}


def allow_failures(count: int, dask_scheduler: Any = None) -> None:
    dask_scheduler.allowed_failures = count
