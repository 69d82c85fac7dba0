"""emodna-bench run, retry, drop and clean on three corpora: complete, killed and resumed, extended, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import filelock
import pytest

from emodna.cli.bench import command as bench_command
from emodna.cli.bench import execution
from emodna.model.bench import runner
from emodna.model.bench.results import read_run_results
from emodna.model.bench.runner import Workers, execute_runs, start_local_workers
from emodna.model.bench.spec import Experiment, MethodSpec, RunSpec
from tests.cli.bench.kill_worker import kill_worker
from tests.model.bench.builders import write_experiment
from tests.model.small import CommandResult, assert_one_line_error, run_command
from tests.pipeline.clusters import Cluster, cluster, wait_until

TINY = {"batch_size": 8, "frames": 32, "channels": 8, "log_every": 1, "tensorboard": "false", "checkpoint_seconds": 0}
#: What must depend neither on kills nor on who ran a cell.
SAME = ("model.safetensors", "predictions.parquet", "metrics.jsonl", "resume.safetensors")


def bench(*arguments: object) -> CommandResult:
    return run_command(bench_command.main, *arguments)


def tiny(cache: Path, out: Path, *, steps: int = 2, methods: Sequence[str] = ("dan",), seeds: int = 1) -> list[object]:
    """Options of a run of small networks."""
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    asked = [part for method in methods for part in ("--methods", method)]
    where = ["--cache", cache, "--out", out, "--device", "cpu"]
    return ["run", *where, *asked, "--tasks", "arousal", "--seeds", seeds, "--steps", steps, *settings]


def pair(*corpora: str) -> list[object]:
    return [part for corpus in corpora or ("casia", "emodb") for part in ("--corpora", corpus)]


TRIPLE = pair("casia", "emodb", "emovo")


def start_process(*arguments: object) -> subprocess.Popen[str]:
    """The command as a group of processes of its own."""
    program = Path(sys.executable).with_name("emodna-bench")
    return subprocess.Popen(
        [program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_contents(out: Path) -> dict[str, bytes]:
    """What the runs of a benchmark left, as far as it must be the same each time."""
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in (out / "runs").iterdir() for name in SAME}


def list_finished_files(out: Path) -> dict[str, int]:
    """Files of finished cells, with the time of each."""
    marks = list((out / "runs").glob("*/done"))
    return {str(path): path.stat().st_mtime_ns for mark in marks for path in mark.parent.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[Workers]:
    """Have all commands of this process use the same two workers, which take seconds to start."""
    with start_local_workers(2, 1, ["cpu"]) as workers, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "start_local_workers", lambda *_: nullcontext(workers))
        yield workers


@pytest.fixture(scope="module")
def whole(six_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CommandResult]:
    """All six pairs of three corpora, undisturbed. Only for reading."""
    out = tmp_path_factory.mktemp("whole") / "bench"
    return out, bench(*tiny(six_cache, out), *TRIPLE, "--json")


@pytest.fixture
def own(whole: tuple[Path, CommandResult], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole[0], tmp_path / "bench"))


def test_all_pairs(whole: tuple[Path, CommandResult]) -> None:
    out, answer = whole
    assert answer.code == 0
    summary = json.loads(answer.out)
    assert (summary["out"], summary["cells"], summary["done"], summary["ran"]) == (str(out), 6, 6, 6)
    assert 0 < summary["cell_seconds"] < 2 * summary["wall_seconds"]
    first, second, *rest = answer.err.splitlines()
    assert first == f"6 cells, 2 workers, into {out}"
    assert second.startswith("1/6 ")
    assert ", arousal, dan, seed 0: UAR " in second
    assert len(rest) == 5


def test_interrupted_runs_go_on_and_finished_ones_stay(
    six_cache: Path, whole: tuple[Path, CommandResult], own: Path
) -> None:
    there = Experiment.read(own)
    begun, untouched = (there.run_folder(run) for run in there.runs[:2])
    for path in (begun.done, begun.result, begun.model, begun.predictions):  # as a kill before the evaluation leaves it
        path.unlink()
    shutil.rmtree(untouched.path)
    before = list_finished_files(own)
    answer = bench(*tiny(six_cache, own), *TRIPLE, "--json")
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    assert (summary["done"], summary["ran"]) == (6, 2)
    after = list_finished_files(own)
    assert {path: after[path] for path in before} == before
    assert read_contents(own) == read_contents(whole[0])


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_if_nothing_had_been(
    six_cache: Path, whole: tuple[Path, CommandResult], tmp_path: Path
) -> None:
    options = [*tiny(six_cache, tmp_path / "bench"), *TRIPLE]
    running = start_process(*options, "--workers", 2)
    wait_until(lambda: list(tmp_path.glob("bench/runs/*/done")))
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    before = list_finished_files(tmp_path / "bench")
    done = len(list(tmp_path.glob("bench/runs/*/done")))
    answer = bench(*options, "--workers", 1, "--json")
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    assert (summary["done"], summary["ran"]) == (6, 6 - done)
    after = list_finished_files(tmp_path / "bench")
    assert {path: after[path] for path in before} == before
    assert read_contents(tmp_path / "bench") == read_contents(whole[0])


def test_a_second_run_extends_a_failing_run_is_recorded_and_retry_mends_it(six_cache: Path, own: Path) -> None:
    options = [*tiny(six_cache, own, methods=("source-only",)), *pair()]
    spoilt = Experiment.read(own).run_folder(RunSpec("casia", "emodb", "arousal", MethodSpec("source-only"), 0)).path
    spoilt.mkdir()
    (spoilt / "config.json").write_text('{"decisive": {"seed": 7}}')
    answer = bench(*options, "--json")
    assert answer.code == 1
    summary = json.loads(answer.out)
    assert (summary["cells"], summary["done"]) == (2, 1)
    (failed,) = summary["failed"]
    assert (failed["src"], failed["tgt"], failed["method"]) == ("casia", "emodb", "source-only")
    assert answer.err.splitlines()[-1].startswith("error: 1 cell failed; emodna-bench retry")
    extended = Experiment.read(own)
    assert [run.method.name for run in extended.runs] == [*["dan"] * 6, *["source-only"] * 2]
    (record,) = (own / "failures").iterdir()
    assert json.loads(record.read_text())["error"] == failed["error"]

    told = bench(*options)  # nothing is left that is to be run
    assert told.code == 1
    assert "1 cell that failed before is not tried again; emodna-bench retry" in told.err
    shown = bench("status", "--out", own).out
    assert "8 cells: 7 done, 1 failed" in shown
    assert failed["error"] in shown

    found = json.loads(bench("clean", "--out", own, "--json").out)["leftovers"]
    assert [(each["path"], each["kind"]) for each in found] == [(str(spoilt), "failed")]
    damaged = extended.run_folder(extended.runs[0]).result
    damaged.write_text(damaged.read_text().replace('"uar"', '"uar of old"'))
    again = bench("retry", "--out", own, "--device", "cpu")
    assert again.code == 0, again.err
    assert {each.state for each in read_run_results(extended)} == {"done"}
    assert not record.exists()


def test_clean_leaves_a_run_at_work(own: Path) -> None:
    there = Experiment.read(own)
    old = there.run_folder(there.runs[0]).path  # as if it were of a store that has changed since
    old = old.rename(old.with_name(old.name[:-8] + "00000000"))
    with filelock.FileLock(old / ".lock"):
        cleaned = bench("clean", "--out", own, "--delete")
    assert f"kept {old}: a run is using it" in cleaned.out
    assert old.exists()
    assert bench("clean", "--out", own, "--delete").out.splitlines()[-1].startswith("removed 1 run, ")
    assert not old.exists()


class RecordedPlan:
    """In the place of what carries out: only plans, and remembers what it was to run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.experiment: Experiment | None = None
        self.runs: list[RunSpec] = []
        monkeypatch.setattr(execution, "execute_experiment", self._carry_out)

    def _carry_out(self, experiment: Experiment, runs: list[RunSpec], *_: object, **__: object) -> int:
        experiment.write()
        self.experiment, self.runs = experiment, runs
        return 0


class TestMoreOfIt:
    def test_without_corpora_it_is_those_of_the_benchmark(
        self, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_planned = RecordedPlan(monkeypatch)
        assert bench(*tiny(six_cache, tmp_path), *pair()).code == 0
        assert bench(*tiny(six_cache, tmp_path, methods=("jan",))).code == 0
        assert {(cell.src, cell.tgt) for cell in only_planned.runs} == {("casia", "emodb"), ("emodb", "casia")}
        assert bench(*tiny(six_cache, tmp_path), *pair("casia", "emovo")).code == 0
        assert set(Experiment.read(tmp_path).corpora) == {"casia", "emodb", "emovo"}

    def test_conditions_may_change_until_a_cell_has_begun(
        self, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_planned = RecordedPlan(monkeypatch)
        for steps in (2, 5):
            assert bench(*tiny(six_cache, tmp_path, steps=steps), *pair()).code == 0
        there = Experiment.read(tmp_path)
        assert there == only_planned.experiment
        assert there.conditions.steps == 5
        there.run_folder(there.runs[0]).path.mkdir(parents=True)
        assert_one_line_error(bench(*tiny(six_cache, tmp_path), *pair()), "--steps 2: the experiment has 5")


class TestDrop:
    def test_says_whose_upper_bound_is_lost(self, tmp_path: Path) -> None:
        write_experiment(tmp_path, ["dan", "upper-bound"], corpora=("casia", "emodb", "emovo"))
        told = bench("drop", "--out", tmp_path, "--corpora", "casia", "--seeds", 1, "--json")
        assert json.loads(told.out) == {"out": str(tmp_path), "dropped": 32, "cells": 4, "kept_runs": 0}
        assert "upper-bound of emodb, emovo was run from a corpus that is dropped" in told.err


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--steps", 5], "--steps 5"),
            (["--set", "batch_size=4"], "--set batch_size=4"),
        ],
    )
    def test_other_conditions_in_the_same_folder(
        self, six_cache: Path, whole: tuple[Path, CommandResult], options: list[object], says: str
    ) -> None:
        before = (whole[0] / "bench.json").read_bytes()
        assert_one_line_error(bench(*tiny(six_cache, whole[0]), *options), says, "the experiment has")
        assert (whole[0] / "bench.json").read_bytes() == before

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--methods", "dam"], "dan"),
            (["--corpora", "casia"], "a pair needs two corpora"),
            (["--feature-set", "logmel"], "no corpus has features logmel"),
            (["--device", "tpu"], "--device tpu"),
            (["--set", "seed=5"], "--set seed: use --seeds"),
        ],
    )
    def test_a_slip_writes_nothing(self, six_cache: Path, tmp_path: Path, options: list[object], says: str) -> None:
        out = tmp_path / "bench"
        assert_one_line_error(bench("run", "--cache", six_cache, "--out", out, "--device", "cpu", *options), says)
        assert not out.exists()

    def test_a_scheduler_that_is_not_there_leaves_no_plan_behind(self, six_cache: Path, tmp_path: Path) -> None:
        options = [*tiny(six_cache, tmp_path / "bench"), *pair(), "--scheduler", tmp_path / "none.json"]
        assert_one_line_error(bench(*options), "none.json: no Dask scheduler")
        assert not (tmp_path / "bench" / "bench.json").exists()

    def test_two_at_once(self, six_cache: Path, own: Path) -> None:
        with filelock.FileLock(own / ".lock"):
            for options in (
                tiny(six_cache, own),
                ["retry", "--out", own],
                ["clean", "--out", own, "--delete"],
                ["drop", "--out", own, "--corpora", "casia"],
            ):
                assert_one_line_error(bench(*options), "another process is using the experiment")
            assert "a run is at work" in bench("status", "--out", own).out


def test_a_run_at_which_another_process_is_at_work_is_left_out(six_cache: Path, own: Path) -> None:
    there = Experiment.read(own)
    run = there.run_folder(there.runs[0])
    run.done.unlink()
    with filelock.FileLock(run.lock):
        answer = bench(*tiny(six_cache, own), *TRIPLE, "--json")
    assert answer.code == 0
    summary = json.loads(answer.out)
    assert (summary["done"], summary["failed"], len(summary["skipped"])) == (5, [], 1)
    assert "another process is at work at it" in answer.err


def test_a_run_that_kills_its_worker_is_recorded_and_the_others_are_unharmed(
    own: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Experiment.read(own)
    monkeypatch.setattr(runner, "execute_order", kill_worker)
    answers = execute_runs(there, there.runs[:3], workers, mock.Mock())
    doomed = RunSpec("casia", "emodb", "arousal", MethodSpec("dan"), 0)
    assert {run: answer.kind for run, answer in answers.items()} == {
        run: "failed" if run == doomed else "done" for run in there.runs[:3]
    }
    assert "died 2 times" in json.loads(there.failure_file(doomed).read_text())["error"]


@pytest.mark.slow
def test_ctrl_c_leaves_checkpoints_and_says_how_to_go_on(six_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    options = [*tiny(six_cache, out, steps=100_000), *pair(), "--set", "checkpoint_seconds=1000", "--workers", 1]
    running = start_process(*options)
    wait_until(lambda: len(list(out.glob("runs/*/metrics.jsonl"))) == 1)
    wait_until(lambda: all(path.stat().st_size for path in out.glob("runs/*/metrics.jsonl")))
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert err.splitlines()[-1] == "interrupted; the same command goes on where it ended"
    assert "Traceback" not in err
    there = Experiment.read(out)
    assert [each.state for each in read_run_results(there)] == ["interrupted", "waiting"]
    assert there.run_folder(there.runs[0]).resume.exists()
    assert not (out / "failures").exists()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and a worker process."""
    with cluster(tmp_path_factory.mktemp("cluster") / "running") as running:
        running.add_worker(threads=2)
        yield running


@pytest.mark.slow
class TestACluster:
    def test_runs_the_cells_to_the_same_bytes(
        self, running: Cluster, six_cache: Path, whole: tuple[Path, CommandResult], tmp_path: Path
    ) -> None:
        out = tmp_path / "bench"
        answer = bench(*tiny(six_cache, out), *pair(), "--scheduler", running.file, "--json", "-q")
        assert (answer.code, answer.err) == (0, "")
        assert json.loads(answer.out)["ran"] == 2
        expected = read_contents(whole[0])
        assert all(expected[name] == content for name, content in read_contents(out).items())

    def test_without_a_gpu_or_with_other_versions_is_one_line(
        self, running: Cluster, six_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = [*tiny(six_cache, tmp_path / "bench"), *pair(), "--scheduler", running.address]
        gpu = [*options, "--device", "cuda", "--out", tmp_path / "gpu"]
        assert_one_line_error(bench(*gpu), "--device cuda: no worker at", "--resources GPU=1")
        mine = runner.read_versions()
        monkeypatch.setattr(runner, "read_versions", lambda: {**mine, "torch": "0.4.1"})
        assert_one_line_error(bench(*options, "-q"), "has torch", "but emodna-bench torch 0.4.1")
        assert not (tmp_path / "bench" / "failures").exists()
