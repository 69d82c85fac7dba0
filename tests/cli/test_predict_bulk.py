"""emodna-predict --out FOLDER: options, messages, exit codes, and workers that are processes."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pyarrow.parquet as pq
import pytest

from emodna.cli import predict as predict_command
from emodna.cli import predict_bulk
from emodna.model.inference import bulk
from tests.cli.running import run_script
from tests.faults.test_harnesses import run_harness
from tests.model.bulk import ThreadWorkers
from tests.model.small import CommandResult, assert_one_line_error, run_command

PATIENCE = 60


@pytest.fixture(scope="module")
def files(emodb_root: Path) -> list[Path]:
    return sorted((emodb_root / "wav").glob("*.wav"))[:3]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> ThreadWorkers:
    """Replace the workers by a thread, and let each file be a part."""
    workers = ThreadWorkers()
    monkeypatch.setattr(predict_bulk, "choose_workers", lambda *_: workers)
    monkeypatch.setattr(bulk, "_WHOLE_PER_PART", 1)
    return workers


def predict(*arguments: object) -> CommandResult:
    return run_command(predict_command.main, *arguments)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--workers", 2], "--workers needs --out FOLDER"),
        (["--workers", 2, "--out", "x.csv"], "--workers needs --out FOLDER"),
        (["--scheduler", "tcp://here:1", "--out", "x.parquet"], "--scheduler needs --out FOLDER"),
        (["--resume"], "--resume needs --out FOLDER"),
        (["--out", "x", "--json"], "--json and --out FOLDER exclude each other"),
        (["--out", "x/", "--csv"], "--csv and --out FOLDER exclude each other"),
        (["--out", "x", "--threads", 2], "use --workers"),
        (["--out", "x", "-"], "standard input (-) cannot be read again"),
        (["--out", "x", "--workers", 1, "--scheduler", "tcp://here:1"], "--workers and --scheduler exclude each other"),
    ],
)
def test_options_that_do_not_fit_together_are_usage_errors(
    run: Path, files: list[Path], options: list[object], problem: str
) -> None:
    answer = predict(run, files[0], *options)
    assert (answer.code, answer.out) == (2, "")
    assert problem in answer.err


def test_a_folder_needs_a_parent_and_a_name_without_a_foreign_suffix(
    run: Path, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for name, problem in (
        ("a.txt", "a folder's name ends with /"),
        ("no/out/", f"folder {tmp_path / 'no'} not found"),
        ("file", "exists and is not a folder"),
        ("a.parket", "a folder's name ends with /"),
    ):
        assert_one_line_error(predict(run, files[0], "--out", f"{tmp_path}/{name}"), problem)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_failures_count_in_every_session(run: Path, files: list[Path], workers: ThreadWorkers, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"words")
    arguments: tuple[Any, ...] = (run, bad, files[0], "--out", f"{tmp_path}/a.b/")
    answer = predict(*arguments)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"error: {bad}: ")
    assert f"\n2 recordings: {tmp_path}/a.b\n2 files, " in answer.err
    assert len(workers.batches) == 2

    refused = predict(*arguments)
    assert_one_line_error(refused, "contains finished predictions", "set --resume to continue", "choose another --out")
    again = predict(*arguments, "--resume")
    assert again.code == 1
    assert again.err == (
        "all 2 recordings were finished before\n"
        "error: 1 row without a prediction: see column error\n"
        f"2 recordings: {tmp_path}/a.b\n"
    )
    assert len(workers.batches) == 2


def test_ctrl_c_says_how_to_continue(run: Path, files: list[Path], workers: ThreadWorkers, tmp_path: Path) -> None:
    workers.before = mock.Mock(side_effect=[None, KeyboardInterrupt])
    answer = predict(run, *files, "--out", tmp_path / "out")
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.endswith("interrupted; 1 of 3 recordings are finished; continue with --resume\n")
    workers.before = mock.Mock()
    answer = predict(run, *files, "--out", tmp_path / "out", "--resume")
    assert answer.code == 0
    assert answer.err.startswith("1 of 3 recordings were finished before\n")
    predict(run, *files, "--out", tmp_path / "x.parquet", "--threads", 1)
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "x.parquet"))


@pytest.mark.slow
class TestProcesses:
    def test_killed_and_resumed_workers_give_the_table_of_one_process(self, run: Path, emodb_root: Path) -> None:
        options = ("--count", 400, "--kills", 3, "--seed", 1)
        printed = run_harness("tests.faults.kill_prediction", run, emodb_root, *options)
        assert "round 1: the same 400 rows" in printed
        assert printed.count("killed: ") == 3

    def test_ctrl_c_of_a_terminal_ends_all_processes(self, run: Path, emodb_root: Path, tmp_path: Path) -> None:
        for number in range(40):
            shutil.copytree(emodb_root / "wav", tmp_path / "in" / f"{number}")
        program = str(Path(sys.executable).with_name("emodna-predict"))
        command = [program, run, tmp_path / "in", "--workers", "2", "--out", tmp_path / "out"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            deadline = time.monotonic() + PATIENCE
            while not list((tmp_path / "out").rglob("part-*.parquet")) and time.monotonic() < deadline:
                time.sleep(0.01)
            children = psutil.Process(process.pid).children(recursive=True)
            for each in (*children, psutil.Process(process.pid)):
                each.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert re.search(r"interrupted; \d+ of \d+ recordings are finished; continue with --resume\n$", err)
        assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []

    def test_a_missing_scheduler_is_an_error(self, run: Path, files: list[Path], tmp_path: Path) -> None:
        ran = run_script("emodna-predict", run, files[0], "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
        assert "--scheduler tcp://127.0.0.1:9: no Dask scheduler found" in ran.error()
