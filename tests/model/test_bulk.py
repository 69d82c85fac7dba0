"""Prediction in bulk: the table of one process, after any interruption, damage or death of a worker."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from emodna.model.errors import PredictionError
from emodna.model.inference import bulk
from emodna.model.inference.bulk import BulkRequest
from emodna.model.inference.inputs import Input, find_table_inputs
from emodna.model.inference.trained_model import TrainedModel
from emodna.model.inference.windows import Windows
from emodna.pipeline.archives import open_tree
from emodna.pipeline.errors import DeadWorkerError
from emodna.pipeline.spans import read_spans
from emodna.pipeline.tables import iterate_rows
from tests.model.bulk import ThreadWorkers, make_request, predict_at_once, predict_in_bulk
from tests.model.small import Interruption
from tests.pipeline.archives.packing import pack

PER_PART = 2


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_WHOLE_PER_PART", PER_PART)
    monkeypatch.setattr(bulk, "_CUT_PER_PART", PER_PART)


@pytest.fixture(scope="module")
def files(roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return five files, of which the fourth is unusable and the fifth is a copy of the first."""
    folder = tmp_path_factory.mktemp("files")
    for number, path in enumerate(sorted((roots["emodb"] / "wav").glob("*.wav"))[:3]):
        shutil.copy(path, folder / f"{number}.wav")
    (folder / "3.wav").write_bytes(b"bad")
    shutil.copy(folder / "0.wav", folder / "4.wav")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def request_(trained_run: Path) -> BulkRequest:
    return make_request(trained_run)


@pytest.fixture(scope="module")
def finished(request_: BulkRequest, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished folder; read-only."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_WHOLE_PER_PART", PER_PART)
        predict_in_bulk(request_, files, out)
    return out


def read_content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


class TestTable:
    def test_a_folder_is_one_table_like_the_file_of_one_process(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        expected = predict_at_once(request_, files, tmp_path / "x.parquet")
        assert expected["error"].null_count == 4
        found = pq.read_table(finished)
        assert found.schema.equals(expected.schema, check_metadata=True)
        assert found.equals(expected)
        names = sorted(path.name for path in finished.iterdir() if not path.name.startswith((".", "_")))
        assert names == [f"part-0000{number}.parquet" for number in range(3)]

    def test_archives_several_models_and_windows_give_the_same_rows(
        self, trained_run: Path, files: list[Path], tmp_path: Path
    ) -> None:
        other = Path(shutil.copytree(trained_run, tmp_path / "other"))
        packed = pack(tmp_path / "x.tar.gz", {f"a/{file.name}": file.read_bytes() for file in files})
        request = make_request(trained_run, other, windows=Windows(0.5, 0.25))
        predict_in_bulk(request, [packed, files[0].parent], tmp_path / "out")
        expected = predict_at_once(request, [packed, files[0].parent], tmp_path / "x.parquet")
        assert set(expected["run"].to_pylist()) == {str(trained_run), str(other)}
        assert len(expected) > 2 * 10
        assert pq.read_table(tmp_path / "out").equals(expected)

    def test_columns_of_a_manifest_keep_their_types(
        self, request_: BulkRequest, files: list[Path], tmp_path: Path
    ) -> None:
        columns = {"path": [*(file.name for file in files), None, "gone.wav"], "n": pa.array(range(7), pa.int16())}
        columns |= {"start": ["0.1", None, *[None] * 5], "end": ["0.5", None, *[None] * 5]}
        manifest = pa.table({**columns, "when": pa.array([None, *range(6)], pa.timestamp("ns"))})
        pq.write_table(manifest, tmp_path / "t.parquet")
        tree = open_tree(files[0].parent, ("",))
        inputs = list(find_table_inputs(enumerate(iterate_rows(manifest)), list(read_spans(manifest)), tree))
        request = replace(request_, manifest=tmp_path / "t.parquet", columns=manifest.select(["n", "when"]))
        predict_in_bulk(request, inputs, tmp_path / "out")
        found = pq.read_table(tmp_path / "out")
        assert found.equals(predict_at_once(request, inputs, tmp_path / "x.parquet"))
        assert found.schema.field("when").type == pa.timestamp("ns")

    def test_no_recordings_give_an_empty_table(self, request_: BulkRequest, tmp_path: Path) -> None:
        assert predict_in_bulk(request_, [], tmp_path / "out") == []
        assert pq.read_table(tmp_path / "out").equals(predict_at_once(request_, [], tmp_path / "x.parquet"))

    def test_parts_of_many_recordings_are_larger(
        self, request_: BulkRequest, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "_MAX_PARTS", 2)
        workers = ThreadWorkers()
        predict_in_bulk(request_, files, tmp_path / "out", workers)
        assert [len(batch) for batch in workers.batches] == [3, 2]


class TestResume:
    def test_an_interrupted_folder_is_no_table_and_is_continued(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"

        def interrupt(names: list[str]) -> None:
            if "2.wav" in names:
                raise Interruption

        with pytest.raises(Interruption):
            predict_in_bulk(request_, files, out, ThreadWorkers(interrupt))
        assert not list(out.glob("*.parquet"))
        workers = ThreadWorkers()
        predict_in_bulk(request_, files, out, workers, resume=True)
        assert workers.batches == [["2.wav", "3.wav"], ["4.wav"]]
        assert read_content(out) == read_content(finished)

    def test_a_finished_folder_needs_no_worker(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        out = Path(shutil.copytree(finished, tmp_path / "out"))
        workers = ThreadWorkers()
        assert predict_in_bulk(request_, files, out, workers, resume=True) == []
        assert workers.batches == []
        assert read_content(out) == read_content(finished)

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda part: part.write_bytes(part.read_bytes()[:-9]), id="truncated"),
            pytest.param(lambda part: part.write_bytes(b""), id="empty"),
            pytest.param(lambda part: part.write_bytes(flip(part.read_bytes(), 60)), id="flipped"),
            pytest.param(lambda part: shutil.copy(part.with_name("part-00000.parquet"), part), id="of another part"),
            pytest.param(lambda part: pq.write_table(pa.table({"file": []}), part), id="another table"),
            pytest.param(lambda part: part.unlink(), id="missing"),
        ],
    )
    def test_a_damaged_part_is_made_again(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path, damage: Callable[[Path], object]
    ) -> None:
        out = Path(shutil.copytree(finished, tmp_path / "out"))
        damage(out / "part-00001.parquet")
        workers = ThreadWorkers()
        predict_in_bulk(request_, files, out, workers, resume=True)
        assert workers.batches == [["2.wav", "3.wav"]]
        assert read_content(out) == read_content(finished)

    def test_a_request_that_was_not_saved_starts_again(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "_recordings.feather.123.tmp").write_bytes(b"killed")
        predict_in_bulk(request_, files, out)
        assert read_content(out) == read_content(finished)


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


class TestRefusals:
    def test_a_folder_with_other_content_is_refused(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        for out, resume in ((finished, False), (tmp_path, False), (tmp_path, True)):
            before = sorted(out.iterdir())
            with pytest.raises(PredictionError) as raised:
                predict_in_bulk(request_, files, out, resume=resume)
            assert (raised.value.field, raised.value.value) == ("out", out)
            assert sorted(out.iterdir()) == before

    def test_other_settings_are_refused_by_name(
        self, request_: BulkRequest, trained_run: Path, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        other = Path(shutil.copytree(trained_run, tmp_path / "other"))
        model = TrainedModel.load(other)
        with torch.no_grad():
            next(model.method.parameters()).add_(1.0)
        model.save(other / "model.safetensors")
        for request, difference in (
            (replace(request_, options={"windows": Windows(1.0, 0.5)}), "options.windows"),
            (make_request(other), "models.1"),
            (make_request(trained_run, other), "runs"),
            (replace(request_, columns=pa.table({"x": [1] * 5})), "columns"),
            (replace(request_, device="cuda:1"), "device"),
        ):
            with pytest.raises(PredictionError) as raised:
                predict_in_bulk(request, files, finished, resume=True)
            assert difference in raised.value.problem

    def test_other_recordings_are_refused_by_name(
        self, request_: BulkRequest, files: list[Path], tmp_path: Path
    ) -> None:
        (tmp_path / "in").mkdir()
        for file in files[:3]:
            shutil.copy(file, tmp_path / "in")
        out, folder = tmp_path / "out", tmp_path / "in"
        predict_in_bulk(request_, [folder], out)
        for change, difference in (
            (lambda: shutil.copy(files[3], folder), "1 new, such as"),
            (lambda: (folder / "3.wav").rename(folder / "notes"), None),
            (lambda: (folder / "1.wav").rename(folder / "other"), "1 missing, such as"),
            (lambda: (folder / "other").rename(folder / "1.wav"), None),
            (lambda: (folder / "2.wav").write_bytes(b"changed"), "1 changed, such as"),
        ):
            change()
            if difference is None:
                predict_in_bulk(request_, [folder], out, resume=True)
                continue
            with pytest.raises(PredictionError, match="started with other recordings") as raised:
                predict_in_bulk(request_, [folder], out, resume=True)
            assert difference in raised.value.problem

    def test_streams_and_folders_in_use_are_refused(
        self, request_: BulkRequest, files: list[Path], tmp_path: Path
    ) -> None:
        with pytest.raises(PredictionError, match="a stream") as raised:
            predict_in_bulk(request_, [Input("-", partial(BytesIO, b""))], tmp_path / "out")
        assert raised.value.where == "-"
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        with filelock.FileLock(tmp_path / "out" / ".lock"), pytest.raises(PredictionError, match="another process"):
            predict_in_bulk(request_, files, tmp_path / "out")


class TestDyingWorkers:
    def test_a_recording_that_kills_its_workers_gets_an_error(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        def die(names: list[str]) -> None:
            if "0.wav" in names:
                raise DeadWorkerError("killed")

        workers = ThreadWorkers(die, attempts=2)
        predict_in_bulk(request_, files, tmp_path / "out", workers)
        assert workers.batches[:5] == [["0.wav", "1.wav"]] * 2 + [["0.wav"]] * 2 + [["1.wav"]]
        first, *rest = pq.read_table(tmp_path / "out").to_pylist()
        assert first["error"] == "every worker that read it died (killed, or out of memory)"
        assert first["start"] is None
        expected = pq.read_table(finished).to_pylist()[1:]
        for row in (*rest, *expected):
            row["probability"] = row["probability"] and pytest.approx(row["probability"], abs=1e-6)
        assert rest == expected

    def test_a_worker_that_dies_once_changes_nothing(
        self, request_: BulkRequest, files: list[Path], finished: Path, tmp_path: Path
    ) -> None:
        deaths = iter([DeadWorkerError("killed")])

        def die_once(_names: list[str]) -> None:
            if (death := next(deaths, None)) is not None:
                raise death

        predict_in_bulk(request_, files, tmp_path / "out", ThreadWorkers(die_once, attempts=2))
        assert read_content(tmp_path / "out") == read_content(finished)
